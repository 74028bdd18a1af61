"""Share flushes with regions that have a Redis of their own, and with it a cache of their own.

What is flushed here is told there at once; every few seconds both logs are compared, so that what one of them missed
reaches it all the same. Times are translated: those of a log are on the clock of its own Redis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import ClassVar, Final, cast

from attrs import evolve
from twisted.internet.defer import Deferred, DeferredList, FirstError, gatherResults
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from heimdall.bugs import reporter
from heimdall.cache.flush import AT_ONCE, KEPT, KIND, OVERLAP, PAGE, Flushes
from heimdall.cache.flushed import ID, MOST, Flush
from heimdall.interfaces import NO_CLOCK, ILink, INotices, LinkDown
from heimdall.message.wire import Malformed
from heimdall.tally import Count, Gauge, Tally

EVERY: Final = 5.0
"""Seconds between two comparisons of the logs."""


DRIFT: Final = 0.5
"""Seconds by which we may misjudge the clock of a Redis far away: flushes count so much later there, and ours here."""

PATIENCE: Final = 1.0
"""Seconds that a region has to take a flush, for the one who ordered it; after that it is tried again and again."""

WAITING: Final = f"it has not answered within {PATIENCE:g} s"
"""The reason of a region that is being told."""

TOLD_OF: Final = 100
"""Of many flushes at once, those that the nodes of a region are told of by a notice; they find the others in the log.
"""

TOLD: Final = ""
"""The place of a reason, of a region that took a flush."""


class Regions:
    """The other regions.

    :param links: to the Redis of each of them, by what it is called.
    :param home: to our own.
    """

    _log: ClassVar = Logger()

    def __init__(
        self, links: Mapping[str, ILink], home: ILink, notices: INotices, flushes: Flushes, clock: IReactorTime
    ) -> None:
        self._links, self._home, self._notices, self._flushes, self._clock = links, home, notices, flushes, clock
        self._next: IDelayedCall | None = None
        # When the log of each region was read last, on its clock; and those whose log is being read.
        self._read_at: dict[str, float] = {}
        self._comparing: set[str] = set()
        # Of each region the flushes, by id, that it is not known to have taken, and why not.
        self._lacks: dict[str, dict[bytes, str]] = {region: {} for region in links}
        self._told = Count("heimdall_cache_regions_told_total", "Flushes told to other regions, by end.", "result")
        self._learnt = Count("heimdall_cache_regions_learnt_total", "Flushes learnt from the logs of other regions.")
        self.tallies: list[Tally] = [
            self._told,
            self._learnt,
            Gauge(
                "heimdall_cache_regions_lacked_flushes",
                "Flushes that a region has not taken so far.",
                self._lacked,
                across="max",
            ),
        ]
        flushes.made.append(self._made)

    def start(self) -> None:
        """Compare the logs now and then."""
        if self._links:
            self._next = self._clock.callLater(EVERY, self._again)

    def stop(self) -> None:
        """Compare no more."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def compare(self) -> Deferred[None]:
        """Learn what other regions flushed, and tell them what they lack. Never fails."""
        comparing = []
        for region, link in self._links.items():
            if not link.up:
                self._read_at.pop(region, None)
            elif region not in self._comparing:
                self._comparing.add(region)
                work = Deferred.fromCoroutine(self._compare(region, link))
                comparing.append(work.addErrback(self._unread).addBoth(self._compared, region))
        return DeferredList(comparing, consumeErrors=True).addCallback(lambda _: None)

    async def taken(self, flush: Flush | None) -> Sequence[tuple[str, str]]:
        """Return each region, and why it has not taken a flush so far: :data:`TOLD` if it has.

        Waits for :data:`PATIENCE` at most.

        :param flush: None for one that has no time yet.
        """
        if flush is None:
            return [(region, NO_CLOCK) for region in self._links]
        ends = self._clock.seconds() + PATIENCE
        while any(lacks.get(flush.id) == WAITING for lacks in self._lacks.values()) and self._clock.seconds() < ends:
            await deferLater(self._clock, 0.01)
        return [(region, lacks.get(flush.id, TOLD)) for region, lacks in self._lacks.items()]

    def _again(self) -> None:
        self._next = self._clock.callLater(EVERY, self._again)
        for region, lacks in self._lacks.items():
            self._lacks[region] = {one: why for one, why in lacks.items() if self._flushes.knows(one)}
        self.compare()

    def _lacked(self) -> float:
        return float(sum(map(len, self._lacks.values())))

    def _made(self, flushes: Sequence[Flush]) -> None:
        for region, link in self._links.items():
            Deferred.fromCoroutine(self._tell_all(region, link, flushes)).addErrback(self._untold)

    async def _tell_all(self, region: str, link: ILink, flushes: Sequence[Flush]) -> None:
        """Write flushes into the log of a region, some at a time, and tell its nodes."""
        for at in range(0, len(flushes), AT_ONCE):
            ahead, there = self._ahead(link), link.now()
            if ahead is None or there is None or not link.up:
                self._note(region, flushes[at:], "away", "it is away")
                return
            some = flushes[at : at + AT_ONCE]
            self._lacks[region].update((flush.id, WAITING) for flush in some)
            try:
                await gatherResults(self._tell(link, some, ahead, there, TOLD_OF if at == 0 else 0), consumeErrors=True)
            except FirstError as error:
                self._note(region, flushes[at:], "failed", error.subFailure.getErrorMessage())
                return
            self._told.add("told", by=len(some))
            for flush in some:
                self._lacks[region].pop(flush.id, None)

    def _note(self, region: str, flushes: Sequence[Flush], result: str, reason: str) -> None:
        """Note why a region has not taken some flushes."""
        self._told.add(result, by=len(flushes))
        self._lacks[region].update((flush.id, reason) for flush in flushes)

    def _tell(
        self, link: ILink, flushes: Sequence[Flush], ahead: float, now: float, most: int
    ) -> list[Deferred[object]]:
        """Write some flushes into the log of a region, and tell its nodes of the first of them."""
        data = [evolve(flush, time=flush.time + ahead + DRIFT).to_bytes() for flush in flushes]
        rows = [part for one in data for part in (f"{now * 1000:.0f}", one)]
        telling = [link.run("ZADD", key, *rows) for key in (self._flushes.log_key, self._flushes.todo_key)]
        head = KIND + self._notices.token
        telling += [link.run("PUBLISH", self._notices.channel(None), head + one) for one in data[:most]]
        link.run("PEXPIRE", self._flushes.log_key, int(KEPT * 2000)).addErrback(lambda _: None)
        return telling

    def _ahead(self, link: ILink) -> float | None:
        """Return by how many seconds the clock of a region's Redis is ahead of ours."""
        there, here = link.now(), self._home.now()
        return None if there is None or here is None else there - here

    async def _compare(self, region: str, link: ILink) -> None:
        """Read what is new in the log of a region, or all of it, where it may have lost some or was away."""
        there, ahead = link.now(), self._ahead(link)
        if there is None or ahead is None:
            return
        earliest, read_at = there - KEPT, self._read_at.get(region, inf)
        whole = read_at > there
        if not whole:
            size = await link.run("ZCARD", self._flushes.log_key)
            whole = not isinstance(size, int) or size < len(self._flushes)
            earliest = earliest if whole else max(earliest, read_at - OVERLAP)
        logged: set[bytes] = set()
        scores = f"{(there + KEPT) * 1000:.0f}", f"{earliest * 1000:.0f}"
        for first in range(0, MOST, PAGE):
            reply = await link.run("ZREVRANGEBYSCORE", self._flushes.log_key, *scores, "LIMIT", first, PAGE)
            page = reply if isinstance(reply, list) else []
            self._read(page, region, ahead, logged)
            if len(page) < PAGE:
                break
        self._read_at[region] = there
        lacks = self._lacks[region]
        if whole or lacks:
            known = self._flushes.known()
            await self._tell_all(
                region, link, [one for one in known if (one.id not in logged if whole else one.id in lacks)]
            )

    def _read(self, page: Sequence[object], region: str, ahead: float, logged: set[bytes]) -> None:
        """Learn what a part of the log of a region tells; what is known already is not even read."""
        new = []
        for data in page:
            identity = data[:ID] if isinstance(data, bytes) else b""
            if not self._flushes.knows(identity):
                try:
                    flush = Flush.from_bytes(cast(bytes, data))
                except (Malformed, TypeError):
                    continue
                here = evolve(flush, time=flush.time - ahead + DRIFT)
                if not self._flushes.merged(here):
                    new.append(here)
            logged.add(identity)
            self._lacks[region].pop(identity, None)
        if new:
            self._learnt.add(by=len(new))
            self._flushes.learn(new)

    def _compared(self, _: object, region: str) -> None:
        self._comparing.discard(region)

    def _unread(self, failure: Failure) -> None:
        self._told.add("unread")
        self._untold(failure)

    def _untold(self, failure: Failure) -> None:
        if not failure.check(LinkDown):
            reporter(self._clock).report(self._log, "the logs of flushes could not be compared", failure)
