"""Have memory forget: what was flushed is given to nobody from then on, and leaves as there is time for that.

So does what is too much since the limit fell.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf
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
"""Answers that are looked at between two looks at the clock; ``JUDGED`` where policies judge each of them."""

JUDGED: Final = 50

MOST_KNOWN: Final = 10_000
"""Answers of which it is remembered that policies let them pass; then they are asked again."""


Refuses = Callable[[bytes], bool]
"""Whether policies do not let pass what is held under a key."""


class Forgetting:
    """Forgets what was flushed, and what policies do not let pass any more.

    What is flushed while memory is looked through has the next look together.
    """

    _log: ClassVar = Logger()

    def __init__(self, memory: Memory, clock: IReactorTime) -> None:
        self._memory, self._clock = memory, clock
        self._concerned: Flushed = Several().covers
        self._next = Several()
        # What policies have to be asked about in this look, and in the next.
        self._judging: Judged | None = None
        self._judged: Judged | None = None
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
        self._begin()

    def judge(self, refuses: Refuses, since: float = -inf) -> None:
        """Have memory forget what policies refuse; what of that has come so far is not given any more.

        :param since: what came before that they need not be asked about.
        """
        if self._judged is not None:
            since = min(since, self._judged.since)
        self._judged = Judged(refuses, since, self._clock.seconds())
        if self._work is not None or self._stopped:
            self._memory.flush(self._flushed)
        else:
            self._take_next()
            self._begin()

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

    def _begin(self) -> None:
        self._memory.flush(self._flushed)
        work = self._work = Deferred.fromCoroutine(self._look_through())
        work.addErrback(self._failed).addBoth(self._over)

    async def _look_through(self) -> None:
        slices = Slices(self._clock)
        while True:
            concerned, judging = self._concerned, self._judging
            if judging is None:
                looking = self._memory.forget_names(concerned, SIZE)
            else:
                looking = self._memory.forget_names(partial(judging.covers, concerned), JUDGED)
            for _ in looking:
                await slices.pause()
            self._judging = None
            if not self._next and self._judged is None:
                break
            self._take_next()
        self._memory.flush(None)

    def _take_next(self) -> None:
        flushed, self._next = self._next, Several()
        self._judging, self._judged = self._judged, None
        self._concerned = flushed.covers

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            reporter(self._clock).report(self._log, "memory could not forget all that it has to", failure)

    def _over(self, _: object) -> None:
        self._work = None

    def _flushed(self, key: bytes, came: float) -> bool:
        """Return whether what came under a key at a time was flushed since, and memory may have it still."""
        if self._concerned(key, came) or self._next.covers(key, came):
            return True
        judging, judged = self._judging, self._judged
        return (judging is not None and judging.now(key, came)) or (judged is not None and judged.now(key, came))


class Judged:
    """What policies refuse of all that came between two times."""

    def __init__(self, refuses: Refuses, since: float, until: float) -> None:
        self._refuses, self.since, self._until = refuses, since, until
        self._passed: set[bytes] = set()

    def covers(self, concerned: Flushed, key: bytes, came: float) -> bool:
        """Return whether something else concerns what came under a key at a time, or policies refuse it."""
        return concerned(key, came) or (self.since <= came <= self._until and self._refuses(key))

    def now(self, key: bytes, came: float) -> bool:
        """Return whether policies refuse what somebody asks for; of what they let pass they are asked once."""
        if not self.since <= came <= self._until or key in self._passed:
            return False
        if self._refuses(key):
            return True
        if len(self._passed) >= MOST_KNOWN:
            self._passed.clear()
        self._passed.add(key)
        return False
