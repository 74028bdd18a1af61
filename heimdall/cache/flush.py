"""What was flushed: a log that all nodes share, so that no tier of any node gives a name that was flushed before.

A flush is a fact: the name, whether all below it, and when, on the clock of Redis. It is never sequenced or
undone. Nodes tell each other (a notice), write it into a log in Redis, and read that log whenever they may have
missed something. Each node keeps the facts for an hour, so that they outlive a Redis that lost its data.

A value is older than a flush when its upstream was *asked* before it. So an answer that was on its way during
the flush, on whatever node, is refused by whoever reads it; no store has to be prevented.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import ClassVar, Final, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from heimdall.cache.flushed import MOST, Flush, Several
from heimdall.interfaces import NO_CLOCK, ILink, INotices, LinkDown
from heimdall.message.wire import Malformed, suffixes, to_text
from heimdall.tally import Count, Gauge, Tally

KEPT: Final = 3600.0
"""Seconds that a flush is remembered: far longer than it takes to sweep Redis of what it concerns."""

SLACK: Final = 0.02
"""Seconds by which two nodes may differ in what they take for the time of Redis, beyond what each knows to be in doubt:
one may reckon by the clock of a Redis that another has taken the place of."""

KIND: Final = b"F"
"""The kind of the notice that tells of a flush."""


ONLY_READS: Final = "this node only reads (redis.role)"


class Unlogged(LinkDown):
    """Redis could not be told of a ``flush``; None where that has no time yet. ``later``: it will be."""

    def __init__(self, reason: str, flush: Flush | None, later: bool = True) -> None:
        super().__init__(reason)
        self.flush, self.later = flush, later


class Flushes:
    """The flushes that this node knows of, :data:`MOST`; past that the oldest give way to one that covers every name.

    :param link: Redis, where the log is.
    :param notices: how other nodes are told, and tell us.
    :param prefix: what all keys begin with.
    :param reader: learn only; what is flushed here concerns this node alone.
    """

    _log: ClassVar = Logger()

    def __init__(
        self,
        link: ILink,
        notices: INotices,
        clock: IReactorTime,
        *,
        prefix: str = "heimdall",
        reader: bool = False,
    ) -> None:
        self._link, self._notices, self._clock, self._reader = link, notices, clock, reader
        self.forgets: list[Callable[[Flush | Several], object]] = []
        """Called with each new flush, or several, once: memory and flights forget what it concerns."""
        self.log_key = f"{prefix}:flushes"
        self.todo_key = f"{prefix}:flushes:todo"
        self._known: dict[bytes, Flush] = {}
        # Those of ours that no log has, and what has to be flushed anew since it had no time that means something.
        self._unlogged: dict[bytes, Flush] = {}
        self._owed: dict[tuple[bytes, bool], None] = {}
        # When the name itself was flushed last, and when all below it was.
        self._exact: dict[bytes, float] = {}
        self._below: dict[bytes, float] = {}
        self._merged = -inf
        self._flushed = Count("heimdall_cache_flush_applied_total", "Flushes applied here, by who told us.", "told")
        self._errors = Count(
            "heimdall_cache_flush_errors_total", "Flushes that were no such thing, or not logged.", "what"
        )
        self.tallies: list[Tally] = [
            self._flushed,
            self._errors,
            Gauge("heimdall_cache_flush_known_flushes", "Flushes remembered.", self._known.__len__, across="max"),
        ]
        self.made: list[Callable[[Flush], object]] = []
        """Called with each flush that is asked for here."""
        notices.on(KIND, self._heard)

    def inherit(self, former: Flushes) -> None:
        """Know what those before us at the same Redis knew, and still owed it."""
        self._known.update(former._known)
        self._unlogged.update(former._unlogged)
        self._owed.update(former._owed)
        self._index()

    def known(self) -> Sequence[Flush]:
        """Return the flushes that are remembered, the oldest first."""
        return sorted(self._known.values(), key=lambda flush: flush.time)

    def knows(self, identity: bytes) -> bool:
        """Return whether the flush of this id was applied here."""
        return identity in self._known

    def merged(self, flush: Flush) -> bool:
        """Return whether a flush gave way to one that covers every name: a log may have it still."""
        return flush.time <= self._merged

    def covers(self, name: bytes, asked: float) -> bool:
        """Return whether a name was flushed after its upstream was asked.

        :param asked: seconds since 1970 on the clock of Redis.
        """
        if not self._known:
            return False
        asked -= SLACK
        return self._exact.get(name, -inf) >= asked or (
            bool(self._below) and any(self._below.get(suffix, -inf) >= asked for suffix in suffixes(name))
        )

    def flush(self, name: bytes, subtree: bool) -> Deferred[Flush]:
        """Flush a name in every tier of every node.

        :param name: the folded wire name; with ``subtree`` all below it as well.
        :return: fires once it is applied here and Redis has it in its log; fails with :class:`Unlogged` when
            Redis could not be told. It is applied here, and told to who can be reached, all the same.
        """
        now = self._link.now()
        flush = Flush(secrets.token_bytes(8), (now or 0.0) + self._link.doubt(), name, subtree)
        self._log.info("Flushed {name}{below}", name=to_text(name), below=" and all below it" if subtree else "")
        if now is None:
            self._owe(flush)
            self._forget([flush])
            return fail(Unlogged(NO_CLOCK, None))
        if self._reader:
            self._apply([flush], "here")
            return fail(Unlogged(ONLY_READS, None, later=False))
        for made in self.made:
            made(flush)
        return self.learn(flush, "here")

    def learn(self, flush: Flush, told: str = "region") -> Deferred[Flush]:
        """Take in a flush that the others here do not know: apply it, log it, tell them; fires as :meth:`flush`."""
        self._apply([flush], told)
        if flush.id in self._known:  # else it is of no use to anybody
            self._unlogged[flush.id] = flush
        self._notices.tell(KIND, flush.to_bytes())
        return self._write(flush).addCallbacks(lambda _: flush, self._unwritten, errbackArgs=(flush,))

    def sync(self) -> Deferred[bool]:
        """Read the log, and write into it what it lacks. Fires with whether that could be done."""
        now = self._link.now()
        if now is None or not self._link.up:
            return succeed(False)
        self._prune(now)
        owed, self._owed = self._owed, {}
        for name, subtree in owed:
            self.flush(name, subtree).addErrback(self._failed)
        # The newest: whoever wrote more than we take has to have the oldest left out.
        earliest, latest = f"{(now - KEPT) * 1000:.0f}", f"{(now + KEPT) * 1000:.0f}"
        reading = self._link.run("ZREVRANGEBYSCORE", self.log_key, latest, earliest, "LIMIT", 0, MOST)
        return reading.addCallbacks(self._read, self._unread)

    def _write(self, flush: Flush) -> Deferred[object]:
        score, data, run = f"{flush.time * 1000:.0f}", flush.to_bytes(), self._link.run
        writing = run("ZADD", self.log_key, score, data)
        for command in (
            ("ZADD", self.todo_key, score, data),
            ("PEXPIRE", self.log_key, int(KEPT * 2000)),
            ("ZREMRANGEBYRANK", self.log_key, 0, -MOST - 1),
        ):
            run(*command).addErrback(self._failed)
        return writing.addCallback(self._logged, flush)

    def _logged(self, reply: object, flush: Flush) -> object:
        self._unlogged.pop(flush.id, None)
        return reply

    def _read(self, reply: object) -> bool:
        logged = {}
        for data in cast("list[object]", reply if isinstance(reply, list) else []):
            try:
                flush = Flush.from_bytes(cast(bytes, data))
            except (Malformed, TypeError):
                self._errors.add("malformed")
                continue
            logged[flush.id] = flush
            self._unlogged.pop(flush.id, None)
        self._apply(logged.values(), "log")
        for flush in self.known() if not self._reader else ():
            if flush.id not in logged:
                # This Redis is new, or lost its data: what we know, others may have missed.
                self._write(flush).addErrback(self._failed)
        return True

    def _unread(self, failure: Failure) -> bool:
        self._errors.add("unread")
        return False

    def _failed(self, failure: Failure) -> None:
        self._errors.add("unwritten")

    def _unwritten(self, failure: Failure, flush: Flush) -> Flush:
        failure.trap(LinkDown)
        raise Unlogged(failure.getErrorMessage(), flush)

    def _heard(self, sender: bytes, payload: bytes) -> None:
        try:
            flush = Flush.from_bytes(payload)
        except Malformed:
            self._errors.add("malformed")
        else:
            self._apply([flush], "notice")

    def _apply(self, flushes: Iterable[Flush], told: str) -> None:
        """Take in what is new, and forget all that in one go."""
        now = self._link.now()
        new = []
        for flush in flushes:
            if flush.id in self._known or now is None or flush.time < now - KEPT:
                continue
            if told == "log" and self.merged(flush):
                continue
            if flush.time > now + KEPT:
                self._errors.add("future")
                continue
            if len(self._known) >= MOST:
                self._merge()
            self._known[flush.id] = flush
            self._enter(flush)
            self._flushed.add(told)
            new.append(flush)
        if new:
            self._forget(new)

    def _forget(self, flushes: list[Flush]) -> None:
        what = flushes[0] if len(flushes) == 1 else Several(flushes)
        for forget in self.forgets:
            forget(what)

    def _merge(self) -> None:
        """Let one flush of everything stand for the older half of those that are known."""
        older = self.known()[: MOST // 2]
        for flush in older:
            del self._known[flush.id]
            self._unlogged.pop(flush.id, None)
        self._index()
        self._merged = older[-1].time
        self._apply([Flush(secrets.token_bytes(8), older[-1].time, b"\0", subtree=True)], "merged")

    def _owe(self, flush: Flush) -> None:
        if len(self._owed) >= MOST:
            self._owed = {(b"\0", True): None}
        self._owed[flush.name, flush.subtree] = None

    def _prune(self, now: float) -> None:
        old = [flush for flush in self._known.values() if flush.time < now - KEPT]
        for flush in old:
            del self._known[flush.id]
            if self._unlogged.pop(flush.id, None) is not None:
                self._owe(flush)  # Redis was away all the while, and may hold what it held then
        if old:
            self._index()

    def _index(self) -> None:
        self._exact.clear()
        self._below.clear()
        for flush in self._known.values():
            self._enter(flush)

    def _enter(self, flush: Flush) -> None:
        index = self._below if flush.subtree else self._exact
        index[flush.name] = max(index.get(flush.name, -inf), flush.time)
