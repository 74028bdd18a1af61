"""Slice long work that may wait: after a millisecond of it, queries have their turn for four."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

SLICE: Final = 0.001
"""Seconds of work after which queries have their turn."""

REST: Final = 4.0
"""Times as long they have it."""

AT_ONCE: Final = 200
"""Objects that are freed between two looks at the clock."""

LONGEST: Final = 0.1
"""Seconds that they have it at most."""


class Slices:
    """The slices of some work: its steps are short, and it waits for :meth:`pause` behind each of them."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._worked = 0.0
        self._began = clock.seconds()

    def begin(self) -> None:
        """Go on working, after some time in which nothing was to be done."""
        self._began = self._clock.seconds()

    async def pause(self) -> None:
        """Let queries have their turn, where this slice has lasted long enough."""
        self._worked += self._clock.seconds() - self._began
        if self._worked > SLICE:
            worked, self._worked = self._worked, 0.0
            await deferLater(self._clock, min(REST * worked, LONGEST))
        self._began = self._clock.seconds()


def let_go(things: dict[Any, Any], clock: IReactorTime) -> None:
    """Empty a dictionary that nobody uses any more: to free ten thousand objects at once would be a pause."""
    Deferred.fromCoroutine(_let_go(things, clock))


async def _let_go(things: dict[Any, Any], clock: IReactorTime) -> None:
    slices = Slices(clock)
    while things:
        for _ in range(min(AT_ONCE, len(things))):
            things.popitem()
        await slices.pause()
