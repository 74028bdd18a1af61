"""The path for questions that come from inside a program: no socket, no client, no gate for clients."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from heimdall.asking import deferred
from heimdall.interfaces import Complete, IGate, IHotCache, ISource, NoAnswer
from heimdall.message.answer import Answer
from heimdall.message.edns import PROHIBITED, ExtendedError
from heimdall.message.query import Query


@implementer(ISource)
class Inside:
    """Asks memory, then the gates for names, then a source: what a client's query meets as well.

    :param memory: asked first.
    :param gates: judged when memory does not know.
    :param source: asked last.
    :param complete: follows the alias that a gate gives.
    """

    def __init__(
        self,
        memory: IHotCache,
        gates: Sequence[IGate],
        source: ISource,
        clock: IReactorTime,
        complete: Complete | None = None,
    ) -> None:
        self._memory = memory
        self._gates = tuple(gates)
        self._source = source
        self._clock = clock
        self._complete = complete

    def ask(self, query: Query) -> Deferred[Answer]:
        """Find the answer; see :class:`~heimdall.interfaces.ISource`."""
        known = self._memory.get(query, self._clock.seconds())
        if known is not None:
            answer, body, _ = known
            return succeed(answer.with_body(query, body))
        for gate in self._gates:
            verdict = gate.judge(query)
            if isinstance(verdict, Answer):
                if verdict.alias and self._complete is not None:
                    return deferred(partial(self._complete, verdict), query)
                return succeed(verdict)
            if verdict is not None:
                return fail(NoAnswer("a policy drops this query", ExtendedError(PROHIBITED)))
        return self._source.ask(query)
