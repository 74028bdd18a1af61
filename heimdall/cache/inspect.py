"""Look up what both tiers hold for a name, as JSON, for an operator: in slices, so that it costs a query nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredLock, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from heimdall.cache.entry import NODES, Rubbish, from_bytes, stored_at, stored_by
from heimdall.cache.keys import NO_TYPE, TYPES, likely, pattern
from heimdall.cache.memory import Memory
from heimdall.cache.ranks import number
from heimdall.cache.seal import Seal
from heimdall.cache.shown import Held, contents, shown
from heimdall.cache.worth import Covers, never
from heimdall.interfaces import ILink, LinkDown
from heimdall.message.wire import name_end
from heimdall.slices import LONGEST, REST, Slices

MOST_HELD: Final = 200
"""Answers that are shown of one tier."""

AT_ONCE: Final = 1000
"""Keys that Redis looks at in one step of a search."""

SEARCH: Final = 4.0
"""Seconds after which a search through all keys of Redis ends where it is: it works a fifth of that time."""

SEARCH_MEMORY: Final = 0.5
"""Seconds after which one through all of memory does: less than other nodes wait for us."""

MOST_WAITING: Final = 16
"""Looks into memory that wait for their turn; one more is told that nothing could be found."""

IN_A_SLICE: Final = 500
"""Keys in memory that are looked at between two looks at the clock."""

_VALUES_AT_ONCE: Final = 50


@frozen
class Shelf:
    """What is found in a tier: ``held``, and whether that is all that was looked for."""

    held: Sequence[Held]
    complete: bool


class Inspection:
    """Looks into memory and Redis.

    :param link: to Redis; None where it is not used.
    :param seal: what values there are sealed with; ``covers`` tells what was flushed.
    :param prefix: what all keys begin with.
    """

    def __init__(
        self,
        memory: Memory,
        clock: IReactorTime,
        link: ILink | None = None,
        seal: Seal | None = None,
        covers: Covers = never,
        prefix: str = "heimdall",
    ) -> None:
        self._memory, self._clock, self._link = memory, clock, link
        self._seal, self._covers = seal or Seal(), covers
        self._head = f"{prefix}:c1:".encode()
        self._searching = self._searching_memory = False
        # All looks into memory take turns: they have a fifth of our time together.
        self._turns = DeferredLock()
        self._slices = Slices(clock)

    def memory(self, name: bytes, qtype: int = 0, every: bool = False) -> Deferred[Shelf]:
        """Look up what memory holds for a name; never fails.

        :param qtype: this type alone; 0 for all that are common, and the answer that the name does not exist.
        :param every: look at every key: uncommon types, and answers for a client's subnet. While one such search is
            made, others find what is common, and say that this is not all.
        """
        if len(self._turns.waiting) >= MOST_WAITING:
            return succeed(Shelf((), False))
        if not every or self._searching_memory:
            looking = self._turns.run(lambda: Deferred.fromCoroutine(self._look(name, qtype, False)))
            return looking.addCallback(lambda found: Shelf(found.held, found.complete and not every))
        self._searching_memory = True
        searching = self._turns.run(lambda: Deferred.fromCoroutine(self._look(name, qtype, True)))
        return searching.addBoth(self._searched)

    def _searched(self, found: Shelf) -> Shelf:
        self._searching_memory = False
        return found

    async def _look(self, name: bytes, qtype: int, every: bool) -> Shelf:
        self._slices.begin()
        keys: Iterable[bytes] = likely(name, NO_TYPE, *((qtype,) if qtype else TYPES))
        complete = True
        if every:
            found, complete = await self._search_memory(name)
            keys = sorted(key for key in {*keys, *found} if _fits(key, name, qtype))
        held: list[Held] = []
        for kept in self._memory.inspect(keys, self._clock.seconds()):
            if len(held) >= MOST_HELD:
                return Shelf(held, False)
            held.append(
                {
                    **shown(kept.key, "fresh" if kept.left > 0 else "stale"),
                    **contents(kept.answer, kept.body),
                    "origin": kept.origin,
                    "age": round(kept.age, 3),
                    "ttl": round(kept.left, 3),
                    "uses": kept.uses,
                }
            )
            await self._slices.pause()
        return Shelf(held, complete)

    async def _search_memory(self, name: bytes) -> tuple[set[bytes], bool]:
        """Return the keys of a name among all of memory, and whether the search came to its end."""
        ends = self._clock.seconds() + SEARCH_MEMORY
        found: set[bytes] = set()
        for keys in self._memory.keys(IN_A_SLICE):
            found.update(key for key in keys if key.startswith(name))
            await self._slices.pause()
            if len(found) > MOST_HELD or self._clock.seconds() >= ends:
                return found, False
        return found, True

    def redis(self, name: bytes, qtype: int = 0, every: bool = False) -> Deferred[Shelf]:
        """Look up what Redis holds for a name; params as for :meth:`memory`.

        :return: fails with :class:`LinkDown` when Redis cannot tell.
        """
        if self._link is None:
            return fail(LinkDown("Redis is not in use"))
        if every and self._searching:
            return fail(LinkDown("another search through all of Redis is under way"))
        return Deferred.fromCoroutine(self._redis(self._link, name, qtype, every))

    async def _redis(self, link: ILink, name: bytes, qtype: int, every: bool) -> Shelf:
        complete = True
        slices = Slices(self._clock)
        keys: Iterable[bytes] = likely(name, *((qtype,) if qtype else ()))
        if every:
            self._searching = True
            try:
                found, complete = await self._search(link, name)
            finally:
                self._searching = False
            keys = sorted(key for key in {*keys, *found} if _fits(key, name, qtype))
        held: list[Held] = []
        places: dict[int, list[bytes]] = {}
        for key in keys:
            places.setdefault(link.place(self._head + key), []).append(key)
        for together in places.values():
            for at in range(0, len(together), _VALUES_AT_ONCE):
                some = together[at : at + _VALUES_AT_ONCE]
                values = await link.run("MGET", *[self._head + key for key in some])
                now = link.now()
                if not isinstance(values, list) or len(values) != len(some) or now is None:
                    raise LinkDown("MGET was answered with rubbish")
                for key, value in zip(some, values, strict=True):
                    if isinstance(value, bytes):
                        held.append(self._value(name, key, value, now))
                        await slices.pause()
        return Shelf(held[:MOST_HELD], complete and len(held) <= MOST_HELD)

    async def _search(self, link: ILink, name: bytes) -> tuple[set[bytes], bool]:
        """Return the keys of a name among all of Redis, and whether the search came to its end."""
        ends = self._clock.seconds() + SEARCH
        found: set[bytes] = set()
        cursor: object = b"0"
        while len(found) <= MOST_HELD and self._clock.seconds() < ends:
            began = self._clock.seconds()
            reply = await link.run("SCAN", cast(bytes, cursor), "MATCH", pattern(self._head + name), "COUNT", AT_ONCE)
            if not isinstance(reply, list) or len(reply) != 2 or not isinstance(reply[1], list):
                raise LinkDown("SCAN was answered with rubbish")
            cursor, keys = reply
            found.update(key[len(self._head) :] for key in keys if isinstance(key, bytes))
            if cursor == b"0":
                return found, True
            await deferLater(self._clock, min(REST * (self._clock.seconds() - began), LONGEST))
        return found, False

    def _value(self, name: bytes, key: bytes, value: bytes, now: float) -> Held:
        size = {"size": len(value)}
        if value[:1] == b"\0":
            return shown(key, "asked", **size)
        try:
            answer, left, asked = from_bytes(value, key, len(name) + 4, now, self._seal)
        except Rubbish as rubbish:
            return shown(key, "rubbish", reason=rubbish.reason, **size)
        told: dict[str, Any] = dict(shown(key, "fresh" if left > 0 else "stale", **size))
        stored = stored_at(value)
        if self._covers(name, asked):
            told["state"] = "flushed"
        return {
            **told,
            **contents(answer, answer.body),
            "origin": "upstream",  # nothing else is shared
            "node": stored_by(value),
            "asked": round(asked, 3) or None,
            "age": round(max(now - stored, 0.0), 3),
            "stored": round(stored, 3),
            "ttl": round(left, 3),
        }


def named(held: Sequence[Held], nodes: Iterable[str]) -> Sequence[Held]:
    """Return what Redis holds with the names of the nodes that asked in place of their numbers.

    :param nodes: those that may have; of any other, it is not known: None.
    """
    known: dict[int, str] = {}
    for node in sorted(nodes):
        short = number(node) % NODES
        known[short] = f"{known[short]} or {node}" if short in known else node
    return [{**each, "node": known.get(each["node"])} if "node" in each else each for each in held]


def _fits(key: bytes, name: bytes, qtype: int) -> bool:
    """Whether a key is one of a name, not of a longer one that begins alike, and of a type."""
    end = name_end(key)
    kind = int.from_bytes(key[end : end + 2], "big")
    return end == len(name) and key.startswith(name) and len(key) > end + 4 and kind in (qtype, NO_TYPE, qtype or kind)
