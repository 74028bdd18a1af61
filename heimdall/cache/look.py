"""One query on its way through Redis: what was asked of whom, and what is known so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from heimdall.cache.worth import Judged
from heimdall.interfaces import Ongoing, Told
from heimdall.message.answer import Answer
from heimdall.message.query import Query
from heimdall.tally import Count

LEASED: Final[list[object]] = [1]
"""What is found where nothing was, and the lease is ours now."""


class Seen:
    """What was seen of a query's key before its way began.

    ``values``  what :meth:`~heimdall.cache.reading.Asking.found` was given, at ``now``
    ``judged``  what the value, if it is one, is worth
    ``late``    whether nothing was seen within the budget
    """

    __slots__ = ("judged", "late", "now", "values")

    def __init__(
        self, values: list[object] | None, now: float, judged: Judged | None = None, *, late: bool = False
    ) -> None:
        self.values, self.now, self.judged, self.late = values, now, judged, late


class Look:
    """One query on its way.

    ``keys``      what it may be held under, without prefix, the closest first
    ``told``      called with what came of it
    ``looking``   Redis was asked and has not replied
    ``asked``     whoever is next was asked; ``since`` when, on our clock, ``source`` while he works at it, and ``came``
                  when he has told what he knows
    ``kept``      what Redis holds that is good enough only in need
    ``spoilt``    the keys that hold what is no answer
    ``outcome``   what the next one came to, while Redis is still looking
    ``lease``     the key of the lease that we hold for it
    ``following`` the key we wait at for another node, for ``patience``; ``woken`` is called with what it learnt
    ``timer``     until what is kept is given though it is stale
    """

    __slots__ = (
        "_cancelled", "asked", "came", "done", "following", "kept", "keys", "lease", "looking", "outcome", "patience",
        "query", "since", "source", "spoilt", "timer", "told", "woken",
    )  # fmt: skip

    def __init__(self, query: Query, told: Told, cancelled: Callable[[Look], None]) -> None:
        self.query = query
        self.told = told
        self._cancelled = cancelled
        self.keys: tuple[bytes, ...] | list[bytes] = query.keys() if query.subnet else (query.key,)
        self.done = self.asked = self.came = self.looking = False
        self.since = 0.0
        self.source: Ongoing | None = None
        self.kept: Answer | None = None
        self.spoilt: list[bytes] = []
        self.outcome: Answer | Failure | None = None
        self.timer: IDelayedCall | None = None
        self.patience: IDelayedCall | None = None
        self.lease: bytes | None = None
        self.following: bytes | None = None
        self.woken: Callable[[bytes], None] | None = None

    def note(self, count: Count, result: str) -> None:
        """Count what came of asking Redis, and note it for who follows the question."""
        count.add(result)
        if self.query.trace is not None:
            self.query.trace.note("redis", result + ", the lease is ours" * (self.lease is not None))

    def cancel(self) -> None:
        """End the work; see :class:`~heimdall.interfaces.Ongoing`."""
        if not self.done:
            self._cancelled(self)
            self.told(Failure(CancelledError()))

    def end(self) -> None:
        """Take no more results."""
        self.done = True
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
