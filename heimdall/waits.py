"""One timer for the waits of many, of which nearly all end early: those cost no timer of the reactor, and no list."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import Any, ClassVar, Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from heimdall.bugs import reporter

_CLOSE: Final = 1e-6


class Waits:
    """Calls ``late`` with whatever has waited until its time, its ``due`` in seconds on the clock.

    When the first of those times has come, all that is left is looked through: nearly all that waited is not any more.

    :param left: returns all that waits.
    :param late: called with each whose time is over; when that is to wait on, for a later ``due``, it says so anew.
    :param pause: seconds between two looks at least: so much longer may a wait last.
    """

    _log: ClassVar = Logger()

    def __init__(
        self, clock: IReactorTime, left: Callable[[], Iterable[Any]], late: Callable[[Any], object], pause: float
    ) -> None:
        self._clock, self._left, self._late, self._pause = clock, left, late, pause
        self._timer: IDelayedCall | None = None
        self._wakes = inf

    def wait(self, due: float, now: float) -> None:
        """Have something that is left wait until a time."""
        if due < self._wakes:
            self._wake_at(due, now)

    def close(self) -> None:
        """Let all wait for ever."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wakes = inf

    def _wake_at(self, due: float, now: float) -> None:
        self.close()
        self._wakes = due
        self._timer = self._clock.callLater(max(due - now, 0.0), self._look)

    def _look(self) -> None:
        self._timer, self._wakes = None, inf
        now = self._clock.seconds()
        next = inf
        for one in list(self._left()):
            if one.due <= now + _CLOSE:
                try:
                    self._late(one)
                except Exception as bug:
                    reporter(self._clock).report(self._log, "a bug in what follows a wait", bug)
            elif one.due < next:
                next = one.due
        if next < inf:
            self.wait(max(next, now + self._pause), now)
