"""Warm a node that starts: load the names that are hot in the cluster from Redis, within bounds of time and bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from heimdall.bugs import reporter
from heimdall.cache.memory import Memory
from heimdall.cache.ranks import PAGE, Ranks, Row, question
from heimdall.cache.refresh import Judge
from heimdall.interfaces import ILink, LinkDown, Passes
from heimdall.tally import Count, Gauge, Tally

WAIT: Final = 0.5
"""Seconds that Redis may take to answer at all."""

AT_ONCE: Final = 64
"""Answers that are read at once, and taken in one turn of the reactor."""

TELL: Final = 1.0
"""Seconds between two log lines on how far it is."""


class Warm:
    """Loads what is hot, once; if there is no Redis at the start, as soon as there is one.

    :param judge: says what a value is worth to a question.
    :param sync: learns what was flushed; fires with whether it could.
    :param learn: told the names of the list, the hottest first, and the seconds since counting began.
    :param seconds: how long it may take; 0 for not at all.
    :param most: bytes that memory may hold at the end.
    :param prefix: what all keys begin with.
    """

    _log = Logger()

    def __init__(
        self,
        link: ILink,
        memory: Memory,
        ranks: Ranks,
        clock: IReactorTime,
        *,
        judge: Judge,
        sync: Callable[[], Deferred[bool]],
        learn: Callable[[list[Row], float], object],
        seconds: float = 2.0,
        most: int = 25_000_000,
        prefix: str = "heimdall",
    ) -> None:
        self._link, self._memory, self._ranks, self._clock = link, memory, ranks, clock
        self._judge, self._sync, self._learn = judge, sync, learn
        self._seconds, self._most, self._head = seconds, most, f"{prefix}:c1:".encode()
        self.passes: Passes | None = None
        """What policies do not let pass is not loaded: memory is asked before they are."""
        self._up: Deferred[None] | None = None
        self._owed = False
        self._work: Deferred[str] | None = None
        self._loaded = 0
        self._tell_at = 0.0
        self._took = 0.0
        self._names = Count("heimdall_cache_warm_names_total", "Hot names at the start, by what was found.", "result")
        self.tallies: list[Tally] = [
            self._names,
            Gauge("heimdall_cache_warm_seconds", "How long it took to get warm.", lambda: self._took, across="max"),
        ]
        link.watch(self._changed)

    def start(self) -> Deferred[None]:
        """Load what is hot; fires when that is done, or cannot be done in time. Never fails."""
        if not self._seconds:
            return succeed(None)
        began = self._clock.seconds()
        self._tell_at = began + TELL
        work = self._work = Deferred.fromCoroutine(self._load())
        work.addTimeout(self._seconds, self._clock)
        return work.addErrback(self._failed).addCallback(self._over, began)

    def stop(self) -> None:
        """Give up."""
        self._owed = False
        if self._work is not None:
            self._work.cancel()

    def _changed(self) -> None:
        if not self._link.up:
            return
        if self._up is not None:
            up, self._up = self._up, None
            up.callback(None)
        elif self._owed:
            self._owed = False
            self.start()

    def _failed(self, failure: Failure) -> str:
        if failure.check(TimeoutError):
            return "no more time"
        if failure.check(LinkDown):
            return failure.getErrorMessage()
        if not failure.check(CancelledError):
            reporter(self._clock).report(self._log, "the memory could not be warmed", failure)
        return "given up"

    def _over(self, why: str, began: float) -> None:
        self._work = self._up = None
        self._took = self._clock.seconds() - began
        self._log.info(
            "Warm with {names} names, {bytes} bytes, after {seconds:.2f} s: {why}",
            names=self._loaded,
            bytes=self._memory.used,
            seconds=self._took,
            why=why,
        )

    async def _load(self) -> str:
        """Load page by page; return why there is no more to be done."""
        if not self._link.up:
            self._up = Deferred()
            try:
                await self._up.addTimeout(WAIT, self._clock)
            except TimeoutError:
                self._up, self._owed = None, True
                return "Redis is away"
        if not await self._sync():
            return "what was flushed is not known"
        listed: list[Row] = []
        for first in range(0, self._ranks.most, PAGE):
            now = self._link.now() or 0.0
            begun, rows = await self._ranks.top(first, first + PAGE - 1, now)
            listed += rows
            self._learn(listed, now - begun)
            keys = [row.key for row in rows if self._memory.life(row.key) is None]
            self._names.add("held", by=len(rows) - len(keys))
            for at in range(0, len(keys), AT_ONCE):
                await self._read(keys[at : at + AT_ONCE])
                if self._memory.used >= self._most:
                    return "no more room"
            if len(rows) < PAGE:
                break
        return "that is all"

    async def _read(self, keys: list[bytes]) -> None:
        places: dict[int, list[bytes]] = {}
        for key in keys:
            places.setdefault(self._link.place(self._head + key), []).append(key)
        for together in places.values():
            values = await self._link.run("MGET", *[self._head + key for key in together])
            time = self._link.now()
            if not isinstance(values, list) or time is None:
                raise LinkDown("no list of values")
            for key, value in zip(together, values, strict=False):
                self._names.add(self._take(key, value, time))
            self._tell()

    def _take(self, key: bytes, value: object, time: float) -> str:
        """Hold the answer in a value, if it is fresh; say what came of it."""
        query = question(key)
        if query is None:
            return "rubbish"
        if not isinstance(value, bytes) or not value or not value[0]:
            return "missing"  # or it is being asked for just now
        result, answer = self._judge(query, key, value, time)
        if result != "hit" or answer is None:
            return result
        if self._memory.life(key) is not None:
            return "held"
        if self.passes is not None and not self.passes(query):
            return "refused"
        self._memory.put(query, answer, self._clock.seconds())
        self._loaded += 1
        return "loaded"

    def _tell(self) -> None:
        if self._clock.seconds() >= self._tell_at:
            self._tell_at += TELL
            self._log.info("Warming: {names} names, {bytes} bytes so far", names=self._loaded, bytes=self._memory.used)
