"""L1, the memory of this node: answers as wire images under their questions, bounded by bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import inf
from typing import Final

from zope.interface import classImplements

from heimdall.cache.eviction import QUEUES, Eviction
from heimdall.cache.kept import Kept, kept
from heimdall.cache.table import ORIGINS, Table
from heimdall.interfaces import IHotCache
from heimdall.message.answer import Answer, Stale
from heimdall.message.query import DS, EVERY_TYPE, NXDOMAIN, Query
from heimdall.message.spots import aged
from heimdall.tally import Count, Gauge, Tally

ENTRY_BYTES: Final = 380
"""What an answer takes besides its key and its records: its place in each table (a test measures it).

This is between two means: 340 bytes interpreted, and 430 compiled, where the tables do not share their numbers. The
parts of the index double when they are full, so it is 20 bytes less just before, and 40 more just behind it.
"""

FORM_BYTES: Final = 450
"""What the form of an answer takes that none before had; ``SPOT_BYTES`` the place of each TTL in it."""

SPOT_BYTES: Final = 40

PARTS: Final = 1024
"""Parts of the index, by the hash of the key. A dictionary that is full is written again, all of it. For a million
names that is a pause of fifty milliseconds, and for a part of them of fifty microseconds."""

STEP: Final = 50_000
"""Bytes that leave in one step of :meth:`Memory.trim`."""

Flushed = Callable[[bytes, float], bool]
"""Whether what came at a time under a key was flushed since."""

_PART: Final = PARTS - 1

_NUMBERS: Final = {origin: number for number, origin in enumerate(ORIGINS)}


class Memory:
    """The answers this node holds.

    :param most: bytes it may take, everything counted.
    :param stale_window: seconds an answer is kept past its TTL.
    :param refresh_share: the last share of its TTL in which an answer that is asked for again is refreshed;
        0 for never.
    """

    def __init__(self, most: int, *, stale_window: float = 0.0, refresh_share: float = 0.0) -> None:
        self._index: list[dict[bytes, int]] = [{} for _ in range(PARTS)]
        self._table = table = Table()
        self._order = Eviction(table, most)
        self._expires, self._until, self._uses = table.expires, table.until, table.uses
        self._forms, self._bodies = table.forms, table.bodies
        self.keep(most, stale_window=stale_window, refresh_share=refresh_share)
        self.refresh: Callable[[Query, float], object] | None = None
        """Called with a query and the seconds its answer still has, when that should be refreshed.

        Where it returns False the answer may not be given even so long, and is forgotten.
        """
        self._sure_until = self._plain_until = inf
        self._flushed: Flushed | None = None
        self.doubted: Callable[[], object] | None = None
        self._evicted = Count("heimdall_cache_memory_evicted_total", "Answers that had to leave for others.")
        self.tallies: list[Tally] = [
            self._evicted,
            Gauge("heimdall_cache_memory_entries", "Answers held in memory, stale ones too.", self.__len__),
            Gauge("heimdall_cache_memory_used_bytes", "Bytes that the answers in memory take.", lambda: self.used),
            Gauge("heimdall_cache_memory_limit_bytes", "Bytes that they may take.", lambda: self._order.most),
            Gauge("heimdall_cache_memory_shared_forms", "Forms that answers share, 1 kB each.", lambda: table.shared),
        ]

    def keep(self, most: int, *, stale_window: float, refresh_share: float) -> None:
        """Set the bounds for what is put in from now on; what is too much then leaves with the next ones, or by
        :meth:`trim`.
        """
        self._window = stale_window
        self._fresh_share = 1 - refresh_share
        self._order.limit(most)

    @property
    def sure_until(self) -> float:
        """When to stop answering: a flush may have been missed by then. ``doubted`` is called once it has passed."""
        return self._sure_until

    @sure_until.setter
    def sure_until(self, until: float) -> None:
        self._sure_until = until
        self.flush(self._flushed)

    def flush(self, flushed: Flushed | None) -> None:
        """Give, from now on, nothing that was flushed; None where nothing is left of that."""
        self._flushed = flushed
        # Until then there is nothing to look at: so what runs for each query has one look for both.
        self._plain_until = self._sure_until if flushed is None else -inf

    def __len__(self) -> int:
        return len(self._table) - QUEUES

    @property
    def used(self) -> int:
        """What the answers take, everything counted."""
        return self._order.bytes

    def again(self, place: int, body: bytes, now: float) -> bool:
        """Whether a body that :meth:`get` gave is still what is to be given from its place; if so, count it."""
        if now < self._until[place] and self._bodies[place] is body and now < self._plain_until:
            self._uses[place] += 1
            return True
        return False

    def get(self, query: Query, now: float) -> tuple[Answer, bytes, int] | None:
        """Return the fresh answer to a query, its records with the TTLs of this second, and its place.

        The place is less than 0, its number inverted, when nobody was given the answer before in this second. The
        answer has neither question nor records nor TTL of its own.
        """
        key = query.key
        place = self._index[hash(key) & _PART].get(key)
        if place is None or query.subnet is not None:
            place = self._elsewhere(query, now)
            if place is None:
                return None
        elif now < self._until[place] and now < self._plain_until:  # nearly always; it is fresh then as well
            self._uses[place] += 1
            return self._forms[place], self._bodies[place], place
        elif now >= self._expires[place]:
            place = self._elsewhere(query, now)
            if place is None:
                return None
        if now >= self._plain_until:
            if now >= self._sure_until:
                if self.doubted is not None:
                    self.doubted()
                return None
            if self._is_flushed(place):
                self.forget(self._table.keys[place])
                return self.get(query, now)  # another one may have come since
        self._uses[place] += 1
        if now < self._until[place]:
            return self._forms[place], self._bodies[place], place
        held = self._table.keys[place]
        if not self._fit(place, query, now):
            self.forget(held)
            return None
        if self._table.keys[place] != held:
            return self.get(query, now)  # a source that answers at once has put something else there
        return self._forms[place], self._bodies[place], ~place

    def _find(self, key: bytes) -> int | None:
        """Return the place of what is held under a key."""
        return self._index[hash(key) & _PART].get(key)

    def _is_flushed(self, place: int) -> bool:
        """Whether the answer in a place was flushed, and is to be forgotten."""
        return self._flushed is not None and self._flushed(self._table.keys[place], self._table.born[place])

    def _elsewhere(self, query: Query, now: float) -> int | None:
        """Return what answers a query that nothing fresh is held for under its own key."""
        if query.subnet is not None:
            return next((place for place in self._all(query) if now < self._expires[place]), None)
        place = self._find(_any_type(query))
        return None if place is None or now >= self._expires[place] else place

    def _fit(self, place: int, query: Query, now: float) -> bool:
        """Bring an answer to this second: a hot name pays for that once in it. Return whether it may be given."""
        table = self._table
        born, expires, refresh_at = table.born[place], table.expires[place], table.refresh_at[place]
        age = int(now - born)
        later = age - table.ages[place]
        if later:
            table.bodies[place] = aged(table.bodies[place], table.forms[place].spots, later)
            table.ages[place] = age
        if now >= refresh_at and table.uses[place] > 1 and self.refresh is not None:
            refresh_at = table.refresh_at[place] = inf
            if self.refresh(query, expires - now) is False:
                return False
        # One that is empty is like any other that is: nobody could tell whose it was.
        table.until[place] = min(born + age + 1, expires, refresh_at) if table.bodies[place] else 0.0
        return True

    def held(self, query: Query, now: float) -> tuple[Answer, float, float] | None:
        """Return what was learnt last for a query, be it stale: the answer, when it expires and is forgotten."""
        table = self._table
        held = [place for place in self._all(query) if now < min(table.dies[place], self._sure_until)]
        held = [place for place in held if not self._is_flushed(place)]
        if not held:
            return None
        place = max(held, key=lambda place: table.born[place])
        return self._table.answer(place), table.expires[place], table.dies[place]

    def put(self, query: Query, answer: Answer, now: float, dies: float | None = None) -> None:
        """Hold an answer for its TTL, and behind it for the stale window or until ``dies``.

        What policies let pass on some terms is held on these: no longer than their verdict, and not where that has
        changed meanwhile.
        """
        key, passed = query.key, query.passed
        if passed is not None:
            whole = answer.ttl
            answer = passed.applied(query, answer, now)
            if not passed.holds(query.name, now) or (whole and not answer.ttl):
                return
        if query.subnet is not None:
            key = query.key_for(answer.scope or 0)
        elif answer.rcode == NXDOMAIN and not answer.counts[0] and (passed is None or passed.changes is None):
            # A policy lets a question pass for its type alone.
            key = _any_type(query)
        table = self._table
        form, shared = table.form(answer)
        body, ttl = answer.body, answer.ttl
        size = ENTRY_BYTES + len(key) + len(body)
        part = self._index[hash(key) & _PART]
        held = part.get(key)
        if not shared or (
            held is not None
            and table.forms[held] is form
            and table.sizes[held] > ENTRY_BYTES + len(key) + len(table.bodies[held])
        ):  # the second: it has paid for the form that it has still
            size += FORM_BYTES + SPOT_BYTES * len(form.spots)
        if held is None:
            place = part[key] = table.enter(key)
            self._order.enter(place, size)
        else:
            place = held
            self._order.resize(place, size)
            table.ages[place], table.until[place] = 0, 0.0
        if not isinstance(answer, Stale):
            table.origins[place] = _NUMBERS.get(answer.origin, 0)
        elif answer.source != "memory":
            table.origins[place] = _NUMBERS.get(answer.source, 0)
        elif held is None:
            table.origins[place] = _NUMBERS.get(answer.origin, 0)
        if key is not query.key:
            table.types[place] = query.qtype
        table.forms[place] = form
        table.bodies[place] = body
        table.born[place] = now
        table.expires[place] = expires = now + ttl
        table.dies[place] = expires + self._window if dies is None else dies
        table.refresh_at[place] = now + ttl * self._fresh_share if answer.keep and self._fresh_share < 1 else inf
        if passed is not None:
            until = passed.until
            table.dies[place] = min(table.dies[place], until)
            if until <= expires + 1:  # refreshed, it could be kept no longer
                table.refresh_at[place] = inf
        if self._order.bytes > self._order.most:
            # Twice as much as came: so also what is too much since the limit fell leaves in time.
            self._evict(now, 2 * size)

    def trim(self, now: float) -> Iterator[None]:
        """Let answers leave until what is held fits, :data:`STEP` bytes at a time: the limit may have fallen."""
        while self._order.bytes > self._order.most:
            self._evict(now, STEP)
            yield

    def _evict(self, now: float, room: int) -> None:
        table = self._table
        for victim in self._order.victims(now, room):
            key = table.keys[victim]
            del self._index[hash(key) & _PART][key]
            table.clear(victim)
            self._evicted.add()

    def forget(self, key: bytes) -> None:
        """Forget what is held under one key."""
        place = self._index[hash(key) & _PART].pop(key, None)
        if place is not None:
            self._table.clear(place)
            self._order.leave(place)

    def forget_names(self, flushed: Flushed, size: int) -> Iterator[int]:
        """Forget all answers that were flushed; yields how many, of up to ``size`` at a time."""
        table = self._table
        for start, end in self._slices(size):
            rows = zip(table.keys[start:end], table.born[start:end], strict=True)
            found = [key for key, came in rows if key and flushed(key, came)]
            for key in found:
                self.forget(key)
            yield len(found)

    def inspect(self, keys: Iterable[bytes], now: float) -> Iterator[Kept]:
        """Yield what is held under some keys, stale answers too."""
        for key in keys:
            place = self._find(key)
            if place is not None and now < self._table.dies[place] and not self._is_flushed(place):
                yield kept(self._table, place, now)

    def keys(self, size: int, since: float = -inf) -> Iterator[list[bytes]]:
        """Yield the keys of all answers, up to ``size`` at a time; answers may come and go between two steps.

        :param since: leave out what came before.
        """
        table = self._table
        for start, end in self._slices(size):
            rows = zip(table.keys[start:end], table.born[start:end], strict=True)
            yield [key for key, came in rows if key and came >= since]

    def growth(self, size: int) -> Iterator[list[tuple[int, bytes]]]:
        """Yield, for up to ``size`` answers at a time, how often each was used since that was noted, and its key.

        Those used no more than once are left out. Answers may come and go between two steps.
        """
        table = self._table
        for start, end in self._slices(size):
            rows = zip(table.uses[start:end], table.noted[start:end], table.keys[start:end], strict=True)
            yield [(used - known, key) for used, known, key in rows if used - known > 1]

    def _slices(self, size: int) -> Iterator[tuple[int, int]]:
        """Yield the bounds of slices of all places. By place, not by key: a list of a million keys would be a pause."""
        places = self._table.size
        for start in range(0, places, size):
            yield start, min(start + size, places)

    def note(self, key: bytes) -> tuple[Answer, int] | None:
        """Take note of how often an answer was used; return it, and the uses since the last time."""
        place = self._find(key)
        if place is None or self._is_flushed(place):
            return None
        grown = self._table.uses[place] - self._table.noted[place]
        self._table.noted[place] = self._table.uses[place]
        return self._table.answer(place), grown

    def life(self, key: bytes) -> tuple[float, float, float] | None:
        """Return of the answer to a question when it came, should be refreshed, and expires; None when none is held.

        :param key: the question's, without a client's subnet.
        """
        place, table = self._plain(key), self._table
        return None if place is None else (table.born[place], table.refresh_at[place], table.expires[place])

    def renew(self, query: Query, now: float) -> bool:
        """Refresh an answer whose time for that has come, though nobody asks; return whether that was to be done."""
        place, table = self._plain(query.key), self._table
        if place is None or not table.refresh_at[place] <= now < table.expires[place] or self.refresh is None:
            return False
        table.refresh_at[place] = inf
        if self.refresh(query, table.expires[place] - now) is not False:
            return True
        self.forget(table.keys[place])
        return False

    def refuse(self, query: Query) -> None:
        """Forget what answers a question without a client's subnet: a policy does not let it pass any more."""
        place = self._plain(query.key)
        if place is not None:
            self.forget(self._table.keys[place])

    def _plain(self, key: bytes) -> int | None:
        """Return what answers a question without a client's subnet, be it stale."""
        for one in (key, key[:-5] + EVERY_TYPE + key[-3:]):
            place = self._find(one)
            if place is not None and not self._is_flushed(place):
                return place
        return None

    def _all(self, query: Query) -> list[int]:
        """Return what is held for a query, under whatever key, the closest first."""
        keys = query.keys() if query.subnet is not None else (query.key, _any_type(query))
        return [place for place in map(self._find, keys) if place is not None]


classImplements(Memory, IHotCache)


def _any_type(query: Query) -> bytes:
    """Return the key of the answer that a name does not exist: it holds for every type (RFC 2308, 5).

    For DS it is the question's own: the parent of a zone is asked for that, and may not know a name that others know.
    """
    return query.key if query.qtype == DS else query.name + EVERY_TYPE + query.key[-3:]
