"""Which answers leave when the memory is full: S3-FIFO, which keeps hot names through a scan.

New answers wait in a small queue, a tenth of the bytes. Only those that are asked for again move on to the main one.
Those that come back soon after they left go there at once (Yang et al., "FIFO queues are all you need for cache
eviction", SOSP 2023). A name seen once, as in a scan, leaves without pushing a hot name out. A hit moves
nothing: whoever gives an answer adds one to its ``uses``.

No step is long, whatever is held. Each queue is a linked list in columns of the table, so that an answer leaves it from
anywhere. A new answer passes over a few that are in use, and then one leaves all the same. Of a name that has left, a
few bits stay in a table of a fixed size, where the next one may take its place.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Final

from heimdall.cache.table import Table

LOOKS: Final = 15
"""Answers in use that one new answer passes over; then one has to leave, in use or not."""

GHOST_EVERY: Final = 512
"""Bytes that may be held, for each name that is remembered though it has left."""

QUEUES: Final = 2
"""Places of the table that the queues take for themselves."""

_MOST_CHANCES: Final = 3
_SMALL_SHARE: Final = 10


class Eviction:
    """The order in which the answers of a table give their places up.

    :param table: where they are; its columns ``sizes``, ``uses``, ``noted``, ``main``, ``before`` and ``after`` are
        kept here.
    :param most: bytes that may be held.
    """

    def __init__(self, table: Table, most: int) -> None:
        self._table = table
        self.most = most
        self.bytes = 0
        self._small_bytes = 0
        # Each queue is a ring that begins and ends at a place of its own.
        self._small, self._main = table.enter(b""), table.enter(b"")
        for queue in (self._small, self._main):
            table.before[queue] = table.after[queue] = queue
        # By their hashes, the names that left the small queue: so much of each that hardly another one is the same.
        self._ghosts = _ghosts(most)

    def limit(self, most: int) -> None:
        """Let other so many bytes be held from now on."""
        if most != self.most:
            self.most = most
            self._ghosts = _ghosts(most)

    def enter(self, place: int, size: int) -> None:
        """Give a new answer ``size`` bytes."""
        table, ghosts = self._table, self._ghosts
        table.sizes[place] = size
        self.bytes += size
        number = hash(table.keys[place])
        slot = number % len(ghosts)
        ghost = ghosts[slot]
        if ghost and ghost == number >> 32 & 0xFFFFFFFF:
            ghosts[slot] = 0
            table.main[place] = True
            queue = self._main
        else:
            queue = self._small
            self._small_bytes += size
        self._append(queue, place)

    def resize(self, place: int, size: int) -> None:
        """Note that an answer now takes ``size`` bytes."""
        grown = size - self._table.sizes[place]
        self._table.sizes[place] = size
        self.bytes += grown
        if not self._table.main[place]:
            self._small_bytes += grown

    def leave(self, place: int) -> None:
        """Give up a place out of turn; it is free from then on."""
        self.resize(place, 0)
        self._take_off(place)
        self._table.free(place)

    def victims(self, now: float, room: int) -> Iterator[int]:
        """Yield places to be cleared until what is held fits; each is off the queues by then, and free after that.

        :param room: bytes after which no more have to leave in this step, though there may still be too many.
        """
        table = self._table
        sizes, uses, dies, before, after = table.sizes, table.uses, table.dies, table.before, table.after
        small, main = self._small, self._main
        looks = LOOKS
        most = max(self.most, self.bytes - room)
        while self.bytes > most:
            place = after[small]
            if place != small and (self._small_bytes * _SMALL_SHARE > self.most or after[main] == main):
                if uses[place] > 1 and now < dies[place]:
                    if looks:
                        looks -= 1
                        self._small_bytes -= sizes[place]
                        table.main[place] = True
                        self._reset(place, 0)
                        self._take_off(place)
                        self._append(main, place)
                        continue
                    place = before[small]  # the newest: those at the head are all in use
                self._small_bytes -= sizes[place]
                number = hash(table.keys[place])
                self._ghosts[number % len(self._ghosts)] = number >> 32 & 0xFFFFFFFF
            else:
                place = after[main]
                if looks and uses[place] and now < dies[place]:
                    looks -= 1
                    self._reset(place, min(uses[place], _MOST_CHANCES) - 1)
                    self._take_off(place)
                    self._append(main, place)
                    continue
            self.bytes -= sizes[place]
            first, second = before[place], after[place]  # the calls for this would cost more than it does
            after[first], before[second] = second, first
            yield place
            table.free(place)

    def _append(self, queue: int, place: int) -> None:
        """Put a place at the end of a queue."""
        before, after = self._table.before, self._table.after
        last = before[queue]
        after[last] = before[queue] = place
        before[place], after[place] = last, queue

    def _take_off(self, place: int) -> None:
        """Take a place off the queue that it is in."""
        before, after = self._table.before, self._table.after
        first, second = before[place], after[place]
        after[first], before[second] = second, first

    def _reset(self, place: int, uses: int) -> None:
        """Set the uses of an answer, and lose none that nobody has noted yet."""
        self._table.noted[place] += uses - self._table.uses[place]
        self._table.uses[place] = uses


def _ghosts(most: int) -> array[int]:
    """Return room for the names that have left a memory of so many bytes: 4 bytes each."""
    return array("I", bytes(4 * (most // GHOST_EVERY + 1)))
