"""Read datagrams by the dozen, and send the replies to them, with one system call each.

The kernel's recvmmsg and sendmmsg are called through ctypes, on buffers that are laid out once. A reply is written
over its query and goes back through the same slot, whose headers hold the client's address already, and the address
that it asked. So what a datagram costs here is a slice of its bytes, a copy of its reply and the number of its bytes.
"""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Collection, Iterable
from functools import cache, partial
from struct import Struct
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorFDSet

from heimdall.accept.outbox import Outbox
from heimdall.accept.reader import BATCH, LARGEST, Reader, Taker, WideReader
from heimdall.accept.rush import Rush
from heimdall.message.query import Client

STRIDE = LARGEST + 64
"""Bytes from one slot to the next: no power of two, or all of them would share a few lines of the CPU's caches."""

_NAMES = {socket.AF_INET: 16, socket.AF_INET6: 28}
_HOSTS = {socket.AF_INET: Struct("4x4s8x"), socket.AF_INET6: Struct("8x16s4x")}
_IPV4 = Struct("!2xH4s")
_IPV6 = Struct("!2xHI16s")
_SCOPE = Struct("@24xI")
_CONTROL = Struct("@Nii")
_ROOM = socket.CMSG_SPACE(20)
_LINK_LOCAL = b"\xfe\x80"


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_ulong))


class _Message(ctypes.Structure):
    """A ``struct msghdr``: recvmsg(2)."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("iovec", ctypes.c_void_p),
        ("iovecs", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Header(ctypes.Structure):
    """A ``struct mmsghdr``: recvmmsg(2)."""

    _fields_ = (("message", _Message), ("length", ctypes.c_uint))


_SIZE = ctypes.sizeof(_Header)

BATCHES = 8
"""Batches that are read before the reactor gets its turn again."""

Envelope = tuple[bytes, bytes]
"""An address, and where wide the packet information, as the kernel has them."""


class Known(Protocol):
    """Who knows replies without a look at the message's meaning."""

    def answer(self, slots: Slots, count: int) -> tuple[list[int], list[int]]:
        """Write the replies to the first ``count`` messages over them; return which it cannot, and which get none."""


class Slots:
    """Room for a batch of datagrams, and for what the kernel says of each.

    ``view``   the bytes of all; a slot begins every :data:`STRIDE` bytes
    ``sizes``  how many bytes to send from each slot

    :param udp: the socket; not blocking.
    :param wide: whether it gives packet information.
    """

    def __init__(self, udp: socket.socket, wide: bool) -> None:
        self.udp = udp
        self._six = udp.family == socket.AF_INET6
        self._stride = _NAMES[udp.family]
        self._receive, self._send = _calls()
        data, names, controls, iovecs, headers = (
            bytearray(BATCH * size)
            for size in (STRIDE, self._stride, _ROOM if wide else 0, ctypes.sizeof(_Iovec), _SIZE)
        )
        at_data, at_names, at_iovecs = _address(data), _address(names), _address(iovecs)
        at_controls = _address(controls) if wide else 0
        for index in range(BATCH):
            iovec = _Iovec.from_buffer(iovecs, index * ctypes.sizeof(_Iovec))
            iovec.base, iovec.length = at_data + index * STRIDE, LARGEST
            message = _Message.from_buffer(headers, index * _SIZE)
            message.name, message.name_length = at_names + index * self._stride, self._stride
            message.iovec, message.iovecs = at_iovecs + index * ctypes.sizeof(_Iovec), 1
            if wide:
                message.control, message.control_length = at_controls + index * _ROOM, _ROOM
        self._at = _address(headers)
        self._fresh_headers, self._fresh_iovecs = bytes(headers), bytes(iovecs)
        self._headers, self._iovecs = memoryview(headers), memoryview(iovecs)
        self._names, self._controls = memoryview(names), memoryview(controls)
        self.view = memoryview(data)
        word = ctypes.sizeof(ctypes.c_ulong)
        self.sizes = self._iovecs.cast("L")[_Iovec.length.offset // word :: ctypes.sizeof(_Iovec) // word]
        self._lengths = self._headers.cast("I")[_Header.length.offset // 4 :: _SIZE // 4]
        self._host = _HOSTS[udp.family]
        self._wide = wide

    def receive(self) -> int:
        """Read what is there, up to a batch; return how many datagrams that are, or -1 if there was an error."""
        self._headers[:] = self._fresh_headers
        self._iovecs[:] = self._fresh_iovecs
        count: int = self._receive(self.udp.fileno(), self._at, BATCH, socket.MSG_DONTWAIT, None)
        if self._wide and count > 0:
            self._let_go(count)
        return count

    def lengths(self, count: int) -> list[int]:
        """Return of the first ``count`` datagrams the bytes of each."""
        return self._lengths[:count].tolist()

    def hosts(self, count: int) -> Iterable[tuple[bytes]]:
        """Return who sent the first ``count`` datagrams: the address alone, as the kernel has it."""
        return self._host.iter_unpack(self._names[: count * self._stride])

    def message(self, index: int) -> bytes:
        """Return one datagram."""
        start = index * STRIDE
        return self.view[start : start + self._lengths[index]].tobytes()

    def client(self, index: int) -> Client:
        """Return who sent a datagram, as ``recvfrom`` does."""
        start = index * self._stride
        if not self._six:
            port, host = _IPV4.unpack_from(self._names, start)
            return socket.inet_ntop(socket.AF_INET, host), port
        port, flow, host = _IPV6.unpack_from(self._names, start)
        (scope,) = _SCOPE.unpack_from(self._names, start)
        return socket.inet_ntop(socket.AF_INET6, host), port, flow, scope

    def envelope(self, index: int) -> Envelope | None:
        """Return where a datagram came from, and came to; None where it is wide and the kernel does not say."""
        if self._wide and not _Message.from_buffer(self._headers, index * _SIZE).control_length:
            return None
        name = self._names[index * self._stride : (index + 1) * self._stride].tobytes()
        return name, self._controls[index * _ROOM : (index + 1) * _ROOM].tobytes() if self._wide else b""

    def address(self, index: int, envelope: Envelope) -> None:
        """Have a slot that nothing is read into send to where another one's datagram came from."""
        name, control = envelope
        self._names[index * self._stride : (index + 1) * self._stride] = name
        if self._wide:
            self._controls[index * _ROOM : (index + 1) * _ROOM] = control

    def put(self, index: int, reply: bytes) -> None:
        """Write the reply to a datagram over it."""
        start = index * STRIDE
        self.view[start : start + len(reply)] = reply
        self.sizes[index] = len(reply)

    def send(self, count: int, but: Collection[int] = ()) -> Iterable[OSError]:
        """Send the replies to the first ``count`` datagrams; yield an error for each that the kernel did not take.

        :param but: those that have none.
        """
        headers = self._headers
        if but:
            kept = sorted(set(range(count)).difference(but))
            for place, index in enumerate(kept):
                if place != index:
                    headers[place * _SIZE : (place + 1) * _SIZE] = headers[index * _SIZE : (index + 1) * _SIZE]
            count = len(kept)
        sent = 0
        while sent < count:
            done = self._send(self.udp.fileno(), self._at + sent * _SIZE, count - sent, 0)
            if done < 1:
                number = ctypes.get_errno()
                yield OSError(number, os.strerror(number))
                done = 1
            sent += done

    def _let_go(self, count: int) -> None:
        """Let the replies leave from the address that was asked, by any interface: see ``reader``."""
        controls = self._controls
        interface = _CONTROL.size + (16 if self._six else 0)
        for start in range(0, count * _ROOM, _ROOM):
            at = start + _CONTROL.size
            if not self._six or controls[at : at + 2] != _LINK_LOCAL:
                controls[start + interface : start + interface + 4] = b"\0\0\0\0"


class BatchReader(WideReader):
    """Reads a socket in batches; the replies that come later in one turn of the reactor leave together at its end.

    :param known: asked first, for all of a batch at once.
    :param rush: where what is not known waits while batches are full.
    """

    def __init__(
        self,
        udp: socket.socket,
        datagrams: Taker,
        reactor: IReactorFDSet,
        known: Known,
        wide: bool,
        rush: Rush | None = None,
    ) -> None:
        super().__init__(udp, datagrams, reactor)
        self._rush, self._known, self._wide = rush, known, wide
        self._slots = Slots(udp, wide)
        self._outbox = Outbox(Slots(udp, wide), datagrams.clock, datagrams.failed)

    def doRead(self) -> None:
        """Answer the datagrams that are there: a batch, and some more while those are full."""
        rush = self._rush
        for number in range(BATCHES):
            count = self._slots.receive()
            if count < 1:
                if not number:
                    # What is wrong is told, and counted, by reading one at a time.
                    (WideReader if self._wide else Reader).doRead(self)
                break
            if rush is not None:
                rush.on = rush.on or count == BATCH
            self._answer(count)
            if count < BATCH or rush is None:
                break
        if rush is not None and rush.on:
            rush.catch_up()

    def _answer(self, count: int) -> None:
        """Answer the datagrams that were read."""
        slots = self._slots
        try:
            left, silent = self._known.answer(slots, count)
        except Exception as bug:
            self._datagrams.faults.refuse(slots.message(0), bug)
            left, silent = list(range(count)), []
        silent += [index for index in left if not self._take(index)]
        if self._rush is not None and self._rush.on and len(silent) < count:
            self._rush.mixed()
        for error in slots.send(count, silent):
            self._datagrams.failed("send", error)
        self._heard(0)

    def _take(self, index: int) -> bool:
        """Hand a message to the server; return whether it is answered already."""
        slots = self._slots
        envelope = slots.envelope(index)
        later = partial(self._outbox.post, envelope) if envelope else partial(self._send_from, [])
        reply = self._datagrams.answer(slots.message(index), slots.client(index), later)
        if not reply:
            return False
        slots.put(index, reply)
        return True

    def close(self) -> None:
        """Send what waits, and close the socket."""
        self._outbox.flush()
        super().close()


def _address(buffer: bytearray) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


@cache
def _calls() -> tuple[Any, Any]:
    """Return the two functions of the C library. They never wait, so the lock of the interpreter is kept."""
    library = ctypes.PyDLL(None, use_errno=True)
    receive, send = library.recvmmsg, library.sendmmsg
    receive.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
    send.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
    return receive, send


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
            sent = not list(slots.send(2, [0])) and udp.recv(LARGEST, socket.MSG_DONTWAIT) == b"four"
            return sent and read == [b"one", b"three"] and slots.client(1) == udp.getsockname()
    except (OSError, AttributeError, TypeError, ValueError):
        return False
