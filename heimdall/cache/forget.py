"""Have memory forget what was flushed: nobody is given it from then on, and it leaves as there is time for that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import inf
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from heimdall.cache.flushed import Flush, Several
from heimdall.cache.memory import Flushed, Memory

SIZE: Final = 1000
"""Answers that are looked at between two looks at the clock; ``JUDGED`` where policies judge each of them."""

JUDGED: Final = 50

MOST_KNOWN: Final = 10_000
"""Answers of which it is remembered that policies let them pass; then they are asked again."""

SLOW: Final = 0.001
"""Seconds of a look through memory after which queries have their turn."""

REST: Final = 4.0
"""Times as long they have it."""

LONGEST: Final = 0.1
"""Seconds that they have it at most."""


Refuses = Callable[[bytes], bool]
"""Whether policies do not let pass what is held under a key."""


class Forgetting:
    """Forgets what was flushed, and what policies do not let pass any more.

    What is flushed while memory is looked through has the next look together.
    """

    def __init__(self, memory: Memory, clock: IReactorTime) -> None:
        self._memory, self._clock = memory, clock
        self._concerned: Flushed = Several().covers
        self._look: Iterator[int] | None = None
        self._next = Several()
        # What policies have to be asked about in this look, and in the next.
        self._judging: Judged | None = None
        self._judged: Judged | None = None
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

    def judge(self, refuses: Refuses, since: float = -inf) -> None:
        """Have memory forget what policies refuse; what of that has come so far is not given any more.

        :param since: what came before that they need not be asked about.
        """
        if self._judged is not None:
            since = min(since, self._judged.since)
        self._judged = Judged(refuses, since, self._clock.seconds())
        if self._look is not None or self._stopped:
            self._memory.flush(self._flushed)
        else:
            self._begin_next()

    def stop(self) -> None:
        """Look no further. What was flushed and not forgotten so far is still not given."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin_next(self) -> None:
        flushed, self._next = self._next, Several()
        judged, self._judged = self._judged, None
        self._begin(flushed.covers, judged)

    def _begin(self, concerned: Flushed, judged: Judged | None = None) -> None:
        self._concerned, self._judging = concerned, judged
        self._memory.flush(self._flushed)
        if judged is None:
            self._look = self._memory.forget_names(concerned, SIZE)
        else:
            self._look = self._memory.forget_names(partial(judged.covers, concerned), JUDGED)
        self._go_on(self._look)

    def _go_on(self, look: Iterator[int]) -> None:
        self._timer = None
        began = self._clock.seconds()
        for _ in look:
            took = self._clock.seconds() - began
            if took > SLOW:
                self._timer = self._clock.callLater(min(REST * took, LONGEST), self._go_on, look)
                return
        self._look = self._judging = None
        if self._next or self._judged is not None:
            self._begin_next()
        else:
            self._memory.flush(None)

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
