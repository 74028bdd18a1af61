"""Which answers leave when the memory is full: S3-FIFO, which keeps hot names through a scan.

New answers wait in a small queue, a tenth of the bytes; only those asked for again move on to the main one, and
those that come back soon after they left go there at once (Yang et al., "FIFO queues are all you need for cache
eviction", SOSP 2023). A name seen once, as in a scan, leaves without pushing a hot name out. A hit moves
nothing: whoever gives an answer adds one to its ``uses``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from heimdall.cache.table import Table

_MOST_CHANCES: Final = 3
_SMALL_SHARE: Final = 10
_DEAD_ALLOWED: Final = 1000
_AT_ONCE: Final = 8


class Eviction:
    """The order in which the answers of a table give their places up.

    :param table: where they are; its columns ``sizes``, ``uses``, ``noted`` and ``main`` are kept here. A place that is
        free is not in the main queue.
    :param most: bytes that may be held.
    """

    def __init__(self, table: Table, most: int) -> None:
        self._table = table
        self.most = most
        self.bytes = 0
        self._small: deque[int] = deque()
        self._main: deque[int] = deque()
        self._small_bytes = 0
        self._gone = 0
        # Hashes of keys that left the small queue lately, the oldest first.
        self._ghosts: dict[int, None] = {}

    def enter(self, place: int, size: int) -> None:
        """Give a new answer ``size`` bytes."""
        table = self._table
        table.sizes[place] = size
        self.bytes += size
        ghosts = self._ghosts
        if ghosts and (ghost := hash(table.keys[place])) in ghosts:
            del ghosts[ghost]
            table.main[place] = True
            self._main.append(place)
        else:
            self._small.append(place)
            self._small_bytes += size

    def resize(self, place: int, size: int) -> None:
        """Note that an answer now takes ``size`` bytes."""
        grown = size - self._table.sizes[place]
        self._table.sizes[place] = size
        self.bytes += grown
        if not self._table.main[place]:
            self._small_bytes += grown

    def leave(self, place: int) -> None:
        """Give up a place out of turn. It is free once it is off the queues."""
        self.resize(place, 0)
        self._gone += 1
        if self._gone > _DEAD_ALLOWED + (len(self._small) + len(self._main)) // 2:
            # A few at a time, as a look through all of a long queue is a pause: they take each other's turn meanwhile.
            self._bury(self._small)
            self._bury(self._main)

    def victims(self, now: float) -> Iterator[int]:
        """Yield places to be cleared until what is held fits; each is off the queues by then, and free after that."""
        sizes, uses, dies = self._table.sizes, self._table.uses, self._table.dies
        while self.bytes > self.most and (self._small or self._main):
            if self._small and (self._small_bytes * _SMALL_SHARE > self.most or not self._main):
                place = self._small.popleft()
                if sizes[place] and uses[place] > 1 and now < dies[place]:
                    self._promote(place)
                    continue
                self._remember(place)
            else:
                place = self._main.popleft()
                if sizes[place] and uses[place] and now < dies[place]:
                    self._reset(place, min(uses[place], _MOST_CHANCES) - 1)
                    self._main.append(place)
                    continue
            if sizes[place]:
                self.resize(place, 0)
                yield place
            else:
                self._gone -= 1
            self._table.free(place)

    def _bury(self, queue: deque[int]) -> None:
        """Take those off the head of a queue that left out of turn, and put the others behind its end."""
        for _ in range(min(_AT_ONCE, len(queue))):
            place = queue.popleft()
            if self._table.sizes[place]:
                queue.append(place)
            else:
                self._table.free(place)
                self._gone -= 1

    def _promote(self, place: int) -> None:
        self._small_bytes -= self._table.sizes[place]
        self._table.main[place] = True
        self._reset(place, 0)
        self._main.append(place)

    def _remember(self, place: int) -> None:
        if self._table.sizes[place]:
            self._ghosts[hash(self._table.keys[place])] = None
            if len(self._ghosts) > len(self._main) + _DEAD_ALLOWED:
                del self._ghosts[next(iter(self._ghosts))]

    def _reset(self, place: int, uses: int) -> None:
        """Set the uses of an answer, and lose none that nobody has noted yet."""
        self._table.noted[place] += uses - self._table.uses[place]
        self._table.uses[place] = uses
