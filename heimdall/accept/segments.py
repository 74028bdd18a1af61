"""Let replies to one client leave as one message that the kernel cuts up; see ``gso``.

Most of what a datagram costs is its way through the kernel, and what is to be cut goes it once. Each reply arrives as
by itself. Who asks much from one address and port, as forwarders do, has several replies in a batch; where all who ask
are different, nothing is done.
"""

from __future__ import annotations

import socket
from array import array
from collections.abc import Collection
from struct import Struct
from typing import ClassVar, Final

from twisted.logger import Logger

from heimdall.gso import UDP_SEGMENT, UNABLE, together
from heimdall.mmsg import CUT, HEADER, SIZE, WORD, Room, address

LEAST: Final = 16
"""Replies in a batch below which nobody is looked for who gets several."""

WORTH: Final = 1.25
"""Replies in a message, in the mean of a batch: with fewer it costs more to find them than it saves."""

VAIN: Final = 7
"""Batches that are sent one by one after one where that was so: it will be the same clients."""

PAUSE: Final = 1000
"""Batches that are sent one by one after a message that the kernel did not take."""


class Segments:
    """Lays out messages that are to be cut, of the replies that lie in some slots.

    ``at``  where the headers of those messages are

    :param room: the slots.
    :param packet: bytes of packet information that go with each reply; 0 for none.
    """

    _log: ClassVar = Logger()

    def __init__(self, room: Room, packet: int) -> None:
        self._room, self._packet = room, packet
        self._clients = Struct(f"{room.head}s")
        self._starts = [room.at_data + index * room.stride for index in range(room.count)]
        self._headers, iovecs = bytearray(room.count * SIZE), bytearray(room.count * 2 * WORD)
        self.at, self._at_iovecs = address(self._headers), address(iovecs)
        self._iovecs = memoryview(iovecs).cast("L")
        self._control = packet + socket.CMSG_SPACE(2)
        self._controls = bytearray(room.count * self._control)
        self._at_controls = address(self._controls)
        for at in range(packet, len(self._controls), self._control):
            CUT.pack_into(self._controls, at, socket.CMSG_LEN(2), socket.IPPROTO_UDP, UDP_SEGMENT, 0)
        self._cuts = memoryview(self._controls).cast("H")[(packet + socket.CMSG_LEN(0)) // 2 :: self._control // 2]
        self._pause = 0
        self._told = False

    def refused(self, error: OSError) -> None:
        """Lay out nothing for a while, if the kernel cannot cut: so where a device has no checksums of its own."""
        if error.errno not in UNABLE:
            return
        self._pause = PAUSE
        if not self._told:
            self._told = True
            self._log.info("The kernel cuts up no replies here, so they leave one by one: {error}", error=error)

    def gather(self, count: int, but: Collection[int]) -> list[list[int]]:
        """Lay out the replies in the first ``count`` slots.

        :param but: the slots that have none.
        :return: the slots whose replies are in each message; none where that is not worth it.
        """
        replies = count - len(but)
        if self._pause or replies < LEAST:
            self._pause -= self._pause > 0
            return []
        room = self._room
        if self._packet and 0 in room.controls[:count].tolist():
            return []  # the kernel did not say of each which address it came to
        sizes = room.sizes[:count].tolist()
        clients = list(self._clients.iter_unpack(room.heads[: count * room.head]))
        groups = together(sizes, clients, but)
        if len(groups) * WORTH > replies:
            self._pause = VAIN
            return []
        self._lay_out(groups, sizes)
        return groups

    def _lay_out(self, groups: list[list[int]], sizes: list[int]) -> None:
        room, headers, starts = self._room, self._headers, self._starts
        parts: list[int] = []
        control = self._at_controls
        for number, group in enumerate(groups):
            first = group[0]
            if len(group) == 1:
                headers[number * SIZE : (number + 1) * SIZE] = room.headers[first * SIZE : (first + 1) * SIZE]
            else:
                iovec = self._at_iovecs + len(parts) * WORD
                name = room.at_heads + first * room.head
                HEADER.pack_into(headers, number * SIZE, name, room.name, iovec, len(group), control, self._control)
                self._cuts[number] = sizes[first]
                if self._packet:
                    at, packet = number * self._control, first * room.head + room.packet_at
                    self._controls[at : at + self._packet] = room.heads[packet : packet + self._packet]
                for index in group:
                    parts += starts[index], sizes[index]
            control += self._control
        self._iovecs[: len(parts)] = memoryview(array("L", parts))
