"""Share flushes with regions that have a Redis of their own, and with it a cache of their own.

What is flushed here is told there at once; every few seconds both logs are compared, so that what one of them missed
reaches it all the same. Times are translated: those of a log are on the clock of its own Redis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast

from attrs import evolve
from twisted.internet.defer import Deferred, DeferredList, FirstError, gatherResults, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from heimdall.cache.flush import KEPT, KIND, Flushes
from heimdall.cache.flushed import MOST, Flush
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

TOLD: Final = ""
"""The place of a reason, of a region that took a flush."""


class Regions:
    """The other regions.

    :param links: to the Redis of each of them, by what it is called.
    :param home: to our own.
    """

    def __init__(
        self, links: Mapping[str, ILink], home: ILink, notices: INotices, flushes: Flushes, clock: IReactorTime
    ) -> None:
        self._links, self._home, self._notices, self._flushes, self._clock = links, home, notices, flushes, clock
        self._next: IDelayedCall | None = None
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
        comparing = [self._compare(region, link) for region, link in self._links.items() if link.up]
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
        known = {flush.id for flush in self._flushes.known()}
        for region, lacks in self._lacks.items():
            self._lacks[region] = {identity: why for identity, why in lacks.items() if identity in known}
        self.compare()

    def _lacked(self) -> float:
        return float(sum(map(len, self._lacks.values())))

    def _made(self, flush: Flush) -> None:
        for region, link in self._links.items():
            self._tell(region, link, flush)

    def _tell(self, region: str, link: ILink, flush: Flush) -> None:
        """Write a flush into the log of a region, and tell its nodes."""
        ahead = self._ahead(link)
        if ahead is None or not link.up:
            self._lacks[region][flush.id] = "it is away"
            self._told.add("away")
            return
        self._lacks[region][flush.id] = WAITING
        there = evolve(flush, time=flush.time + ahead + DRIFT)
        data, score = there.to_bytes(), f"{there.time * 1000:.0f}"
        telling = [link.run("ZADD", key, score, data) for key in (self._flushes.log_key, self._flushes.todo_key)]
        telling.append(link.run("PUBLISH", self._notices.channel(None), KIND + self._notices.token + data))
        link.run("PEXPIRE", self._flushes.log_key, int(KEPT * 2000)).addErrback(lambda _: None)
        gatherResults(telling, consumeErrors=True).addCallbacks(
            self._took, self._failed, callbackArgs=(region, flush), errbackArgs=(region, flush)
        )

    def _took(self, _: object, region: str, flush: Flush) -> None:
        self._told.add("told")
        self._lacks[region].pop(flush.id, None)

    def _failed(self, failure: Failure, region: str, flush: Flush) -> None:
        self._told.add("failed")
        self._lacks[region][flush.id] = _reason(failure)

    def _ahead(self, link: ILink) -> float | None:
        """Return by how many seconds the clock of a region's Redis is ahead of ours."""
        there, here = link.now(), self._home.now()
        return None if there is None or here is None else there - here

    def _compare(self, region: str, link: ILink) -> Deferred[None]:
        there, ahead = link.now(), self._ahead(link)
        if there is None or ahead is None:
            return succeed(None)
        earliest, latest = f"{(there - KEPT) * 1000:.0f}", f"{(there + KEPT) * 1000:.0f}"
        reading = link.run("ZREVRANGEBYSCORE", self._flushes.log_key, latest, earliest, "LIMIT", 0, MOST)
        return reading.addCallbacks(self._read, self._unread, callbackArgs=(region, link, ahead))

    def _read(self, reply: object, region: str, link: ILink, ahead: float) -> None:
        logged = set()
        known = {flush.id for flush in self._flushes.known()}
        for data in cast("list[object]", reply if isinstance(reply, list) else []):
            try:
                flush = Flush.from_bytes(cast(bytes, data))
            except (Malformed, TypeError):
                continue
            logged.add(flush.id)
            self._lacks[region].pop(flush.id, None)
            here = evolve(flush, time=flush.time - ahead + DRIFT)
            if flush.id not in known and not self._flushes.merged(here):
                self._learnt.add()
                self._flushes.learn(here).addErrback(_unlogged)
        for flush in self._flushes.known():
            if flush.id not in logged:
                self._tell(region, link, flush)

    def _unread(self, failure: Failure) -> None:
        self._told.add("unread")


def _reason(failure: Failure) -> str:
    """Return in words why commands that went together failed."""
    error = failure.value
    return (error.subFailure if isinstance(error, FirstError) else failure).getErrorMessage()


def _unlogged(failure: Failure) -> None:
    """Leave what our own Redis could not be told to the next look at its log."""
    failure.trap(LinkDown)
