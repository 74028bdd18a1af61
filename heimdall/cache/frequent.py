"""Count what is asked most among more questions than there is room for."""

from __future__ import annotations

from collections import Counter
from typing import Final

from heimdall.cache.ranks import EXACT, UNKNOWN, Asked
from heimdall.message.answer import Answer
from heimdall.message.query import NXDOMAIN, Query

MOST: Final = 1000
"""Questions that are counted at once, of those that Redis knew, and of those that an upstream did."""


class Frequent:
    """Questions that memory did not know, by who answered them.

    When there are too many, the half that was asked least leaves: to make room costs next to nothing for each
    question, and what is asked often stays.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._redis: dict[bytes, int] = {}
        self._upstream: dict[bytes, int] = {}
        # The TTLs that upstreams told last, of questions in ``_upstream``.
        self._ttls: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._redis.keys() | self._upstream.keys())

    def landed(self, query: Query, answer: Answer, askers: int) -> None:
        """Count a question that Redis or an upstream knew the answer to, unless it is for a client's subnet.

        :param askers: who waited for it.
        """
        if query.subnet is not None:
            return
        key, origin, rcode = query.key, answer.origin, answer.rcode
        if origin == "upstream":
            asks = self._upstream
            if not rcode or rcode == NXDOMAIN:
                self._ttls[key] = answer.ttl
        elif origin == "redis":
            asks = self._redis
        else:
            return
        asks[key] = asks.get(key, 0) + askers
        if len(asks) > self._most:
            self._make_room(asks)

    def take(self, most: int) -> list[Asked]:
        """Return what was asked most, and count it anew."""
        total = Counter(self._redis)
        total.update(self._upstream)
        return [self._take(key) for key, _ in total.most_common(most)]

    def _take(self, key: bytes) -> Asked:
        ttl = self._ttls.pop(key, None)
        told = UNKNOWN if ttl is None else ttl | EXACT
        return Asked(key, 0, self._redis.pop(key, 0), self._upstream.pop(key, 0), told)

    def _make_room(self, asks: dict[bytes, int]) -> None:
        least = sorted(asks.values())[len(asks) // 2]
        stay = {key: count for key, count in asks.items() if count > least}
        if asks is self._redis:
            self._redis = stay
        else:
            ttls = self._ttls
            self._upstream, self._ttls = stay, {key: ttls[key] for key in stay if key in ttls}
