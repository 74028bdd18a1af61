"""Which answers leave when the memory is full: S3-FIFO, which keeps hot names through a scan.

New answers wait in a small queue, a tenth of the bytes; only those asked for again move on to the main one, and
those that come back soon after they left go there at once (Yang et al., "FIFO queues are all you need for cache
eviction", SOSP 2023). A name seen once, as in a scan, leaves without pushing a hot name out. A hit moves
nothing: whoever holds the place adds one to its ``uses``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

_MOST_CHANCES = 3
_SMALL_SHARE = 10
_DEAD_ALLOWED = 1000


class Place:
    """A place in the queues: what is held there, its bytes, and how often it was used since it moved.

    ``noted`` is how many of its uses somebody has taken note of; it may be negative, as ``uses`` starts anew at times.
    """

    __slots__ = ("dies", "key", "main", "noted", "size", "uses")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.size = 0
        self.uses = 0
        self.noted = 0
        self.main = False
        self.dies = 0.0


class Eviction:
    """The order in which places are given up.

    :param most: bytes that may be held.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.bytes = 0
        self._small: deque[Place] = deque()
        self._main: deque[Place] = deque()
        self._small_bytes = 0
        self._gone = 0
        # Hashes of keys that left the small queue lately, the oldest first.
        self._ghosts: dict[int, None] = {}

    def enter(self, place: Place, size: int) -> None:
        """Give a new place to ``size`` bytes."""
        ghost = hash(place.key)
        place.main = ghost in self._ghosts
        if place.main:
            del self._ghosts[ghost]
        (self._main if place.main else self._small).append(place)
        self.resize(place, size)

    def resize(self, place: Place, size: int) -> None:
        """Note that a place now takes ``size`` bytes."""
        grown = size - place.size
        place.size = size
        self.bytes += grown
        if not place.main:
            self._small_bytes += grown

    def leave(self, place: Place) -> None:
        """Give up a place out of turn."""
        self.resize(place, 0)
        self._gone += 1
        if self._gone > _DEAD_ALLOWED + (len(self._small) + len(self._main)) // 2:
            self._small = deque(held for held in self._small if held.size)
            self._main = deque(held for held in self._main if held.size)
            self._gone = 0

    def victims(self, now: float) -> Iterator[Place]:
        """Yield places to be forgotten until what is held fits; they are off the queues by then."""
        while self.bytes > self.most and (self._small or self._main):
            if self._small and (self._small_bytes * _SMALL_SHARE > self.most or not self._main):
                place = self._small.popleft()
                if place.size and place.uses > 1 and now < place.dies:
                    self._promote(place)
                    continue
                self._remember(place)
            else:
                place = self._main.popleft()
                if place.size and place.uses and now < place.dies:
                    _reset(place, min(place.uses, _MOST_CHANCES) - 1)
                    self._main.append(place)
                    continue
            if place.size:
                self.resize(place, 0)
                yield place
            else:
                self._gone -= 1

    def _promote(self, place: Place) -> None:
        self._small_bytes -= place.size
        place.main = True
        _reset(place, 0)
        self._main.append(place)

    def _remember(self, place: Place) -> None:
        if place.size:
            self._ghosts[hash(place.key)] = None
            if len(self._ghosts) > len(self._main) + _DEAD_ALLOWED:
                del self._ghosts[next(iter(self._ghosts))]


def _reset(place: Place, uses: int) -> None:
    """Set the uses of a place, and lose none that nobody has noted yet."""
    place.noted += uses - place.uses
    place.uses = uses
