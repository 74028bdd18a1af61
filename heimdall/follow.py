"""The path of a client's question for an operator to follow: the same stations, and each notes what it did."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from heimdall.asking import deferred, said, settled
from heimdall.interfaces import Complete, IGate, IHotCache, ISource
from heimdall.message.answer import Answer
from heimdall.message.query import Query
from heimdall.message.trace import Trace


@frozen
class Followed:
    """What came of a question: the answer, None where silence is due; and what the stations noted."""

    answer: Answer | None
    trace: Trace


class Follow:
    """Takes a question down the path that the server takes it.

    :param clients: the gates that are judged before memory; ``names`` those behind it.
    :param source: asked last; it and those behind it note what they do.
    :param complete: follows the alias that a gate gives.
    """

    def __init__(
        self,
        clients: Sequence[IGate],
        memory: IHotCache,
        names: Sequence[IGate],
        source: ISource,
        clock: IReactorTime,
        complete: Complete | None = None,
    ) -> None:
        self._clients, self._names = tuple(clients), tuple(names)
        self._memory, self._source, self._clock, self._complete = memory, source, clock, complete

    def ask(self, query: Query) -> Deferred[Followed]:
        """Find the answer to a query, as that of its client."""
        trace = Trace(self._clock.seconds)
        query = query.again(query.least)
        query.trace = trace
        over = self._judged(self._clients, query, trace)
        if over is not None:
            return succeed(over)
        now = self._clock.seconds()
        known = self._memory.get(query, now)
        if known is not None:
            answer, body, _ = known
            trace.note("memory", "hit")
            return succeed(Followed(answer.with_body(query, body), trace))
        trace.note("memory", "miss" if self._memory.held(query, now) is None else "stale")
        over = self._judged(self._names, query, trace)
        if over is not None:
            if self._complete is not None and over.answer is not None and over.answer.alias:
                return deferred(partial(self._complete, over.answer), query).addCallback(Followed, trace)
            return succeed(over)
        return self._source.ask(query).addCallback(self._settled, query, trace)

    def _settled(self, answer: Answer, query: Query, trace: Trace) -> Followed:
        judges = [gate.judge for gate in self._names]
        verdict = settled(query, answer, judges, self._clock.seconds())
        return Followed(verdict if isinstance(verdict, Answer) else None, trace)

    def _judged(self, gates: Sequence[IGate], query: Query, trace: Trace) -> Followed | None:
        """Return what a gate ends the question with, or None when all let it pass."""
        for gate in gates:
            verdict = gate.judge(query)
            word = "passes" if verdict is None else "answers" if isinstance(verdict, Answer) else "drops"
            if not getattr(gate, "silent", False) or query.passed is not None:
                trace.note("gate", word, gate=getattr(gate, "title", type(gate).__name__))
            if verdict is not None:
                told = said(query, verdict, self._clock.seconds())
                return Followed(told if isinstance(told, Answer) else None, trace)
        return None
