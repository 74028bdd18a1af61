"""Show what a node said as tables that a person can read; nothing in it reaches the terminal but text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import wrap
from typing import Final

from heimdall.command import screen
from heimdall.units import NOTHING

LEAST: Final = 8
"""Columns that a column is cut to at most."""

TONES: Final = {
    **dict.fromkeys(("healthy", "fresh", "ok", "hit", "NOERROR"), "good"),
    **dict.fromkeys(("starting", "leaving", "degraded", "stale", "asked", "note", "late", "NXDOMAIN"), "poor"),
    **dict.fromkeys(("unhealthy", "rubbish", "no reply", "FAIL", "drops", "SERVFAIL", "REFUSED"), "bad"),
}
"""The tones of words that tell a state."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]], give: int | None = None, fold: bool = False) -> list[str]:
    """Return the lines of a table, as wide as the screen at most.

    A column of numbers, by the head's leading space, is set to the right. Words that tell a state have its colour.

    :param give: the column that is cut when the screen is too narrow; None for the widest.
    :param fold: go on below what was cut off, instead of leaving it out.
    """
    right = [title.startswith(" ") for title in head]
    lines = [[title.strip() for title in head], *([plain(cell) for cell in row] for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(head))]
    wide = widths.index(max(widths)) if give is None else give
    widths[wide] = max(min(widths[wide], screen.size()[0] - sum(widths) + widths[wide] - 2 * len(head) + 2), LEAST)
    told = [_line(lines[0], widths, right, "head")]
    for line in lines[1:]:
        first, *more = (wrap(line[wide], widths[wide]) or [""]) if fold else [_cut(line[wide], widths[wide])]
        told.append(_line([*line[:wide], first, *line[wide + 1 :]], widths, right))
        told += [_line([part if at == wide else "" for at in range(len(head))], widths, right) for part in more]
    return told


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else cell[: width - 1] + "…"


def _line(line: Sequence[str], widths: Sequence[int], right: Sequence[bool], tone: str = "") -> str:
    cells = [
        screen.paint(cell.rjust(width) if far else cell.ljust(width), TONES.get(cell, ""))
        for cell, width, far in zip(line, widths, right, strict=True)
    ]
    return screen.paint("  ".join(cells).rstrip(), tone)


def plain(value: object) -> str:
    """Return a value as text without a character that a terminal would obey."""
    text = NOTHING if value is None else str(value)
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)
