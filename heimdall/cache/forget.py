"""Have memory and flights forget what was flushed: at once, and in a flood of flushes many in one look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from heimdall.cache.flushed import Flush, Several

SLOW: Final = 0.002
"""Seconds of a look through memory after which the next one waits for :data:`REST` times as long."""

REST: Final = 4.0

LONGEST: Final = 0.5
"""Seconds that it waits at most."""


class Forgetting:
    """Tells each of ``hearers`` what to forget. A look through a large memory takes a while, and queries go first."""

    def __init__(self, clock: IReactorTime) -> None:
        self.hearers: list[Callable[[Flush | Several], object]] = []
        self._clock = clock
        self._gathered: list[Flush] = []
        self._next: IDelayedCall | None = None

    def forget(self, flushes: list[Flush]) -> None:
        """Have these forgotten, now or as soon as it is time for another look."""
        if self._next is not None:
            self._gathered += flushes
            return
        began = self._clock.seconds()
        what = flushes[0] if len(flushes) == 1 else Several(flushes)
        for hearer in self.hearers:
            hearer(what)
        took = self._clock.seconds() - began
        if took > SLOW:
            self._next = self._clock.callLater(min(REST * took, LONGEST), self._look)

    def waits(self, identity: bytes) -> bool:
        """Return whether a flush has still to be forgotten, by its id."""
        return any(flush.id == identity for flush in self._gathered)

    def stop(self) -> None:
        """Wait for nothing any more."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _look(self) -> None:
        self._next = None
        gathered, self._gathered = self._gathered, []
        if gathered:
            self.forget(gathered)
