"""Count what is asked most among more questions than there is room for."""

from __future__ import annotations

from typing import Final

from heimdall.cache.ranks import EXACT, UNKNOWN, Asked
from heimdall.message.answer import Answer
from heimdall.message.query import NXDOMAIN, Query

MOST: Final = 1000
"""Questions that are counted at once."""


class _Asks:
    """How often a question was asked: in ``total``, and those that Redis and an upstream knew; and its ``ttl``."""

    __slots__ = ("redis", "total", "ttl", "upstream")

    def __init__(self) -> None:
        self.total = self.redis = self.upstream = 0
        self.ttl = UNKNOWN


class Frequent:
    """Questions that memory did not know, by who answered them.

    When there are too many, the half that was asked least leaves: to make room costs next to nothing for each
    question, and what is asked often stays.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._asks: dict[bytes, _Asks] = {}

    def __len__(self) -> int:
        return len(self._asks)

    def landed(self, query: Query, answer: Answer, askers: int) -> None:
        """Count a question and what came of it, unless it is for a client's subnet.

        :param askers: who waited for it.
        """
        if query.subnet is not None:
            return
        key = query.key
        asks = self._asks.get(key)
        if asks is None:
            if len(self._asks) >= self._most:
                self._make_room()
            asks = self._asks[key] = _Asks()
        asks.total += askers
        if answer.origin == "redis":
            asks.redis += askers
        elif answer.origin == "upstream":
            asks.upstream += askers
            if answer.rcode in (0, NXDOMAIN):
                asks.ttl = answer.ttl | EXACT

    def take(self, most: int) -> list[Asked]:
        """Return what was asked most, and count it anew."""
        keys = sorted(self._asks, key=lambda key: self._asks[key].total, reverse=True)[:most]
        taken = [(key, self._asks.pop(key)) for key in keys]
        return [Asked(key, 0, asks.redis, asks.upstream, asks.ttl) for key, asks in taken]

    def _make_room(self) -> None:
        totals = sorted([asks.total for asks in self._asks.values()])
        least = totals[len(totals) // 2]
        self._asks = {key: asks for key, asks in self._asks.items() if asks.total > least}
