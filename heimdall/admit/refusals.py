"""Which clients are refused, as the log tells it: when that begins, and when it is over."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from heimdall.episodes import Episodes


class Refusals:
    """Tells of clients that may not ask at all, ``denied``, and of those that ask too much, ``limited``."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self.denied = Episodes(
            clock,
            self._log,
            "Not among admit.allow: {who}; it is answered REFUSED",
            "Not among admit.allow: {who}, which asks no more; {count} queries were refused",
        )
        self.limited = Episodes(
            clock,
            self._log,
            "Over the rate limit (admit.rate): {who}; what is too much gets no answer, over TCP REFUSED",
            "No longer over the rate limit: {who}; {count} queries were too much",
        )

    def stop(self) -> None:
        """Look no more whether a refusal is over."""
        self.denied.stop()
        self.limited.stop()
