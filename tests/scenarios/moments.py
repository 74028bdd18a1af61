"""The time of a scenario: waiting for what is about to happen, and a clock that can be moved."""

from __future__ import annotations

import re
from collections.abc import Callable
from time import process_time
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall, deferLater
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from zope.interface import directlyProvides, providedBy

SETTLED = 0.03
"""Seconds after which what a reply has set off has begun."""

PATIENCE = 10.0
"""Seconds within which what is about to happen has to have happened, on a machine with a lot of other work."""

TICK = 0.01
"""Seconds between two looks whether this process is kept from running."""

STOOD_STILL = 0.1
"""Seconds for which it was, after which what is told in tenths of seconds means nothing."""

# What Redis replies to TIME: a list of two, seconds since 1970 and microseconds.
_TIME = re.compile(rb"(?<=\*2\r\n\$10\r\n)\d{10}(?=\r\n\$\d\r\n\d+\r\n)")


async def until(reactor: Any, condition: Callable[[], bool], seconds: float | None = None) -> bool:
    """Wait until something holds, for so many seconds at most, or :data:`PATIENCE`; return whether it does."""
    ends = reactor.seconds() + (PATIENCE if seconds is None else seconds)
    await deferLater(reactor, SETTLED)
    while not condition():
        if reactor.seconds() >= ends:
            return False
        await deferLater(reactor, 0.01)
    return True


class Watch:
    """A stopwatch that does not count while the machine runs other programs; a context manager.

    Nodes, clients and upstreams share this process: neither does anything when it is kept from running. That is when a
    timer is late, by more than the CPU that was spent meanwhile.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._lost = 0.0
        self.longest = 0.0
        """For how long it was kept from running at one time, at most."""
        self._loop = LoopingCall(self._look)
        self._loop.clock = reactor

    def __enter__(self) -> Watch:
        self._began = self._seen = self._reactor.seconds()
        self._spent = process_time()
        self._loop.start(TICK, now=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._look()
        self._loop.stop()
        self.seconds = self._seen - self._began - self._lost
        """What it took."""

    def _look(self) -> None:
        now, spent = self._reactor.seconds(), process_time()
        lost = max(now - self._seen - (spent - self._spent) - TICK, 0.0)
        self._lost += lost
        self.longest = max(self.longest, lost)
        self._seen, self._spent = now, spent


class Time:
    """How far the scenario has been moved on: ``passed`` seconds beyond those that have really passed."""

    def __init__(self) -> None:
        self.passed = 0


class Moved:
    """The reactor as one node sees it: its clock is moved on with the scenario, its timers run in real seconds.

    :param time: the time of the scenario.
    :param ahead: seconds that this node's clock is ahead of those of others.
    :param redis_port: where Redis listens, whose clock moves with the scenario too.
    """

    def __init__(self, reactor: Any, time: Time, ahead: float, redis_port: int) -> None:
        self._reactor, self._time, self._ahead, self._redis_port = reactor, time, ahead, redis_port
        self._calls: list[IDelayedCall] = []
        directlyProvides(self, *providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def seconds(self) -> float:
        """Return the time on the node's clock."""
        return float(self._reactor.seconds()) + self._time.passed + self._ahead

    def callLater(self, delay: float, *what: Any, **more: Any) -> IDelayedCall:
        """Set a timer."""
        self._calls = [call for call in self._calls if call.active()]
        self._calls.append(self._reactor.callLater(delay, *what, **more))
        return self._calls[-1]

    def connectTCP(self, host: str, port: int, factory: Any, *more: Any, **most: Any) -> Any:
        """Connect; what Redis says of the time is moved on with the scenario."""
        if port == self._redis_port:
            factory = WrappingFactory(factory)
            factory.noisy = False
            factory.protocol = lambda *made: _Shifted(self._time, *made)
        return self._reactor.connectTCP(host, port, factory, *more, **most)

    def end(self) -> None:
        """Cancel what timers are left, as the end of a process does."""
        for call in self._calls:
            if call.active():
                call.cancel()


class _Shifted(ProtocolWrapper):
    """A connection to a Redis whose clock moves with the scenario."""

    def __init__(self, time: Time, *made: Any) -> None:
        super().__init__(*made)
        self._time = time

    def dataReceived(self, data: bytes) -> None:
        """Hand on what Redis says, its time moved."""
        super().dataReceived(_TIME.sub(lambda seconds: b"%d" % (int(seconds[0]) + self._time.passed), data))
