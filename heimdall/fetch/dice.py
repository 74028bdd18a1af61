"""Random numbers that cannot be guessed, at the price of a slice."""

from __future__ import annotations

import os


class Dice:
    """Random numbers of 16 bits from the system's generator, fetched a page at a time."""

    def __init__(self) -> None:
        self._pool = b""
        self._at = 0

    def draw(self) -> int:
        """Return a number from 0 to 65535 that cannot be guessed."""
        at = self._at
        if at >= len(self._pool):
            self._pool = os.urandom(4096)
            at = 0
        self._at = at + 2
        return self._pool[at] << 8 | self._pool[at + 1]

    def draw_two(self) -> tuple[int, int]:
        """Return two such numbers."""
        at = self._at
        if at + 4 > len(self._pool):
            return self.draw(), self.draw()
        self._at = at + 4
        pool = self._pool
        return pool[at] << 8 | pool[at + 1], pool[at + 2] << 8 | pool[at + 3]
