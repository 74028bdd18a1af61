"""L1, the memory of this node: answers as wire images under their questions, bounded by bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import inf

from attrs import evolve, frozen
from zope.interface import implementer

from heimdall.cache.eviction import Eviction, Place
from heimdall.interfaces import IHotCache
from heimdall.message.answer import Answer, Stale, aged
from heimdall.message.query import NXDOMAIN, Query
from heimdall.tally import Count, Gauge, Tally

ENTRY_BYTES = 700
"""What an answer takes besides its key and its records: objects and places in tables (a test measures it)."""

SPOT_BYTES = 40
"""What the place of one TTL takes: an answer of many small records is mostly these."""


class _Entry(Place):
    """One answer, when it came, and how it looks at the present second."""

    __slots__ = ("age", "answer", "body", "born", "expires", "origin", "refresh_at")

    answer: Answer
    body: bytes
    age: int
    born: float
    expires: float
    origin: str
    refresh_at: float


@frozen
class Kept:
    """An answer in memory, for people to look at.

    ``body`` its records with the TTLs of this moment; ``origin`` where it came from; ``age`` seconds that it has been
    here, and ``left`` those until its TTL is over, below 0 when it is; ``uses`` how often it was given, as far as the
    eviction counts.
    """

    key: bytes
    answer: Answer
    body: bytes
    origin: str
    age: float
    left: float
    uses: int


@implementer(IHotCache)
class Memory:
    """The answers this node holds.

    :param most: bytes it may take, everything counted.
    :param stale_window: seconds an answer is kept past its TTL.
    :param refresh_share: the last share of its TTL in which an answer that is asked for again is refreshed;
        0 for never.
    """

    def __init__(self, most: int, *, stale_window: float = 0.0, refresh_share: float = 0.0) -> None:
        self._entries: dict[bytes, _Entry] = {}
        self._order = Eviction(most)
        self.keep(most, stale_window=stale_window, refresh_share=refresh_share)
        self.refresh: Callable[[Query, float], object] | None = None
        """Called with a query and the seconds its answer still has, when that should be refreshed."""
        self.sure_until = inf
        """When to stop answering: a flush may have been missed by then. ``doubted`` is called once it has passed."""
        self.doubted: Callable[[], object] | None = None
        self._evicted = Count("heimdall_cache_memory_evicted_total", "Answers that had to leave for others.")
        self.tallies: list[Tally] = [
            self._evicted,
            Gauge("heimdall_cache_memory_entries", "Answers held in memory, stale ones too.", self.__len__),
            Gauge("heimdall_cache_memory_used_bytes", "Bytes that the answers in memory take.", lambda: self.used),
            Gauge("heimdall_cache_memory_limit_bytes", "Bytes that they may take.", lambda: self._order.most),
        ]

    def keep(self, most: int, *, stale_window: float, refresh_share: float) -> None:
        """Set the bounds for what is put in from now on; what is too much then leaves with the next one."""
        self._window = stale_window
        self._fresh_share = 1 - refresh_share
        self._order.most = most

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def used(self) -> int:
        """What the answers take, everything counted."""
        return self._order.bytes

    def get(self, query: Query, now: float) -> tuple[Answer, bytes] | None:
        """Return the fresh answer to a query and its records with the TTLs of this second, or None."""
        entry = self._entries.get(query.key) if query.subnet is None else None
        if entry is None or now >= entry.expires:
            entry = next((held for held in self._all(query) if now < held.expires), None)
            if entry is None:
                return None
        if now >= self.sure_until:
            if self.doubted is not None:
                self.doubted()
            return None
        entry.uses += 1
        age = int(now - entry.born)
        if age != entry.age:
            # A hot name pays for this once a second.
            entry.body = aged(entry.answer.body, entry.answer.spots, age)
            entry.age = age
        if now >= entry.refresh_at and entry.uses > 1 and self.refresh is not None:
            entry.refresh_at = inf
            self.refresh(query, entry.expires - now)
        return entry.answer, entry.body

    def held(self, query: Query, now: float) -> tuple[Answer, float, float] | None:
        """Return what was learnt last for a query, be it stale: the answer, when it expires and is forgotten."""
        held = [entry for entry in self._all(query) if now < min(entry.dies, self.sure_until)]
        if not held:
            return None
        entry = max(held, key=lambda entry: entry.born)
        return entry.answer, entry.expires, entry.dies

    def put(self, query: Query, answer: Answer, now: float, dies: float | None = None) -> None:
        """Hold an answer for its TTL, and behind it for the stale window or until ``dies``."""
        if query.subnet is not None:
            key = query.key_for(answer.scope or 0)
        elif answer.rcode == NXDOMAIN and not answer.counts[0]:
            key = _any_type(query)
        else:
            key = query.key
        entry = self._entries.get(key)
        size = ENTRY_BYTES + 2 * len(key) + 2 * len(answer.body) + SPOT_BYTES * len(answer.spots)
        if entry is None:
            entry = self._entries[key] = _Entry(key)
            entry.origin = answer.origin
            self._order.enter(entry, size)
        else:
            self._order.resize(entry, size)
        if not isinstance(answer, Stale):
            entry.origin = answer.origin
        elif answer.source != "memory":
            entry.origin = answer.source
        entry.answer = answer if answer.origin == "stale" else evolve(answer, origin="memory")
        entry.body = answer.body
        entry.age = 0
        entry.born = now
        entry.expires = now + answer.ttl
        entry.dies = now + answer.ttl + self._window if dies is None else dies
        entry.refresh_at = now + answer.ttl * self._fresh_share if answer.keep and self._fresh_share < 1 else inf
        if self._order.bytes > self._order.most:
            for place in self._order.victims(now):
                del self._entries[place.key]
                self._evicted.add()

    def forget(self, key: bytes) -> None:
        """Forget what is held under one key."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._order.leave(entry)

    def forget_names(self, wanted: Callable[[bytes], bool]) -> int:
        """Forget all answers under some keys; return how many that were.

        :param wanted: says of a key, which begins with the folded wire name, whether it is one of them.
        """
        found = [key for key in self._entries if wanted(key)]
        for key in found:
            self.forget(key)
        return len(found)

    def inspect(self, name: bytes, now: float, keys: Iterable[bytes] | None = None) -> list[Kept]:
        """Return what is held for a name, stale answers too.

        :param keys: look under these alone; None for all, which takes a look at every key.
        """
        wanted = [key for key in self._entries if key.startswith(name)] if keys is None else keys
        found = [entry for entry in map(self._entries.get, wanted) if entry is not None and now < entry.dies]
        return [_kept(entry, now) for entry in found]

    def keys(self, size: int) -> Iterator[list[bytes]]:
        """Yield the keys of all answers, ``size`` of them at a time; answers may come and go between two steps."""
        keys = list(self._entries)
        for start in range(0, len(keys), size):
            yield keys[start : start + size]

    def growth(self, size: int) -> Iterator[list[tuple[int, bytes]]]:
        """Yield, for ``size`` answers at a time, how often each was used since that was noted, and its key.

        Those used no more than once are left out. Answers may come and go between two steps.
        """
        entries = list(self._entries.values())
        for start in range(0, len(entries), size):
            yield [
                (entry.uses - entry.noted, entry.key)
                for entry in entries[start : start + size]
                if entry.uses - entry.noted > 1
            ]

    def note(self, key: bytes) -> tuple[Answer, int] | None:
        """Take note of how often an answer was used; return it, and the uses since the last time."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        grown = entry.uses - entry.noted
        entry.noted = entry.uses
        return entry.answer, grown

    def life(self, key: bytes) -> tuple[float, float, float] | None:
        """Return of the answer to a question when it came, should be refreshed, and expires; None when none is held.

        :param key: the question's, without a client's subnet.
        """
        entry = self._plain(key)
        return None if entry is None else (entry.born, entry.refresh_at, entry.expires)

    def renew(self, query: Query, now: float) -> bool:
        """Refresh an answer whose time for that has come, though nobody asks; return whether that was to be done."""
        entry = self._plain(query.key)
        if entry is None or not entry.refresh_at <= now < entry.expires or self.refresh is None:
            return False
        entry.refresh_at = inf
        self.refresh(query, entry.expires - now)
        return True

    def _plain(self, key: bytes) -> _Entry | None:
        """Return what answers a question without a client's subnet, be it stale."""
        return self._entries.get(key) or self._entries.get(key[:-5] + b"\0\0" + key[-3:])

    def _all(self, query: Query) -> list[_Entry]:
        """Return what is held for a query, under whatever key, the closest first."""
        keys = query.keys() if query.subnet is not None else (query.key, _any_type(query))
        return [entry for entry in map(self._entries.get, keys) if entry is not None]


def _kept(entry: _Entry, now: float) -> Kept:
    """Return an answer as it is; one that is given past its TTL as old as it is in truth."""
    answer, age = entry.answer, now - entry.born
    stale = answer if isinstance(answer, Stale) else None
    return Kept(
        key=entry.key,
        answer=answer,
        body=aged(answer.body, answer.spots, int(age)),
        origin=entry.origin,
        age=stale.age + age if stale else age,
        left=-stale.late - age if stale else entry.expires - now,
        uses=entry.uses,
    )


def _any_type(query: Query) -> bytes:
    """Return the key of the answer that a name does not exist: it holds for every type (RFC 2308, 5)."""
    end = len(query.name)
    return query.key[:end] + b"\0\0" + query.key[end + 2 :]
