"""Ask one server over UDP, from sockets on ports that nobody can guess (RFC 5452)."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFDSet, IReactorTime, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from heimdall.fetch.dice import Dice
from heimdall.fetch.ledger import Ledger
from heimdall.fetch.poll import Poll
from heimdall.fetch.reply import Mismatch, check, silent, unreachable
from heimdall.fetch.wheel import Waiting, Wheel
from heimdall.interfaces import IExchange
from heimdall.message.answer import Answer
from heimdall.message.query import Query
from heimdall.message.wire import HEADER

FIRST_PORT = 10240
"""Our ports lie from here to 65535: above those where services usually listen."""

LEAST_USES = 64
"""Questions a port is used for, at least; up to three times as many, so that ports do not change all at once."""

MOST_AGE = 30.0
"""Seconds that a port is used for."""

MOST_STRAYS = 100
"""Replies that match nothing, after which a port is given up: somebody may be guessing."""

TRIES = 20
"""Ports drawn for one socket before the system is left to choose."""

READS = 32
"""Datagrams read at one wake-up of a socket, so that no server can keep the reactor busy."""

Write = Callable[[Query, int], bytes]
"""Makes the message that asks a question under an id."""


class Flight:
    """One question on its way: what its reply must match, and who waits for it."""

    __slots__ = ("deferred", "identity", "port", "question", "slot")

    slot: set[Waiting]

    def __init__(self, port: Port, identity: int, question: bytes) -> None:
        self.port = port
        self.identity = identity
        self.question = question
        self.deferred: Deferred[Answer] = Deferred(self.cancel)

    def cancel(self, _deferred: Deferred[Answer]) -> None:
        """Give the place up: nobody waits any more."""
        self.slot.discard(self)
        self.port.forget(self)

    def late(self) -> None:
        """End it without a reply."""
        self.port.forget(self)
        self.port.owner.ledger.failed.add("timeout")
        self.deferred.errback(silent())


@implementer(IReadDescriptor)
class Port:
    """One connected socket, and the questions in flight on it.

    :param uses: how many questions it may carry.
    :param born: when it was opened, on the reactor's clock.
    """

    def __init__(self, owner: Udp, sock: socket.socket, uses: int, born: float) -> None:
        self.owner = owner
        self.uses = uses
        self.born = born
        self.retired = False
        self.flights: dict[int, Flight] = {}
        self._strays = 0
        self._sock = sock
        self._fd = sock.fileno()

    def fileno(self) -> int:
        """Return the descriptor, also once it is closed: the reactor compares it again after a read."""
        return self._fd

    def logPrefix(self) -> str:
        """Return what the reactor calls this descriptor in its log."""
        return "heimdall.fetch"

    def send(self, wire: bytes, flight: Flight) -> None:
        """Send a question.

        :raises OSError: the system did not take it.
        """
        self.uses -= 1
        self._sock.send(wire)
        self.flights[flight.identity] = flight
        self.owner.inflight += 1

    def doRead(self) -> None:
        """Read what has come, and hand each reply to who waits for it."""
        flights = self.flights
        for _ in range(READS):
            try:
                wire = self._sock.recv(65535)
            except BlockingIOError:
                return
            except OSError:
                self.refuse()
                return
            flight = flights.get(wire[0] << 8 | wire[1]) if len(wire) >= HEADER else None
            if flight is None:
                self._stray("id" if len(wire) >= HEADER else "header")
                continue
            try:
                answer = check(wire, flight.question)
            except Mismatch as mismatch:
                self._stray(str(mismatch))
                continue
            flight.slot.discard(flight)
            self.forget(flight)
            flight.deferred.callback(answer)
            # Another one that has come already wakes us again, at less than the price of looking in vain.
            return

    def _stray(self, what: str) -> None:
        self.owner.ledger.mismatched.add(what)
        self._strays += 1
        if self._strays >= MOST_STRAYS:
            self.uses = 0

    def connectionLost(self, reason: Failure) -> None:
        """Hear from the reactor that the socket is in error: the server's port is closed, as a rule."""
        self.refuse()
        self.owner.drop(self)

    def refuse(self) -> None:
        """Fail everything in flight here, and take no more: the server is not there."""
        self.uses = 0
        self.end("refused", "the server's port is closed, or no way leads there")

    def end(self, what: str, reason: str) -> None:
        """Fail everything in flight here; ``what`` is the label it is counted by."""
        for flight in list(self.flights.values()):
            if flight.identity in self.flights:
                flight.slot.discard(flight)
                self.forget(flight)
                self.owner.ledger.failed.add(what)
                flight.deferred.errback(unreachable(reason))

    def forget(self, flight: Flight) -> None:
        """Take a question off the list; behind its last one a retired port is closed."""
        del self.flights[flight.identity]
        self.owner.inflight -= 1
        if self.retired and not self.flights:
            self.owner.drop(self)

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()


@implementer(IExchange)
class Udp:
    """The way to one server over UDP.

    :param clock: where time comes from; ``fds`` where sockets are watched: both the reactor.
    :param host: the server's address, a literal, with a zone where it has one; ``port`` its port.
    :param write: makes the message that asks a query under an id.
    :param ports: sockets that take new questions; as many again may wait for their last replies.
    :param most: questions in flight; one more fails at once.
    :raises OSError: ``host`` is no address.
    """

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
    ) -> None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
        self._family = found[0][0]
        self._address = found[0][4]
        self._clock = clock
        self._fds = Poll(fds) if hasattr(select, "epoll") else fds
        self._wheel = Wheel(clock)
        self._write = write
        self._ports, self._most = ports, most
        self._ring: list[Port] = []
        self._leaving: set[Port] = set()
        self._dice = Dice()
        self.ledger = ledger
        self.inflight = 0

    def exchange(self, query: Query, timeout: float) -> Deferred[Answer]:
        """Ask; see :class:`~heimdall.interfaces.IExchange`."""
        if self.inflight >= self._most:
            return self._failed("full", "too many questions wait for this server")
        try:
            flight = self._send(query)
        except ConnectionRefusedError as error:
            return self._failed("refused", f"the question cannot be sent: {error.strerror}")
        except OSError as error:
            return self._failed("socket", f"the question cannot be sent: {error.strerror}")
        flight.slot = self._wheel.wait(flight, self._clock.seconds() + timeout)
        return flight.deferred

    def _send(self, query: Query) -> Flight:
        port = self._pick()
        try:
            return self._send_by(port, query)
        except ConnectionRefusedError:
            # So the system tells that an earlier question was refused; this one has not left yet.
            port.refuse()
            return self._send_by(self._pick(), query)

    def _send_by(self, port: Port, query: Query) -> Flight:
        identity = self._dice.draw()
        while identity in port.flights:
            identity = self._dice.draw()
        flight = Flight(port, identity, query.key[: len(query.question)])
        port.send(self._write(query, identity), flight)
        return flight

    def _failed(self, what: str, reason: str) -> Deferred[Answer]:
        self.ledger.failed.add(what)
        return fail(unreachable(reason))

    def _pick(self) -> Port:
        """Return a socket by chance, a new one in the place of one that is worn."""
        ring = self._ring
        place = self._dice.draw() % self._ports
        if place >= len(ring):
            ring.append(self._open())
            return ring[-1]
        port = ring[place]
        if port.uses > 0 and self._clock.seconds() - port.born < MOST_AGE:
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
            port.end("closed", "the exchange was closed")
            self.drop(port)
        self._wheel.close()
