"""Have memory forget: what was flushed is given to nobody from then on, and leaves as there is time for that.

So does what is too much since the limit fell.
"""

from __future__ import annotations

from typing import ClassVar, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from heimdall.bugs import reporter
from heimdall.cache.flushed import Flush, Several
from heimdall.cache.memory import Flushed, Memory
from heimdall.slices import Slices

SIZE: Final = 1000
"""Answers that are looked at between two looks at the clock."""


class Forgetting:
    """Forgets what was flushed. What is flushed while memory is looked through has the next look together."""

    _log: ClassVar = Logger()

    def __init__(self, memory: Memory, clock: IReactorTime) -> None:
        self._memory, self._clock = memory, clock
        self._concerned: Flushed = Several().covers
        self._next = Several()
        self._stopped = False
        self._work: Deferred[None] | None = None
        self._trimming: Deferred[None] | None = None

    def forget(self, what: Flush | Several) -> None:
        """Have memory forget what it concerns; what of that has come so far is not given any more."""
        now = self._clock.seconds()
        if self._work is not None or self._stopped:
            self._next.add(what, now)
            self._memory.flush(self._flushed)
            return
        if isinstance(what, Flush):
            matches = what.matches
            self._concerned = lambda key, came: came <= now and matches(key)
        else:
            self._next.add(what, now)
            self._take_next()
        self._memory.flush(self._flushed)
        work = self._work = Deferred.fromCoroutine(self._look_through())
        work.addErrback(self._failed).addBoth(self._over)

    def trim(self) -> None:
        """Have answers leave until what is held is within the limit."""
        if self._trimming is None and not self._stopped:
            trimming = self._trimming = Deferred.fromCoroutine(self._trim())
            trimming.addErrback(self._failed).addBoth(self._trimmed)

    def stop(self) -> None:
        """Look no further. What was flushed and not forgotten so far is still not given."""
        self._stopped = True
        for work in (self._work, self._trimming):
            if work is not None:
                work.cancel()

    async def _trim(self) -> None:
        slices = Slices(self._clock)
        for _ in self._memory.trim(self._clock.seconds()):
            await slices.pause()

    def _trimmed(self, _: object) -> None:
        self._trimming = None

    async def _look_through(self) -> None:
        slices = Slices(self._clock)
        while True:
            for _ in self._memory.forget_names(self._concerned, SIZE):
                await slices.pause()
            if not self._next:
                break
            self._take_next()
        self._memory.flush(None)

    def _take_next(self) -> None:
        what, self._next = self._next, Several()
        self._concerned = what.covers

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            reporter(self._clock).report(self._log, "memory could not forget all that it has to", failure)

    def _over(self, _: object) -> None:
        self._work = None

    def _flushed(self, key: bytes, came: float) -> bool:
        """Return whether what came under a key at a time was flushed since, and memory may have it still."""
        return self._concerned(key, came) or self._next.covers(key, came)
