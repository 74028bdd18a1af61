"""A server that answers by the first label of the name: what the tests of sockets ask."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.names.server import DNSServerFactory

from heimdall.accept.crowd import Crowd
from heimdall.accept.engine import Faults, Held, Later
from heimdall.accept.slots import possible
from heimdall.accept.stream import Stream
from heimdall.message.query import Client, Query, make
from heimdall.message.wire import HEADER, from_text
from tests.ports import NO_IPV6

BIG = 40_000

HOSTS = (
    ("127.0.0.1:0", "127.0.0.1"),
    ("0.0.0.0:0", "127.0.0.2"),
    *(() if NO_IPV6 else (("[::1]:0", "::1"), ("[::]:0", "::1"))),
)
"""Where to listen, and where to ask then."""

NO_BATCHES = (
    None if possible() else "this C library has no recvmmsg and sendmmsg: only one with them can be tested (Linux)"
)
"""Why batches cannot be tested here, if so."""


def ask(text: str, identity: int = 0) -> bytes:
    """Return a query for a name, type A."""
    return identity.to_bytes(2, "big") + make(from_text(text), 1).wire[2:]


def reply_to(wire: bytes) -> bytes:
    """Return what Echo answers: the message as a reply, and much more of it for a name that begins with big."""
    return wire[:2] + bytes((wire[2] | 0x80,)) + wire[3:] + (b"\0" * BIG if wire[13:16] == b"big" else b"")


def framed(*wires: bytes) -> bytes:
    """Return messages as they travel on a stream."""
    return b"".join(len(wire).to_bytes(2, "big") + wire for wire in wires)


def unframed(data: bytes) -> list[bytes]:
    """Return the messages of a stream; bytes of one that is not complete raise an error."""
    wires = []
    while data:
        (size,) = struct.unpack_from("!H", data)
        assert len(data) >= size + 2, "the stream ends within a message"
        wires.append(data[2 : size + 2])
        data = data[size + 2 :]
    return wires


def read_messages(client: socket.socket, count: int) -> list[bytes]:
    """Read so many messages from a blocking socket; fewer if it ends before."""
    data = b""
    wires: list[bytes] = []
    while len(wires) < count:
        while len(data) < 2 or len(data) < 2 + (data[0] << 8 | data[1]):
            more = client.recv(65536)
            if not more:
                return wires
            data += more
        size = data[0] << 8 | data[1]
        wires.append(data[2 : size + 2])
        data = data[size + 2 :]
    return wires


class Echo(DNSServerFactory):
    """Answers at once; later for names that begin with ``later``; at once by the callable for ``now``; never
    for ``silent``; raises for ``bug``; answers much for ``big``.

    :ivar waiting: what is to be answered later, as pairs of the message and what sends a reply to it.
    """

    protocol = Stream
    noisy = False

    def __init__(self, clock: IReactorTime, **rules: Any) -> None:
        super().__init__()
        self.faults = Faults(clock)
        self.streams = Crowd(clock, self.faults, **rules)
        self.waiting: list[tuple[bytes, Client, Later]] = []
        self.taken: list[tuple[bytes, Client, bool]] = []

    def take(self, wire: bytes, client: Client, stream: bool, later: Later, passed: bool = False) -> bytes | None:
        """Take a message."""
        self.taken.append((wire, client, stream))
        if len(wire) < HEADER:
            return b""
        first = wire[13:]
        if first.startswith(b"later"):
            self.waiting.append((wire, client, later))
            return None
        if first.startswith(b"now"):
            later(reply_to(wire), client)
            return None
        if first.startswith(b"silent"):
            return b""
        if first.startswith(b"bug"):
            raise ValueError("a bug")
        return reply_to(wire)

    def take_new(self, query: Query, passed: bool, later: Later) -> bytes | None:
        """Take a query that was read already."""
        return self.take(query.wire, query.client, False, later, passed)

    def hold(self, held: Sequence[Held]) -> None:
        """Take queries that may wait."""
        for query, _, later in held:
            reply = self.take(query.wire, query.client, False, later, True)
            if reply:
                later(reply, query.client)

    def answer(self, at: int = 0) -> None:
        """Answer one of those that wait."""
        wire, client, later = self.waiting.pop(at)
        later(reply_to(wire), client)
