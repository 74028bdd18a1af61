"""What is hot in the cluster: tell now and then what this node is asked for most, learn what all nodes are.

Every ten seconds those answers are told whose uses grew most since they were told last, at most 500, as
``heavy_hitters`` counts them. A count that is not told yet waits until it is more, so that every name that is asked
for often has its turn. ``names`` gives what is hot: the list of the cluster, which is read once a minute and knows the
last ten of them, and what this node told just now.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from heimdall.bugs import reporter
from heimdall.cache.heavy_hitters import EVERY, HeavyHitters
from heimdall.cache.memory import Memory
from heimdall.cache.ranks import AT_ONCE, PAGE, Asked, Ranks, Row, worth
from heimdall.cache.writer import Trouble
from heimdall.interfaces import ILink, LinkDown
from heimdall.tally import Count, Gauge, Tally

READ_EVERY: Final = 6
"""Looks between two readings of what is hot in the cluster."""

KEPT: Final = 1000
"""Names of the cluster's list that every node keeps; and so many of those it told itself."""

PROOF: Final = 2
"""Asks within one look that make a name hot at once; fewer prove nothing."""


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
        self.node = node
        """The number of this node."""
        self._link, self._ranks, self._reader = link, ranks, reader
        self.hitters = HeavyHitters(memory, clock, tells=not reader)
        """What this node is asked for most."""
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
        self.hitters.stop()

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

    # A look: what was used most is told in pieces.

    def _over(self, _: object) -> None:
        self._work = None

    def _failed(self, failure: Failure) -> None:
        if failure.check(LinkDown):
            self._trouble.failed(failure)
            if failure.getErrorMessage().startswith("WRONGTYPE"):  # somebody put something else there
                self._ranks.clear().addErrback(lambda _: None)
        elif not failure.check(CancelledError):
            reporter(self._loop.clock).report(self._log, "a look at what is hot failed", failure)

    async def _look(self) -> None:
        await self.hitters.collect()
        now = self._link.now()
        if not self._link.up or now is None:
            return
        if not self._reader:
            await self._tell(self.hitters.take(), now)
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

    async def _tell(self, rows: list[Asked], now: float) -> None:
        if not rows:
            return
        for at in range(0, len(rows), AT_ONCE):
            some = rows[at : at + AT_ONCE]
            try:
                await self._ranks.add(some, self.node, now)
            except LinkDown:
                self._told.add("failed", by=len(rows) - at)
                self.hitters.give_back(rows[at:])  # though of some Redis may not have told that it counted them
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
