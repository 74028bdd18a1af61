"""The bare job, no cache: find each answer in a dict, in Redis or upstream, by the batch, and do nothing beside.

It checks neither who asks nor what it is told, lets nothing age, forgets nothing, seals, counts and logs nothing, and
asks once, from one port. What Heimdall takes beyond that is the price of all this together.

python bare.py PORT UPSTREAM [REDIS]
"""

from __future__ import annotations

import gc
import select
import socket
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from struct import Struct
from typing import Any, Final, cast
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import hiredis

from heimdall.accept.reader import BATCH
from heimdall.accept.slots import STRIDE, Envelope, Slots
from heimdall.cache.seal import SIZE as SEAL

FLAGS: Final = b"\x81\x80"
"""The flags of a reply: that of a resolver, to who wants recursion."""

COUNTS: Final = slice(11, 14)
"""Where the counts of records are in a value that Heimdall stores, each a byte; the records lie behind them."""

LASTS: Final = 3_600_000
"""Milliseconds that Redis keeps what is stored."""

_ROOM: Final = 8 << 20
_ADDRESS: Final = Struct("=HH4s8x")

Asked = tuple[bytes, Envelope]
"""A question as it came, a header and nothing but the question behind it; and whom it came from."""


def _socket(port: int) -> socket.socket:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
    udp.bind(("127.0.0.1", port))
    udp.setblocking(False)
    return udp


def _key(message: bytes) -> bytes:
    """Return what Heimdall calls a question in Redis."""
    return b"heimdall:c1:" + message[12:-4].lower() + message[-4:] + b"\0"


class Bare:
    """The one who does it.

    :param upstream: the port of the upstream.
    :param redis: the URL of Redis; empty for none.
    """

    def __init__(self, port: int, upstream: int, redis: str) -> None:
        clients, servers = _socket(port), _socket(0)
        self._from_clients, self._to_clients = Slots(clients, False), Slots(clients, False)
        self._from_upstream, self._to_upstream = Slots(servers, False), Slots(servers, False)
        for slots in (self._from_clients, self._to_clients, self._to_upstream):
            slots.cut(True)
        self._upstream = _ADDRESS.pack(socket.AF_INET, socket.htons(upstream), socket.inet_aton("127.0.0.1"))
        self._read = {clients.fileno(): self._take, servers.fileno(): self._learn}
        self._redis: socket.socket | None = None
        if redis:
            where = urlsplit(redis)
            self._redis = socket.create_connection((where.hostname, where.port or 6379))
            self._redis.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._read[self._redis.fileno()] = self._look
        self._parser = hiredis.Reader()
        self._known: dict[bytes, bytes] = {}
        self._number = 0
        # What waits: for the end of the turn, for Redis, for the upstream.
        self._replies: list[tuple[Envelope, bytes]] = []
        self._questions: list[tuple[Envelope, bytes]] = []
        self._commands: list[bytes] = []
        self._looked: deque[list[Asked]] = deque()
        self._sent: dict[bytes, Asked] = {}

    def serve(self) -> None:
        """Do it forever."""
        poll = select.epoll()
        for descriptor in self._read:
            poll.register(descriptor, select.EPOLLIN)
        while True:
            for descriptor, _ in poll.poll():
                self._read[descriptor]()
            if self._redis is not None and self._commands:
                self._redis.sendall(b"".join(self._commands))
                self._commands = []
            self._questions = _leave(self._to_upstream, self._questions)
            self._replies = _leave(self._to_clients, self._replies)

    def _take(self) -> None:
        """Take a batch of questions; those that are known are answered in their places."""
        slots = self._from_clients
        count = slots.receive()
        if count < 1:
            return
        new = []
        for index, length in enumerate(slots.lengths(count)):
            start = index * STRIDE
            reply = self._known.get(slots.bytes[start + 2 : start + length])
            if reply is None:
                new.append(index)
            else:
                slots.view[start + 2 : start + 2 + len(reply)] = reply
                slots.sizes[index] = 2 + len(reply)
        asked = [(slots.message(index), slots.envelope(index)) for index in new]
        slots.send(count, new)
        if not asked:
            return
        if self._redis is None:
            self._ask(asked)
        else:
            self._order(b"MGET", *[_key(message) for message, _ in asked])
            self._looked.append(asked)

    def _look(self) -> None:
        """Take what Redis has, and ask the upstream for the rest."""
        assert self._redis is not None
        self._parser.feed(self._redis.recv(1 << 18))
        while (reply := self._parser.gets()) is not False:
            if isinstance(reply, list):  # and no word on what was stored
                missing = []
                for asked, value in zip(self._looked.popleft(), reply, strict=True):
                    if value is None:
                        missing.append(asked)
                    else:
                        answers, authorities, additionals = value[COUNTS]
                        counts = bytes((0, 1, 0, answers, 0, authorities, 0, additionals))
                        self._tell(asked, FLAGS + counts + asked[0][12:] + value[COUNTS.stop : -SEAL])
                self._ask(missing)

    def _ask(self, asked: Sequence[Asked]) -> None:
        """Ask the upstream."""
        for one in asked:
            self._number = self._number + 1 & 0xFFFF
            number = self._number.to_bytes(2, "big")
            self._sent[number] = one
            self._questions.append((self._upstream, number + one[0][2:]))

    def _learn(self) -> None:
        """Take what the upstream says, and have Redis keep it."""
        slots = self._from_upstream
        for index in range(slots.receive()):
            reply = slots.message(index)
            asked = self._sent.pop(reply[:2], None)
            if asked is not None:
                self._tell(asked, FLAGS + reply[4:])
                if self._redis is not None:
                    self._order(b"SET", b"bare:" + asked[0][12:], reply, b"PX", LASTS)

    def _order(self, *command: Any) -> None:
        """Have Redis do something at the end of the turn."""
        self._commands.append(hiredis.pack_command(cast(Any, command)))

    def _tell(self, asked: Asked, reply: bytes) -> None:
        """Tell a client a reply without its id, and remember it."""
        message, envelope = asked
        self._known[message[2:]] = reply
        self._replies.append((envelope, message[:2] + reply))


def _leave(slots: Slots, waiting: list[tuple[Envelope, bytes]]) -> list[Any]:
    """Send what waits, and return what does then: nothing."""
    for first in range(0, len(waiting), BATCH):
        together = waiting[first : first + BATCH]
        slots.fill(together)
        slots.send(len(together))
    return []


if __name__ == "__main__":
    gc.disable()
    Bare(int(sys.argv[1]), int(sys.argv[2]), "".join(sys.argv[3:])).serve()
