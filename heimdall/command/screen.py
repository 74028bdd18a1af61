"""What the terminal can do: how wide it is, and whether it is to be painted."""

from __future__ import annotations

import os
import shutil
import sys
from typing import IO, Any, Final

_TONES: Final = {"good": "32", "poor": "33", "bad": "31", "head": "1", "dim": "2"}

WIDEST: Final = 1000
"""Columns of what is no terminal: nothing is cut there."""


def paint(text: str, tone: str, out: IO[Any] | None = None) -> str:
    """Return a text in a tone: good, poor, bad, head or dim; as it is where no colours are wanted.

    They are for terminals alone, and not for who sets NO_COLOR (no-color.org) or has a dumb one.

    :param out: where it is to be written; None for the standard output.
    """
    code = _TONES.get(tone)
    return f"\x1b[{code}m{text}\x1b[0m" if code and coloured(out or sys.stdout) else text


def coloured(out: IO[Any]) -> bool:
    """Return whether what is written there may have colours."""
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def size() -> tuple[int, int]:
    """Return the columns and lines of the terminal; where there is none, more columns than anything needs."""
    found = shutil.get_terminal_size()
    return (found.columns if sys.stdout.isatty() else WIDEST), found.lines
