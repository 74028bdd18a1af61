"""Random numbers that cannot be guessed, at the price of taking one from a list."""

from __future__ import annotations

import os
from array import array


class Dice:
    """Random numbers of 16 bits from the system's generator, fetched two thousand at a time."""

    def __init__(self) -> None:
        self._numbers: list[int] = []

    def draw(self) -> int:
        """Return a number from 0 to 65535 that cannot be guessed."""
        if not self._numbers:
            self._numbers = array("H", os.urandom(4096)).tolist()
        return self._numbers.pop()
