"""Read what has come to a connected socket: all of it with one system call, where the C library has that."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from collections.abc import Callable
from typing import Final

from heimdall.mmsg import Room

READS: Final = 32
"""Datagrams read at one wake-up of a socket, so that no server can keep the reactor busy."""

LARGEST: Final = 4096
"""Bytes that are read of a datagram: more than three times what we say that we take. A longer one is malformed then."""

_STRIDE: Final = LARGEST + 64
_NAME: Final = 28

Read = Callable[[socket.socket], list[bytes]]
"""Reads what has come to a socket that does not block.

:raises OSError: the system tells of an error first; what has come as well is still to be read.
"""


class Inbox:
    """Room for what has come to one socket, and then to the next."""

    def __init__(self) -> None:
        self._room = room = Room(READS, _STRIDE, LARGEST, _NAME, False)
        self._receive, self._at = room.receive, room.at
        self._bytes, self._lengths = room.data_bytes, room.lengths

    def read(self, sock: socket.socket) -> list[bytes]:
        """Read a socket; see :data:`Read`."""
        count: int = self._receive(sock.fileno(), self._at, READS, socket.MSG_DONTWAIT, None)
        if count < 0:
            number = ctypes.get_errno()
            if number in (errno.EAGAIN, errno.EINTR):
                return []
            raise OSError(number, os.strerror(number))
        data, lengths = self._bytes, self._lengths
        return [data[index * _STRIDE : index * _STRIDE + lengths[index]] for index in range(count)]


def one_by_one(sock: socket.socket) -> list[bytes]:
    """Read a socket by one system call for each datagram; see :data:`Read`."""
    found: list[bytes] = []
    for _ in range(READS):
        try:
            found.append(sock.recv(LARGEST))
        except BlockingIOError:
            break
        except OSError:
            if not found:
                raise
            break
    return found


def reader() -> Read:
    """Return what reads in the best way that there is here."""
    try:
        return Inbox().read
    except AttributeError:  # the C library has no such call
        return one_by_one
