"""Show what a node said as tables that a person can read; nothing in it reaches the terminal but text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import wrap
from typing import Final, TypeGuard

from heimdall.command import screen

NOTHING = "-"

LEAST: Final = 8
"""Columns that a column is cut to at most."""

TONES: Final = {
    **dict.fromkeys(("healthy", "fresh", "ok", "hit", "NOERROR"), "good"),
    **dict.fromkeys(("starting", "leaving", "degraded", "stale", "asked", "note", "late", "NXDOMAIN"), "poor"),
    **dict.fromkeys(("unhealthy", "rubbish", "no reply", "FAIL", "drops", "SERVFAIL", "REFUSED"), "bad"),
}
"""The tones of words that tell a state."""

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))


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


def seconds(value: object) -> str:
    """Return a time as a person says it: 0.8s, 59s, 3m20s, 1h2m, 2d3h; with a minus when it is over."""
    if not is_number(value):
        return NOTHING
    whole = abs(value)
    sign = "-" if value < 0 else ""
    if whole < 10:
        return f"{sign}{whole:.1f}s"
    rest = int(whole)
    parts = []
    for size, unit in _UNITS:
        if rest >= size:
            parts.append(f"{rest // size}{unit}")
            rest %= size
    if rest or not parts:
        parts.append(f"{rest}s")
    return sign + "".join(parts[:2])


def brief(value: object) -> str:
    """Return a short time in milliseconds: 0.04 ms, 13.2 ms, 1234 ms."""
    if not is_number(value):
        return NOTHING
    thousandth = value * 1000
    return f"{thousandth:.{2 if thousandth < 10 else 1 if thousandth < 100 else 0}f} ms"


def size(value: object) -> str:
    """Return a number of bytes: 512, 1.2k, 3.4M."""
    if not is_number(value):
        return NOTHING
    for limit, unit in ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "k")):
        if value >= limit:
            return f"{value / limit:.1f}{unit}"
    return f"{value:.0f}"


def share(part: object, of: object) -> str:
    """Return a share in percent."""
    if not is_number(part) or not is_number(of) or not of:
        return NOTHING
    return f"{100 * part / of:.1f}%"


def number(value: object) -> str:
    """Return a whole number."""
    return f"{value:.0f}" if is_number(value) else NOTHING


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a number to count with."""
    return type(value) is int or (type(value) is float and abs(value) < 1e300)
