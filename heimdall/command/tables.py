"""Show what a node said as tables that a person can read; nothing in it reaches the terminal but text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeGuard

NOTHING = "-"

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table. A column of numbers, by the head's leading space, is set to the right."""
    right = [title.startswith(" ") for title in head]
    lines = [[title.strip() for title in head], *([plain(cell) for cell in row] for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(head))]
    return [
        "  ".join(
            cell.rjust(width) if far else cell.ljust(width)
            for cell, width, far in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    ]


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
