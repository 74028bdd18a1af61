"""Show on the terminal that something takes a while, and how far it is; on anything else, nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from heimdall.command.screen import paint
from heimdall.units import size

EVERY: Final = 0.1
"""Seconds between two looks of a bar."""

WIDTH: Final = 24
"""Characters of a bar."""

_AGAIN: Final = "\r\x1b[K"


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Say what is waited for, and take it back afterwards."""
    shown = sys.stderr.isatty()
    if shown:
        print(_AGAIN + paint(f"{text} …", "dim", sys.stderr), end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        if shown:
            print(_AGAIN, end="", file=sys.stderr, flush=True)


class Bar:
    """A line that tells how far it is, and how fast it goes; a context manager that takes it back.

    :param text: what is done.
    :param things: what is counted.
    """

    def __init__(self, text: str, things: str) -> None:
        self._text, self._things = text, things
        self._shown = sys.stderr.isatty()
        self._began = time.monotonic()
        self._next = 0.0

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            print(_AGAIN, end="", file=sys.stderr, flush=True)

    def show(self, share: float, number: int, volume: int) -> None:
        """Show how far it is.

        :param share: from 0 to 1; less than 0 where that is not known.
        :param number: things so far, in ``volume`` bytes.
        """
        now = time.monotonic()
        if not self._shown or now < self._next:
            return
        self._next = now + EVERY
        took = max(now - self._began, 0.001)
        full = round(min(max(share, 0.0), 1.0) * WIDTH)
        bar = "" if share < 0 else f" [{'#' * full}{'.' * (WIDTH - full)}] {100 * min(share, 1.0):3.0f}%"
        left = f", {took / share - took:.0f} s left" if 0.01 < share < 1 else ""
        told = f"{self._text}{bar} {number} {self._things}, {size(volume)}B, {number / took:.0f}/s{left}"
        print(_AGAIN + told, end="", file=sys.stderr, flush=True)
