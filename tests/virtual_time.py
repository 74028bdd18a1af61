"""Time that passes only while nobody has anything to do: tests on real sockets, as exact as on a clock of their own.

Nodes, clients and upstreams share this process, and Redis is asked whether it has done what it was told. As long as
there is something to read, to write or to wait for, the clock stands still; then it is at once the moment of the next
timer. So no test waits, and none is early or late because the machine does other work.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Coroutine
from select import POLLIN, POLLOUT, poll
from typing import Any, Final, Protocol

from twisted.internet import reactor as global_reactor
from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock, deferLater
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.trial.unittest import TestCase
from zope.interface import directlyProvides, providedBy

from tests.redisserver import RedisServer

BEGIN: Final = 1e6
"""Where the clock begins: so far from 0 that what happened before is told from what never did."""

PATIENCE: Final = 60.0
"""Seconds, virtual and real, after which a wait for a state is given up."""

STEP: Final = 0.005
"""Seconds between two looks whether it has come."""

BUSY: Final = 1
"""Milliseconds to wait for somebody who has something to do and is no socket: a thread."""

# What Redis replies to TIME: a list of two, seconds since 1970 and microseconds.
_TIME: Final = re.compile(rb"(?<=\*2\r\n\$10\r\n)\d{10}\r\n\$\d\r\n\d+(?=\r\n)")


class VirtualTime:
    """The reactor, but for its timers and its clock.

    ``start`` and ``stop`` are called before and after a test; :class:`VirtualCase` does so.
    """

    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._clock = Clock()
        self._clock.rightNow = BEGIN
        self._next: IDelayedCall | None = None
        self._echo = socket.socket(type=socket.SOCK_DGRAM)
        self._echo.bind(("127.0.0.1", 0))
        self._echo.connect(self._echo.getsockname())
        self._wall = time.time() - BEGIN
        directlyProvides(self, *providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def seconds(self) -> float:
        """Return the time."""
        return float(self._clock.rightNow)

    def wall(self) -> float:
        """Return the seconds since 1970, by the clock that Redis is made to tell."""
        return self._wall + self.seconds()

    def callLater(self, delay: float, what: Callable[..., object], *more: Any, **most: Any) -> IDelayedCall:
        """Set a timer."""
        return self._clock.callLater(delay, what, *more, **most)

    def getDelayedCalls(self) -> list[IDelayedCall]:
        """Return the timers that are set."""
        return list(self._clock.getDelayedCalls())

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None) -> Any:
        """Connect; a Redis that is there tells this time."""
        connector = tcp.Connector(host, port, self._telling(factory, port), timeout, bindAddress, self)
        connector.connect()
        return connector

    def connectUNIX(self, address: str, factory: Any, timeout: float = 30, checkPID: bool = False) -> Any:
        """Connect to a Unix socket."""
        connector = unix.Connector(address, self._telling(factory, address), timeout, self, checkPID)
        connector.connect()
        return connector

    def _telling(self, factory: Any, where: int | str) -> Any:
        if where not in {each for server in RedisServer.all for each in (server.port, server.path)}:
            return factory
        wrapping = WrappingFactory(factory)
        wrapping.noisy = False
        wrapping.protocol = lambda *made: _Told(self, *made)
        return wrapping

    def leap(self, seconds: float) -> None:
        """Let time pass at once, for Redis as well; no timer is hurried."""
        self._clock.rightNow += seconds
        for call in self._clock.calls:
            call.delay(seconds)
        self._age()

    def start(self) -> None:
        """Let time pass where nobody has anything to do, from what the clock on the wall says now."""
        self._wall = time.time() - self.seconds()
        self._next = self._reactor.callLater(0, self._turn)

    async def stop(self) -> None:
        """Do what is due by now and what that sets off, as trial does for the real reactor; then let it stand still.

        :raises AssertionError: a timer is left.
        """
        for _ in range(2):
            await deferLater(CLOCK, 0)
        if self._next is not None:
            self._next.cancel()
        left, self._clock.calls = self._clock.calls, []
        if left:
            raise AssertionError(f"timers are left: {left}")

    def _turn(self) -> None:
        """Do what is due, or let the time of the next timer come. What timers set off has its turn before the next."""
        self._next = self._reactor.callLater(0, self._turn)
        if self._do_due() or not self._idle() or not self._clock.calls:
            return
        self._clock.rightNow = max(self._clock.calls[0].getTime(), self._clock.rightNow)
        self._age()
        self._do_due()

    def _do_due(self) -> bool:
        """Call the timers that are due, but those that they set; return whether there were any."""
        due = [call for call in self._clock.calls if call.getTime() <= self._clock.rightNow]
        for call in due:
            if call.active():
                self._clock.calls.remove(call)
                call.called = 1
                try:
                    call.func(*call.args, **call.kw)
                except Exception:
                    self._log.failure("a timer failed")
        return bool(due)

    def _idle(self) -> bool:
        """Return whether nobody has anything to do: neither we, nor a thread, nor Redis, nor the kernel."""
        pool, now = self._reactor.threadpool, self._reactor.seconds()
        if any(call.getTime() <= now for call in self._reactor.getDelayedCalls() if call is not self._next):
            return False  # of Twisted itself, which puts things off to the next turn
        if self._readable() or self._reactor.threadCallQueue:
            return False
        if (pool is not None and pool.working) or not self._clock.calls:
            self._readable(BUSY)
            return False
        for server in list(RedisServer.all):
            server.settle()
        # What was sent before this datagram is where it was sent to, once this one is.
        self._echo.send(b"!")
        self._echo.recv(1)
        return not self._readable()

    def _age(self) -> None:
        for server in list(RedisServer.all):
            server.age(self.seconds())

    def _readable(self, milliseconds: int = 0) -> bool:
        """Return whether the reactor has a descriptor to treat, or soon."""
        wanted: dict[int, int] = {}
        for descriptors, event in ((self._reactor.getReaders(), POLLIN), (self._reactor.getWriters(), POLLOUT)):
            for descriptor in descriptors:
                wanted[descriptor.fileno()] = wanted.get(descriptor.fileno(), 0) | event
        wait = poll()
        for number, events in wanted.items():
            if number >= 0:
                wait.register(number, events)
        return bool(wait.poll(milliseconds))


class _Told(ProtocolWrapper):
    """A connection to a Redis whose clock is that of the test."""

    def __init__(self, clock: VirtualTime, *made: Any) -> None:
        super().__init__(*made)
        self._clock = clock

    def dataReceived(self, data: bytes) -> None:
        """Hand on what Redis says, with another time."""
        seconds, micros = divmod(int(self._clock.wall() * 1e6), 10**6)
        told = f"{seconds}\r\n${len(str(micros))}\r\n{micros}".encode()
        super().dataReceived(_TIME.sub(told, data))


CLOCK: Final[Any] = VirtualTime(global_reactor)
"""The one of this process."""


class Until(Protocol):
    """Waits until something is true, for so many seconds at most."""

    def __call__(self, true: Callable[[], object], seconds: float = PATIENCE) -> Coroutine[Any, Any, float]:
        """Return the seconds it took."""


def until_of(reactor: Any) -> Until:
    """Return what waits by the clock of a reactor until something is true."""

    async def until(true: Callable[[], object], seconds: float = PATIENCE) -> float:
        """Wait until something is true; return the seconds it took.

        :raises AssertionError: it has not become so in that time, nor in :data:`PATIENCE` of real seconds.
        """
        began, really_began = reactor.seconds(), time.monotonic()
        while not true():
            if reactor.seconds() - began > seconds and time.monotonic() - really_began > PATIENCE:
                raise AssertionError(f"not true after {seconds} s")
            await deferLater(reactor, STEP)
        return float(reactor.seconds() - began)

    return until


class VirtualCase(TestCase):
    """A test whose time passes only while nobody has anything to do; ``reactor`` may be the real one where it must."""

    timeout = 300
    reactor: Any = CLOCK

    def setUp(self) -> None:
        """Let it pass until the test is over."""
        super().setUp()
        if self.reactor is CLOCK:
            CLOCK.start()
            self.addCleanup(lambda: Deferred.fromCoroutine(CLOCK.stop()))
