"""What a value from Redis is worth to a query, and whether an answer is worth storing there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from heimdall.cache.entry import Rubbish, from_bytes, stored_at, to_bytes
from heimdall.cache.seal import Seal
from heimdall.message.answer import Answer
from heimdall.message.query import NXDOMAIN, Query
from heimdall.tally import Count, Tally

NEWER: Final = 1.0
"""Seconds that a value must outlive what a refresh is to replace: else our own may pass for news, since we know
Redis's clock a little better or worse each time."""

LONG_AGO: Final = 10.0
"""Seconds after which an answer is not stored: whoever waited so long for it was frozen, and the world went on."""

Covers = Callable[[bytes, float], bool]
"""Whether a name was flushed after its upstream was asked: name, and seconds since 1970 on the clock of Redis."""

Judged = tuple[str, Answer | None]
"""What :meth:`Worth.judge` says of a value."""

_NOT_NEWS: Final[tuple[str, ...]] = ("redis", "stale")


def never(name: bytes, asked: float) -> bool:
    """Nothing was ever flushed."""
    return False


class Worth:
    """Judges values.

    :param seal: what values are sealed with.
    :param covers: what was flushed.
    :param window: seconds behind its TTL in which an answer may be used stale.
    :param ceilings: the greatest TTL of any answer, and of one that says no: a node with others may have stored it.
    """

    def __init__(self, seal: Seal, covers: Covers, window: int, ceilings: tuple[int, int]) -> None:
        self._seal, self._covers, self._window = seal, covers, window
        self._ceiling, self._negative = ceilings[0], min(ceilings)
        self.node = 0
        """The number of this node, for the values that it stores."""
        self._rubbish = Count("heimdall_cache_redis_rubbish_total", "Values that are no answer.", "reason")
        self.tallies: list[Tally] = [self._rubbish]

    def judge(self, query: Query, key: bytes, value: bytes, now: float) -> Judged:
        """Return what a value is to a query, and its answer if that can be used at all.

        It is a hit; a miss, good only in need because it has too little time left; stale; flushed; or rubbish.

        :param key: what it was found under, without prefix.
        :param now: seconds since 1970 on the clock of Redis.
        """
        try:
            answer, left, asked = from_bytes(value, key, len(query.question), now, self._seal)
        except Rubbish as rubbish:
            self._rubbish.add(rubbish.reason)
            return "rubbish", None
        if self._covers(query.name, asked):
            return "flushed", None
        if answer.ttl > (self._negative if answer.negative else self._ceiling) or len(answer.spots) > 1:
            answer = answer.bounded(0, self._ceiling, self._negative)
        if left > (query.least and query.least + NEWER):
            return "hit", answer
        if left > 0:
            return "miss", answer
        if left <= -self._window:
            return "miss", None
        return "stale", answer.stale(-left, max(now - stored_at(value), 0.0))

    def value(self, query: Query, answer: Answer, now: float | None, took: float) -> tuple[bytes, bytes, int] | None:
        """Return what to store of an answer: key without prefix, value, milliseconds; or None for nothing.

        :param now: as for :meth:`judge`; None while that is not known.
        :param took: how many seconds the upstream took.
        """
        key = query.key_for(answer.scope or 0)  # no scope told: for all (RFC 7871, 7.3.1)
        good = answer.keep and answer.ttl > 0 and answer.rcode in (0, NXDOMAIN) and answer.origin not in _NOT_NEWS
        if not good or answer.alias or now is None or took > LONG_AGO or not key.startswith(answer.question):
            return None
        if self._covers(query.name, now - took):
            return None
        return key, to_bytes(answer, key, now, self._seal, now - took, self.node), (answer.ttl + self._window) * 1000
