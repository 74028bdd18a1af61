"""What the stations of the path note of a question that an operator follows: which one, what it said, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

MOST_NOTES: Final = 100
"""Notes of one question; more are left out."""


class Trace:
    """The notes of one question, each a mapping fit for JSON.

    ``station`` who notes it, ``said`` what came of it there, ``at`` how many seconds after the question came, and
    ``took`` how many of them it took there; else since the note before.

    :param seconds: where time comes from.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._began = self._last = seconds()
        self.notes: list[dict[str, Any]] = []

    def note(self, station: str, said: str, *, took: float | None = None, **more: Any) -> None:
        """Note what came of the question at a station."""
        now = self._seconds()
        if len(self.notes) < MOST_NOTES:
            spent = now - self._last if took is None else took
            at, spent = round(now - self._began, 6), round(spent, 6)
            self.notes.append({"station": station, "said": said, "at": at, "took": spent, **more})
        self._last = now

    @property
    def seconds(self) -> float:
        """How long ago the question came."""
        return self._seconds() - self._began
