"""Share flushes with regions that have a Redis of their own, and with it a cache of their own.

What is flushed here is told there at once; every few seconds both logs are compared, so that what one of them missed
reaches it all the same. Times are translated: those of a log are on the clock of its own Redis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from attrs import evolve
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from heimdall.cache.flush import KEPT, KIND, MOST, Flushes
from heimdall.cache.flushed import Flush
from heimdall.interfaces import ILink, INotices
from heimdall.message.wire import Malformed
from heimdall.tally import Count, Tally

EVERY: Final = 5.0
"""Seconds between two comparisons of the logs."""


class Regions:
    """The other regions.

    :param links: to the Redis of each of them.
    :param home: to our own.
    """

    def __init__(
        self, links: Sequence[ILink], home: ILink, notices: INotices, flushes: Flushes, clock: IReactorTime
    ) -> None:
        self._links, self._home, self._notices, self._flushes, self._clock = links, home, notices, flushes, clock
        self._next: IDelayedCall | None = None
        self._told = Count("heimdall_cache_regions_told_total", "Flushes told to other regions, by end.", "result")
        self._learnt = Count("heimdall_cache_regions_learnt_total", "Flushes learnt from the logs of other regions.")
        self.tallies: list[Tally] = [self._told, self._learnt]
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
        comparing = DeferredList([self._compare(link) for link in self._links if link.up], consumeErrors=True)
        return comparing.addCallback(lambda _: None)

    def _again(self) -> None:
        self._next = self._clock.callLater(EVERY, self._again)
        self.compare()

    def _made(self, flush: Flush) -> None:
        for link in self._links:
            self._tell(link, flush)

    def _tell(self, link: ILink, flush: Flush) -> None:
        """Write a flush into the log of a region, and tell its nodes."""
        ahead = self._ahead(link)
        if ahead is None or not link.up:
            self._told.add("away")
            return
        there = evolve(flush, time=flush.time + ahead)
        data, score = there.to_bytes(), f"{there.time * 1000:.0f}"
        for key in (self._flushes.log_key, self._flushes.todo_key):
            link.run("ZADD", key, score, data).addErrback(lambda _: None)
        link.run("PEXPIRE", self._flushes.log_key, int(KEPT * 2000)).addErrback(lambda _: None)
        telling = link.run("PUBLISH", self._notices.channel(None), KIND + self._notices.token + data)
        telling.addCallbacks(lambda _: self._told.add("told"), lambda _: self._told.add("failed"))

    def _ahead(self, link: ILink) -> float | None:
        """Return by how many seconds the clock of a region's Redis is ahead of ours."""
        there, here = link.now(), self._home.now()
        return None if there is None or here is None else there - here

    def _compare(self, link: ILink) -> Deferred[None]:
        there, ahead = link.now(), self._ahead(link)
        if there is None or ahead is None:
            return succeed(None)
        earliest, latest = f"{(there - KEPT) * 1000:.0f}", f"{(there + KEPT) * 1000:.0f}"
        reading = link.run("ZREVRANGEBYSCORE", self._flushes.log_key, latest, earliest, "LIMIT", 0, MOST)
        return reading.addCallbacks(self._read, self._unread, callbackArgs=(link, ahead))

    def _read(self, reply: object, link: ILink, ahead: float) -> None:
        logged = set()
        known = {flush.id for flush in self._flushes.known()}
        for data in cast("list[object]", reply if isinstance(reply, list) else []):
            try:
                flush = Flush.from_bytes(cast(bytes, data))
            except (Malformed, TypeError):
                continue
            logged.add(flush.id)
            if flush.id not in known:
                self._learnt.add()
                self._flushes.learn(evolve(flush, time=flush.time - ahead))
        for flush in self._flushes.known():
            if flush.id not in logged:
                self._tell(link, flush)

    def _unread(self, failure: Failure) -> None:
        self._told.add("unread")
