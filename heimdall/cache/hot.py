"""What is hot in the cluster: tell now and then what this node is asked for most, learn what all nodes are.

Nothing is done for it when a query is answered from memory, which counts its uses anyway. Every ten seconds those
answers are told whose uses grew most since they were told last, at most 500. What is not told yet waits until it is
more, so that every name that is asked for often has its turn. Who needs what is hot gets it from ``names``: the list
of the cluster, which is read once a minute and knows the last ten of them, and what this node told just now.
"""

from __future__ import annotations

from heapq import nlargest
from itertools import islice
from typing import Final

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from heimdall.bugs import reporter
from heimdall.cache.frequent import Frequent
from heimdall.cache.memory import Memory
from heimdall.cache.ranks import AT_ONCE, PAGE, UNKNOWN, Asked, Ranks, Row, worth
from heimdall.cache.writer import Trouble
from heimdall.interfaces import ILink, LinkDown
from heimdall.slices import Slices
from heimdall.tally import Count, Gauge, Tally

EVERY: Final = 10.0
"""Seconds between two looks at what was used."""

READ_EVERY: Final = 6
"""Looks between two readings of what is hot in the cluster."""

TOLD: Final = 300
"""Names answered from memory that are told of at one look; ``MISSED`` those it did not know."""

MISSED: Final = 200

KEPT: Final = 1000
"""Names of the cluster's list that every node keeps; and so many of those it told itself."""

PROOF: Final = 2
"""Asks within one look that make a name hot at once; fewer prove nothing."""

SLICE: Final = 1000
"""Answers that are looked at between two looks at the clock."""


class Hot:
    """What is asked for most, here and in the cluster.

    :param ranks: the list in Redis.
    :param reader: learn only.
    """

    _log = Logger()

    def __init__(
        self, link: ILink, memory: Memory, ranks: Ranks, clock: IReactorTime, *, node: int = 0, reader: bool = False
    ) -> None:
        self.names: dict[bytes, float] = {}
        """What is hot in the cluster, the hottest first: the key of the question, and its asks in a second."""
        self._listed: dict[bytes, float] = {}
        # What this node told lately, and of that what it told at the last look.
        self._own: dict[bytes, float] = {}
        self._new: dict[bytes, float] = {}
        # What Redis did not count so far.
        self._untold: list[Asked] = []
        self.node = node
        """The number of this node."""
        self._link, self._memory, self._ranks, self._clock, self._reader = link, memory, ranks, clock, reader
        self.missed = Frequent()
        """What memory did not know."""
        self._looks = 0
        self._loop = LoopingCall(self.look)
        self._loop.clock = clock
        self._work: Deferred[None] | None = None
        self._told = Count("heimdall_cache_hot_told_total", "Names told to the cluster as asked for.", "result")
        errors = Count(
            "heimdall_cache_hot_errors_total", "Times that Redis did not take or tell what is hot.", "reason"
        )
        self._trouble = Trouble(clock.seconds, "count what is hot", errors)
        self.tallies: list[Tally] = [
            self._told,
            errors,
            Gauge(
                "heimdall_cache_hot_names", "Names known as hot in the cluster.", lambda: len(self.names), across="max"
            ),
        ]

    def start(self) -> None:
        """Look from now on."""
        self._loop.start(EVERY, now=False)

    def stop(self) -> None:
        """Look no more."""
        if self._loop.running:
            self._loop.stop()
        if self._work is not None:
            self._work.cancel()

    def learn(self, rows: list[Row], age: float) -> None:
        """Take what is hot in the cluster.

        :param rows: the hottest first.
        :param age: seconds since counting began.
        """
        seconds = worth(age)
        self._listed = {row.key: row.asked / seconds for row in islice(rows, KEPT)}
        self._own = self._new
        self._join()

    def look(self) -> Deferred[None]:
        """Tell what was used most since the last look, and once a minute learn what all nodes tell. Never fails."""
        self._looks += 1
        work = self._work = Deferred.fromCoroutine(self._look())
        return work.addErrback(self._failed).addBoth(self._over)

    # A look: what was used most is found in slices, told in pieces.

    def _over(self, _: object) -> None:
        self._work = None

    def _failed(self, failure: Failure) -> None:
        if failure.check(LinkDown):
            self._trouble.failed(failure)
            if failure.getErrorMessage().startswith("WRONGTYPE"):  # somebody put something else there
                self._ranks.clear().addErrback(lambda _: None)
        elif not failure.check(CancelledError):
            reporter(self._clock).report(self._log, "a look at what is hot failed", failure)

    async def _look(self) -> None:
        used = [] if self._reader or not self._link.up else await self._used()
        now = self._link.now()
        if not self._link.up or now is None:
            return
        if not self._reader and (used or self._untold or len(self.missed)):
            await self._tell(used, now)
        if self._looks % READ_EVERY == 1:
            await self._read(now)

    async def _read(self, now: float) -> None:
        """Learn what is hot in the cluster."""
        found: list[Row] = []
        for first in range(0, KEPT, PAGE):
            begun, rows = await self._ranks.top(first, first + PAGE - 1, now)
            self._trouble.passed()
            found += rows
            if len(rows) < PAGE:
                break
        self.learn(found, now - begun)

    async def _used(self) -> list[bytes]:
        """Return the keys in memory whose uses grew most."""
        most: list[tuple[int, bytes]] = []
        slices = Slices(self._clock)
        for grown in self._memory.growth(SLICE):
            most = nlargest(TOLD, most + grown)
            await slices.pause()
        return [key for _, key in most]

    async def _tell(self, used: list[bytes], now: float) -> None:
        asked = {row.key: row for row in self.missed.take(MISSED)}
        for key in used:
            self._note(key, asked)
        rows = [*self._untold, *asked.values()]
        self._untold = []
        for at in range(0, len(rows), AT_ONCE):
            some = rows[at : at + AT_ONCE]
            try:
                await self._ranks.add(some, self.node, now)
            except LinkDown:
                self._told.add("failed", by=len(rows) - at)
                self._untold = rows[at : at + KEPT]  # though of some Redis may not have told that it counted them
                raise
            self._told.add("told", by=len(some))
            self._trouble.passed()
        # What is in use here is hot from now on: a short TTL does not wait until the list says so.
        asks = {row.key: row.memory + row.redis + row.upstream for row in rows}
        self._new = {key: number / EVERY for key, number in asks.items() if number >= PROOF}
        self._own = {**{key: rate for key, rate in self._own.items() if key not in self._new}, **self._new}
        self._own = dict(islice(self._own.items(), max(len(self._own) - KEPT, 0), None))
        self._join()

    def _join(self) -> None:
        """Put together what the list says and what this node knows better, the hottest first."""
        names = {**self._listed}
        for key, rate in self._own.items():
            names[key] = max(rate, names.get(key, 0.0))
        self.names = dict(sorted(names.items(), key=lambda name: -name[1]))

    def _note(self, key: bytes, asked: dict[bytes, Asked]) -> None:
        """Add the uses of an answer in memory to what is told of its question."""
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
