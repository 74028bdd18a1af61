"""What was found when something was reached for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import field, frozen

OK: Final = "ok"
"""It does as it should."""

NOTE: Final = "note"
"""It works, but somebody should look at it."""

FAIL: Final = "FAIL"
"""It does not work, or will not."""


@frozen
class Found:
    """One thing that was found.

    :ivar part: what it is a part of: configuration, upstream, redis, port or file.
    :ivar what: which one.
    :ivar state: one of ok, note and FAIL.
    :ivar said: what was found, in a few words.
    :ivar facts: the same for programs, fit for JSON; times in seconds.
    """

    part: str
    what: str
    state: str
    said: str
    facts: Mapping[str, Any] = field(factory=dict)


def brief(seconds: float) -> str:
    """Return a short time as text."""
    return f"{seconds * 1000:.1f} ms"
