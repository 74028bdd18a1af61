"""Have memory forget what was flushed: nobody is given it from then on, and it leaves as there is time for that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from heimdall.cache.flushed import Flush, Several
from heimdall.cache.memory import Flushed, Memory

SIZE: Final = 1000
"""Answers that are looked at between two looks at the clock."""

SLOW: Final = 0.001
"""Seconds of a look through memory after which queries have their turn."""

REST: Final = 4.0
"""Times as long they have it."""

LONGEST: Final = 0.1
"""Seconds that they have it at most."""


class Forgetting:
    """Forgets what was flushed. What is flushed while memory is looked through has the next look together."""

    def __init__(self, memory: Memory, clock: IReactorTime) -> None:
        self._memory, self._clock = memory, clock
        self._concerned: Flushed = Several().covers
        self._look: Iterator[int] | None = None
        self._next = Several()
        self._stopped = False
        self._timer: IDelayedCall | None = None

    def forget(self, what: Flush | Several) -> None:
        """Have memory forget what it concerns; what of that has come so far is not given any more."""
        now = self._clock.seconds()
        if self._look is not None or self._stopped:
            self._next.add(what, now)
            self._memory.flush(self._flushed)
        elif isinstance(what, Flush):
            matches = what.matches
            self._begin(lambda key, came: came <= now and matches(key))
        else:
            self._next.add(what, now)
            self._begin_next()

    def stop(self) -> None:
        """Look no further. What was flushed and not forgotten so far is still not given."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin_next(self) -> None:
        what, self._next = self._next, Several()
        self._begin(what.covers)

    def _begin(self, concerned: Flushed) -> None:
        self._concerned = concerned
        self._memory.flush(self._flushed)
        self._look = self._memory.forget_names(concerned, SIZE)
        self._go_on(self._look)

    def _go_on(self, look: Iterator[int]) -> None:
        self._timer = None
        began = self._clock.seconds()
        for _ in look:
            took = self._clock.seconds() - began
            if took > SLOW:
                self._timer = self._clock.callLater(min(REST * took, LONGEST), self._go_on, look)
                return
        self._look = None
        if self._next:
            self._begin_next()
        else:
            self._memory.flush(None)

    def _flushed(self, key: bytes, came: float) -> bool:
        """Return whether what came under a key at a time was flushed since, and memory may have it still."""
        return self._concerned(key, came) or self._next.covers(key, came)
