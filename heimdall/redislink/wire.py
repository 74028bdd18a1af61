"""One connection to Redis: commands go out, replies come back in order, and its end has a reason."""

from __future__ import annotations

import re
import socket
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

import hiredis
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure

from heimdall.interfaces import LinkDown
from heimdall.redislink.gone import Gone

MOST_UNREAD: Final = 64 << 20
"""Bytes of one reply that we take in: a batch of the largest answers is a quarter of it."""

# Redis before 7 puts what a command in a script was refused for behind where it stands in it.
_IN_SCRIPT: Final = re.compile(r"^(ERR Error running script \(\w+ \w+ \w+\): )?(@\w+: ?\d+: )+-?(?=[A-Z]{2,} )")


class Call:
    """A command that was sent: when, and who waits for the reply."""

    __slots__ = ("sent", "waiter")

    def __init__(self, sent: float) -> None:
        self.sent = sent
        self.waiter: Deferred[object] = Deferred()


class Wire(Protocol):
    """One connection. Made by an endpoint; ``lost`` fires with a :class:`Gone` when it is over.

    :param seconds: the clock.
    :param replied: called with the round trip in seconds of each reply, before its waiter has it.
    :param pushed: called with whatever Redis says; returns whether that was a message, and no reply.
    :param refused: called with the text of each reply that is an error.
    """

    def __init__(
        self,
        seconds: Callable[[], float],
        replied: Callable[[float], None],
        pushed: Callable[[object], bool] | None = None,
        refused: Callable[[str], None] | None = None,
    ) -> None:
        self.waiting: deque[Call] = deque()
        self.heard = 0.0
        self.lost: Deferred[Gone] = Deferred()
        self._seconds, self._replied, self._refused = seconds, replied, refused
        # What waits for replies stands in our own queue: that of txredisapi makes a Deferred for each.
        self._parser = _parser()
        self._parser.replyReceived = self._received if pushed is None else partial(self._sort, pushed)
        self._gone: Gone | None = None
        self._unread = 0
        # The socket, where what is written goes there as it is; and whether some of it waits in the transport.
        self._socket: socket.socket | None = None
        self._queued = False

    def send(self, *command: bytes | str | int) -> Deferred[object]:
        """Send one command; fires with the reply, or fails with :class:`LinkDown`.

        Its place in the order stays when the caller gives up, so that no reply goes to another.
        """
        if self._gone is not None:
            return fail(LinkDown(str(self._gone)))
        # hiredis packs a batch ten times as fast as txredisapi would; what it cannot pack has no place in the order.
        packed = hiredis.pack_command(cast(Any, command))
        call = Call(self._seconds())
        self.waiting.append(call)
        self._write(packed)
        return call.waiter

    def _write(self, data: bytes) -> None:
        """Send what the system takes at once: a transport would ask first whether it does, in a turn of its own."""
        if self._socket is not None and not self._queued:
            try:
                sent = self._socket.send(data)
            except OSError:
                sent = 0  # it is full; or in an error that the transport will meet and tell
            if sent == len(data):
                return
            data = data[sent:]
            self._queued = True
        self._tcp().write(data)

    def hurry(self) -> None:
        """From now on put commands into the socket at once, where it takes them as they are (it is no TLS).

        Not while the reactor connects: there it writes before it reads, and where a write of ours has met that
        Redis hung up, it would end the connection without having read why.
        """
        if isinstance(self.transport, Connection) and not self.transport.TLS:
            self._socket = self.transport.getHandle()
            self._queued = bool(self.waiting)  # until they are answered, their words may stand in the transport

    def abort(self, gone: Gone) -> None:
        """End the connection at once, for a reason."""
        if self._gone is None:
            self._gone = gone
            self._tcp().abortConnection()

    def connectionMade(self) -> None:
        """Begin: a command may be sent from now on."""
        self._parser.makeConnection(self.transport)

    def dataReceived(self, data: bytes) -> None:
        """Take in replies; what is no reply to a command ends the connection."""
        if self._gone is not None:
            return
        self._unread += len(data)
        try:
            self._parser.dataReceived(data)
        except Exception as error:  # whatever the parsers raise, the order of the replies is lost
            self.abort(Gone("protocol", f"it does not speak the protocol of Redis: {error}"))
            return
        if self._unread > MOST_UNREAD:
            self.abort(Gone("protocol", "a reply is larger than any we asked for"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Say why it is over, and fail what is still waited for."""
        error = reason.value
        if error is None or isinstance(error, ConnectionDone):
            error = Gone("lost", "it closed the connection")
        self._gone = self._gone or Gone.of(error)
        self._socket = None
        # First: whoever is failed below may want to send something else.
        self.lost.callback(self._gone)
        self._parser.connectionLost(reason)
        while self.waiting:
            self._reply(self._gone)

    def _received(self, reply: object) -> None:
        if self.waiting:
            self._reply(reply)
        else:
            self.abort(Gone("protocol", "it said something that was not asked for"))

    def _reply(self, reply: object) -> None:
        call = self.waiting.popleft()
        if not self.waiting:
            self._queued = False  # Redis has all that was sent
        if isinstance(reply, Exception):
            reply = LinkDown(_IN_SCRIPT.sub("", str(reply), count=1))
        if self._gone is None:
            self._unread = 0
            self.heard = self._seconds()
            self._replied(self.heard - call.sent)
            if self._refused is not None and isinstance(reply, Exception):
                self._refused(str(reply))
        if call.waiter.called:
            return
        if isinstance(reply, Exception):
            call.waiter.errback(LinkDown(str(self._gone or reply)))
        else:
            call.waiter.callback(reply)

    def _sort(self, pushed: Callable[[object], bool], said: object) -> None:
        if self._gone is None and pushed(said):
            self._unread = 0
            self.heard = self._seconds()
        else:
            self._received(said)

    def _tcp(self) -> ITCPTransport:
        return cast(ITCPTransport, self.transport)


class Only(Factory):
    """Hands the one connection to its endpoint."""

    noisy = False

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def buildProtocol(self, addr: IAddress | None) -> Wire:
        """Return the connection."""
        return self._wire


def _parser() -> Any:
    # Importing txredisapi installs the reactor: only whoever connects may do that.
    import txredisapi

    parser = txredisapi.RedisProtocol(charset=None, convertNumbers=False)
    parser.tryConvertData = _as_it_is  # it would look at each value, and leave it as it is
    return parser


def _as_it_is(data: object) -> object:
    return data
