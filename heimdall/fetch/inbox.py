"""Read what has come to a connected socket: all of it with one system call, where the C library has that."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from functools import cache
from typing import Final

from heimdall.mmsg import Room, failure

READS: Final = 32
"""Datagrams read at one wake-up of a socket, so that no server can keep the reactor busy."""

LARGEST: Final = 65535
"""Bytes that are read of a datagram: all of it, though we say that we take less. Some servers do not heed that."""

_NAME: Final = 28

Read = Callable[[socket.socket], list[bytes]]
"""Reads what has come to a socket that does not block.

:raises OSError: the system tells of an error first; what has come as well is still to be read.
"""


class Inbox:
    """Room for what has come to one socket, and then to the next."""

    def __init__(self) -> None:
        self._room = room = Room(READS, LARGEST, _NAME, False)
        self._receive, self._at = room.receive, room.at
        self._bytes, self._lengths, self._stride = room.data_bytes, room.lengths, room.stride

    def read(self, sock: socket.socket) -> list[bytes]:
        """Read a socket; see :data:`Read`."""
        count: int = self._receive(sock.fileno(), self._at, READS, socket.MSG_DONTWAIT, None)
        if count < 0:
            error = failure()
            if error.errno in (errno.EAGAIN, errno.EINTR):
                return []
            raise error
        data, stride = self._bytes, self._stride
        lengths = self._lengths[:count].tolist()
        return [data[index * stride : index * stride + length] for index, length in enumerate(lengths)]


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


@cache
def reader() -> Read:
    """Return what reads in the best way that there is here; it is one for all, as nothing stays in it."""
    try:
        read = Inbox().read
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            read(udp)
    except (AttributeError, OSError):  # the C library has no such call, or the kernel has none
        return one_by_one
    return read
