"""Write numbers as people say them: times, sizes, shares."""

from __future__ import annotations

from typing import Final, TypeGuard

NOTHING: Final = "-"
"""What stands for what is no number."""

_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "m"))


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
