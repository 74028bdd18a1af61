"""DNS over TCP: many queries in flight on a connection, answered in any order (RFC 7766, RFC 9210).

Twisted sends what is written in one turn of the reactor with one system call, so replies are written one by
one. The edns-tcp-keepalive option (RFC 7828) is not offered: it lives in the OPT, which this layer never reads.
"""

from __future__ import annotations

import socket
from typing import Protocol, cast

from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, IPushProducer, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.names import dns
from twisted.python.failure import Failure
from zope.interface import implementer

from heimdall.accept.crowd import Crowd
from heimdall.accept.engine import Engine
from heimdall.message.query import Client
from heimdall.message.wire import HEADER

TURN = 64
"""Messages taken from one connection before the others, and UDP, get their turn."""

MOST_UNREAD = 512 << 10
"""Bytes of replies kept for a client that does not read; past that it is cut off."""


class Host(Engine, Protocol):
    """The server factory, as a connection sees it."""

    streams: Crowd


class _Peer(Protocol):
    host: str
    port: int


class _Transport(Protocol):
    def getPeer(self) -> _Peer: ...
    def write(self, data: bytes) -> None: ...
    def loseConnection(self) -> None: ...
    def abortConnection(self) -> None: ...
    def getHandle(self) -> socket.socket: ...
    def registerProducer(self, producer: object, streaming: bool) -> None: ...
    def unregisterProducer(self) -> None: ...
    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...


@implementer(IHalfCloseableProtocol, IPushProducer)
class Stream(dns.DNSProtocol):
    """One connection: the stream protocol of twisted.names with our engine.

    It is read while fewer queries than ``pipeline`` are in flight and the client takes its replies; what it
    sends beyond that waits in the kernel. So its memory is bounded whatever it does.

    :param controller: the server: takes the messages; its ``streams`` says what a connection may do.
    :param reactor: as Twisted calls it; nothing here needs another clock than that of ``streams``.

    :ivar client: the address of the other end.
    :ivar since: when it last asked, took all its replies, or got the last it waited for.
    """

    client: Client

    def __init__(self, controller: Host, reactor: IReactorTime | None = None) -> None:
        self._crowd = controller.streams
        dns.DNSProtocol.__init__(self, controller, reactor or self._crowd.clock)
        self._take = controller.take
        self._seconds = self._crowd.clock.seconds
        self._buffer = bytearray()
        self._in_flight = 0
        self._reading = True
        self._working = False
        # No more is read: the client is done, or we are.
        self._ended = False
        # The transport holds as much as it may: the client does not read.
        self._full = False
        self._unread = 0
        self._closing = False
        self._gone = False
        self._timer: IDelayedCall | None = None
        self._turn: IDelayedCall | None = None
        self.since = 0.0

    @property
    def busy(self) -> bool:
        """Whether a query waits for its reply."""
        return self._in_flight > 0

    @property
    def gone(self) -> bool:
        """Whether the client has closed the connection and nothing of it waits: all there is to read is the end."""
        if self._in_flight or self._full or self._buffer:
            return False
        try:
            return not self._out.getHandle().recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError as error:
            return not isinstance(error, BlockingIOError)

    def connectionMade(self) -> None:
        """Ask the crowd for a place; go if there is none."""
        self._out = cast(_Transport, self.transport)
        peer = self._out.getPeer()
        self.client = (peer.host, peer.port)
        self.since = self._seconds()
        dns.DNSProtocol.connectionMade(self)
        if not self._crowd.admit(self):
            self.abort()
            return
        self._out.registerProducer(self, True)
        self._timer = self._crowd.clock.callLater(self._crowd.idle, self._tick)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Let everything go."""
        self._gone = True
        self._buffer.clear()
        for call in (self._timer, self._turn):
            if call is not None:
                call.cancel()
        self._timer = self._turn = None
        self._crowd.leave(self)
        dns.DNSProtocol.connectionLost(self, reason)

    def dataReceived(self, data: bytes) -> None:
        """Take the messages that are complete now."""
        if not self._ended:
            self._buffer += data
            self._work()

    def readConnectionLost(self) -> None:
        """Answer what was asked, then close: the client has said all it wants to say."""
        self.finish()

    def writeConnectionLost(self) -> None:
        """Nothing: TCP does not tell."""

    def pauseProducing(self) -> None:
        """Stop taking queries: the client does not read our replies."""
        self._full = True
        self._hold()

    def resumeProducing(self) -> None:
        """Take queries again: all replies have gone out."""
        self._full = False
        self._unread = 0
        self.since = self._seconds()
        self._work()

    def stopProducing(self) -> None:
        """Nothing: the connection is lost, as :meth:`connectionLost` is told."""

    def finish(self) -> None:
        """Read no more; close when what was read is answered."""
        if self._closing:
            return
        self._ended = True
        self._hold()
        self._work()

    def abort(self) -> None:
        """Close now, whatever is under way."""
        self._gone = self._ended = True
        self._out.abortConnection()

    def _work(self) -> None:
        """Take the messages that are there: as many as may be in flight, and as one turn has time for."""
        if self._working or self._gone or self._closing:
            return
        self._working = True
        most = self._crowd.pipeline
        at = 0
        for _ in range(TURN):
            if self._in_flight >= most or self._full or not (end := self._end(at)):
                break
            wire = bytes(self._buffer[at + 2 : end])
            at = end
            self._ask(wire)
            if self._gone:
                break
        self._working = False
        if at:
            del self._buffer[:at]
            self.since = self._seconds()
        if not self._gone:
            self._next(most)

    def _next(self, most: int) -> None:
        """Decide what this connection waits for: its turn, a reply, more bytes, or nothing."""
        if self._in_flight >= most or self._full:
            self._hold()
        elif self._end(0):
            self._hold()
            if self._turn is None:
                self._turn = self._crowd.clock.callLater(0, self._again)
        elif not self._ended:
            self._release()
        elif not self._in_flight:
            self._close()

    def _again(self) -> None:
        self._turn = None
        self._work()

    def _end(self, at: int) -> int:
        """Return where the message ends that starts at ``at`` in the buffer, or 0 while it is not complete.

        One too short for a header says that this is no DNS: then nothing behind it has a meaning.
        """
        buffer = self._buffer
        if len(buffer) < at + 2:
            return 0
        size = buffer[at] << 8 | buffer[at + 1]
        if size < HEADER:
            self._crowd.events.add("garbled")
            self._ended = True
            del buffer[at:]
            self._hold()
            return 0
        end = at + 2 + size
        return end if end <= len(buffer) else 0

    def _ask(self, wire: bytes) -> None:
        # Counted before it is asked: the reply may come by _answer before take returns.
        self._in_flight += 1
        try:
            reply = self._take(wire, self.client, True, self._answer)
        except Exception as error:
            reply = self._crowd.faults.refuse(wire, error)
        if reply is not None:
            self._in_flight -= 1
            self._write(reply)

    def _answer(self, reply: bytes, client: Client) -> None:
        """Send a reply that was not known at once."""
        self._in_flight -= 1
        if self._gone:
            return
        self._write(reply)
        if not self._in_flight:
            self.since = self._seconds()
        self._work()

    def _write(self, reply: bytes) -> None:
        if not reply or self._gone:
            return
        if self._full:
            self._unread += len(reply)
            if self._unread > MOST_UNREAD:
                self._crowd.events.add("stalled")
                self.abort()
                return
        self._out.write(len(reply).to_bytes(2, "big") + reply)

    def _hold(self) -> None:
        if self._reading and not self._gone:
            self._reading = False
            self._out.pauseProducing()

    def _release(self) -> None:
        if not self._reading:
            self._reading = True
            self._out.resumeProducing()

    def _tick(self) -> None:
        """See whether the connection was idle for too long.

        Armed for the idle limit at most: whatever happens meanwhile, the limit ends no sooner than this comes.
        """
        self._timer = None
        if self._gone:
            return
        crowd = self._crowd
        left = self.since + crowd.idle + (crowd.patience if self._in_flight else 0.0) - self._seconds()
        if left > 0:
            self._timer = crowd.clock.callLater(min(left, crowd.idle), self._tick)
        elif self._closing or self._full or self._in_flight:
            crowd.events.add("stalled")
            self.abort()
        else:
            crowd.events.add("idle")
            self._close()

    def _close(self) -> None:
        """Close when all replies have gone out; a client that does not take them within the idle limit is cut off."""
        self._closing = True
        self.since = self._seconds()
        if self._timer is None:
            self._timer = self._crowd.clock.callLater(self._crowd.idle, self._tick)
        # Twisted waits for a producer that is paused before it closes.
        self._out.unregisterProducer()
        self._out.loseConnection()
