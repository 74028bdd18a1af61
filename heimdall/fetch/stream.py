"""Ask one server over TCP: many questions on a connection, replies in any order (RFC 7766)."""

from __future__ import annotations

from collections import OrderedDict

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import TimeoutError
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IProtocol,
    IReactorTime,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from heimdall.fetch.dice import Dice
from heimdall.fetch.judgement import STRAY, Unusable, judge, silent, unreachable
from heimdall.fetch.ledger import Ledger
from heimdall.fetch.port import OnReply, Outcome
from heimdall.fetch.udp import Write
from heimdall.interfaces import ITransport
from heimdall.message.query import Query

IDLE = 10.0
"""Seconds after which a connection without questions is closed."""

MOST_CONNECTIONS = 8
"""Connections to one server at a time. More than one are open only where it answers few questions on each."""

FORGET = 60.0
"""Seconds that it is remembered how many questions a server answers on one connection."""

ENDLESS = 1 << 30
"""How many questions a connection takes whose server has not closed one that it owed answers on."""


class Flight:
    """One question on its way.

    ``connection`` carries it; None while it waits for one. ``heard`` is what that had brought when it was sent.
    """

    __slots__ = ("connection", "form", "heard", "identity", "on_reply", "owner", "query", "timer")

    def __init__(self, owner: Stream, query: Query, form: int, identity: int, on_reply: OnReply) -> None:
        self.owner = owner
        self.query = query
        self.form = form
        self.identity = identity
        self.on_reply = on_reply
        self.timer: IDelayedCall | None = None
        self.connection: Connection | None = None
        self.heard = 0

    def cancel(self) -> None:
        """Give the place up: nobody waits any more."""
        self.owner.end(self, Failure(CancelledError()))


class Connection(Int16StringReceiver):
    """One connection to the server.

    ``heard`` counts the messages it brought, ``room`` how many questions it still takes; ``flights`` are under way.
    """

    def __init__(self, owner: Stream) -> None:
        self.owner = owner
        self.heard = 0
        self.room = ENDLESS
        self.flights: dict[int, Flight] = {}
        self.idle: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Offer to carry questions."""
        self._transport = ITCPTransport(self.transport)
        self.owner.connected(self)

    def send(self, flight: Flight, wire: bytes) -> None:
        """Send a question."""
        self.room -= 1
        flight.connection, flight.heard = self, self.heard
        self.flights[flight.identity] = flight
        self._transport.write(len(wire).to_bytes(2, "big") + wire)

    def stringReceived(self, string: bytes) -> None:
        """Hand on a message."""
        self.owner.received(self, string)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell that the connection is gone."""
        self.owner.lost(self)

    def close(self) -> None:
        """Close, once what was written is sent."""
        self._transport.loseConnection()

    def abort(self) -> None:
        """Close at once, whatever is unsent."""
        self._transport.abortConnection()


class _Connections(Factory):
    noisy = False

    def __init__(self, owner: Stream) -> None:
        self.owner = owner

    def buildProtocol(self, addr: IAddress | None) -> Connection:
        return Connection(self.owner)


@implementer(ITransport)
class Stream:
    """The way to one server over a stream; it connects when there is something to ask.

    What a server leaves open when it closes a connection is asked again on another one (RFC 7766, 6.2.4), as long as
    each connection brings something. A server that closes after a few answers is given no more questions than those on
    each connection, and several connections at a time.

    :param clock: where time comes from.
    :param endpoint: leads to the server; it bounds the time to connect.
    :param write: makes the message that asks a query under an id.
    :param most: questions in flight; one more fails at once.
    """

    def __init__(
        self, clock: IReactorTime, endpoint: IStreamClientEndpoint, *, write: Write, ledger: Ledger, most: int = 1000
    ) -> None:
        self._clock = clock
        self._endpoint = endpoint
        self._write = write
        self._ledger = ledger
        self._most = most
        self._dice = Dice()
        self._flights: dict[int, Flight] = {}
        self._waiting: OrderedDict[int, Flight] = OrderedDict()
        self._connections: list[Connection] = []
        self._connecting: set[Deferred[IProtocol]] = set()
        self._room = ENDLESS
        self._room_until = 0.0

    @property
    def inflight(self) -> int:
        """Questions that wait for a reply."""
        return len(self._flights)

    def exchange(self, query: Query, form: int, timeout: float, on_reply: OnReply) -> Flight:
        """Ask; see :class:`~heimdall.interfaces.ITransport`."""
        if len(self._flights) >= self._most:
            self._ledger.failed.add("full")
            on_reply(unreachable(query, "too many questions wait for it", "full", blamed=False))
            return Flight(self, query, form, -1, on_reply)
        identity = self._dice.draw()
        while identity in self._flights:
            identity = self._dice.draw()
        flight = self._flights[identity] = Flight(self, query, form, identity, on_reply)
        flight.timer = self._clock.callLater(timeout, self._expire, flight)
        self._waiting[identity] = flight
        self._go_on()
        return flight

    def _go_on(self) -> None:
        """Send what waits, as far as connections take it; open more where they do not."""
        if self._room < ENDLESS and self._clock.seconds() >= self._room_until:
            self._room = ENDLESS
        for connection in self._connections:
            while self._waiting and connection.room > 0:
                self._send(connection, self._waiting.popitem(last=False)[1])
        promised = len(self._connecting) * self._room
        while len(self._waiting) > promised and len(self._connecting) + len(self._connections) < MOST_CONNECTIONS:
            promised += self._room
            self._connect()

    def _connect(self) -> None:
        connecting = self._endpoint.connect(_Connections(self))
        if not connecting.called:
            self._connecting.add(connecting)
        connecting.addBoth(self._made, connecting)

    def _made(self, result: IProtocol | Failure, connecting: Deferred[IProtocol]) -> None:
        """Hear what came of connecting; a connection says itself that it is there."""
        self._connecting.discard(connecting)
        if isinstance(result, Failure) and not self._connecting and not self._connections:
            dumb = result.check(TimeoutError)
            for flight in list(self._waiting.values()):
                outcome = Failure(silent()) if dumb else unreachable(flight.query, "no TCP connection")
                self._fail(flight, "connect", outcome)

    def connected(self, connection: Connection) -> None:
        """Send what has been waiting for a connection."""
        connection.room = self._room
        self._connections.append(connection)
        self._go_on()
        self._rest(connection)

    def _send(self, connection: Connection, flight: Flight) -> None:
        if connection.idle is not None:
            connection.idle.cancel()
            connection.idle = None
        connection.send(flight, self._write(flight.query, flight.identity, flight.form))

    def received(self, connection: Connection, wire: bytes) -> None:
        """Hand a reply to who waits for it."""
        flight = connection.flights.get(wire[0] << 8 | wire[1]) if len(wire) >= 2 else None
        if flight is None:
            self._ledger.mismatched.add("id")
            return
        outcome = judge(wire, flight.query, flight.form)
        if isinstance(outcome, Unusable) and outcome.kind == STRAY:
            self._ledger.mismatched.add(outcome.reason)
            return
        connection.heard += 1
        self.end(flight, outcome)
        self._go_on()

    def lost(self, connection: Connection) -> None:
        """Hear that a connection is gone: ask again what it left open, unless it brought nothing at all."""
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        if connection.idle is not None:
            connection.idle.cancel()
        left = list(connection.flights.values())
        connection.flights.clear()
        for flight in left:
            flight.connection = None
        if connection.heard:
            if left:
                self._room, self._room_until = connection.heard, self._clock.seconds() + FORGET
            # The oldest last: it may be what the server closes for.
            self._waiting.update((flight.identity, flight) for flight in (*left[1:], *left[:1]))
        else:
            for flight in left:
                self._fail(flight, "lost", unreachable(flight.query, "it closed the connection", "closed"))
        self._go_on()

    def _expire(self, flight: Flight) -> None:
        flight.timer = None
        connection = flight.connection
        self._fail(flight, "timeout", Failure(silent()))
        if connection is not None and connection.heard == flight.heard:
            # The server said nothing since: what we write may only be piling up.
            connection.abort()
            self.lost(connection)

    def end(self, flight: Flight, outcome: Outcome | Failure) -> None:
        """Give the place of a question up and tell what came of it, unless it has ended."""
        if self._flights.pop(flight.identity, None) is None:
            return
        if flight.timer is not None:
            flight.timer.cancel()
        connection = flight.connection
        if connection is None:
            self._waiting.pop(flight.identity, None)
        else:
            connection.flights.pop(flight.identity, None)
            self._rest(connection)
        flight.on_reply(outcome)

    def _fail(self, flight: Flight, what: str, outcome: Outcome | Failure) -> None:
        if flight.identity in self._flights:
            self._ledger.failed.add(what)
            self.end(flight, outcome)

    def _rest(self, connection: Connection) -> None:
        """Begin to wait for the next question, if a connection has none left; close one that takes no more."""
        if connection.flights or connection not in self._connections or connection.idle is not None:
            return
        connection.idle = self._clock.callLater(IDLE if connection.room else 0, self._hang_up, connection)

    def _hang_up(self, connection: Connection) -> None:
        """Close a connection; the next question opens another."""
        connection.idle = None
        self._connections.remove(connection)
        connection.close()
        self._go_on()

    def close(self) -> None:
        """Close every connection; what is in flight fails."""
        self._most = 0
        for flight in list(self._flights.values()):
            self._fail(flight, "closed", Failure(silent("it was closed")))
        for connecting in list(self._connecting):
            connecting.cancel()
        for connection in self._connections:
            if connection.idle is not None:
                connection.idle.cancel()
            connection.abort()
        self._connections.clear()
