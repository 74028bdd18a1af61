"""One refresh for the cluster: what is hot is asked anew ahead of its end by one node, and told to the others.

Every node that holds a hot answer knows when it ends, and waits for a moment of its own in the first half of the
time in which it may be refreshed. The first one asks; the lease in Redis sees to it that no two do at once. The
fresh answer is told to all, and each node that holds the old one puts the new one in its place: no query is needed
for that, nor does it matter which node the queries come to. Nobody depends on being told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from zlib import crc32

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall

from heimdall.cache.entry import stored_at
from heimdall.cache.memory import Memory
from heimdall.cache.ranks import question
from heimdall.interfaces import ILink, INotices, Passes
from heimdall.message.answer import Answer
from heimdall.message.query import Query
from heimdall.tally import Count, Tally

KIND: Final = b"H"
"""The kind of the notice that tells a fresh answer: length of the key (two bytes), key, value."""

TICK: Final = 1.0
"""Seconds between two looks at what ends soon."""

WANTED: Final = 2.0
"""Asks that are expected within the next TTL of a name, in the whole cluster, for it to be refreshed."""

MOST: Final = 100
"""Refreshes begun in a second, and answers told."""

MOST_HEARD: Final = 1000
"""Answers taken from other nodes in a second."""

Judge = Callable[[Query, bytes, bytes, float], tuple[str, Answer | None]]
"""Says what a value from Redis is to a query; see :meth:`heimdall.cache.worth.Worth.judge`."""


class Refresh:
    """Refreshes what is hot in the cluster.

    :param names: returns what is hot: keys of questions, with their asks in a second in the whole cluster.
    :param judge: says what a value from another node is worth.
    """

    def __init__(
        self,
        link: ILink,
        notices: INotices,
        memory: Memory,
        clock: IReactorTime,
        *,
        names: Callable[[], dict[bytes, float]],
        judge: Judge,
    ) -> None:
        self._link, self._notices, self._memory, self._clock = link, notices, memory, clock
        self._names, self._judge = names, judge
        self.passes: Passes | None = None
        """Whether policies let a client ask for what another node tells; it is not taken where they cannot tell."""
        self._seed = crc32(notices.token)
        self._due: dict[bytes, IDelayedCall] = {}
        self._told = self._taken = 0
        self._loop = LoopingCall(self._look)
        self._loop.clock = clock
        self._begun = Count("heimdall_cache_refresh_begun_total", "Hot answers refreshed though nobody asked here.")
        self._tells = Count("heimdall_cache_refresh_told_total", "Fresh answers to tell the other nodes.", "result")
        self._heard = Count("heimdall_cache_refresh_heard_total", "Fresh answers of other nodes.", "result")
        self.tallies: list[Tally] = [self._begun, self._tells, self._heard]
        notices.on(KIND, self._hear)

    def start(self) -> None:
        """Look from now on."""
        self._loop.start(TICK, now=False)

    def stop(self) -> None:
        """Look no more."""
        if self._loop.running:
            self._loop.stop()
        for call in self._due.values():
            call.cancel()
        self._due.clear()

    def stored(self, query: Query, key: bytes, value: bytes) -> None:
        """Tell the others an answer that was stored, if that was a refresh and they want to know.

        :param key: what it is stored under, without prefix.
        """
        if not query.least or key not in self._names():
            return
        if self._told >= MOST:
            self._tells.add("many")
            return
        self._told += 1
        self._tells.add("told")
        self._notices.tell(KIND, len(key).to_bytes(2, "big") + key + value)

    def _look(self) -> None:
        """Set a timer for each hot answer whose moment comes before the next look."""
        self._told = self._taken = 0
        now = self._clock.seconds()
        life = self._memory.life
        for key, rate in self._names().items():
            held = life(key)
            if held is None or key in self._due:
                continue
            born, early, ends = held
            if early >= now + TICK or ends <= now or rate * (ends - born) < WANTED:
                continue
            moment = early + (ends - early) / 2 * (crc32(key, self._seed) / 0x1_0000_0000)
            if moment < now + TICK:
                self._due[key] = self._clock.callLater(max(moment - now, 0.0), self._renew, key)
                if len(self._due) >= MOST:
                    return

    def _renew(self, key: bytes) -> None:
        del self._due[key]
        query = question(key)
        if query is not None and self._memory.renew(query, self._clock.seconds()):
            self._begun.add()

    # Other nodes.

    def _hear(self, sender: bytes, payload: bytes) -> None:
        size = int.from_bytes(payload[:2], "big") + 2
        self._heard.add(self._take(payload[2:size], payload[size:]))

    def _take(self, key: bytes, value: bytes) -> str:
        """Put a fresh answer in the place of an old one; say what came of it."""
        held = self._memory.life(key)
        if held is None:
            return "unwanted"
        self._taken += 1
        query, time = question(key), self._link.now()
        if self._taken > MOST_HEARD or query is None or time is None:
            return "many" if self._taken > MOST_HEARD else "rubbish"
        result, answer = self._judge(query, key, value, time)
        if result != "hit" or answer is None:
            return result
        now = self._clock.seconds()
        kept = self._memory.held(query, now)
        stale = kept is not None and kept[0].origin == "stale"
        if not stale and stored_at(value) <= time - (now - held[0]):
            return "old"  # what is held came after it
        passes = True if self.passes is None else self.passes(query)
        if not passes:
            if passes is False:
                self._memory.refuse(query)
            return "refused"
        self._memory.put(query, answer, now)
        return "taken"
