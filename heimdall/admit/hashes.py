"""Hold a set of millions of names in nine bytes each."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable

_PARTS = 256
_PER_BUCKET = 8


class Hashes:
    """A set of folded wire names that keeps 64 bits of each.

    The hash is Python's own: SipHash under a key that is drawn at each start, so nobody outside can find two
    names that fall together. That one of ``n`` names is taken for another by chance has the odds of n to 2^64 for
    each question. The hashes stand sorted in one array, and an index by their leading bits leads to the few among
    which to look.

    :param names: what it shall hold; read once.
    """

    def __init__(self, names: Iterable[bytes] = ()) -> None:
        parts = [array("q") for _ in range(_PARTS)]
        for name in names:
            number = hash(name)
            parts[number >> 56].append(number)
        self._hashes = array("q")
        # A negative place counts from the end: the lowest hashes stand in the upper half.
        for part in parts[_PARTS // 2 :] + parts[: _PARTS // 2]:
            self._hashes.extend(sorted(set(part)))
        bits = max((len(self._hashes) // _PER_BUCKET).bit_length(), 1)
        self._shift = 64 - bits
        self._half = 1 << (bits - 1)
        self._starts = array(
            "I", [bisect_left(self._hashes, place << self._shift) for place in range(-self._half, self._half)]
        )
        self._starts.append(len(self._hashes))

    def __len__(self) -> int:
        return len(self._hashes)

    def find(self, name: bytes) -> int:
        """Return where in a name the longest of its suffixes begins that is held; -1 where none is."""
        hashes, starts, shift, half = self._hashes, self._starts, self._shift, self._half
        at = 0
        while True:
            number = hash(name[at:])
            place = (number >> shift) + half
            end = starts[place + 1]
            found = bisect_left(hashes, number, starts[place], end)
            if found < end and hashes[found] == number:
                return at
            if not name[at]:
                return -1
            at += name[at] + 1

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return sum(numbers.itemsize * len(numbers) for numbers in (self._hashes, self._starts))
