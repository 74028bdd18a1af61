"""How fast every node goes: what each told between two of its heartbeats, and the last minutes of the cluster."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from math import inf
from typing import Final

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from heimdall.bugs import reporter
from heimdall.interfaces import LinkDown, Member

IDLE: Final = 30.0
"""Seconds between two looks at the cluster while nobody wants to know."""

GOOD: Final = 1.5
"""Seconds that a look is as good as a new one."""

AT_EASE: Final = 20
"""Members for which that holds; with more of them it is good for longer, so that Redis reads no more for it."""

LONGEST: Final = 50.0
"""Seconds that it is good for at most."""

PATIENCE: Final = 2.0
"""Seconds that the list of members is waited for."""

SHOWN: Final = 500
"""Members that are looked at, those with the latest heartbeats."""

MINUTE: Final = 60.0
"""Seconds that the shares of a member are of."""

KEPT: Final = 600.0
"""Seconds that are kept of the cluster."""

STEP: Final = 1.0
"""Seconds between two readings of a member at least: what is shorter tells no rate."""


@frozen
class Reading:
    """What a member told of itself, and when: seconds since 1970 on the clock of Redis."""

    at: float
    stats: Mapping[str, float]


class Course:
    """What one member told in the last minute, the oldest first."""

    def __init__(self) -> None:
        self._readings: deque[Reading] = deque()

    def add(self, reading: Reading) -> None:
        """Add what it tells now, if that is news."""
        readings = self._readings
        if readings and reading.stats.get("queries", 0.0) < readings[-1].stats.get("queries", 0.0):
            readings.clear()  # it has begun anew
        if readings and not STEP <= reading.at - readings[-1].at <= MINUTE:
            if 0 <= reading.at - readings[-1].at < STEP:
                return
            readings.clear()  # its clock leapt
        readings.append(reading)
        while reading.at - readings[0].at > MINUTE:
            readings.popleft()

    def rate(self, name: str) -> float | None:
        """Return how much a number rose in a second, of late; None when that is not known yet."""
        if len(self._readings) < 2:
            return None
        before, last = self._readings[-2], self._readings[-1]
        return max(last.stats.get(name, 0.0) - before.stats.get(name, 0.0), 0.0) / (last.at - before.at)

    def rise(self, name: str) -> float:
        """Return how much a number rose within the minute."""
        if not self._readings:
            return 0.0
        return max(self._readings[-1].stats.get(name, 0.0) - self._readings[0].stats.get(name, 0.0), 0.0)


class Pulse:
    """Looks at the members when somebody wants to know, and now and then by itself; keeps how fast they go.

    ``members`` are those of the last look, ``away`` why they are this node alone; empty when they are all.

    :param clock: the reactor's time.
    :param own: returns this node as the registry would list it.
    :param listed: returns who is in the cluster, or fails with :class:`LinkDown`; None where nothing is shared.
    :param kept: the names of the numbers whose rates are kept.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        own: Callable[[], Member],
        listed: Callable[[], Deferred[Sequence[Member]]] | None,
        kept: Sequence[str],
    ) -> None:
        self._clock, self._own, self._listed, self._kept = clock, own, listed, kept
        self._loop = LoopingCall(self.look)
        self._loop.clock = clock
        self._looking: Deferred[Sequence[Member]] | None = None
        self._waiting: list[Deferred[None]] = []
        self._good_until = -inf
        self._rates: deque[tuple[float, tuple[float, ...]]] = deque()
        self._courses: dict[str, Course] = {}
        self.members: Sequence[Member] = ()
        self.away = ""

    def start(self) -> None:
        """Look now, and from now on."""
        self._loop.start(IDLE)

    def stop(self) -> None:
        """Look no more by itself, and end the look that is under way."""
        if self._loop.running:
            self._loop.stop()
        if self._looking is not None:
            self._looking.cancel()

    def begin_with(self, former: Pulse) -> None:
        """Go on with what another one knows."""
        self._rates, self._courses = former._rates, former._courses

    def look(self) -> Deferred[None]:
        """Look at the members, unless that was done a moment ago; never fails, and ends within :data:`PATIENCE`."""
        if self._clock.seconds() < self._good_until:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._waiting.append(waiter)
        if self._looking is None:
            looking = self._looking = succeed(()) if self._listed is None else self._listed()
            looking.addTimeout(PATIENCE, self._clock)
            looking.addCallbacks(self._listing, self._unlisted)
            looking.addErrback(self._bug)
            looking.addBoth(self._looked)
        return waiter

    def course(self, member: str) -> Course:
        """Return how a member did of late."""
        return self._courses.get(member) or Course()

    def rise(self, name: str) -> float:
        """Return how much a number of all members rose within the minute."""
        return sum(course.rise(name) for course in self._courses.values())

    def past(self) -> list[tuple[float, tuple[float, ...]]]:
        """Return the last minutes: how many seconds ago, and the rates of the cluster in the order of ``kept``."""
        now = self._clock.seconds()
        return [(now - at, rates) for at, rates in self._rates]

    def _listing(self, members: Sequence[Member]) -> None:
        self._see(members, "Redis is not in use" if self._listed is None else "")

    def _unlisted(self, failure: Failure) -> None:
        failure.trap(LinkDown, TimeoutError, CancelledError)
        self._see((), failure.getErrorMessage())

    def _bug(self, failure: Failure) -> None:
        reporter(self._clock).report(self._log, "the members cannot be looked at", failure)

    def _looked(self, _: object) -> None:
        self._looking = None
        good = GOOD * max(len(self.members) / AT_EASE, 1.0)
        self._good_until = self._clock.seconds() + min(good, LONGEST)
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.called:
                waiter.callback(None)

    def _see(self, members: Sequence[Member], away: str) -> None:
        """Take in what was seen; this node is on the list in any case."""
        own = self._own()
        latest = sorted(members, key=lambda member: -member.last_heartbeat)
        others = islice((member for member in latest if member.id != own.id), SHOWN - 1)
        self.members, self.away = sorted([own, *others], key=lambda member: member.id), away
        courses = {}
        for member in self.members:
            course = courses[member.id] = self.course(member.id)
            course.add(Reading(member.last_heartbeat, member.stats))
        self._courses = courses
        now = self._clock.seconds()
        known = [course for course in courses.values() if course.rate("queries") is not None]
        if known:
            rates = [sum(each.rate(name) or 0.0 for each in known) for name in self._kept]
            self._rates.append((now, tuple(round(rate, 1) if rate < 100 else round(rate) for rate in rates)))
        while self._rates and now - self._rates[0][0] > KEPT:
            self._rates.popleft()
