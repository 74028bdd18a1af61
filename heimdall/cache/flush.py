"""What was flushed: a log that all nodes share, so that no tier of any node gives a name that was flushed before.

A flush is a fact: the name, whether all below it, and when, on the clock of Redis. It is never sequenced or
undone. Nodes tell each other (a notice), write it into a log in Redis, and read that log whenever they may have
missed something. Each node keeps the facts for an hour, so that they outlive a Redis that lost its data.

A value is older than a flush when its upstream was *asked* before it. So an answer that was on its way during
the flush, on whatever node, is refused by whoever reads it; no store has to be prevented.

The log is in the order in which flushes were written into it. So it is read from where it was read last, and whole only
when something may have been missed, or when it holds less than we know.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import ClassVar, Final, cast

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from heimdall.bugs import reporter
from heimdall.cache.flushed import ID, MOST, Flush, Several
from heimdall.interfaces import NO_CLOCK, ILink, INotices, LinkDown
from heimdall.message.wire import Malformed, suffixes, to_text
from heimdall.tally import Count, Gauge, Tally

KEPT: Final = 3600.0
"""Seconds that a flush is remembered: far longer than it takes to sweep Redis of what it concerns."""

SLACK: Final = 0.02
"""Seconds by which two nodes may differ in what they take for the time of Redis, beyond what each knows to be in doubt:
one may reckon by the clock of a Redis that another has taken the place of."""

PAGE: Final = 500
"""Flushes that are read from a log, and taken in, in one step."""

AT_ONCE: Final = 250
"""Flushes that are written into a log with one command."""

OVERLAP: Final = 60.0
"""Seconds before the last reading from which on the log is read again: so long a flush may take to get into it."""

TOLD: Final = 100
"""Of many flushes at once, those that other nodes are told of by a notice; they find the others in the log."""

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
        self._link, self._notices, self._reader, self._bugs = link, notices, reader, reporter(clock)
        self.forgets: list[Callable[[Flush | Several], object]] = []
        """Called with each new flush, or several, once: memory and flights forget what it concerns."""
        self.log_key = f"{prefix}:flushes"
        self.todo_key = f"{prefix}:flushes:todo"
        # By id, in the order in which they came.
        self._known: OrderedDict[bytes, Flush] = OrderedDict()
        # Those of ours that no log has, and what has to be flushed anew since it had no time that means something.
        self._unlogged: dict[bytes, Flush] = {}
        self._owed: dict[tuple[bytes, bool], None] = {}
        # When the name itself was flushed last, and when all below it was.
        self._exact: dict[bytes, float] = {}
        self._below: dict[bytes, float] = {}
        self._merged = -inf
        # When the log was read last, on the clock of Redis; and whether many are being written into it.
        self._read_at: float | None = None
        self._writing = False
        self._flushed = Count("heimdall_cache_flush_applied_total", "Flushes applied here, by who told us.", "told")
        self._errors = Count(
            "heimdall_cache_flush_errors_total", "Flushes that were no such thing, or not logged.", "what"
        )
        self.tallies: list[Tally] = [
            self._flushed,
            self._errors,
            Gauge("heimdall_cache_flush_known_flushes", "Flushes remembered.", self._known.__len__, across="max"),
        ]
        self.made: list[Callable[[Sequence[Flush]], object]] = []
        """Called with the flushes that are asked for here."""
        notices.on(KIND, self._heard)

    def inherit(self, former: Flushes) -> None:
        """Know what those before us at the same Redis knew, and still owed it."""
        self._known.update(former._known)
        self._unlogged.update(former._unlogged)
        self._owed.update(former._owed)
        self._exact.update(former._exact)
        self._below.update(former._below)
        self._merged = max(self._merged, former._merged)

    def __len__(self) -> int:
        return len(self._known)

    def known(self) -> Sequence[Flush]:
        """Return the flushes that are remembered, in the order in which they came."""
        return list(self._known.values())

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
        flush = Flush(secrets.token_bytes(ID), (now or 0.0) + self._link.doubt(), name, subtree)
        self._log.info("Flushed {name}{below}", name=to_text(name), below=" and all below it" if subtree else "")
        if now is None:
            self._owe(flush)
            self._forget([flush])
            return fail(Unlogged(NO_CLOCK, None))
        if self._reader:
            self._apply([flush], "here")
            return fail(Unlogged(ONLY_READS, None, later=False))
        self._make([flush])
        return self._write([flush]).addCallbacks(lambda _: flush, self._unwritten, errbackArgs=(flush,))

    def learn(self, flushes: Sequence[Flush], told: str = "region") -> None:
        """Take in flushes that the others here do not know: apply them, tell the others, log them."""
        self._take_in(flushes, told)
        self._write_later(flushes)

    def sync(self, whole: bool = True) -> Deferred[bool]:
        """Read the log, and write into it what it lacks. Fires with whether that could be done.

        :param whole: read all of it, since something may have been missed; else what is new in it.
        """
        now = self._link.now()
        if now is None or not self._link.up:
            return succeed(False)
        self._prune(now)
        self._flush_owed(now)
        return Deferred.fromCoroutine(self._sync(now, whole)).addErrback(self._unread)

    async def _sync(self, now: float, whole: bool) -> bool:
        earliest = now - KEPT
        if self._read_at is None or self._read_at > now:  # its clock was set back
            whole = True
        elif not whole:
            size = await self._link.run("ZCARD", self.log_key)
            # A log that holds less than we know is that of a new Redis, or of one that lost its data.
            whole = not isinstance(size, int) or size < len(self._known)
            earliest = earliest if whole else max(earliest, self._read_at - OVERLAP)
        logged: set[bytes] = set()
        scores = f"{(now + KEPT) * 1000:.0f}", f"{earliest * 1000:.0f}"
        # The newest first: whoever wrote more than we take has to have the oldest left out.
        for first in range(0, MOST, PAGE):
            reply = await self._link.run("ZREVRANGEBYSCORE", self.log_key, *scores, "LIMIT", first, PAGE)
            page = reply if isinstance(reply, list) else []
            self._read(page, logged)
            if len(page) < PAGE:
                break
        self._read_at = now
        if not self._reader:
            # What we know, others may have missed, where the log lacks it.
            known = self._known
            lacking = [known[one] for one in known if one not in logged] if whole else list(self._unlogged.values())
            self._write_later(lacking)
        return True

    def _make(self, flushes: Sequence[Flush]) -> None:
        """Take in what is asked for here, and tell of it."""
        for made in self.made:
            made(flushes)
        self._take_in(flushes, "here")

    def _take_in(self, flushes: Sequence[Flush], told: str) -> None:
        self._apply(flushes, told)
        # Any other is of no use to anybody.
        self._unlogged.update((flush.id, flush) for flush in flushes if flush.id in self._known)
        for flush in flushes[:TOLD]:
            self._notices.tell(KIND, flush.to_bytes())

    def _flush_owed(self, now: float) -> None:
        """Flush what was flushed before there was a time for it, some of it at a time."""
        time = now + self._link.doubt()
        owed = [self._owed.popitem()[0] for _ in range(min(PAGE, len(self._owed)))]
        if owed:
            self._log.info("Flushed {count} names that Redis was away for", count=len(owed))
            flushes = [Flush(secrets.token_bytes(ID), time, name, subtree) for name, subtree in owed]
            if self._reader:
                self._apply(flushes, "here")
            else:
                self._make(flushes)
                self._write_later(flushes)

    def _write_later(self, flushes: Sequence[Flush]) -> None:
        """Write some into the log, one step behind the other; what is not written now, the next reading finds out."""
        if flushes and not self._writing:
            self._writing = True
            writing = Deferred.fromCoroutine(self._write_all(flushes))
            writing.addErrback(self._failed).addBoth(self._written)

    async def _write_all(self, flushes: Sequence[Flush]) -> None:
        for at in range(0, len(flushes), AT_ONCE):
            await self._write(flushes[at : at + AT_ONCE])

    def _write(self, flushes: Sequence[Flush]) -> Deferred[object]:
        """Write some into the log, at most :data:`AT_ONCE`, behind all that is in it already."""
        score, run = f"{(self._link.now() or flushes[0].time) * 1000:.0f}", self._link.run
        rows = [part for flush in flushes for part in (score, flush.to_bytes())]
        writing = run("ZADD", self.log_key, *rows)
        run("ZADD", self.todo_key, *rows).addErrback(self._failed)
        run("PEXPIRE", self.log_key, int(KEPT * 2000)).addErrback(self._failed)
        run("ZREMRANGEBYRANK", self.log_key, 0, -MOST - 1).addErrback(self._failed)
        return writing.addCallback(self._logged, flushes)

    def _logged(self, reply: object, flushes: Sequence[Flush]) -> object:
        for flush in flushes:
            self._unlogged.pop(flush.id, None)
        return reply

    def _written(self, _: object) -> None:
        self._writing = False

    def _read(self, page: Sequence[object], logged: set[bytes]) -> None:
        """Take in what a part of the log holds; what is known already is not even read."""
        new = []
        for data in page:
            identity = data[:ID] if isinstance(data, bytes) else b""
            if identity not in self._known:
                try:
                    new.append(Flush.from_bytes(cast(bytes, data)))
                except (Malformed, TypeError):
                    self._errors.add("malformed")
                    continue
            logged.add(identity)
            self._unlogged.pop(identity, None)
        self._apply(new, "log")

    def _unread(self, failure: Failure) -> bool:
        self._errors.add("unread")
        if not failure.check(LinkDown, CancelledError):
            self._bugs.report(self._log, "the log of flushes could not be read", failure)
        return False

    def _failed(self, failure: Failure) -> None:
        self._errors.add("unwritten")
        if not failure.check(LinkDown):
            self._bugs.report(self._log, "flushes could not be logged", failure)

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
        older = sorted(self._known.values(), key=lambda flush: flush.time)[: MOST // 2]
        for flush in older:
            self._drop(flush)
            self._unlogged.pop(flush.id, None)
        self._merged = older[-1].time
        self._apply([Flush(secrets.token_bytes(ID), older[-1].time, b"\0", subtree=True)], "merged")

    def _owe(self, flush: Flush) -> None:
        if len(self._owed) >= MOST:
            self._owed = {(b"\0", True): None}
        self._owed[flush.name, flush.subtree] = None

    def _prune(self, now: float) -> None:
        """Forget those that are too old, some at a time: nearly all of them came before the others."""
        for _ in range(2 * PAGE):
            oldest = next(iter(self._known.values()), None)
            if oldest is None or oldest.time >= now - KEPT:
                break
            self._drop(oldest)
            if self._unlogged.pop(oldest.id, None) is not None:
                self._owe(oldest)  # Redis was away all the while, and may hold what it held then

    def _drop(self, flush: Flush) -> None:
        del self._known[flush.id]
        index = self._below if flush.subtree else self._exact
        if index.get(flush.name) == flush.time:  # else it was flushed again since
            del index[flush.name]

    def _enter(self, flush: Flush) -> None:
        index = self._below if flush.subtree else self._exact
        index[flush.name] = max(index.get(flush.name, -inf), flush.time)
