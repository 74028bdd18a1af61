"""Ask one server over UDP, from sockets on ports that nobody can guess (RFC 5452)."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from typing import ClassVar, Final

from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorTime
from twisted.logger import Logger
from zope.interface import classImplements

from heimdall.bugs import reporter
from heimdall.fetch.dice import Dice
from heimdall.fetch.inbox import reader
from heimdall.fetch.judgement import unreachable
from heimdall.fetch.ledger import Ledger
from heimdall.fetch.poll import Poll
from heimdall.fetch.port import Flight, OnReply, Port
from heimdall.interfaces import ITransport
from heimdall.message.query import Query
from heimdall.waits import Waits

FIRST_PORT: Final = 10240
"""Our ports lie from here to 65535: above those where services usually listen."""

LEAST_USES: Final = 64
"""Questions a port is used for, at least; up to three times as many, so that ports do not change all at once."""

MOST_AGE: Final = 30.0
"""Seconds that a port is used for."""

TRIES: Final = 20
"""Ports drawn for one socket before the system is left to choose."""

SHARE: Final = 16
"""Questions of one turn of the reactor that leave from one port; the next have another, drawn by chance as well."""

LATE: Final = 0.05
"""Seconds that a question may wait too long for its reply: those in flight are looked through no more often."""


Write = Callable[[Query, int, int], bytes]
"""Makes the message that asks a question under an id, in one of the forms of ``message.query.write``."""


class Udp:
    """The way to one server over UDP.

    :param clock: where time comes from; ``fds`` where sockets are watched: both the reactor.
    :param host: the server's address, a literal, with a zone where it has one; ``port`` its port.
    :param write: makes the message that asks a query under an id.
    :param ports: sockets that take new questions; as many again may wait for their last replies.
    :param most: questions in flight; one more fails at once.
    :param cut: whether the kernel may cut up questions that leave together; see ``gso``.
    :raises OSError: ``host`` is no address.
    """

    _log: ClassVar = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        fds: IReactorFDSet,
        host: str,
        port: int,
        *,
        write: Write,
        ledger: Ledger,
        ports: int = 64,
        most: int = 10000,
        cut: bool = True,
    ) -> None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
        self._family = found[0][0]
        self._address = found[0][4]
        self._clock = clock
        self.bugs = reporter(clock)
        self._fds = Poll(fds, self.bugs) if hasattr(select, "epoll") else fds
        self._waits = Waits(clock, self._left, Flight.late, LATE)
        self.write, self.receive = write, reader()
        self._ports, self._most = ports, most
        self.cut = cut
        self._shared: Port | None = None
        self._places = 0
        self._unsent: list[Flight] = []
        self._sending: IDelayedCall | None = None
        self._ring: list[Port] = []
        self._leaving: set[Port] = set()
        self._dice = Dice()
        self.ledger = ledger
        self.inflight = 0

    def exchange(self, query: Query, form: int, timeout: float, on_reply: OnReply) -> Flight:
        """Ask; see :class:`~heimdall.interfaces.ITransport`."""
        now = self._clock.seconds()
        flight = Flight(query, form, now + timeout, on_reply)
        if self.inflight >= self._most:
            self._failed(flight, "full", "too many questions wait for it")
            return flight
        port = self._shared
        if port is None or not self._places or port.uses < 1:
            try:
                port = self._shared = self._pick(now)
            except OSError as error:
                self._failed(flight, "socket", f"the question cannot be sent: {error.strerror}")
                return flight
            self._places = SHARE
        self._places -= 1
        port.take(flight, self._identity(port))
        self._unsent.append(flight)
        if self._sending is None:
            self._sending = self._clock.callLater(0, self._send_all)
        self._waits.wait(flight.due, now)
        return flight

    def _send_all(self) -> None:
        """Send what was asked in this turn. One behind the other: else the server falls asleep between two of them."""
        self._sending = self._shared = None
        unsent, self._unsent = self._unsent, []
        by_port: dict[Port, list[Flight]] = {}
        for flight in unsent:
            if flight.port is not None:  # else it was given up meanwhile
                by_port.setdefault(flight.port, []).append(flight)
        for port, flights in by_port.items():
            port.send(flights)

    def cannot_cut(self, error: OSError) -> None:
        """Let questions leave one by one from now on: so where a device has no checksums of its own."""
        if self.cut:
            self.cut = False
            self._log.info("The kernel cuts up no questions here, so they leave one by one: {error}", error=error)

    def _identity(self, port: Port) -> int:
        """Return an id that no question in flight on a port has."""
        identity = self._dice.draw()
        while identity in port.flights:
            identity = self._dice.draw()
        return identity

    def _failed(self, flight: Flight, what: str, reason: str) -> None:
        self.ledger.failed.add(what)
        flight.told(unreachable(flight.query, reason, what, blamed=what != "full"))

    def _left(self) -> list[Flight]:
        """Return what is in flight."""
        return [flight for port in (*self._ring, *self._leaving) for flight in port.flights.values()]

    def _pick(self, now: float) -> Port:
        """Return a socket drawn by chance, a new one in the place of one that is worn."""
        ring = self._ring
        place = self._dice.draw() % self._ports
        if place >= len(ring):
            ring.append(self._open())
            return ring[-1]
        port = ring[place]
        if port.uses > 0 and now - port.born < MOST_AGE:
            return port
        if len(self._leaving) >= self._ports:
            return port
        ring[place] = self._open()
        self._leaving.add(port)
        port.retired = True
        if not port.flights:
            self.drop(port)
        return ring[place]

    def _open(self) -> Port:
        """Open a socket on a port drawn by chance.

        :raises OSError: there is no socket to be had, or no route to the server.
        """
        sock = socket.socket(self._family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            self._bind(sock)
            sock.connect(self._address)
        except OSError:
            sock.close()
            raise
        uses = LEAST_USES + self._dice.draw() % (2 * LEAST_USES)
        port = Port(self, sock, uses, self._clock.seconds())
        self._fds.addReader(port)
        return port

    def _bind(self, sock: socket.socket) -> None:
        anywhere = "::" if self._family == socket.AF_INET6 else "0.0.0.0"
        for _ in range(TRIES):
            try:
                return sock.bind((anywhere, FIRST_PORT + self._dice.draw() % (65536 - FIRST_PORT)))
            except OSError:  # taken, as a rule
                continue
        return sock.bind((anywhere, 0))  # the system draws by chance as well, among those that are free

    def drop(self, port: Port) -> None:
        """Close a socket for good."""
        if port in self._leaving:
            self._leaving.remove(port)
        elif port in self._ring:
            self._ring.remove(port)
        else:
            return
        self._fds.removeReader(port)
        port.close()

    def close(self) -> None:
        """Close every socket; what is in flight fails."""
        self._most = 0
        for port in (*self._ring, *self._leaving):
            port.end("closed", "it was closed")
            self.drop(port)
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        self._unsent.clear()
        self._waits.close()


classImplements(Udp, ITransport)
