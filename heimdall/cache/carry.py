"""Carry answers out of a tier and into one, as the sealed values that Redis holds: for a warm start by file."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from twisted.internet.defer import FirstError, gatherResults
from twisted.internet.interfaces import IReactorTime

from heimdall.cache.entry import Rubbish, from_bytes, to_bytes
from heimdall.cache.kept import Kept
from heimdall.cache.keys import pattern
from heimdall.cache.memory import Memory
from heimdall.cache.ranks import question
from heimdall.cache.seal import Seal
from heimdall.cache.worth import Covers, never
from heimdall.interfaces import ILink, LinkDown, Passes
from heimdall.message.answer import Answer, Stale
from heimdall.message.bundle import Record
from heimdall.message.query import Query
from heimdall.slices import Slices
from heimdall.tally import Count, Tally

AT_ONCE: Final = 64
"""Answers that are carried together: queries may come in between."""

PIECE: Final = 64 << 10
"""Bytes of answers that are carried together, but for the last of them."""

SCANNED: Final = 500
"""Keys that Redis looks at in one step."""

MEMORY, REDIS = TIERS = ("memory", "redis")


class Carry:
    """Carries.

    An answer carries when it was learnt, so the time in between counts: on the clock of Redis where there is one, else
    on that of this machine. What is stale stays so. Answers for a client's subnet stay where they are.

    :param seal: what values are sealed with.
    :param most: bytes that memory may hold at the end.
    :param covers: what was flushed.
    :param window: seconds behind its TTL in which an answer is of use.
    :param ceilings: the greatest TTL of any answer, and of one that says no.
    :param link: to Redis; None where it is not used.
    :param prefix: what all keys there begin with.
    :param wall: returns the seconds since 1970 on the clock of this machine.
    """

    def __init__(
        self,
        memory: Memory,
        clock: IReactorTime,
        seal: Seal,
        *,
        most: int,
        covers: Covers = never,
        window: int = 0,
        ceilings: tuple[int, int] = (86400, 86400),
        link: ILink | None = None,
        prefix: str = "heimdall",
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._memory, self._clock, self._seal, self._most = memory, clock, seal, most
        self._covers, self._window, self._ceilings = covers, window, ceilings
        self._link, self._head, self._wall = link, f"{prefix}:c1:".encode(), wall
        self.passes: Passes | None = None
        """What policies do not let pass is not taken into memory: that is asked before they are."""
        self._carried = Count("heimdall_cache_carried_total", "Answers carried in by a file.", "tier", "result")
        self.tallies: list[Tally] = [self._carried]

    def now(self) -> float:
        """Return the seconds since 1970, by the clock that ages are reckoned on."""
        now = None if self._link is None else self._link.now()
        return self._wall() if now is None else now

    async def expected(self, tier: str) -> int:
        """Return about how many answers a tier holds.

        :raises LinkDown: Redis cannot tell, or is not in use.
        """
        if tier == MEMORY:
            return len(self._memory)
        size = await self._redis().run("DBSIZE")
        return size if isinstance(size, int) else 0

    async def out(self, tier: str) -> AsyncIterator[list[Record]]:
        """Yield what a tier holds, some at a time; in between, others may work.

        :raises LinkDown: Redis cannot tell, or is not in use.
        """
        if tier == REDIS:
            async for records in self._out_of_redis(self._redis()):
                yield records
            return
        slices = Slices(self._clock)
        for keys in self._memory.keys(AT_ONCE):
            carried: list[Record] = []
            size = 0
            for key in keys:
                for kept in self._memory.inspect((key,), self._clock.seconds()):
                    record = self._record(kept)
                    if record is not None:
                        carried.append(record)
                        size += len(record[1])
                await slices.pause()
                if size > PIECE:
                    yield carried
                    carried, size = [], 0
            yield carried

    async def into(self, tier: str, records: Sequence[Record]) -> dict[str, int]:
        """Take answers into a tier, unless it has some for the same question; return how many came to what.

        What came of them: loaded; held, the tier has one; expired; flushed; refused, a rule answers the name; full,
        memory has no more room; foreign, for a client's subnet, or no question; or why a value is none.

        :raises LinkDown: Redis cannot be asked, or is not in use.
        """
        counts: dict[str, int] = {}
        slices = Slices(self._clock)
        for at in range(0, len(records), AT_ONCE):
            some = records[at : at + AT_ONCE]
            results = []
            if tier == MEMORY:
                for key, value in some:
                    results.append(self._hold(key, value))
                    await slices.pause()
            else:
                results = await self._store(self._redis(), some)
            for result in results:
                self._carried.add(tier, result)
                counts[result] = counts.get(result, 0) + 1
            await slices.pause()
        return counts

    def _redis(self) -> ILink:
        if self._link is None:
            raise LinkDown("Redis is not in use")
        return self._link

    # Out.

    def _record(self, kept: Kept) -> Record | None:
        """Return what to carry of an answer in memory; None for nothing: a failure, or for a client's subnet."""
        answer, learnt = kept.answer, self.now() - kept.age
        key = answer.question + kept.key[-1:]
        if not answer.keep or len(kept.key) != len(key):
            return None
        if isinstance(answer, Stale):
            # The TTLs that it had are gone: it is carried as one that had none, from the moment that they were over.
            answer, learnt = answer.with_ttls(0, "memory"), self.now() + kept.left
        return key, to_bytes(answer, key, learnt, self._seal)

    async def _out_of_redis(self, link: ILink) -> AsyncIterator[list[Record]]:
        cursor: object = b"0"
        slices = Slices(self._clock)
        while True:
            reply = await link.run("SCAN", _cursor(cursor), "MATCH", pattern(self._head), "COUNT", SCANNED)
            if not isinstance(reply, list) or len(reply) != 2 or not isinstance(reply[1], list):
                raise LinkDown("SCAN was answered with rubbish")
            cursor, keys = reply
            places: dict[int, list[bytes]] = {}
            for key in keys:
                if isinstance(key, bytes):
                    places.setdefault(link.place(key), []).append(key)
            for together in places.values():
                for at in range(0, len(together), AT_ONCE):
                    yield await self._values(link, together[at : at + AT_ONCE], slices)
            await slices.pause()
            if cursor == b"0":
                return

    async def _values(self, link: ILink, keys: list[bytes], slices: Slices) -> list[Record]:
        values = await link.run("MGET", *keys)
        if not isinstance(values, list) or len(values) != len(keys):
            raise LinkDown("MGET was answered with rubbish")
        found = []
        for key, value in zip(keys, values, strict=True):
            if isinstance(value, bytes) and value[:1] != b"\0":
                record = key[len(self._head) :], value
                if isinstance(self._read(*record), tuple):
                    found.append(record)
                await slices.pause()
        return found

    # In.

    def _read(self, key: bytes, value: bytes) -> str | tuple[Query, Answer, float]:
        """Return the question, the answer and the seconds it has left; or why it is not taken."""
        query = question(key)
        if query is None:
            return "foreign"
        try:
            answer, left, asked = from_bytes(value, key, len(query.question), self.now(), self._seal)
        except Rubbish as rubbish:
            return rubbish.reason
        if left <= -self._window:
            return "expired"
        if self._covers(query.name, asked):
            return "flushed"
        if answer.ttl > min(self._ceilings):
            answer = answer.bounded(0, *self._ceilings)
        return query, answer, left

    def _hold(self, key: bytes, value: bytes) -> str:
        read = self._read(key, value)
        if isinstance(read, str):
            return read
        query, answer, left = read
        now = self._clock.seconds()
        held = self._memory.life(key)
        if held is not None and (now < held[2] or left <= 0):
            return "held"
        if self.passes is not None and not self.passes(query):
            return "refused"
        if self._memory.used >= self._most:
            return "full"
        # One that is stale came so long ago that its time is over by now.
        self._memory.put(query, answer.replace(origin="file"), now + min(left, 0.0))
        return "loaded"

    async def _store(self, link: ILink, records: Sequence[Record]) -> list[str]:
        results = []
        running = []
        for key, value in records:
            read = self._read(key, value)
            if isinstance(read, str):
                results.append(read)
                continue
            milliseconds = int((read[2] + self._window) * 1000)
            running.append(link.run("SET", self._head + key, value, "PX", max(milliseconds, 1), "NX"))
        try:
            replies = await gatherResults(running, consumeErrors=True)
        except FirstError as error:
            error.subFailure.raiseException()
        return results + ["held" if reply is None else "loaded" for reply in replies]


def _cursor(cursor: object) -> bytes:
    if not isinstance(cursor, bytes):
        raise LinkDown("SCAN was answered with rubbish")
    return cursor
