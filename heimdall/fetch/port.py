"""One connected socket to a server, and the questions in flight on it."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, ClassVar, Final

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import classImplements

from heimdall.fetch.judgement import STRAY, Unusable, judge, silent, unreachable
from heimdall.gso import UDP_SEGMENT, UNABLE, together
from heimdall.message.answer import Answer
from heimdall.message.query import Query

if TYPE_CHECKING:
    from heimdall.fetch.udp import Udp

MOST_STRAYS: Final = 100
"""Replies that match nothing, after which a port is given up: somebody may be guessing."""


Outcome = Answer | Unusable
"""What a reply comes to."""

OnReply = Callable[[Outcome | Failure], object]
"""What is called with what comes of a question; see :meth:`heimdall.interfaces.ITransport.exchange`."""


class Flight:
    """One question on its way: what its reply must match, and who is told; it has a ``port`` until then.

    ``due`` is when it ends without a reply, and ``form`` how it is put.
    """

    __slots__ = ("due", "form", "identity", "port", "query", "told")

    def __init__(self, query: Query, form: int, due: float, told: OnReply) -> None:
        self.port: Port | None = None
        self.identity = 0
        self.query = query
        self.form = form
        self.due = due
        self.told = told

    def cancel(self) -> None:
        """Give the place up: nobody waits any more."""
        self.end(Failure(CancelledError()))

    def land(self, outcome: Outcome) -> None:
        """Give the place up and tell what came, unless it has ended."""
        port = self.port
        if port is not None:
            port.forget(self)
            self.told(outcome)

    def late(self) -> None:
        """End it without a reply."""
        self.end(Failure(silent()), "timeout")

    def end(self, outcome: Outcome | Failure, *what: str) -> None:
        """Give the place up and tell that nothing came, unless it has ended; ``what`` is the label it is counted by."""
        port = self.port
        if port is not None:
            port.forget(self)
            for label in what:
                port.owner.ledger.failed.add(label)
            self.told(outcome)


Piece = tuple[bytes, Flight]
"""A question as it is sent."""


class Port:
    """One connected socket, and the questions in flight on it.

    :param uses: how many questions it may carry.
    :param born: when it was opened, on the reactor's clock.
    """

    _log: ClassVar = Logger()

    def __init__(self, owner: Udp, sock: socket.socket, uses: int, born: float) -> None:
        self.owner = owner
        self.uses = uses
        self.born = born
        self.retired = False
        self.flights: dict[int, Flight] = {}
        self._strays = 0
        self._write = owner.write
        self._sock = sock
        self._fd = sock.fileno()

    def fileno(self) -> int:
        """Return the descriptor, also once it is closed: the reactor compares it again after a read."""
        return self._fd

    def logPrefix(self) -> str:
        """Return what the reactor calls this descriptor in its log."""
        return "heimdall.fetch"

    def take(self, flight: Flight, identity: int) -> None:
        """Take a question, to be sent under an id that no other one in flight here has."""
        self.uses -= 1
        self.flights[identity] = flight
        flight.port, flight.identity = self, identity
        self.owner.inflight += 1

    def send(self, flights: list[Flight]) -> None:
        """Send questions that were taken; one fails if the system does not take it."""
        messages = self._together(flights)
        while messages:
            pieces = self._waiting(messages.pop())
            try:
                try:
                    self._push(pieces)
                except ConnectionRefusedError:
                    # So the system tells that an earlier question was refused; these have not left yet.
                    self.refuse([flight for unsent in (pieces, *messages) for _, flight in unsent])
                    pieces = self._waiting(pieces)
                    self._push(pieces)
            except OSError as error:
                if len(pieces) > 1 and error.errno in UNABLE:
                    self.owner.cannot_cut(error)
                    messages += [[piece] for piece in pieces]
                    continue
                what = "refused" if isinstance(error, ConnectionRefusedError) else "socket"
                for _, flight in pieces:
                    self._fail(flight, what, f"the question cannot be sent: {error.strerror}")

    def _together(self, flights: list[Flight]) -> list[list[Piece]]:
        """Write questions; return which leave as one message."""
        pieces: list[Piece] = []
        for flight in flights:
            try:
                pieces.append((self._write(flight.query, flight.identity, flight.form), flight))
            except Exception as bug:
                self.owner.bugs.report(self._log, "a bug in asking an upstream", bug)
                self._fail(flight, "socket", "the question cannot be written")
        if not self.owner.cut or len(pieces) < 2:
            return [[piece] for piece in reversed(pieces)]
        groups = together([len(wire) for wire, _ in pieces], [None] * len(pieces))
        return [[pieces[number] for number in group] for group in groups]

    def _waiting(self, pieces: list[Piece]) -> list[Piece]:
        """Leave out what has been given up since, as who is told of one failure may do with another question."""
        return [piece for piece in pieces if piece[1].port is self]

    def _push(self, pieces: list[Piece]) -> None:
        """Send a message.

        :raises OSError: the system does not take it.
        """
        if len(pieces) == 1:
            self._sock.send(pieces[0][0])
        elif pieces:
            size = len(pieces[0][0]).to_bytes(2, sys.byteorder)
            self._sock.sendmsg([wire for wire, _ in pieces], [(socket.IPPROTO_UDP, UDP_SEGMENT, size)])

    def doRead(self) -> None:
        """Read what has come, and hand each reply to who waits for it."""
        for flight, outcome in self.read():
            flight.land(outcome)

    def read(self) -> list[tuple[Flight, Outcome]]:
        """Read what has come; return the questions that it is for, with what it says: nobody is told yet."""
        flights = self.flights
        landed: list[tuple[Flight, Outcome]] = []
        wires, refused = self._come()
        for wire in wires:
            flight = flights.get(wire[0] << 8 | wire[1]) if len(wire) >= 2 else None
            if flight is None:
                self._stray("id")
                continue
            outcome = judge(wire, flight.query, flight.form)
            if isinstance(outcome, Unusable) and outcome.kind == STRAY:
                self._stray(outcome.reason)
            else:
                landed.append((flight, outcome))
        if refused:
            self.refuse([flight for flight, _ in landed])
        return landed

    def _come(self) -> tuple[list[bytes], bool]:
        """Return what has come, and whether a question was refused: that is told first, whatever came before it."""
        receive, sock = self.owner.receive, self._sock
        try:
            return receive(sock), False
        except OSError:
            pass
        try:
            return receive(sock), True
        except OSError:
            return [], True

    def _stray(self, what: str) -> None:
        self.owner.ledger.mismatched.add(what)
        self._strays += 1
        if self._strays >= MOST_STRAYS:
            self.uses = 0

    def connectionLost(self, reason: Failure) -> None:
        """Hear from the reactor that the socket is in error: the server's port is closed, as a rule."""
        self.refuse()
        self.owner.drop(self)

    def refuse(self, but: Collection[Flight] = ()) -> None:
        """Fail everything in flight here, ``but`` for some, and take no more: the server is not there."""
        self.uses = 0
        self.end("refused", "the port is closed, or no way leads there", but)

    def end(self, what: str, reason: str, but: Collection[Flight] = ()) -> None:
        """Fail everything in flight here, ``but`` for some; ``what`` is the label it is counted by."""
        for flight in list(self.flights.values()):
            if flight not in but:
                self._fail(flight, what, reason)

    def _fail(self, flight: Flight, what: str, reason: str) -> None:
        """Fail one question; a bug of who is told costs the others nothing."""
        try:
            outcome = Failure(silent(reason)) if what == "closed" else unreachable(flight.query, reason)
            flight.end(outcome, what)
        except Exception as bug:
            self.owner.bugs.report(self._log, "a bug behind a question that failed", bug)

    def forget(self, flight: Flight) -> None:
        """Take a question off the list, it waits no more; behind its last one a retired port is closed."""
        flight.port = None
        del self.flights[flight.identity]
        self.owner.inflight -= 1
        if self.retired and not self.flights:
            self.owner.drop(self)

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()


classImplements(Port, IReadDescriptor)
