"""Read from Redis: the keys of one turn of the reactor in one command, each within a budget of time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Final, cast

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from heimdall.bugs import reporter
from heimdall.cache.lease import Leases
from heimdall.cache.scripts import LOOK
from heimdall.cache.writer import Trouble
from heimdall.interfaces import ILink, LinkDown
from heimdall.tally import Count, Tally, Times
from heimdall.waits import Waits

AT_ONCE: Final = 256
"""Look-ups that travel in one command."""

LATE: Final = 0.002
"""Seconds that a look-up may take longer than its budget before that is told."""

MOST_WAITING: Final = 10_000
"""Look-ups that wait for Redis at once; past that it is not asked."""

_FAILED: Final = "a look-up in Redis failed"

Told = Callable[[list[object] | None, float], None]
"""What is called with what was found; see :meth:`Asking.found`."""


class Asking:
    """Somebody who wants some keys, of one place, read."""

    __slots__ = ("keys",)

    def __init__(self, keys: Sequence[bytes]) -> None:
        self.keys = keys

    def found(self, values: list[object] | None, now: float) -> None:
        """Take a value for each key, or None when Redis cannot tell; and the time on Redis's clock.

        A value is bytes, or None where there is none. Where a lease was wanted: 1 if it is ours now, 0 if another
        node's. Called once; once more, with None, if that raised.
        """
        raise NotImplementedError

    def late(self) -> None:
        """Note that it takes longer than the budget."""
        raise NotImplementedError


class _Call(Asking):
    """Somebody who wants to be called."""

    __slots__ = ("_late", "_told")

    def __init__(self, keys: Sequence[bytes], told: Told, late: Callable[[], object]) -> None:
        super().__init__(keys)
        self._told, self._late = told, late

    def found(self, values: list[object] | None, now: float) -> None:
        self._told(values, now)

    def late(self) -> None:
        self._late()


class _Batch:
    """The look-ups of one command; ``due`` is when its budget is over."""

    __slots__ = ("began", "due", "looks")

    def __init__(self, looks: list[Asking], began: float, due: float) -> None:
        self.looks, self.began, self.due = looks, began, due


class Reading:
    """Reads keys for many who ask at once.

    :param budget: seconds after which who asked is told that it takes longer; the reply may still come.
    :param leases: for leases where there is no value; None to read only.
    """

    _log: ClassVar = Logger()

    def __init__(self, link: ILink, clock: IReactorTime, *, budget: float, leases: Leases | None) -> None:
        self._link, self._clock, self._budget = link, clock, budget
        self._leases = leases
        self._bugs = reporter(clock)
        self._gathered: list[Asking] = []
        self._leased: list[Asking] = []
        self._waiting = 0
        self._scheduled = False
        # The batches that Redis has not replied to within their budget so far.
        self._under_way: set[_Batch] = set()
        self._waits = Waits(clock, lambda: self._under_way, self._late, LATE)
        self.at = 0.0
        """When Redis replied last, on our clock."""
        self.handed_out: Callable[[], object] | None = None
        """Called when all that lay ready in a reply was handed out."""
        self._times = Times("heimdall_cache_redis_lookup_seconds", "The look-ups of one turn, there and back.")
        errors = Count("heimdall_cache_redis_read_errors_total", "Look-ups in vain, whole batches.", "reason")
        self._trouble = Trouble(clock.seconds, "read", errors)
        self.tallies: list[Tally] = [self._times, errors]

    @property
    def leasing(self) -> bool:
        """Whether leases can be taken."""
        return self._leases is not None and self._leases.usable

    @property
    def ready(self) -> bool:
        """Whether Redis can be asked now."""
        return self._link.up and self._waiting < MOST_WAITING

    def read(self, keys: Sequence[bytes], leasing: bool, told: Told, late: Callable[[], object]) -> None:
        """Read some keys that live in one place.

        :param leasing: take the lease of what is not there; for one key only.
        :param told: called with the values, once.
        :param late: called when that takes longer than the budget.
        """
        self.ask(_Call(keys, told, late), leasing)

    def ask(self, asking: Asking, leasing: bool) -> None:
        """Read what somebody wants.

        :param leasing: take the lease of what is not there; for one key only.
        """
        self._waiting += 1
        (self._leased if leasing else self._gathered).append(asking)
        if not self._scheduled:
            self._scheduled = True
            self._clock.callLater(0, self._send)

    def _send(self) -> None:
        """Send what was gathered in this turn: what lives in one place, in one command."""
        self._scheduled = False
        gathered, self._gathered = self._gathered, []
        leased, self._leased = self._leased, []
        for looks, leasing in ((gathered, False), (leased, self.leasing)):
            for together in self._together(looks):
                for first in range(0, len(together), AT_ONCE):
                    self._run(together[first : first + AT_ONCE], leasing)

    def _together(self, looks: list[Asking]) -> Iterable[list[Asking]]:
        """Return those that live in one place, for each place."""
        if not self._link.scattered:
            return (looks,)
        places: dict[int, list[Asking]] = {}
        for look in looks:
            places.setdefault(self._link.place(look.keys[0]), []).append(look)
        return places.values()

    def _run(self, looks: list[Asking], leasing: bool) -> None:
        now = self._clock.seconds()
        batch = _Batch(looks, now, now + self._budget)
        self._under_way.add(batch)
        self._waits.wait(batch.due, now)
        keys = [key for look in looks for key in look.keys]
        if leasing and self._leases is not None:
            reading = maybeDeferred(LOOK.run, self._link, keys, self._leases.token, self._leases.lasts)
        else:
            reading = maybeDeferred(self._link.run, b"MGET", *keys)
        reading.addCallbacks(self._replied, self._refused, callbackArgs=(batch, len(keys)), errbackArgs=(batch,))
        reading.addErrback(self._bug)

    def _bug(self, failure: Failure) -> None:
        self._bugs.report(self._log, _FAILED, failure)

    def _late(self, batch: _Batch) -> None:
        """Tell those whose budget has passed."""
        if batch in self._under_way:
            self._under_way.discard(batch)
            for look in batch.looks:
                try:
                    look.late()
                except Exception as bug:
                    self._bugs.report(self._log, _FAILED, bug)

    def _over(self, batch: _Batch) -> None:
        self._waiting -= len(batch.looks)
        self.at = self._clock.seconds()
        self._times.observe(self.at - batch.began)
        self._under_way.discard(batch)
        if not self._under_way:
            self._waits.close()

    def _replied(self, reply: object, batch: _Batch, size: int) -> None:
        self._over(batch)
        self._trouble.passed()
        now = self._link.now()
        good = isinstance(reply, list) and len(reply) == size and now is not None
        values: list[object] = cast("list[object]", reply) if good else [None] * size
        looks, then = batch.looks, now or 0.0
        found = [[value] for value in values] if len(looks) == size else _parts(values, looks)
        # What lies ready first: nobody waits for what others ask on about, and one way at a time goes faster.
        for ready in (True, False):
            for at, look in enumerate(looks):
                if isinstance(found[at][0], bytes) is ready:
                    try:
                        look.found(found[at], then)
                    except Exception as bug:
                        self._bugs.report(self._log, _FAILED, bug)
                        self._tell_nothing(look)
            if ready and self.handed_out is not None:
                try:
                    self.handed_out()
                except Exception as bug:
                    self._bugs.report(self._log, _FAILED, bug)

    def _refused(self, failure: Failure, batch: _Batch) -> None:
        self._over(batch)
        if not failure.check(LinkDown):
            self._bug(failure)
        self._trouble.failed(failure)
        if self._leases is not None:
            self._leases.refused(failure.getErrorMessage())
        for look in batch.looks:
            self._tell_nothing(look)

    def _tell_nothing(self, look: Asking) -> None:
        """Tell who asked that Redis cannot tell; a bug there costs one query its answer, not the others theirs."""
        try:
            look.found(None, 0.0)
        except Exception as bug:
            self._bugs.report(self._log, _FAILED, bug)


def _parts(values: Sequence[object], looks: Sequence[Asking]) -> list[list[object]]:
    """Return the values of each look: as many as it has keys."""
    parts, at = [], 0
    for look in looks:
        behind = at + len(look.keys)
        parts.append(list(values[at:behind]))
        at = behind
    return parts
