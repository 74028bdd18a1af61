"""Ask one server over TCP: one connection, many questions on it, replies in any order (RFC 7766)."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail
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

from heimdall.asking import deferred
from heimdall.fetch.dice import Dice
from heimdall.fetch.ledger import Ledger
from heimdall.fetch.rank import rank
from heimdall.fetch.reply import Mismatch, Odd, check, silent, unreachable
from heimdall.fetch.udp import Write
from heimdall.interfaces import IExchange, NoAnswer, Ongoing, Told
from heimdall.message.answer import Answer
from heimdall.message.query import Query
from heimdall.message.wire import HEADER

IDLE = 10.0
"""Seconds after which a connection without questions is closed."""


class Flight:
    """One question on its way, and who waits for it.

    ``heard`` is what the connection had brought when the question was sent; ``again`` whether it was sent on a
    second connection.
    """

    def __init__(self, query: Query, deferred: Deferred[Answer], timer: IDelayedCall) -> None:
        self.query = query
        self.question = query.key[: len(query.question)]
        self.deferred = deferred
        self.timer = timer
        self.heard = 0
        self.again = False


class Connection(Int16StringReceiver):
    """One connection to the server; ``heard`` counts the messages it brought."""

    def __init__(self, owner: Stream) -> None:
        self.owner = owner
        self.heard = 0

    def connectionMade(self) -> None:
        """Offer to carry questions."""
        self._transport = ITCPTransport(self.transport)
        self.owner.connected(self)

    def send(self, wire: bytes) -> None:
        """Send a message."""
        self._transport.write(len(wire).to_bytes(2, "big") + wire)

    def stringReceived(self, string: bytes) -> None:
        """Hand on a message."""
        self.heard += 1
        self.owner.received(string)

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


@implementer(IExchange)
class Stream:
    """The way to one server over a stream; it connects when there is something to ask.

    A connection that had served before it was lost gave no verdict on what was in flight: that is sent once more,
    on a fresh one (RFC 7766, 6.2.4).

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
        self._connection: Connection | None = None
        self._connecting: Deferred[IProtocol] | None = None
        self._idle: IDelayedCall | None = None

    @property
    def inflight(self) -> int:
        """Questions that wait for a reply."""
        return len(self._flights)

    def tell(self, query: Query, timeout: float, told: Told, odd: Odd | None = None) -> Ongoing:
        """Ask; see :meth:`heimdall.fetch.udp.Udp.tell`."""
        asking = self._ask(query, timeout)
        if odd is not None:
            asking.addCallback(self._judged, odd, query, self._clock.seconds() + timeout)
        return asking.addBoth(told)

    def _judged(self, answer: Answer, odd: Odd, query: Query, ends: float) -> Answer | Deferred[Answer]:
        """Have an answer looked at, if it may not be the last word."""
        if rank(answer) is None:
            return answer
        return deferred(lambda query, told: odd(answer, query, ends, told), query)

    def _ask(self, query: Query, timeout: float) -> Deferred[Answer]:
        if len(self._flights) >= self._most:
            self._ledger.failed.add("full")
            return fail(unreachable("too many questions wait for this server"))
        identity = self._dice.draw()
        while identity in self._flights:
            identity = self._dice.draw()
        deferred: Deferred[Answer] = Deferred(lambda _: self._give_up(identity))
        timer = self._clock.callLater(timeout, self._expire, identity)
        self._flights[identity] = flight = Flight(query, deferred, timer)
        self._stop_idling()
        if self._connection is not None:
            self._send(self._connection, identity, flight)
        elif self._connecting is None:
            self._connect()
        return deferred

    def _connect(self) -> None:
        connecting = self._connecting = self._endpoint.connect(_Connections(self))
        connecting.addCallbacks(self._over, self._unconnected)

    def _over(self, _protocol: IProtocol) -> None:
        self._connecting = None

    def connected(self, connection: Connection) -> None:
        """Send what has been waiting for a connection."""
        self._connection = connection
        for identity, flight in self._flights.items():
            self._send(connection, identity, flight)
        self._rest()

    def _unconnected(self, reason: Failure) -> None:
        self._connecting = None
        for identity in list(self._flights):
            self._fail(identity, "connect", unreachable("no connection to the server"))

    def _send(self, connection: Connection, identity: int, flight: Flight) -> None:
        flight.heard = connection.heard
        connection.send(self._write(flight.query, identity))

    def received(self, wire: bytes) -> None:
        """Hand a reply to who waits for it."""
        flight = self._flights.get(wire[0] << 8 | wire[1]) if len(wire) >= HEADER else None
        if flight is None:
            self._ledger.mismatched.add("id" if len(wire) >= HEADER else "header")
            return
        try:
            answer = check(wire, flight.question)
        except Mismatch as mismatch:
            self._ledger.mismatched.add(str(mismatch))
            return
        self._take(wire[0] << 8 | wire[1])
        flight.deferred.callback(answer)

    def lost(self, connection: Connection) -> None:
        """Hear that a connection is gone; what it may have swallowed is asked once more, or fails."""
        if connection is not self._connection:
            return
        self._connection = None
        self._stop_idling()
        for identity, flight in list(self._flights.items()):
            if flight.again or not connection.heard:
                self._fail(identity, "lost", unreachable("the server closed the connection"))
            flight.again = True
        if self._flights and self._connecting is None:
            self._connect()

    def _expire(self, identity: int) -> None:
        flight = self._flights.pop(identity)
        connection = self._connection
        self._ledger.failed.add("timeout")
        if connection is not None and connection.heard == flight.heard:
            # The server said nothing since: what we write may only be piling up.
            connection.abort()
            self.lost(connection)
        self._rest()
        flight.deferred.errback(silent())

    def _take(self, identity: int) -> Flight:
        flight = self._flights.pop(identity)
        flight.timer.cancel()
        self._rest()
        return flight

    def _give_up(self, identity: int) -> None:
        self._take(identity)

    def _fail(self, identity: int, what: str, error: NoAnswer) -> None:
        if identity in self._flights:
            self._ledger.failed.add(what)
            self._take(identity).deferred.errback(error)

    def _rest(self) -> None:
        """Begin to wait for the next question, if none is left."""
        if not self._flights and self._connection is not None and self._idle is None:
            self._idle = self._clock.callLater(IDLE, self._hang_up, self._connection)

    def _stop_idling(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _hang_up(self, connection: Connection) -> None:
        """Close the connection; the next question opens another."""
        self._idle = self._connection = None
        connection.close()

    def close(self) -> None:
        """Close the connection; what is in flight fails."""
        self._most = 0
        for identity in list(self._flights):
            self._fail(identity, "closed", unreachable("the exchange was closed"))
        if self._connecting is not None:
            self._connecting.cancel()
        self._stop_idling()
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.abort()
