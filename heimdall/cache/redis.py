"""The cache that all nodes share (L2): asks Redis first, whoever comes next when Redis does not know in time."""

from __future__ import annotations

from itertools import islice
from typing import Final

from attrs import evolve
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from heimdall.cache.entry import Rubbish, from_bytes, to_bytes
from heimdall.cache.writer import Trouble, Writer
from heimdall.interfaces import ILink, ISource, NoAnswer
from heimdall.message.answer import Answer
from heimdall.message.edns import STALE_ANSWER, STALE_NXDOMAIN, ExtendedError
from heimdall.message.query import NXDOMAIN, Query
from heimdall.tally import Count, Tally, Times

AT_ONCE: Final = 256
"""Look-ups that travel in one command."""

MOST_WAITING: Final = 10_000
"""Look-ups that wait for Redis at once; past that it is not asked."""

NEWER: Final = 1.0
"""Seconds that a value must outlive what a refresh is to replace: else our own may pass for news, since we know
Redis's clock a little better or worse each time."""

STALE_TTL: Final = 30
"""The TTL of a stale answer, in seconds (RFC 8767, 4)."""

_NOT_NEWS: Final = ("redis", "stale")


class _Look:
    """One query on its way: who waits for it, who was asked, and what is known so far."""

    __slots__ = ("asked", "done", "kept", "keys", "looking", "outcome", "query", "source", "timer", "waiter")

    def __init__(self, query: Query) -> None:
        self.query = query
        self.keys = query.keys() if query.subnet else (query.key,)
        self.waiter: Deferred[Answer] = Deferred(self.cancel)
        self.done = self.asked = self.looking = False
        self.source: Deferred[Answer] | None = None
        self.kept: Answer | None = None
        self.outcome: Answer | Failure | None = None
        self.timer: IDelayedCall | None = None

    def cancel(self, _: Deferred[Answer]) -> None:
        """End the work: nobody waits any more."""
        self.end()
        if self.source is not None:
            self.source.cancel()

    def end(self) -> None:
        """Take no more results."""
        self.done = True
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class _Batch:
    """The look-ups of one command."""

    __slots__ = ("began", "looks", "timer")

    def __init__(self, looks: list[_Look], began: float, timer: IDelayedCall) -> None:
        self.looks, self.began, self.timer = looks, began, timer


@implementer(ISource)
class Shared:
    """Answers from Redis what any node has asked before.

    Redis is given a budget. When that has passed, whoever is ``next`` is asked as well, and the first answer
    wins. A Redis that is away, slow, refusing or full of rubbish is a miss, never an error.

    :param budget: seconds.
    :param prefix: what all keys begin with.
    :param window: seconds that an answer is kept behind its TTL, to be used stale (RFC 8767).
    :param stale: whether stale answers are used, when ``next`` knows nothing.
    :param stale_after: seconds that ``next`` may take before a stale answer is used; it is waited for, and
        stored, all the same.
    :param most_writes: answers that wait to be stored at most.
    """

    def __init__(
        self,
        link: ILink,
        next: ISource,
        clock: IReactorTime,
        *,
        budget: float = 0.02,
        prefix: str = "heimdall",
        window: int = 86400,
        stale: bool = True,
        stale_after: float = 1.8,
        most_writes: int = 5000,
    ) -> None:
        self._link, self._next, self._clock, self._budget = link, next, clock, budget
        self._head = prefix.encode() + b":c1:"
        self._window = window if stale else 0
        self._stale_after = stale_after
        self._writer = Writer(link, clock, most=most_writes)
        self._log = Logger()
        self._gathered: list[_Look] = []
        self._waiting = 0
        self._lookups = Count("heimdall_cache_redis_lookups_total", "Look-ups in Redis.", "result")
        self._rubbish = Count("heimdall_cache_redis_rubbish_total", "Values that are no answer.", "reason")
        self._times = Times("heimdall_cache_redis_lookup_seconds", "The look-ups of one turn, there and back.")
        errors = Count("heimdall_cache_redis_read_errors_total", "Look-ups in vain, whole batches.", "reason")
        self._trouble = Trouble(clock.seconds, "read", errors)
        self.tallies: list[Tally] = [self._lookups, self._rubbish, self._times, errors, *self._writer.tallies]

    def ask(self, query: Query) -> Deferred[Answer]:
        """Find the answer to a query, in Redis or further on."""
        look = _Look(query)
        if not self._link.up or self._waiting >= MOST_WAITING:
            self._lookups.add("down")
            self._ask_next(look)
            return look.waiter
        look.looking = True
        self._waiting += 1
        if not self._gathered:
            self._clock.callLater(0, self._send)
        self._gathered.append(look)
        return look.waiter

    # Redis.

    def _send(self) -> None:
        """Look up what was asked for in this turn of the reactor."""
        gathered = iter(self._gathered)
        self._gathered = []
        while looks := list(islice(gathered, AT_ONCE)):
            batch = _Batch(looks, self._clock.seconds(), self._clock.callLater(self._budget, self._late, looks))
            head = self._head
            reading = self._link.run(b"MGET", *[head + key for look in looks for key in look.keys])
            reading.addCallbacks(self._replied, self._refused, callbackArgs=(batch,), errbackArgs=(batch,))
            reading.addErrback(self._broken, batch)

    def _late(self, looks: list[_Look]) -> None:
        for look in looks:
            if not look.done and not look.asked:
                self._lookups.add("late")
                self._ask_next(look)

    def _landed(self, batch: _Batch) -> None:
        self._waiting -= len(batch.looks)
        self._times.observe(self._clock.seconds() - batch.began)
        if batch.timer.active():
            batch.timer.cancel()

    def _replied(self, reply: object, batch: _Batch) -> None:
        self._landed(batch)
        self._trouble.passed()
        now = self._link.now()
        size = sum([len(look.keys) for look in batch.looks])
        values = reply if isinstance(reply, list) and len(reply) == size and now is not None else [None] * size
        at = 0
        for look in batch.looks:
            behind = at + len(look.keys)
            if not look.done:
                self._read(look, values[at:behind], now or 0.0)
            at = behind

    def _refused(self, failure: Failure, batch: _Batch) -> None:
        self._landed(batch)
        self._trouble.failed(failure)
        for look in batch.looks:
            if not look.done:
                self._missed(look, "down")

    def _broken(self, failure: Failure, batch: _Batch) -> None:
        """A bug of our own costs its batch the hits, not the answers."""
        self._log.failure("a look-up in Redis failed", failure)
        for look in batch.looks:
            if not look.done and look.looking:
                self._missed(look, "down")

    def _read(self, look: _Look, values: list[object], now: float) -> None:
        """Take the first good value for a query, the closest first; keep what is only good in need."""
        query = look.query
        result = "miss"
        for key, value in zip(look.keys, values, strict=True):
            if not isinstance(value, bytes):
                continue
            try:
                answer, left = from_bytes(value, key, len(query.question), now)
            except Rubbish as rubbish:
                self._rubbish.add(rubbish.reason)
                self._writer.forget(self._head + key)
                result = "rubbish"
                continue
            if left > (query.least and query.least + NEWER):
                if not look.asked:
                    self._lookups.add("hit")
                self._finish(look, answer)
                return
            if look.kept is None and left > -self._window:
                look.kept = answer if left > 0 else _stale(answer)
        if look.kept is not None and look.kept.origin == "stale":
            result = "stale"
            look.timer = self._clock.callLater(self._stale_after, self._answer_stale, look)
        self._missed(look, result)

    def _missed(self, look: _Look, result: str) -> None:
        """Go on with a query that Redis gave no fresh answer for."""
        look.looking = False
        if not look.asked:
            self._lookups.add(result)
            self._ask_next(look)
        elif look.outcome is not None:
            self._finish(look, look.kept or look.outcome)

    def _answer_stale(self, look: _Look) -> None:
        # Whoever was asked goes on, so that the next one who asks gets a fresh answer (RFC 8767, 5).
        look.timer = None
        look.done = True
        if look.kept is not None:
            look.waiter.callback(look.kept)

    # Whoever is next.

    def _ask_next(self, look: _Look) -> None:
        look.asked = True
        look.source = maybeDeferred(self._next.ask, look.query)
        look.source.addCallbacks(self._came, self._failed, callbackArgs=(look,), errbackArgs=(look,))

    def _came(self, answer: Answer, look: _Look) -> None:
        look.source = None
        if not look.done:
            if answer.rcode in (0, NXDOMAIN):
                self._finish(look, answer)
            else:
                self._learnt_nothing(look, answer)
        self._store(look.query, answer)

    def _failed(self, failure: Failure, look: _Look) -> None:
        look.source = None
        if look.done:
            return
        if failure.check(NoAnswer):
            self._learnt_nothing(look, failure)
        else:
            self._finish(look, failure)

    def _learnt_nothing(self, look: _Look, outcome: Answer | Failure) -> None:
        """Answer what Redis knew; if it has not answered yet, its reply is waited for: the link sees to its end."""
        if look.kept is not None or not look.looking:
            self._finish(look, look.kept or outcome)
        else:
            look.outcome = outcome

    def _finish(self, look: _Look, outcome: Answer | Failure) -> None:
        look.end()
        source, look.source = look.source, None
        if source is not None:
            source.cancel()
        if isinstance(outcome, Failure):
            look.waiter.errback(outcome)
        else:
            look.waiter.callback(outcome)

    def _store(self, query: Query, answer: Answer) -> None:
        """Share what was learnt, if it may be kept. Nobody waits for it."""
        if not answer.keep or answer.ttl <= 0 or answer.rcode not in (0, NXDOMAIN) or answer.origin in _NOT_NEWS:
            return
        now = self._link.now()
        key = query.key_for(answer.scope or 0)  # no scope told: for all (RFC 7871, 7.3.1)
        if now is not None and key.startswith(answer.question):
            self._writer.put(self._head + key, to_bytes(answer, key, now), (answer.ttl + self._window) * 1000)


def _stale(answer: Answer) -> Answer:
    code = STALE_NXDOMAIN if answer.rcode == NXDOMAIN else STALE_ANSWER
    return evolve(answer.with_ttls(STALE_TTL, "stale"), errors=(ExtendedError(code),))
