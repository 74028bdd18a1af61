"""One flight per question in this process, stale answers behind a failure, refresh ahead of expiry.

Whoever asks what is being asked already waits for the same flight. A flight always ends: in an answer, in a
stale one (RFC 8767), or in a failure that is remembered for a while (RFC 9520).
"""

from __future__ import annotations

from collections.abc import Callable, Container
from functools import partial
from typing import ClassVar, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import classImplements

from heimdall.asking import deferred, teller
from heimdall.bugs import reporter
from heimdall.cache.waiting import Flight, Waiter
from heimdall.episodes import Episodes
from heimdall.interfaces import IHotCache, ISource, ITeller, NoAnswer, Ongoing, Passes, Told
from heimdall.message import edns
from heimdall.message.answer import STALE_TTL, Answer, make
from heimdall.message.edns import ExtendedError
from heimdall.message.query import NXDOMAIN, SERVFAIL, Query
from heimdall.tally import Count, Gauge, Tally
from heimdall.waits import Waits

AGAIN: Final = 100
"""Questions that are asked again in one turn of the reactor, where what they come to would be out of date."""

LATE: Final = 0.05
"""Seconds that a flight may take too long: those under way are looked through no more often."""

_TOO_LATE: Final = ExtendedError(edns.NO_REACHABLE_AUTHORITY, "no upstream answered in time")
_TOO_MANY: Final = ExtendedError(edns.OTHER, "too many queries are waiting")
_BROKEN: Final = ExtendedError(edns.OTHER, "a source failed")


class Once:
    """Asks ``source`` once for all who ask the same, and keeps what it learns in ``memory``.

    The Deferred of ``ask`` never fails: a failure becomes a SERVFAIL with an extended error.

    :param deadline: seconds after which a flight ends, whatever its source does.
    :param most: askers that may wait at once; past that they are told SERVFAIL.
    :param failure_ttl: seconds a failure is remembered.
    :param stale_after: seconds after which a stale answer is given, where one is held; None for never.
    """

    _log: ClassVar = Logger()

    def __init__(
        self,
        memory: IHotCache,
        source: ISource,
        clock: IReactorTime,
        *,
        deadline: float = 4.5,
        most: int = 10000,
        failure_ttl: int = 5,
        stale_after: float | None = 1.8,
    ) -> None:
        self._memory = memory
        self._tell = teller(source)
        self._clock = clock
        self.bugs = reporter(clock)
        self._deadline = deadline
        self._most = most
        self._failure_ttl = failure_ttl
        self._stale = stale_after is not None
        self._patience = deadline if stale_after is None else min(stale_after, deadline)
        self._flights: dict[bytes, Flight] = {}
        self._waiting = 0
        self._again: dict[Flight, None] = {}
        self._asking_again: IDelayedCall | None = None
        self._waits = Waits(clock, self._flights.values, self._late, LATE)
        self.landed: Callable[[Query, Answer, int], object] | None = None
        """Called at the end of each flight that somebody waits for: with its question, the answer, and how many do."""
        self.passes: Passes | None = None
        """Whether policies let a question pass that is asked ahead of its time; None where there are none."""
        self._asked = Count(
            "heimdall_cache_once_asked_total", "Questions that neither memory nor Redis had ready.", "result"
        )
        self._started = self._asked.cell("started")
        self._stale_given = Count("heimdall_cache_once_stale_total", "Stale answers given behind a failure.", "reason")
        self._faults = Count("heimdall_cache_once_faults_total", "Questions whose source met a bug.")
        self._quiet_until = 0.0
        self._overload = Episodes(
            clock,
            self._log,
            "Too many queries wait for upstreams (accept.inflight): {who} are answered SERVFAIL at once",
            "No longer do too many queries wait for upstreams: it was SERVFAIL for {count}",
        )
        self.tallies: list[Tally] = [
            self._asked,
            self._stale_given,
            self._faults,
            Gauge("heimdall_cache_once_flights", "Questions on their way.", self._flights.__len__),
            Gauge("heimdall_cache_once_waiting_queries", "Askers that wait for them.", lambda: self._waiting),
        ]

    @property
    def flights(self) -> Container[bytes]:
        """The keys of the questions that are on their way."""
        return self._flights

    @property
    def under_way(self) -> int:
        """How many questions are on their way."""
        return len(self._flights)

    def ask(self, query: Query) -> Deferred[Answer]:
        """Find the answer, together with all others who want it."""
        return deferred(self.tell, query)

    def tell(self, query: Query, told: Told) -> Ongoing:
        """Find the answer, together with all others who want it; see :class:`~heimdall.interfaces.ITeller`."""
        waiter = Waiter(told, self._give_up)
        if self._waiting >= self._most:
            self._asked.add("overload")
            self._overload.note("", "more")
            waiter.end(make(query, SERVFAIL, "upstream", _TOO_MANY))
            return waiter
        key = query.key if query.subnet is None else query.keys()[0]
        flight = self._flights.get(key)
        if query.trace is not None:
            query.trace.note("once", "asks" if flight is None else "waits with others who ask the same")
        if flight is None:
            self._started.n += 1
            self._start(key, query, waiter)
        else:
            self._asked.add("joined")
            self._join(flight, waiter)
            if flight.slow:
                self._serve_stale(flight)
        return waiter

    def refresh(self, query: Query, left: float) -> bool:
        """Ask again for what is still fresh, so that it is known when its ``left`` seconds are over.

        :return: whether it may be given so long: not if a policy does not let a client ask for it any more.
        """
        key = query.key if query.subnet is None else query.keys()[0]
        if key in self._flights or len(self._flights) >= self._most:
            return True
        asked = query.again(left)
        passes = True if self.passes is None else self.passes(asked)
        if passes:
            self._asked.add("refresh")
            self._start(key, asked, None)
        return passes is not False

    def forget(self, wanted: Callable[[bytes], bool]) -> None:
        """Ask again what is being asked for some names: what comes of the questions under way would be out of date.

        :param wanted: says of a folded wire name whether it is one of them.
        """
        for flight in self._flights.values():
            if wanted(flight.query.name):
                flight.round += 1
                self._again[flight] = None
        if self._asking_again is None:
            self._ask_again()

    def _ask_again(self) -> None:
        """Ask some questions again, and the others in later turns: a flush may concern thousands."""
        self._asking_again = None
        for _ in range(min(AGAIN, len(self._again))):
            flight, _ = self._again.popitem()
            if flight.open:
                work, flight.work = flight.work, None
                if work is not None:
                    work.cancel()
                self._ask(flight)
        if self._again:
            self._asking_again = self._clock.callLater(0, self._ask_again)

    def close(self) -> None:
        """End every flight now; their askers are told SERVFAIL or what is held."""
        for flight in list(self._flights.values()):
            self._end(flight)
        self._waits.close()
        self._again.clear()
        if self._asking_again is not None:
            self._asking_again.cancel()
            self._asking_again = None
        self._overload.stop()

    def _start(self, key: bytes, query: Query, waiter: Waiter | None) -> None:
        now = self._clock.seconds()
        flight = self._flights[key] = Flight(key, query, now + self._patience, now + self._deadline)
        if waiter is not None:
            self._join(flight, waiter)
        self._waits.wait(flight.due, now)
        self._ask(flight)

    def _ask(self, flight: Flight) -> None:
        round = flight.round
        try:
            work = self._tell(flight.query, partial(self._told, flight, round))
        except Exception as bug:
            if flight.open and flight.round == round:
                self._told(flight, round, Failure())
            else:
                self.bugs.report(self._log, "A source broke when it had told its answer", bug)
            return
        if flight.open:  # else there is nothing to end, and who is done knows each other no more
            flight.work = work

    def _told(self, flight: Flight, round: int, outcome: Answer | Failure) -> None:
        if not flight.open or flight.round != round:
            return
        flight.work = None
        try:
            if isinstance(outcome, Failure):
                self._failed(outcome, flight)
            else:
                self._learnt(outcome, flight)
        except Exception as bug:
            self.bugs.report(self._log, "what came of type {qtype} met a bug", bug, qtype=flight.query.qtype)
            if flight.open:
                self._land(flight, make(flight.query, SERVFAIL, "upstream", _BROKEN))

    def _join(self, flight: Flight, waiter: Waiter) -> None:
        flight.waiters.append(waiter)
        waiter.flight = flight
        self._waiting += 1

    def _give_up(self, waiter: Waiter) -> None:
        """One asker no longer waits; the flight goes on, since its answer will be wanted again."""
        flight = waiter.flight
        if flight is not None and waiter in flight.waiters:
            flight.waiters.remove(waiter)
            self._waiting -= 1

    def _late(self, flight: Flight) -> None:
        """See to a flight that takes long: its askers are told what is held, and in the end it ends."""
        if not flight.open:
            return
        if flight.due >= flight.ends:
            self._end(flight)
            return
        flight.slow = True
        flight.due = flight.ends
        self._waits.wait(flight.due, self._clock.seconds())
        if flight.waiters:
            self._serve_stale(flight)

    def _end(self, flight: Flight) -> None:
        work, flight.work = flight.work, None
        self._failed(Failure(NoAnswer("deadline", _TOO_LATE)), flight)
        if work is not None:
            work.cancel()

    def _learnt(self, answer: Answer, flight: Flight) -> None:
        query = flight.query
        now = self._clock.seconds()
        if answer.rcode not in (0, NXDOMAIN):
            self._failed_with(answer, flight)
            return
        if answer.origin == "stale":
            held = self._memory.held(query, now)
            self._memory.put(query, answer, now, max(now + answer.ttl, held[2] if held else 0.0))
        elif answer.keep and answer.ttl and not answer.alias:
            self._memory.put(query, answer, now)
        self._land(flight, answer)

    def _failed(self, failure: Failure, flight: Flight) -> None:
        error = _BROKEN
        if isinstance(failure.value, NoAnswer):
            error = failure.value.error
        elif not isinstance(failure.value, CancelledError):
            self._faults.add()
            self.bugs.report(self._log, "A source failed for type {qtype}", failure, qtype=flight.query.qtype)
        self._failed_with(make(flight.query, SERVFAIL, "upstream", error), flight)

    def _failed_with(self, answer: Answer, flight: Flight) -> None:
        """Nothing good came: what is held is given though it is stale, else the failure, for a while."""
        now = self._clock.seconds()
        query = flight.query
        known = self._known(query, now)
        if known is not None:
            # A refresh in vain, or another flight learnt for every type that the name does not exist.
            self._land(flight, known)
            return
        held = self._memory.held(query, now)
        if held is not None and self._stale:
            answer = held[0].stale(now - held[1])
            self._stale_given.add("failure", by=len(flight.waiters))
            # As long as that is held, the upstream that failed is not asked again (RFC 8767, 5).
            self._memory.put(query, answer, now, max(held[2], now + STALE_TTL))
        elif not query.links:
            ttl = self._failure_ttl
            self._memory.put(query, answer.replace(ttl=ttl), now, now + ttl)
        self._land(flight, answer)

    def _serve_stale(self, flight: Flight) -> None:
        """The askers have waited long enough for something fresh; the flight goes on without them (RFC 8767, 5)."""
        now = self._clock.seconds()
        known = self._known(flight.query, now)
        held = None if known is not None else self._memory.held(flight.query, now)
        if held is not None:
            known = held[0].stale(now - held[1])
            self._stale_given.add("slow", by=len(flight.waiters))
        if known is not None:
            self._release(flight, known)

    def _known(self, query: Query, now: float) -> Answer | None:
        """Return what memory knows of a question, if that is fresh: another flight may have learnt it."""
        known = self._memory.get(query, now)
        if known is None:
            return None
        answer, body, _ = known
        return answer.with_body(query, body)

    def _land(self, flight: Flight, answer: Answer) -> None:
        flight.open = False
        del self._flights[flight.key]
        waiting = len(flight.waiters)
        self._release(flight, answer)
        if waiting and self.landed is not None:
            try:
                self.landed(flight.query, answer, waiting)
            except Exception as bug:
                self.bugs.report(self._log, "an answer could not be counted", bug)

    def _release(self, flight: Flight, answer: Answer) -> None:
        waiters, flight.waiters = flight.waiters, []
        self._waiting -= len(waiters)
        for waiter in waiters:
            if waiter.open:  # one that had its answer may have cancelled this one
                try:
                    waiter.end(answer)
                except Exception as bug:
                    self.bugs.report(self._log, "who asked for type {qtype} met a bug", bug, qtype=flight.query.qtype)


classImplements(Once, ITeller)
