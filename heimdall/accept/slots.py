"""Read datagrams by the dozen into slots, and send the replies to them from there, with one system call each.

A reply is written over its query and goes back through the same slot, whose headers hold the client's address already,
and the address that it asked. So what a datagram costs here is a slice of its bytes, a copy of its reply and the number
of its bytes.
"""

from __future__ import annotations

import socket
from collections import OrderedDict
from collections.abc import Collection, Sequence
from functools import cache
from struct import Struct
from typing import Final

from heimdall.accept.reader import BATCH, LARGEST
from heimdall.accept.segments import Segments
from heimdall.gso import cuts
from heimdall.message.query import Client
from heimdall.mmsg import APART, SIZE, Room, failure

STRIDE: Final = LARGEST + APART
"""Bytes from one slot to the next."""

_NAMES: Final = {socket.AF_INET: 16, socket.AF_INET6: 28}
_HOST6: Final = "8x16s"
_IPV6: Final = Struct("!2xHI16s")
_SCOPE: Final = Struct("@24xI")
_LINK_LOCAL: Final = b"\xfe\x80"

MOST_TEXTS: Final = 10_000
"""Addresses whose text is remembered; then the oldest is forgotten for one that comes."""

_texts: Final[OrderedDict[bytes, str]] = OrderedDict()

Envelope = bytes
"""An address, and where wide the packet information, as the kernel has them."""

Host = int | bytes
"""An address alone, to tell hosts apart: as the kernel has it."""


class Slots:
    """Room for a batch of datagrams, and for what the kernel says of each.

    ``view``   the bytes of all, to write to; a slot begins every :data:`STRIDE` bytes
    ``bytes``  the same, to read from: a slice of it is bytes at once
    ``sizes``  how many bytes to send from each slot

    :param udp: the socket; not blocking.
    :param wide: whether it gives packet information.
    :param most: datagrams that there is room for.
    """

    def __init__(self, udp: socket.socket, wide: bool, most: int = BATCH) -> None:
        self.udp = udp
        self._six = udp.family == socket.AF_INET6
        self._wide = wide
        room = Room(most, LARGEST, _NAMES[udp.family], wide)
        self._receive, self._send, self._at = room.receive, room.send, room.at
        self._head, self._control = room.head, room.control
        self._heads, self._headers, self._iovecs = room.heads, room.headers, room.iovecs
        self._lengths, self._controls = room.lengths, room.controls
        self.view, self.sizes = room.data, room.sizes
        self.bytes, self._head_bytes = room.data_bytes, room.head_bytes
        self._fresh_headers, self._fresh_iovecs = bytes(room.headers), bytes(room.iovecs)
        self._interfaces = room.heads.cast("I")[room.control // 4 :: room.head // 4]
        self._no_interface = memoryview(bytes(4 * most)).cast("I")
        self._hosts4 = room.heads.cast("I")[1 :: room.head // 4]
        self._room = room
        self._segments: Segments | None = None
        self._hosts6 = Struct(f"{_HOST6}{room.head - 24}x") if self._six else None

    def cut(self, on: bool) -> None:
        """Let the kernel cut up what goes to one client, where it can, or not; not until told so."""
        packet = socket.CMSG_SPACE(20 if self._six else 12) if self._wide else 0
        self._segments = Segments(self._room, packet) if on and cuts(self.udp) else None

    def receive(self) -> int:
        """Read what is there, up to a batch; return how many datagrams that are, or -1 if there was an error."""
        self._headers[:] = self._fresh_headers
        self._iovecs[:] = self._fresh_iovecs
        count: int = self._receive(self.udp.fileno(), self._at, self._room.count, socket.MSG_DONTWAIT, None)
        if self._wide and count > 0:
            self._let_go(count)
        return count

    def lengths(self, count: int) -> list[int]:
        """Return of the first ``count`` datagrams the bytes of each."""
        return self._lengths[:count].tolist()

    def hosts(self, count: int) -> Sequence[Host]:
        """Return who sent each of the first ``count`` datagrams."""
        if self._hosts6 is None:
            return self._hosts4[:count].tolist()
        return [host for (host,) in self._hosts6.iter_unpack(self._heads[: count * self._head])]

    def message(self, index: int) -> bytes:
        """Return one datagram."""
        start = index * STRIDE
        message: bytes = self.bytes[start : start + self._lengths[index]]
        return message

    def client(self, index: int) -> Client:
        """Return who sent a datagram, as ``recvfrom`` does."""
        start = index * self._head
        return self.sender(self._head_bytes[start : start + self._head])

    def sender(self, envelope: Envelope) -> Client:
        """Return whom an envelope goes back to, as ``recvfrom`` does."""
        if not self._six:
            host = envelope[4:8]
            return _texts.get(host) or _ipv4(host), envelope[2] << 8 | envelope[3]
        port, flow, host = _IPV6.unpack_from(envelope)
        (scope,) = _SCOPE.unpack_from(envelope)
        return socket.inet_ntop(socket.AF_INET6, host), port, flow, scope

    def envelope(self, index: int) -> Envelope:
        """Return where a datagram came from, and came to; nothing where it is wide and the kernel does not say."""
        if self._wide and not self._controls[index]:
            return b""
        start = index * self._head
        envelope: bytes = self._head_bytes[start : start + self._head]
        return envelope

    def fill(self, replies: Sequence[tuple[Envelope, bytes]]) -> None:
        """Write replies into slots that nothing is read into, each to go where another one's datagram came from.

        :param replies: as many as there is room for, at most.
        """
        heads, head, view, sizes = self._heads, self._head, self.view, self.sizes
        for index, (envelope, reply) in enumerate(replies):
            heads[index * head : (index + 1) * head] = envelope
            start, size = index * STRIDE, len(reply)
            view[start : start + size] = reply
            sizes[index] = size

    def put(self, index: int, reply: bytes) -> None:
        """Write the reply to a datagram over it."""
        start, size = index * STRIDE, len(reply)
        self.view[start : start + size] = reply
        self.sizes[index] = size

    def send(self, count: int, but: Collection[int] = ()) -> list[OSError]:
        """Send the replies to the first ``count`` datagrams; return an error for each that the kernel did not take.

        :param but: those that have none.
        """
        without = set(but)
        if self._segments is not None:
            groups = self._segments.gather(count, without)
            if groups:
                return self._send_groups(self._segments, groups)
        if without:
            count = self._close_up(count, without)
        return [error for _, error in self._push(self._at, count)]

    def _send_groups(self, segments: Segments, groups: list[list[int]]) -> list[OSError]:
        """Send what is laid out to be cut; what the kernel does not take of that, one by one."""
        errors: list[OSError] = []
        for number, error in self._push(segments.at, len(groups)):
            if len(groups[number]) == 1:
                errors.append(error)
            else:
                segments.refused(error)
                for index in groups[number]:
                    errors += [why for _, why in self._push(self._at + index * SIZE, 1)]
        return errors

    def _push(self, at: int, count: int) -> list[tuple[int, OSError]]:
        """Send the messages whose headers begin at an address; return the number, and why, of each not taken."""
        refused: list[tuple[int, OSError]] = []
        sent = 0
        while sent < count:
            done: int = self._send(self.udp.fileno(), at + sent * SIZE, count - sent, 0)
            if done < 1:
                refused.append((sent, failure()))
                done = 1
            sent += done
        return refused

    def _close_up(self, count: int, but: set[int]) -> int:
        """Put the headers of those that are to be sent side by side; return how many they are."""
        headers, size = self._headers, SIZE
        at = 0
        for index in range(count):
            if index not in but:
                if at != index * size:
                    headers[at : at + size] = headers[index * size : (index + 1) * size]
                at += size
        return at // size

    def _let_go(self, count: int) -> None:
        """Let the replies leave from the address that was asked, by any interface: see ``reader``."""
        if not self._six:
            self._interfaces[:count] = self._no_interface[:count]
            return
        heads = self._heads
        for at in range(self._control, count * self._head, self._head):
            if heads[at : at + 2].tobytes() != _LINK_LOCAL:
                heads[at + 16 : at + 20] = b"\0\0\0\0"


def _ipv4(host: bytes) -> str:
    """Return an address as text, and remember it: whoever asks, asks again."""
    if len(_texts) >= MOST_TEXTS:
        _texts.popitem(last=False)
    text = _texts[host] = socket.inet_ntop(socket.AF_INET, host)
    return text


@cache
def possible() -> bool:
    """Whether the C library has these calls, and they do here what they should: two datagrams are sent and read."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind(("127.0.0.1", 0))
            slots = Slots(udp, False)
            for text in (b"one", b"three"):
                udp.sendto(text, udp.getsockname())
            read = [slots.message(index) for index in range(slots.receive())]
            slots.put(1, b"four")
            sent = not slots.send(2, [0]) and udp.recv(LARGEST, socket.MSG_DONTWAIT) == b"four"
            return sent and read == [b"one", b"three"] and slots.client(1) == udp.getsockname()
    except (OSError, AttributeError, TypeError, ValueError):
        return False
