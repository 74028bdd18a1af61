"""Count what is asked most among more questions than there is room for."""

from __future__ import annotations

from typing import Final

from heimdall.cache.ranks import EXACT, UNKNOWN, Asked
from heimdall.message.answer import Answer
from heimdall.message.query import NXDOMAIN, Query

MOST: Final = 1000
"""Questions that are counted at once."""


class Frequent:
    """Questions that memory did not know, by who answered them.

    When there are too many, the half that was asked least leaves: to make room costs next to nothing for each
    question, and what is asked often stays.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        # Of each key: asks in all, those answered by Redis and by an upstream, and the TTL.
        self._counts: dict[bytes, list[int]] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def landed(self, query: Query, answer: Answer, askers: int) -> None:
        """Count a question and what came of it, unless it is for a client's subnet.

        :param askers: who waited for it.
        """
        if query.subnet is not None:
            return
        ttl = -1
        if answer.rcode in (0, NXDOMAIN) and answer.origin == "upstream":
            ttl = answer.ttl
        self.add(query.key, answer.origin, ttl, askers)

    def add(self, key: bytes, origin: str, ttl: int, askers: int) -> None:
        """Count some who asked a question.

        :param origin: who knew: redis, upstream, or anybody else.
        :param ttl: of the answer, in seconds; below 0 when it tells nothing.
        """
        counts = self._counts.get(key)
        if counts is None:
            if len(self._counts) >= self._most:
                self._make_room()
            counts = self._counts[key] = [0, 0, 0, UNKNOWN]
        counts[0] += askers
        if origin == "redis":
            counts[1] += askers
        elif origin == "upstream":
            counts[2] += askers
            if ttl >= 0:
                counts[3] = ttl | EXACT

    def take(self, most: int) -> list[Asked]:
        """Return what was asked most, and count it anew."""
        counts = self._counts
        keys = sorted(counts, key=lambda key: counts[key][0], reverse=True)[:most]
        return [Asked(key, 0, *counts.pop(key)[1:]) for key in keys]

    def _make_room(self) -> None:
        totals = sorted(counts[0] for counts in self._counts.values())
        least = totals[len(totals) // 2]
        kept = {key: counts for key, counts in self._counts.items() if counts[0] > least}
        self._counts = kept
