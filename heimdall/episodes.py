"""Tell in the log when something begins to happen to a client and when it is over, however many clients there are."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

EVERY: Final = 30.0
"""Seconds in which it must not happen for it to be over; that is looked for so often."""

NAMED: Final = 10
"""Clients that are named at once; all others are one more."""


class _Episode:
    """How often it has happened to somebody, and whether it has since the last look."""

    __slots__ = ("count", "fresh", "who")

    def __init__(self, who: str) -> None:
        self.who = who
        self.count = 0
        self.fresh = True


class Episodes:
    """Something that happens to clients, such as a refusal: two lines for each of :data:`NAMED` clients at most.

    So a flood of clients costs some twenty lines in :data:`EVERY` seconds. A timer runs only while there is something
    that has not ended.

    :param log: writes the lines, which hold ``{who}``.
    :param began: says that it happens to somebody.
    :param ended: says that it is over, and its ``{count}``.
    """

    def __init__(self, clock: IReactorTime, log: Logger, began: str, ended: str) -> None:
        self._clock, self._log, self._began, self._ended = clock, log, began, ended
        self._named: dict[Hashable, _Episode] = {}
        self._others: _Episode | None = None
        self._timer: IDelayedCall | None = None

    def note(self, key: Hashable, host: str, name: Callable[[str], str] = str) -> None:
        """Note that it has happened to a client.

        :param key: tells clients apart.
        :param host: its address; ``name`` returns what to call it, when that is to be told.
        """
        episode = self._named.get(key)
        if episode is None:
            if len(self._named) < NAMED:
                episode = self._named[key] = self._begin(name(host))
            elif self._others is None:
                episode = self._others = self._begin(f"others, beside the {NAMED} that are named")
            else:
                episode = self._others
        episode.count += 1
        episode.fresh = True

    def stop(self) -> None:
        """Look no more whether something is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin(self, who: str) -> _Episode:
        self._log.warn(self._began, who=who)
        if self._timer is None:
            self._timer = self._clock.callLater(EVERY, self._look)
        return _Episode(who)

    def _look(self) -> None:
        """Tell what is over."""
        self._timer = None
        over = [key for key, episode in self._named.items() if self._is_over(episode)]
        for key in over:
            del self._named[key]
        if self._others is not None and self._is_over(self._others):
            self._others = None
        if self._named or self._others is not None:
            self._timer = self._clock.callLater(EVERY, self._look)

    def _is_over(self, episode: _Episode) -> bool:
        """Return whether it is over for somebody, and tell so."""
        if episode.fresh:
            episode.fresh = False
            return False
        self._log.info(self._ended, who=episode.who, count=episode.count)
        return True
