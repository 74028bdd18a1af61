"""Ask several servers as one: the best first, another when it is late, the next when one fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import classImplements

from heimdall.asking import deferred
from heimdall.bugs import reporter
from heimdall.fetch.health import Upstream
from heimdall.fetch.judgement import Unusable, silent
from heimdall.fetch.ledger import Ledger
from heimdall.interfaces import Exchanging, IExchange, ITeller, NoAnswer, Told
from heimdall.message.answer import Answer
from heimdall.message.query import AD, Query
from heimdall.waits import Waits

PAUSES: Final[tuple[float, ...]] = (0.4, 0.6, 0.9, 1.35, 2.025)
"""Seconds before a server is asked a second time, and before each further time: one for each of ``ROUNDS``."""

ROUNDS: Final = 5
"""How often one server is asked one question at most, while it is silent."""


LATE: Final = 0.02
"""Seconds that a server may be waited for too long."""


class Group:
    """Servers that know the same.

    The one with the best round-trip time is asked. One that has not been heard of for a while is asked along with
    it, so that its state is known; nobody waits for that one.

    :param servers: of each its address as text, and the way there.
    :param clock: where time comes from.
    :param deadline: seconds a question may take altogether.
    :param trust_ad: whether to believe the servers' AD bit.
    :param ledger: what to count in; a new one if none is given.
    """

    log: ClassVar = Logger()

    def __init__(
        self,
        servers: Sequence[tuple[str, IExchange]],
        clock: IReactorTime,
        *,
        deadline: float = 4.5,
        trust_ad: bool = False,
        ledger: Ledger | None = None,
    ) -> None:
        if not servers:
            raise ValueError("a group needs a server")
        self.servers = [Upstream(text, exchange) for text, exchange in servers]
        self.clock = clock
        self.deadline = deadline
        self.trust_ad = trust_ad
        self.ledger = ledger or Ledger()
        self.tallies = self.ledger.tallies
        self.closed = False
        self.flights: set[Flight] = set()
        self.waits = Waits(clock, lambda: self.flights, Flight.late, LATE)
        for server in self.servers:
            self._enter(server)

    def _enter(self, server: Upstream) -> None:
        health = server.health
        self.ledger.enter(server.text, lambda: health.up, lambda: health.rtt or 0.0, lambda: server.inflight)

    def ask(self, query: Query) -> Deferred[Answer]:
        """Find the answer; see :class:`~heimdall.interfaces.ISource`."""
        return deferred(self.tell, query)

    def tell(self, query: Query, told: Told) -> Flight:
        """Find the answer; see :class:`~heimdall.interfaces.ITeller`."""
        flight = Flight(self, query, told)
        self.flights.add(flight)
        flight.start()
        return flight

    def order(self) -> list[Upstream]:
        """Return the servers, the one to ask first in front, those that are down behind all others."""
        if len(self.servers) == 1:
            return self.servers
        return sorted(self.servers, key=lambda server: (not server.health.up, server.health.score))

    def state(self) -> list[dict[str, str | bool | float | int | None]]:
        """Return how each server does, for people and probes; times in seconds."""
        return [
            {
                "server": server.text,
                "up": server.health.up,
                "rtt": server.health.rtt,
                "misses": server.health.misses,
                "inflight": server.inflight,
            }
            for server in self.servers
        ]

    def close(self) -> None:
        """Close the way to every server; what is under way fails."""
        self.closed = True
        for server in self.servers:
            server.exchange.close()
        while self.flights:
            for flight in tuple(self.flights):
                if flight in self.flights:  # one that fails may end another
                    flight.fail()
        self.waits.close()


classImplements(Group, ITeller)


class Flight:
    """One question on its way through a group.

    A server that fails is followed by the next at once; when the last one fails, the best of their failures is told.
    Only silence is waited for.
    """

    __slots__ = ("_asked", "_attempts", "_best", "_done", "_order", "due", "ends", "group", "query", "told")

    def __init__(self, group: Group, query: Query, told: Told) -> None:
        self.group = group
        self.query = query
        self.told = told
        self.due = self.ends = group.clock.seconds() + group.deadline
        self._order = group.order()
        self._asked = 0
        self._attempts: list[Attempt] = []
        self._best: tuple[int, Answer] | None = None
        self._done = False

    def start(self) -> None:
        """Ask the best server, and along with it those that are due for a look."""
        order, now = self._order, self.ends - self.group.deadline
        if len(order) > 1:
            due = [server for server in order[1:] if server.health.due(now)]
            self._go_on("first", now)
            for server in due:
                self._send(server, "look", now)
        else:
            self._go_on("first", now)

    def _go_on(self, why: str, now: float) -> None:
        """Ask the next server, and set the time at which it is late."""
        order, asked = self._order, self._asked
        server = order[asked % len(order)]
        self._asked = asked + 1
        wait = server.health.patience if self._asked < len(order) else PAUSES[self._asked // len(order) - 1]
        due = now + wait
        self.due = due = due if due < self.ends else self.ends
        self.group.waits.wait(due, now)
        self._send(server, why, now)

    def _send(self, server: Upstream, why: str, now: float) -> None:
        if self._done:
            return
        if why == "first":
            self.group.ledger.first.n += 1
        else:
            self.group.ledger.asked.add(why)
        if self.query.trace is not None:
            self.query.trace.note("upstream", f"asked ({why})", server=server.text)
        attempt = Attempt(self, server, now, why == "look")
        self._attempts.append(attempt)
        attempt.start()

    def late(self) -> None:
        """Act on what has not come in time."""
        if self._done:
            return
        for attempt in self._attempts:
            if not attempt.look:
                attempt.miss()
        now = self.group.clock.seconds()
        if self._best is not None and self._asked >= len(self._order):
            self._finish(self._best[1], "failure")
        elif now >= self.ends:
            self.fail()
        elif self._asked >= ROUNDS * len(self._order):
            self.due = self.ends
            self.group.waits.wait(self.due, now)
        else:
            self._go_on("hedge" if self._asked < len(self._order) else "retry", now)

    def answered(self, attempt: Attempt, answer: Answer) -> None:
        """Take the answer of one server."""
        self._attempts.remove(attempt)
        if not self._done:
            self._finish(answer, "answer")

    def failed(self, attempt: Attempt, unusable: Unusable | None) -> None:
        """Turn to the next server at once; with none left, wait for those still asked, or tell the best failure.

        :param unusable: what came of this one; None if it was silent.
        """
        self._attempts.remove(attempt)
        if self._done:
            return
        if unusable is not None and (self._best is None or unusable.rank < self._best[0]):
            self._best = unusable.rank, unusable.told_of(attempt.server.text)
        if attempt.look:
            return
        now = self.group.clock.seconds()
        if self.group.closed or now >= self.ends:
            self.fail()
        elif self._asked < len(self._order):
            self._go_on("next", now)
        elif self._best is not None and all(one.look for one in self._attempts):
            self._finish(self._best[1], "failure")

    def _end(self) -> None:
        self._done = True
        self.group.flights.discard(self)

    def _finish(self, answer: Answer, result: str) -> None:
        self._end()
        if result == "answer":
            self.group.ledger.answered.n += 1
        else:
            self.group.ledger.queries.add(result)
        if answer.flags & AD and not self.group.trust_ad:
            answer = answer.replace(flags=answer.flags & ~AD)
        self.told(answer)

    def fail(self) -> None:
        """End without an answer."""
        if self._best is not None:
            self._finish(self._best[1], "failure")
            return
        self._end()
        self.group.ledger.queries.add("none")
        self.told(Failure(silent(f"no reply from {', '.join(server.text for server in self._order)}")))

    def cancel(self) -> None:
        """End it: nobody waits any more."""
        if not self._done:
            self._end()
            self.group.ledger.queries.add("cancelled")
            for attempt in list(self._attempts):
                attempt.cancel()
            self.told(Failure(CancelledError()))


class Attempt:
    """A question on its way to one server; ``look`` if nobody waits for it, ``missed`` once its patience is over."""

    __slots__ = ("_heard", "_over", "_work", "flight", "look", "missed", "sent", "server")

    def __init__(self, flight: Flight, server: Upstream, sent: float, look: bool) -> None:
        self.flight = flight
        self.server = server
        self.sent = sent
        self.look = look
        self.missed = self._over = False
        self._work: Exchanging | None = None
        self._heard: float | None = None

    def start(self) -> None:
        """Ask."""
        flight, server, sent = self.flight, self.server, self.sent
        server.inflight += 1
        server.health.asked(sent)
        try:
            work = server.exchange.tell(flight.query, flight.ends - sent, self._on_outcome)
        except Exception:
            self._on_outcome(Failure())
            return
        if not self._over:
            self._work = work

    def cancel(self) -> None:
        """Ask no more."""
        if self._work is not None:
            self._work.cancel()

    def _on_outcome(self, outcome: Answer | Unusable | Failure) -> None:
        if self._over:
            return  # a callee that tells twice, or raises behind what it told
        if self._work is not None:
            self._heard = self._work.heard
        self._over, self._work = True, None
        self.server.inflight -= 1
        try:
            if isinstance(outcome, Answer):
                self._replied(outcome.rcode)
                if self.server.health.errors and self.server.health.succeeded():
                    self.flight.group.log.info("upstream {server} gives answers again", server=self.server.text)
                self.flight.answered(self, outcome)
            elif isinstance(outcome, Unusable):
                self._unusable(outcome)
            else:
                self._silent(outcome)
        except Exception as bug:
            self._bug("an answer of upstream {server} was lost to a bug", bug)

    def _replied(self, rcode: int) -> None:
        """Note that the server said something."""
        flight, server = self.flight, self.server
        group = flight.group
        took = (group.clock.seconds() if self._heard is None else self._heard) - self.sent
        group.ledger.seconds.observe(took)
        if server.health.replied(took):
            group.log.info("upstream {server} answers again", server=server.text)
        if flight.query.trace is not None:
            flight.query.trace.note("upstream", "answered", took=took, server=server.text, rcode=rcode)

    def _unusable(self, outcome: Unusable) -> None:
        flight, server = self.flight, self.server
        if outcome.said:
            self._replied(outcome.answer.rcode)
        elif outcome.blamed:
            self.miss()
        if flight.query.trace is not None:
            flight.query.trace.note("upstream", f"of no use: {outcome.text}", server=server.text)
        if outcome.said and outcome.blamed and server.health.failed():
            flight.group.log.warn(
                "upstream {server} gives no answers: it is asked last; the last failure was: {reason}",
                server=server.text,
                reason=outcome.text,
            )
        flight.group.ledger.unusable.add(outcome.reason)
        flight.failed(self, outcome)

    def _silent(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        if not failure.check(NoAnswer):
            self._bug("a bug in the way to upstream {server}", failure)
        if self.flight.query.trace is not None:
            self.flight.query.trace.note("upstream", "did not answer", server=self.server.text)
        self.miss()
        self.flight.failed(self, None)

    def _bug(self, text: str, bug: Exception | Failure) -> None:
        group = self.flight.group
        reporter(group.clock).report(group.log, text, bug, server=self.server.text)

    def miss(self) -> None:
        """Note that its reply did not come in time."""
        group = self.flight.group
        if self.missed or group.closed or (self._work is not None and self._work.heard is not None):
            return  # it said that there is more than fits: over TCP that may take longer
        self.missed = True
        if self.server.health.missed(self.sent, group.clock.seconds()):
            group.log.warn("upstream {server} does not answer: it is asked only now and then", server=self.server.text)
