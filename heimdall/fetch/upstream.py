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
from heimdall.fetch.attempt import Try
from heimdall.fetch.health import Upstream
from heimdall.fetch.ledger import Ledger
from heimdall.fetch.rank import rank
from heimdall.fetch.reply import silent
from heimdall.interfaces import IExchange, ITeller, Told
from heimdall.message.answer import TC, Answer
from heimdall.message.query import AD, SERVFAIL, Query
from heimdall.waits import Waits

PAUSES: Final[tuple[float, ...]] = (0.4, 0.6, 0.9, 1.35, 2.025)
"""Seconds before a server is asked a second time, and before each further time: one for each of ``ROUNDS``."""

ROUNDS: Final = 5
ROUNDS_REFUSED: Final = 3
"""How often one server is asked one question at most, and how often if it says at once that it cannot be reached."""


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
    """One question on its way through a group."""

    __slots__ = ("_asked", "_best", "_done", "_order", "_tries", "due", "ends", "group", "query", "told")

    def __init__(self, group: Group, query: Query, told: Told) -> None:
        self.group = group
        self.query = query
        self.told = told
        self.due = self.ends = group.clock.seconds() + group.deadline
        self._order = group.order()
        self._asked = 0
        self._tries: list[Try] = []
        self._best: Answer | None = None
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
        one = Try(self, server, now, why == "look")
        self._tries.append(one)
        one.start()

    def late(self) -> None:
        """Act on what has not come in time."""
        if self._done:
            return
        for one in self._tries:
            if not one.look:
                one.miss()
        now = self.group.clock.seconds()
        if self._best is not None and self._asked >= len(self._order):
            self._finish(self._best)
        elif now >= self.ends:
            self.fail()
        elif self._asked >= ROUNDS * len(self._order):
            self.due = self.ends
            self.group.waits.wait(self.due, now)
        else:
            self._go_on("hedge" if self._asked < len(self._order) else "retry", now)

    def answered(self, one: Try, answer: Answer) -> None:
        """Take the answer of one server, unless another one's was better."""
        self._tries.remove(one)
        if self._done:
            return
        worth = rank(answer) if answer.rcode or answer.flags & TC else None
        if worth is None:
            self._finish(answer)
            return
        if self._best is None or worth < (rank(self._best) or 0):
            self._best = answer
        if not one.look:
            self._step()

    def failed(self, one: Try) -> None:
        """Hear that one server will not answer."""
        self._tries.remove(one)
        if not self._done and not one.look:
            self._step()

    def _step(self) -> None:
        """Turn to the next server at once; with none left, wait for those still asked, or for the next round."""
        now = self.group.clock.seconds()
        if self.group.closed or now >= self.ends:
            self.fail()
        elif self._asked < len(self._order):
            self._go_on("next", now)
        elif any(not one.look for one in self._tries):
            return
        elif self._best is not None:
            self._finish(self._best)
        elif self._asked >= ROUNDS_REFUSED * len(self._order):
            self.fail()

    def _end(self) -> None:
        self._done = True
        self.group.flights.discard(self)

    def _finish(self, answer: Answer) -> None:
        self._end()
        if answer is self._best:
            self.group.ledger.queries.add("failure")
        else:
            self.group.ledger.answered.n += 1
        if answer.flags & AD and not self.group.trust_ad:
            answer = answer.replace(flags=answer.flags & ~AD)
        if answer.rcode > 15:
            # What the server says of our EDNS is between it and us.
            answer = answer.replace(rcode=SERVFAIL)
        self.told(answer)

    def fail(self) -> None:
        """End without an answer."""
        self._end()
        self.group.ledger.queries.add("none")
        self.told(Failure(silent("no upstream answered")))

    def cancel(self) -> None:
        """End it: nobody waits any more."""
        if not self._done:
            self._end()
            self.group.ledger.queries.add("cancelled")
            for one in list(self._tries):
                one.cancel()
            self.told(Failure(CancelledError()))
