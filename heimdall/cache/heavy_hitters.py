"""What one node is asked for most: names by how often each was answered, where recent answers count for more.

Nothing is done for it when a query is answered from memory, which counts its uses anyway. Every ten seconds, and when
somebody wants to know, those answers are counted here whose uses grew most, and the questions that memory did not know.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from heapq import nlargest
from typing import Any, Final

from attrs import define, evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from heimdall.bugs import reporter
from heimdall.cache.frequent import Frequent
from heimdall.cache.memory import Memory
from heimdall.cache.ranks import EXACT, HALF, UNKNOWN, Asked, Facts, Row
from heimdall.slices import Slices

EVERY: Final = 10.0
"""Seconds between two looks at what was used."""

USED: Final = 300
"""Names answered from memory that are counted at one look; ``MISSED`` those it did not know."""

MISSED: Final = 200

MOST: Final = 1000
"""Names that are kept here, and of those that wait to be told."""

SLICE: Final = 1000
"""Answers that are looked at between two looks at the clock."""


@define
class _Counted:
    """How often a question was answered from where, an ask counting less as it gets older; ``when`` it was reckoned."""

    when: float
    memory: float = 0.0
    redis: float = 0.0
    upstream: float = 0.0
    ttl: int | None = None

    def add(self, row: Asked, now: float) -> None:
        """Count some more."""
        fade = self.fade(now)
        self.when = now
        self.memory = self.memory * fade + row.memory
        self.redis = self.redis * fade + row.redis
        self.upstream = self.upstream * fade + row.upstream
        ttl = row.ttl % EXACT
        if ttl != UNKNOWN and (row.ttl >= EXACT or self.ttl is None):
            self.ttl = ttl

    def fade(self, now: float) -> float:
        """Return what an ask counts now."""
        return float(0.5 ** ((now - self.when) / HALF))


class HeavyHitters:
    """Counts what this node is asked for most.

    :param tells: whether what is counted is to be told to others as well: then it waits in :meth:`take`.
    """

    _log = Logger()

    def __init__(self, memory: Memory, clock: IReactorTime, *, tells: bool = False) -> None:
        self._memory, self._clock, self._tells = memory, clock, tells
        self.missed = Frequent()
        """What memory did not know."""
        self.since = time.time()
        """When counting began, in seconds since 1970."""
        self._names: dict[bytes, _Counted] = {}
        self._untold: dict[bytes, Asked] = {}
        self._work: Deferred[None] | None = None
        self._waiting: list[Deferred[None]] = []
        self._loop = LoopingCall(self._look)
        self._loop.clock = clock

    def start(self) -> None:
        """Look by itself from now on."""
        self._loop.start(EVERY, now=False)

    def stop(self) -> None:
        """Look no more."""
        if self._loop.running:
            self._loop.stop()
        if self._work is not None:
            self._work.cancel()

    def inherit(self, former: HeavyHitters) -> None:
        """Know what those before us knew."""
        self._names, self.since = former._names, former.since

    def collect(self) -> Deferred[None]:
        """Count what was used since the last look; fires when that is done."""
        waiter: Deferred[None] = Deferred()
        self._waiting.append(waiter)
        if self._work is None:
            work = self._work = Deferred.fromCoroutine(self._collect())
            work.addBoth(self._collected)
        return waiter

    def take(self) -> list[Asked]:
        """Return what is to be told to others; it counts as told."""
        untold, self._untold = self._untold, {}
        return list(untold.values())

    def give_back(self, rows: Iterable[Asked]) -> None:
        """Keep what could not be told: the most asked of it."""
        for row in rows:
            self._untold[row.key] = _added(self._untold.get(row.key), row)
        if len(self._untold) > MOST:
            most = nlargest(MOST, self._untold.values(), key=_asks)
            self._untold = {row.key: row for row in most}

    def top(self, node: int = 0) -> list[Row]:
        """Return what is asked for most, the most asked first.

        :param node: the number of this node.
        """
        now = self._clock.seconds()
        rows = []
        for key, counted in self._names.items():
            fade = counted.fade(now)
            memory, redis, upstream = counted.memory * fade, counted.redis * fade, counted.upstream * fade
            facts = Facts(memory, redis, upstream, counted.ttl, (node,))
            rows.append(Row(key, memory + redis + upstream, facts))
        return sorted(rows, key=lambda row: -row.asked)

    def _look(self) -> None:
        self.collect().addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            reporter(self._clock).report(self._log, "a look at what is asked for most failed", failure)

    def _collected(self, result: Failure | None) -> None:
        self._work = None
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.called:
                waiter.callback(result)  # a failure fails it

    async def _collect(self) -> None:
        most: list[tuple[int, bytes]] = []
        slices = Slices(self._clock)
        for grown in self._memory.growth(SLICE):
            most = nlargest(USED, most + grown)
            await slices.pause()
        asked = {row.key: row for row in self.missed.take(MISSED)}
        for _, key in most:
            self._note(key, asked)
        now = self._clock.seconds()
        for row in asked.values():
            counted = self._names.get(row.key)
            if counted is None:
                counted = self._names[row.key] = _Counted(now)
            counted.add(row, now)
        if len(self._names) > MOST:
            kept = self.top()[: MOST // 2]
            self._names = {row.key: self._names[row.key] for row in kept}
        if self._tells:
            self.give_back(asked.values())

    def _note(self, key: bytes, asked: dict[bytes, Asked]) -> None:
        """Add the uses of an answer in memory to what is asked."""
        noted = self._memory.note(key)
        if noted is None:
            return
        answer, uses = noted
        size = len(answer.question)
        if len(key) != size + 1:
            return  # it is for a client's subnet
        question = answer.question + key[size:]  # that a name does not exist is held for every type
        missed = asked.get(question)
        if missed is not None:
            asked[question] = evolve(missed, memory=missed.memory + uses)
        else:
            asked[question] = Asked(question, uses, 0, 0, answer.ttl if answer.keep else UNKNOWN)


def to_json(counted: tuple[float, list[Row]]) -> Any:
    """Return as JSON has it since when, and what one process is asked for most."""
    since, rows = counted
    told = [
        (row.key.hex(), row.facts.memory, row.facts.redis, row.facts.upstream, row.facts.ttl)
        for row in rows
        if row.facts is not None
    ]
    return {"since": since, "rows": told}


def from_json(told: Any, node: int) -> tuple[float, list[Row]]:
    """Return what :func:`to_json` told.

    :param node: the number of the node.
    """
    rows = []
    for key, memory, redis, upstream, ttl in told["rows"]:
        facts = Facts(float(memory), float(redis), float(upstream), ttl, (node,))
        rows.append(Row(bytes.fromhex(key), facts.memory + facts.redis + facts.upstream, facts))
    return float(told["since"]), rows


def _asks(row: Asked) -> int:
    return row.memory + row.redis + row.upstream


def _added(before: Asked | None, row: Asked) -> Asked:
    if before is None:
        return row
    return Asked(
        row.key,
        before.memory + row.memory,
        before.redis + row.redis,
        before.upstream + row.upstream,
        before.ttl if row.ttl % EXACT == UNKNOWN else row.ttl,
    )
