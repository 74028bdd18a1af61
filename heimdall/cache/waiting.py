"""One question of this process on its way, and who waits for its answer."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure

from heimdall.interfaces import Ongoing, Told
from heimdall.message.answer import Answer
from heimdall.message.query import Query


class Waiter:
    """Somebody who waits for a flight; ``open`` until he was told."""

    __slots__ = ("_given_up", "flight", "open", "told")

    def __init__(self, told: Told, given_up: Callable[[Waiter], None]) -> None:
        self.told = told
        self._given_up = given_up
        self.flight: Flight | None = None
        self.open = True

    def end(self, outcome: Answer | Failure) -> None:
        """Tell him what came of it."""
        self.open = False
        self.told(outcome)

    def cancel(self) -> None:
        """Wait no longer; see :class:`~heimdall.interfaces.Ongoing`."""
        if self.open:
            self._given_up(self)
            self.end(Failure(CancelledError()))


class Flight:
    """One question on its way, and who waits for it; ``slow`` once those have waited as long as for something fresh."""

    __slots__ = ("due", "ends", "key", "open", "query", "round", "slow", "waiters", "work")

    def __init__(self, key: bytes, query: Query, due: float, ends: float) -> None:
        self.key = key
        self.query = query
        self.due = due
        self.ends = ends
        self.waiters: list[Waiter] = []
        self.work: Ongoing | None = None
        self.slow = False
        self.open = True
        # How often it was asked anew; what an earlier round brings is not listened to.
        self.round = 0
