"""The cache that all nodes share (L2): asks Redis first, whoever comes next when Redis does not know in time."""

from __future__ import annotations

from functools import partial

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import classImplements

from heimdall.asking import deferred, teller
from heimdall.cache.flight import ALONE, ANEW, Flights
from heimdall.cache.learnt import Learnt
from heimdall.cache.lease import Leases
from heimdall.cache.look import LEASED, Look, Seen
from heimdall.cache.reading import Reading
from heimdall.cache.seal import Seal
from heimdall.cache.worth import Covers, Judged, Worth, never
from heimdall.cache.writer import Writer
from heimdall.interfaces import ILink, ISource, ITeller, NoAnswer, Told
from heimdall.message.answer import Answer
from heimdall.message.query import NXDOMAIN, Query
from heimdall.tally import Count, Tally


class Shared:
    """Answers from Redis what any node has asked before, and asks what none has for all of them.

    Redis is given a budget. When that has passed, whoever is ``next`` is asked as well, and the first answer
    wins. A Redis that is away, slow, refusing or full of rubbish is a miss, never an error.

    :param budget: seconds.
    :param prefix: what all keys begin with.
    :param window: seconds that an answer is kept behind its TTL, to be used stale (RFC 8767).
    :param stale: whether stale answers are used, when ``next`` knows nothing.
    :param stale_after: seconds that ``next`` may take before a stale answer is used; it is waited for, and
        stored, all the same.
    :param most_writes: answers that wait to be stored at most.
    :param seal: seals what is stored; None for one without a secret.
    :param leases: one flight per question in the cluster; None to ask for ourselves alone.
    :param covers: whether a name was flushed since its upstream was asked .
    :param reader: store nothing.
    :param ceilings: the greatest TTL, in seconds, of any answer, and of one that says no.
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
        seal: Seal | None = None,
        leases: Leases | None = None,
        covers: Covers = never,
        reader: bool = False,
        ceilings: tuple[int, int] = (86400, 86400),
    ) -> None:
        self._link, self._tell, self._clock = link, teller(next), clock
        self.head, self._lease_head = (f"{prefix}:{space}:".encode() for space in ("c1", "l1"))
        self._stale_after = stale_after
        self._leases = None if reader else leases
        self.reading = Reading(link, clock, budget=budget, leases=self._leases)
        self.worth = Worth(seal or Seal(), covers, window if stale else 0, ceilings)
        self._writer = Writer(link, clock, most=most_writes, leases=self._leases)
        self._flights = Flights(
            self._leases, self.reading, self._writer, clock, take=self._take_found, ask=self._ask_next
        )
        self.learnt = Learnt(link, clock, self.worth, self._writer, self._flights, self.head, reader)
        self.lookups = Count("heimdall_cache_redis_lookups_total", "Look-ups in Redis.", "result")
        self.tallies: list[Tally] = [
            self.lookups, *self.worth.tallies, *self.reading.tallies, *self._writer.tallies,
        ]  # fmt: skip

    def ask(self, query: Query) -> Deferred[Answer]:
        """Find the answer to a query, in Redis or further on."""
        return deferred(self.tell, query)

    def tell(self, query: Query, told: Told) -> Look:
        """Find the answer to a query, in Redis or further on; see :class:`~heimdall.interfaces.ITeller`."""
        look = Look(query, told, self._cancelled)
        seen, query.seen = query.seen, None
        if isinstance(seen, Seen) and seen.values == LEASED:  # the usual case, where nobody knows it
            self._flights.lead(look, self.head + look.keys[0])
            look.note(self.lookups, "miss")
            self._ask_next(look)
        elif isinstance(seen, Seen) and not seen.late:
            look.looking = True
            self._replied(look, seen.values, seen.now, seen.judged)
        elif not self.reading.ready:
            look.note(self.lookups, "down" if seen is None else "late")
            self._ask_next(look)
        else:
            look.looking = True
            keys = [self.head + key for key in look.keys]
            self.reading.read(keys, len(keys) == 1, partial(self._replied, look), partial(self._late, look))
            if seen is not None:
                self._late(look)
        return look

    # Redis.

    def _late(self, look: Look) -> None:
        if not look.done and not look.asked:
            look.note(self.lookups, "late")
            self._ask_next(look)

    def _replied(self, look: Look, values: list[object] | None, now: float, judged: Judged | None = None) -> None:
        if look.done:
            self._flights.came_late(look, values, self.head + look.keys[0])
        elif values is None:
            self._missed(look, "down")
        else:
            self._read(look, values, now, judged)

    def _read(self, look: Look, values: list[object], now: float, judged: Judged | None) -> None:
        """Take the first good value for a query, the closest first; keep what is only good in need."""
        result = "miss"
        for at, key in enumerate(look.keys):
            value = values[at]
            if isinstance(value, bytes):
                result = self._take(look, *(judged or self.worth.judge(look.query, key, value, now)))
                if look.done:
                    return
                if result == "rubbish":
                    look.spoilt.append(key)
            elif value == 1:
                self._flights.lead(look, self.head + key)
            elif value == 0:
                self._follow(look, self.head + key)
                return
        if look.kept is not None and look.kept.origin == "stale":
            look.timer = self._clock.callLater(self._stale_after, self._answer_stale, look)
        poor = look.kept is not None or result in ("rubbish", "flushed")
        if poor and self.reading.leasing and not look.asked and self.reading.ready:
            # There is something, but not good enough: one node asks for better.
            look.note(self.lookups, result)
            keys = [self._lease_head + look.keys[0]]
            self.reading.read(keys, True, partial(self._leased, look), partial(self._late, look))
        else:
            self._missed(look, result)

    def _take(self, look: Look, result: str, answer: Answer | None) -> str:
        """Finish a query with what a value is worth, or keep that, if it is good for it; return what it was."""
        if result == "hit" and answer is not None:
            if not look.asked:
                look.note(self.lookups, "hit")
            self._finish(look, answer)
        elif look.kept is None:
            look.kept = answer
        return result

    def _leased(self, look: Look, values: list[object] | None, _now: float) -> None:
        key = self._lease_head + look.keys[0]
        found = values[0] if values is not None else None
        if look.done:
            self._flights.came_late(look, values, key)
        elif found == 0:
            self._follow(look, key)
        else:
            if isinstance(found, bytes):
                self._take_found(look, found)  # another node asked between our two looks
            elif found == 1:
                self._flights.lead(look, key)
            if not look.done:
                self._missed(look, "")

    def _missed(self, look: Look, result: str) -> None:
        """Go on with a query that Redis gave no fresh answer for."""
        look.looking = False
        if not look.asked:
            if result:
                look.note(self.lookups, result)
            self._ask_next(look)
        elif look.outcome is not None:
            self._finish(look, look.kept or look.outcome)
            self._flights.release(look, ALONE)

    def _answer_stale(self, look: Look) -> None:
        # Whoever was asked goes on, so that the next one who asks gets a fresh answer (RFC 8767, 5).
        look.timer = None
        look.done = True
        self._flights.leave(look, "other")
        if look.kept is not None:
            look.told(look.kept)

    # Other nodes.

    def _follow(self, look: Look, key: bytes) -> None:
        """Leave a question to the node that asks it already, for a while."""
        look.looking = False
        if look.asked:
            if look.outcome is not None:
                self._finish(look, look.kept or look.outcome)
        elif self._flights.hearing:
            look.note(self.lookups, "followed")
            self._flights.follow(look, key)
        else:
            self._ask_next(look)

    def _take_found(self, look: Look, value: bytes) -> None:
        """Finish a query with what another node learnt, if it is good for it."""
        now = self._link.now()
        if now is not None and not look.done:
            result, answer = self.worth.judge(look.query, look.keys[0], value, now)
            if result == "hit" and answer is not None:
                self._finish(look, answer)

    # Whoever is next.

    def _ask_next(self, look: Look) -> None:
        look.asked = True
        look.since = self._clock.seconds()
        try:
            source = self._tell(look.query, partial(self._told, look))
        except Exception:
            self._told(look, Failure())
            return
        if not look.came:
            look.source = source

    def _told(self, look: Look, outcome: Answer | Failure) -> None:
        look.source = None
        look.came = True
        if isinstance(outcome, Failure):
            self._failed(outcome, look)
        else:
            self._came(outcome, look)

    def _came(self, answer: Answer, look: Look) -> None:
        if self._leases is not None:
            self._leases.took(self._clock.seconds() - look.since)
        if not look.done:
            if answer.rcode in (0, NXDOMAIN):
                self._finish(look, answer)
            else:
                self._learnt_nothing(look, answer)
        self.learnt.add(look, answer)

    def _failed(self, failure: Failure, look: Look) -> None:
        self.learnt.throw_away(look)
        self._flights.release(look, ALONE)
        if look.done:
            return
        if failure.check(NoAnswer):
            self._learnt_nothing(look, failure)
        else:
            self._finish(look, failure)

    def _learnt_nothing(self, look: Look, outcome: Answer | Failure) -> None:
        """Answer what Redis knew; if it has not answered yet, its reply is waited for: the link sees to its end."""
        if look.kept is not None or not look.looking:
            self._finish(look, look.kept or outcome)
        else:
            look.outcome = outcome

    def _cancelled(self, look: Look) -> None:
        """End the work: nobody waits any more."""
        look.end()
        self._flights.leave(look, "other")
        self._flights.release(look, ANEW)
        if look.source is not None:
            look.source.cancel()

    def _finish(self, look: Look, outcome: Answer | Failure) -> None:
        look.end()
        self._flights.leave(look, "other")
        source, look.source = look.source, None
        if source is not None:
            source.cancel()
        look.told(outcome)


classImplements(Shared, ITeller)
