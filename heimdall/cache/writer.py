"""Write-behind to Redis: what is to be stored waits in a bounded queue, and nobody waits for it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import ClassVar, Final

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from heimdall.bugs import reporter
from heimdall.cache.lease import KIND, Leases
from heimdall.cache.scripts import STORE
from heimdall.interfaces import REFUSALS, ILink, LinkDown
from heimdall.tally import Count, Gauge, Tally

AT_ONCE: Final = 256
"""Commands sent together; the next ones wait until these were answered, so that Redis sets the pace."""

MOST_BYTES: Final = 32 << 20
"""Bytes that may wait, whatever their number."""

CALM: Final = 10.0
"""Seconds without an error after which a trouble is told to be over."""

_ERRORS: Final = (
    *("BUSY", "CLUSTERDOWN", "ERR", "LOADING", "MASTERDOWN", "MISCONF", "MOVED"),
    *("NOAUTH", "NOPERM", "NOREPLICAS", "OOM", "READONLY", "WRONGTYPE"),
)

LINK: Final = "link"
"""The reason of an error that is the link's: it tells and counts what happened itself."""


class Trouble:
    """What Redis answers with when it will not do as we ask: counted by reason, told once.

    :param act: what it is asked to do, for the log.
    :param errors: counts them; its one label is the reason.
    """

    def __init__(self, seconds: Callable[[], float], act: str, errors: Count) -> None:
        self._seconds, self._act, self._errors = seconds, act, errors
        self._told = ""
        self._last = 0.0
        self._log = Logger(__name__)

    def failed(self, failure: Failure) -> None:
        """Note that Redis could not be asked, or refused."""
        word = failure.getErrorMessage().split(" ", 1)[0]
        reason = word.lower() if word in _ERRORS else LINK
        self._errors.add(reason)
        if reason == LINK or word in REFUSALS:
            return
        self._last = self._seconds()
        if reason != self._told:
            self._told = reason
            self._log.warn("Redis refuses to {act}: {reason}; done without", act=self._act, reason=word)

    def passed(self) -> None:
        """Note that Redis did as it was asked."""
        if self._told and self._seconds() - self._last >= CALM:
            self._told = ""
            self._log.info("Redis does {act} again", act=self._act)


class Writer:
    """Stores and deletes values, later, in batches, and no more than Redis takes.

    :param most: values that may wait; what comes on top is not written, but counted.
    :param leases: who waits for values is woken; None where nobody does.
    """

    _log: ClassVar = Logger()

    def __init__(self, link: ILink, clock: IReactorTime, *, most: int = 5000, leases: Leases | None = None) -> None:
        self._link, self._clock, self._most = link, clock, most
        self._leases = leases
        # By key: a second write of a key takes the place of the first. No value means: delete.
        self._waiting: dict[bytes, tuple[bytes, int] | None] = {}
        self._bytes = 0
        self._under_way = 0
        self._scheduled = False
        self._writes = Count(
            "heimdall_cache_redis_writes_total",
            "Values by what became of them: stored, deleted, released (a lease given up), failed, full, down.",
            "result",
        )
        errors = Count("heimdall_cache_redis_write_errors_total", "Values not written, of those sent.", "reason")
        self._trouble = Trouble(clock.seconds, "write", errors)
        self.tallies: list[Tally] = [
            self._writes,
            errors,
            Gauge("heimdall_cache_redis_unwritten_bytes", "Bytes of values that wait for Redis.", lambda: self._bytes),
        ]

    def put(self, key: bytes, value: bytes, milliseconds: int) -> None:
        """Store a value soon, to be forgotten after some milliseconds."""
        self._add(key, (value, milliseconds), len(value))

    def release(self, key: bytes, value: bytes) -> None:
        """Give up our lease at a key soon, and wake who waits there with a value, or with none."""
        if self._leases is not None and self._leases.usable:
            self._add(key, (value, 0), len(value))

    def forget(self, key: bytes) -> None:
        """Delete a key soon."""
        self._add(key, None, 0)

    def _add(self, key: bytes, what: tuple[bytes, int] | None, size: int) -> None:
        if not self._link.up:
            self._writes.add("down")
        elif len(self._waiting) >= self._most or self._bytes + size > MOST_BYTES:
            self._writes.add("full")
        else:
            old = self._waiting.get(key)
            self._bytes += size - (len(old[0]) if old else 0)
            self._waiting[key] = what
            if not self._scheduled and not self._under_way:
                self._scheduled = True
                self._clock.callLater(0, self._send)

    def _send(self) -> None:
        self._scheduled = False
        batch = list(islice(self._waiting.items(), AT_ONCE))
        # Counted first: a link that is down answers at once.
        self._under_way = len(batch)
        leases = self._leases if self._leases is not None and self._leases.usable else None
        values: dict[int, list[tuple[bytes, bytes, int]]] = {}
        for key, what in batch:
            del self._waiting[key]
            if what is None:
                self._wait_for(maybeDeferred(self._link.run, b"DEL", key), deleted=1)
                continue
            value, milliseconds = what
            self._bytes -= len(value)
            if leases is not None:
                values.setdefault(self._link.place(key), []).append((key, value, milliseconds))
            elif milliseconds:
                self._wait_for(maybeDeferred(self._link.run, b"SET", key, value, b"PX", milliseconds), stored=1)
            else:
                self._answered(1)
        if leases is not None:
            for together in values.values():
                stored = len([key for key, _, milliseconds in together if milliseconds])
                storing = maybeDeferred(self._store, leases, together)
                self._wait_for(storing, stored=stored, released=len(together) - stored)

    def _store(self, leases: Leases, values: list[tuple[bytes, bytes, int]]) -> Deferred[object]:
        arguments = [part for _, value, milliseconds in values for part in (value, milliseconds)]
        return STORE.run(self._link, [key for key, _, _ in values], leases.token, KIND, leases.channels, *arguments)

    def _wait_for(self, done: Deferred[object], **counts: int) -> None:
        """Count what becomes of some values: these, if Redis takes them."""
        done.addCallbacks(self._taken, self._failed, callbackArgs=(counts,), errbackArgs=(sum(counts.values()),))

    def _taken(self, _: object, counts: dict[str, int]) -> None:
        for result, count in counts.items():
            if count:
                self._writes.add(result, by=count)
        self._trouble.passed()
        self._answered(sum(counts.values()))

    def _failed(self, failure: Failure, size: int) -> None:
        self._writes.add("failed", by=size)
        if not failure.check(LinkDown):
            reporter(self._clock).report(self._log, "values could not be written", failure)
        self._trouble.failed(failure)
        if self._leases is not None:
            self._leases.refused(failure.getErrorMessage())
        self._answered(size)

    def _answered(self, size: int) -> None:
        self._under_way -= size
        if self._waiting and not self._under_way and not self._scheduled:
            self._scheduled = True
            self._clock.callLater(0, self._send)
