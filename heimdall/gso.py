"""Hand the kernel several datagrams as one message that it cuts up (UDP_SEGMENT in udp(7), Linux 4.18).

All pieces have one size, but the last may be shorter. Each arrives as a datagram of its own.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection, Hashable, Sequence
from typing import Final

UDP_SEGMENT: Final = 103
"""The option of a socket, and the type of the control of one message, that says the size of a piece."""

UNABLE: Final = (errno.EIO, errno.EINVAL, errno.EMSGSIZE, errno.EOPNOTSUPP)
"""Why a message is refused that might leave piece by piece, as over a device that has no checksums of its own."""

MOST: Final = 32
"""Pieces of one message: the kernel cuts 64 at most, and all together must fit a datagram."""

LONGEST: Final = 1232
"""Bytes of a piece: what is to be cut must fit any path without fragments (RFC 9715)."""


def cuts(udp: socket.socket) -> bool:
    """Whether the kernel cuts up what this socket sends."""
    try:
        udp.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
    except OSError:
        return False
    return True


def together(sizes: Sequence[int], ways: Sequence[Hashable], but: Collection[int] = ()) -> list[list[int]]:
    """Return which datagrams go together: those of one way, from the longest down, up to the first shorter one.

    :param sizes: the bytes of each.
    :param ways: where each goes to, and comes from.
    :param but: the numbers of those that are none.
    :return: the numbers of those in each message.
    """
    groups: list[list[int]] = []
    unfinished: dict[Hashable, list[int]] = {}
    for index in sorted(range(len(sizes)), key=sizes.__getitem__, reverse=True):
        if index in but:
            continue
        way, size = ways[index], sizes[index]
        group = unfinished.get(way)
        if group is None:
            group = [index]
            groups.append(group)
            if size <= LONGEST:
                unfinished[way] = group
        else:
            group.append(index)
            if size < sizes[group[0]] or len(group) == MOST:
                del unfinished[way]
    return groups
