"""What was flushed: a log that all nodes share, so that no tier of any node gives a name that was flushed before.

A flush is a fact: the name, whether all below it, and when, on the clock of Redis. It is never sequenced or
undone. Nodes tell each other (a notice), write it into a log in Redis, and read that log whenever they may have
missed something. Each node keeps the facts for an hour, so that they outlive a Redis that lost its data.

A value is older than a flush when its upstream was *asked* before it. So an answer that was on its way during
the flush, on whatever node, is refused by whoever reads it; no store has to be prevented.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from math import inf
from struct import Struct
from typing import Final, cast

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from heimdall.interfaces import ILink, INotices
from heimdall.message.wire import Malformed, skip_name, suffixes, to_text
from heimdall.tally import Count, Gauge, Tally

KEPT: Final = 3600.0
"""Seconds that a flush is remembered: far longer than it takes to sweep Redis of what it concerns."""

MOST: Final = 10_000
"""Flushes remembered; past that the oldest give way to one that covers every name."""

SLACK: Final = 0.1
"""Seconds by which two nodes may differ in what they take for the time of Redis."""

KIND: Final = b"F"
"""The kind of the notice that tells of a flush."""

_HEAD = Struct("!8sQB")


def is_below(key: bytes, name: bytes) -> bool:
    """Return whether a key that begins with a wire name begins with this one, or one below it."""
    at = 0
    while not key.startswith(name, at):
        if at >= len(key) or not key[at]:
            return False
        at += key[at] + 1
    return True


@frozen
class Flush:
    """A name, and perhaps all below it, was flushed.

    ``id`` eight random bytes; ``time`` seconds since 1970 on the clock of Redis; ``name`` the folded wire name.
    """

    id: bytes
    time: float
    name: bytes
    subtree: bool

    def to_bytes(self) -> bytes:
        """Return it as it is told and logged."""
        return _HEAD.pack(self.id, int(self.time * 1000), self.subtree) + self.name

    def matches(self, key: bytes) -> bool:
        """Return whether it concerns a name, or a key that begins with one."""
        return is_below(key, self.name) if self.subtree else key.startswith(self.name)

    @classmethod
    def from_bytes(cls, data: bytes) -> Flush:
        """Read what :meth:`to_bytes` wrote.

        :raises Malformed: the bytes are no flush.
        """
        if len(data) <= _HEAD.size:
            raise Malformed("a flush of no name")
        identity, milliseconds, subtree = _HEAD.unpack_from(data)
        # The walker takes pointers for names behind a header only; a whole name has none.
        if skip_name(data, _HEAD.size) != len(data) or data[-1] or subtree > 1:
            raise Malformed("a flush of something that is no name")
        return cls(identity, milliseconds / 1000, data[_HEAD.size :].lower(), bool(subtree))


class Flushes:
    """The flushes that this node knows of.

    :param link: Redis, where the log is.
    :param notices: how other nodes are told, and tell us.
    :param prefix: what all keys begin with.
    """

    _log = Logger()

    def __init__(
        self,
        link: ILink,
        notices: INotices,
        clock: IReactorTime,
        *,
        prefix: str = "heimdall",
    ) -> None:
        self._link, self._notices, self._clock = link, notices, clock
        self.forgets: list[Callable[[Flush], object]] = []
        """Called with each new flush, once: memory and flights forget what it concerns."""
        self.log_key = f"{prefix}:flushes"
        self.todo_key = f"{prefix}:flushes:todo"
        self._known: dict[bytes, Flush] = {}
        # When the name itself was flushed last, and when all below it was.
        self._exact: dict[bytes, float] = {}
        self._below: dict[bytes, float] = {}
        self._flushed = Count("heimdall_cache_flush_applied_total", "Flushes applied here, by who told us.", "told")
        self._errors = Count(
            "heimdall_cache_flush_errors_total", "Flushes that were no such thing, or not logged.", "what"
        )
        self.tallies: list[Tally] = [
            self._flushed,
            self._errors,
            Gauge("heimdall_cache_flush_known_flushes", "Flushes remembered.", self._known.__len__),
        ]
        notices.on(KIND, self._heard)

    def known(self) -> Sequence[Flush]:
        """Return the flushes that are remembered, the oldest first."""
        return sorted(self._known.values(), key=lambda flush: flush.time)

    def knows(self, identity: bytes) -> bool:
        """Return whether the flush of this id was applied here."""
        return identity in self._known

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
        :return: fires once it is applied here and Redis has it in its log; fails with :class:`LinkDown` when
            Redis could not be told. It is applied here, and told to who can be reached, all the same.
        """
        flush = Flush(secrets.token_bytes(8), self._now(), name, subtree)
        self._apply(flush, "here")
        self._log.info("Flushed {name}{below}", name=to_text(name), below=" and all below it" if subtree else "")
        self._notices.tell(KIND, flush.to_bytes())
        return self._write(flush).addCallback(lambda _: flush)

    def sync(self) -> Deferred[bool]:
        """Read the log, and write into it what it lacks. Fires with whether that could be done."""
        began = self._now()
        self._prune(began)
        if not self._link.up:
            return succeed(False)
        reading = self._link.run(
            "ZRANGEBYSCORE", self.log_key, f"{(began - KEPT) * 1000:.0f}", "+inf", "LIMIT", 0, MOST
        )
        return reading.addCallbacks(self._read, self._unread)

    def _now(self) -> float:
        now = self._link.now()
        return self._clock.seconds() if now is None else now

    def _write(self, flush: Flush) -> Deferred[object]:
        score = f"{flush.time * 1000:.0f}"
        self._link.run("ZADD", self.todo_key, score, flush.to_bytes()).addErrback(self._failed)
        self._link.run("PEXPIRE", self.log_key, int(KEPT * 2000)).addErrback(self._failed)
        return self._link.run("ZADD", self.log_key, score, flush.to_bytes())

    def _read(self, reply: object) -> bool:
        logged = set()
        for data in cast("list[object]", reply if isinstance(reply, list) else []):
            try:
                flush = Flush.from_bytes(cast(bytes, data))
            except (Malformed, TypeError):
                self._errors.add("malformed")
                continue
            logged.add(flush.id)
            self._apply(flush, "log")
        for flush in self.known():
            if flush.id not in logged:
                # This Redis is new, or lost its data: what we know, others may have missed.
                self._write(flush).addErrback(self._failed)
        return True

    def _unread(self, failure: Failure) -> bool:
        self._errors.add("unread")
        return False

    def _failed(self, failure: Failure) -> None:
        self._errors.add("unwritten")

    def _heard(self, sender: bytes, payload: bytes) -> None:
        try:
            flush = Flush.from_bytes(payload)
        except Malformed:
            self._errors.add("malformed")
        else:
            self._apply(flush, "notice")

    def _apply(self, flush: Flush, told: str) -> None:
        now = self._now()
        if flush.id in self._known or flush.time < now - KEPT:
            return
        if flush.time > now + KEPT:
            self._errors.add("future")
            return
        if len(self._known) >= MOST:
            self._merge()
        self._known[flush.id] = flush
        index = self._below if flush.subtree else self._exact
        index[flush.name] = max(index.get(flush.name, -inf), flush.time)
        self._flushed.add(told)
        for forget in self.forgets:
            forget(flush)

    def _merge(self) -> None:
        """Let one flush of everything stand for the older half of those that are known."""
        older = self.known()[: MOST // 2]
        for flush in older:
            del self._known[flush.id]
        self._index()
        self._apply(Flush(secrets.token_bytes(8), older[-1].time, b"\0", subtree=True), "merged")

    def _prune(self, now: float) -> None:
        old = [identity for identity, flush in self._known.items() if flush.time < now - KEPT]
        for identity in old:
            del self._known[identity]
        if old:
            self._index()

    def _index(self) -> None:
        self._exact.clear()
        self._below.clear()
        for flush in self._known.values():
            index = self._below if flush.subtree else self._exact
            index[flush.name] = max(index.get(flush.name, -inf), flush.time)
