"""Follow an alias whose target has to be asked for elsewhere: a client asks no further (RFC 1034, 3.6.2 and 5.2.2).

Each name on the way is asked as a client's question is: through policies, caches and routes, each under its own name.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from heimdall.asking import deferred, teller
from heimdall.interfaces import ISource, ITeller, Ongoing, Tell, Told
from heimdall.message.answer import CNAME, Answer, Row, make, pack, rows_of
from heimdall.message.edns import OTHER, ExtendedError
from heimdall.message.query import AD, SERVFAIL, Query
from heimdall.message.response import GOOD, MOST_LINKS
from heimdall.message.spots import aged
from heimdall.message.wire import Malformed, to_text
from heimdall.tally import Count, Gauge, Tally

MOST_KEPT: Final = 1000
"""Aliases that are remembered; past that the oldest is forgotten."""

LARGEST_KEPT: Final = 1024
"""Bytes that an alias may take to be remembered."""

_LOOP: Final = "the aliases of {} lead in a circle, or too far"


@implementer(ITeller)
class Aliases:
    """A source around another one, that adds what its aliases lead to.

    :param source: asked first.
    :param clock: where time comes from.
    """

    def __init__(self, source: ISource, clock: IReactorTime) -> None:
        self._tell = teller(source)
        self._clock = clock
        self._resolve: Tell | None = None
        self._on_their_way: dict[bytes, list[bytes]] = {}
        self._kept: OrderedDict[bytes, tuple[Answer, float]] = OrderedDict()
        self._followed = Count("heimdall_fetch_aliases_total", "Aliases followed to another name, by end.", "result")
        self.tallies: list[Tally] = [
            self._followed,
            Gauge("heimdall_fetch_kept_aliases", "Aliases remembered without their targets.", self._kept.__len__),
        ]

    def resolve_by(self, source: ISource) -> None:
        """Say who finds what an alias leads to: all that a client's question meets."""
        self._resolve = teller(source)

    def ask(self, query: Query) -> Deferred[Answer]:
        """Find the answer; see :class:`~heimdall.interfaces.ISource`."""
        return deferred(self.tell, query)

    def tell(self, query: Query, told: Told) -> Ongoing:
        """Find the answer; see :class:`~heimdall.interfaces.ITeller`."""
        work = _Work(self, query, told)
        known = self._known(query) if self._kept else None
        if known is not None:
            work.follow(known)
            return work
        step = self._tell(query, work.found)
        if work.step is None and not work.over:
            work.step = step
        return work

    def complete(self, answer: Answer, query: Query, told: Told) -> Ongoing:
        """Find what an answer lacks that ends with an alias.

        :param told: called with the whole answer, or with SERVFAIL and the reason (RFC 8914).
        """
        work = _Work(self, query, told)
        work.follow(answer)
        return work

    def follow(self, query: Query, answer: Answer, told: Told) -> Ongoing | None:
        """Ask for what an alias leads to; None where it leads nowhere, which is told."""
        target = query.at(answer.alias)
        if self._resolve is None or query.links >= MOST_LINKS or self._waits_for(target.key, query.key):
            self._followed.add("loop")
            error = ExtendedError(OTHER, _LOOP.format(to_text(query.name)))
            told(make(query, SERVFAIL, "upstream", error))
            return None
        if query.trace is not None:
            query.trace.note("alias", "followed", target=to_text(answer.alias))
        self._on_their_way.setdefault(query.key, []).append(target.key)
        return self._resolve(target, partial(self._found, query, answer, target, told))

    def _waits_for(self, key: bytes, other: bytes) -> bool:
        """Whether what is asked under a key waits for what is asked under another one, over however many links."""
        for _ in range(MOST_LINKS + 1):
            if key == other:
                return True
            further = self._on_their_way.get(key)
            if not further:
                return False
            key = further[-1]
        return True

    def _found(self, query: Query, answer: Answer, target: Query, told: Told, outcome: Answer | Failure) -> None:
        waiting = self._on_their_way[query.key]
        waiting.remove(target.key)
        if not waiting:
            del self._on_their_way[query.key]
        if isinstance(outcome, Failure):
            self._followed.add("failed")
            told(outcome)
            return
        self._followed.add("found")
        told(joined(query, answer, outcome))

    # Aliases that upstreams told, without what they lead to: that may be of a policy, and good for a moment only.

    def keep(self, query: Query, answer: Answer) -> None:
        """Remember an alias, if it may be."""
        if answer.keep and answer.ttl and query.subnet is None and len(answer.body) <= LARGEST_KEPT:
            self._kept[query.key] = answer, self._clock.seconds()
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)

    def _known(self, query: Query) -> Answer | None:
        """Return the alias that a name was found to be, with the TTLs of this moment."""
        found = self._kept.get(query.key) if query.subnet is None and not query.least else None
        if found is None:
            return None
        answer, since = found
        age = int(self._clock.seconds() - since)
        if age >= answer.ttl:
            del self._kept[query.key]
            return None
        return answer.replace(body=aged(answer.body, answer.spots, age), ttl=answer.ttl - age)

    def forget(self, flushed: Callable[[bytes], bool]) -> None:
        """Forget what is remembered for some names.

        :param flushed: says of a folded wire name whether it is one of them.
        """
        for key in [key for key, (answer, _) in self._kept.items() if flushed(answer.question[:-4])]:
            del self._kept[key]


class _Work:
    """What is done for one question: first the source, then what its alias leads to.

    ``step`` is what is under way, if the call that began it has returned; ``over`` whether the question has been told.
    """

    __slots__ = ("_aliases", "_query", "_told", "over", "step")

    def __init__(self, aliases: Aliases, query: Query, told: Told) -> None:
        self._aliases, self._query, self._told = aliases, query, told
        self.step: Ongoing | None = None
        self.over = False

    def found(self, outcome: Answer | Failure) -> None:
        """Take what the source says; go on where that is an alias."""
        if isinstance(outcome, Answer) and outcome.alias:
            self._aliases.keep(self._query, outcome)
            self.follow(outcome)
        else:
            self.over, self.step = True, None
            self._told(outcome)

    def follow(self, answer: Answer) -> None:
        """Go on with what an alias leads to."""
        self.step = None
        step = self._aliases.follow(self._query, answer, self._end)
        if not self.over:
            self.step = step

    def _end(self, outcome: Answer | Failure) -> None:
        self.over, self.step = True, None
        self._told(outcome)

    def cancel(self) -> None:
        """End the work; see :class:`~heimdall.interfaces.Ongoing`."""
        if self.step is not None:
            self.step.cancel()


def joined(query: Query, answer: Answer, end: Answer) -> Answer:
    """Return the answer that an alias and the answer at its target make.

    The code is the target's, and so are the authority and additional records. It may be kept where both may.
    """
    origin = "stale" if end.origin == "stale" else answer.origin
    if end.rcode not in GOOD:
        return end.replace(question=answer.question, origin=origin)
    try:
        first, _, _ = rows_of(answer)
        sections = rows_of(end)
        rows: list[Row] = [*first, *(row for section in sections for row in section)]
        if len({row[0] for row in rows if row[1] == CNAME}) > MOST_LINKS:
            raise Malformed("too many aliases")
        ttls = [row[2] for row in rows]
        body, spots = pack(answer.question, rows, ttls)
    except Malformed:
        error = ExtendedError(OTHER, _LOOP.format(to_text(query.name)))
        return make(query, SERVFAIL, "upstream", error)
    counts = (len(first) + len(sections[0]), len(sections[1]), len(sections[2]))
    return Answer(
        answer.question,
        end.rcode,
        answer.flags & ~AD | answer.flags & end.flags & AD,
        counts,
        body,
        spots,
        min(ttls, default=0),
        answer.keep and end.keep,
        origin,
        end.errors,
        end.negative,
        end.scope if answer.scope is None else max(answer.scope, end.scope or 0),
    )
