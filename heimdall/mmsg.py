"""Lay out memory for the kernel's recvmmsg and sendmmsg, and find the two calls in the C library, by ctypes.

What is laid out here is read and written by others, who know of none of this but offsets: where one thing of a
datagram is, that of the next one is a fixed number of bytes behind.
"""

from __future__ import annotations

import ctypes
import os
import socket
from functools import cache
from struct import Struct
from typing import Any, Final


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_ulong))


class _Message(ctypes.Structure):
    """A ``struct msghdr``: recvmsg(2)."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("iovec", ctypes.c_void_p),
        ("iovecs", ctypes.c_ulong),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_ulong),
        ("flags", ctypes.c_int),
    )


class _Header(ctypes.Structure):
    """A ``struct mmsghdr``: recvmmsg(2)."""

    _fields_ = (("message", _Message), ("length", ctypes.c_uint))


SIZE: Final = ctypes.sizeof(_Header)
"""Bytes from one header to the next."""

HEADER: Final = Struct("@PIPLPL")
"""A header, up to the flags: where the address is and its bytes, where the iovecs are and how many, and the control."""

CUT: Final = Struct("@LiiH")
"""The control that has a message cut up: a ``struct cmsghdr`` (bytes, level, type), and the bytes of a piece."""

CONTROL: Final = socket.CMSG_SPACE(20)
"""Bytes that packet information takes: that of IPv6 has 20, with what stands before it."""

WORD: Final = ctypes.sizeof(ctypes.c_ulong)
"""Bytes of a word, and of a pointer."""


APART: Final = 64
"""Bytes between two datagrams: a power of two from one to the next, and all would share a few lines of the caches."""


class Room:
    """Memory for some datagrams.

    ``data``      their bytes, each one's every ``stride`` bytes, from the address ``at_data`` on
    ``heads``     who sent each, every ``head`` bytes, from the address ``at_heads`` on; ``packet_at`` bytes into each
                  is its packet information, and ``control`` bytes what that says
    ``data_bytes`` and ``head_bytes``  the same, a slice of which is bytes at once: to read from
    ``headers``   what the kernel is told of each, and tells: every :data:`SIZE` bytes, from the address ``at`` on
    ``lengths``   in those: the bytes that were read of each
    ``controls``  in those: the bytes of packet information that came with each
    ``iovecs``    where the bytes of each are; ``sizes`` in those: how many are to be read, or sent

    :param count: how many.
    :param most: bytes that are read of one.
    :param name: bytes of an address.
    :param wide: whether there is packet information.
    """

    def __init__(self, count: int, most: int, name: int, wide: bool) -> None:
        self.receive, self.send = _calls()
        stride = most + APART
        # The kernel wants packet information to begin at a whole word.
        before = -(-name // WORD) * WORD if wide else name
        self.count, self.stride, self.name, self.packet_at = count, stride, name, before
        self.control = before + socket.CMSG_LEN(0)
        self.head = before + CONTROL * wide
        data, heads, iovecs, headers = (
            bytearray(count * size) for size in (stride, self.head, ctypes.sizeof(_Iovec), SIZE)
        )
        self.at_data, self.at_heads, at_iovecs, self.at = map(address, (data, heads, iovecs, headers))
        for index in range(count):
            iovec = _Iovec.from_buffer(iovecs, index * ctypes.sizeof(_Iovec))
            iovec.base, iovec.length = self.at_data + index * stride, most
            message = _Message.from_buffer(headers, index * SIZE)
            message.name, message.name_length = self.at_heads + index * self.head, name
            message.iovec, message.iovecs = at_iovecs + index * ctypes.sizeof(_Iovec), 1
            if wide:
                message.control, message.control_length = self.at_heads + index * self.head + before, CONTROL
        self.data, self.heads = memoryview(data), memoryview(heads)
        # The stubs know no slices of them.
        self.data_bytes: Any = (ctypes.c_char * len(data)).from_buffer(data)
        self.head_bytes: Any = (ctypes.c_char * len(heads)).from_buffer(heads)
        self.headers, self.iovecs = memoryview(headers), memoryview(iovecs)
        self.lengths = self.headers.cast("I")[_Header.length.offset // 4 :: SIZE // 4]
        self.controls = self.headers.cast("L")[_Message.control_length.offset // WORD :: SIZE // WORD]
        self.sizes = self.iovecs.cast("L")[_Iovec.length.offset // WORD :: ctypes.sizeof(_Iovec) // WORD]


def failure() -> OSError:
    """Return why the kernel did not do what it was just called for."""
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def address(buffer: bytearray) -> int:
    """Return where some bytes are, for the kernel."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


@cache
def _calls() -> tuple[Any, Any]:
    """Return the two functions of the C library. They never wait, so the lock of the interpreter is kept."""
    library = ctypes.PyDLL(None, use_errno=True)
    receive, send = library.recvmmsg, library.sendmmsg
    receive.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
    send.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
    return receive, send
