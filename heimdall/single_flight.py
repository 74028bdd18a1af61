"""Do what many ask for at once once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """One piece of work, for all who ask for it while it is under way.

    :param work: does it; called once, and again when that is over and somebody asks.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._work = work
        self._waiting: list[Deferred[T]] = []
        self._under_way = False

    def ask(self) -> Deferred[T]:
        """Fire with what comes of it, or fail as it does; who gives up ends nobody else's."""
        waiter: Deferred[T] = Deferred()
        self._waiting.append(waiter)
        if not self._under_way:
            self._under_way = True
            Deferred.fromCoroutine(self._work()).addBoth(self._tell)
        return waiter

    def _tell(self, result: T | Failure) -> None:
        self._under_way = False
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if waiter.called:
                continue  # it was given up
            if isinstance(result, Failure):
                waiter.errback(result)
            else:
                waiter.callback(result)
