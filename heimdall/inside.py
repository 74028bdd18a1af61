"""The path for questions that come from inside a program: no socket, no client, no gate for clients."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from heimdall.asking import deferred, said, settled
from heimdall.interfaces import Complete, Drop, IGate, IHotCache, ISource, Judge, NoAnswer
from heimdall.message.answer import Answer
from heimdall.message.edns import PROHIBITED, ExtendedError
from heimdall.message.query import Query

_DROPS: Final = ExtendedError(PROHIBITED, "a policy drops this query")


@implementer(ISource)
class Inside:
    """Asks policies that look at the client, memory, the gates for names, then a source: as a client's query does.

    :param clients: judged first, of a query that has no client.
    :param memory: asked next.
    :param names: judged when memory does not know.
    :param source: asked last.
    :param complete: follows the alias that a gate gives.
    """

    def __init__(
        self,
        memory: IHotCache,
        names: Sequence[IGate],
        source: ISource,
        clock: IReactorTime,
        complete: Complete | None = None,
        clients: Sequence[IGate] = (),
    ) -> None:
        self._memory = memory
        self._clients: list[Judge] = [gate.judge for gate in clients]
        self._names: list[Judge] = [gate.judge for gate in names]
        self._source = source
        self._clock = clock
        self._complete = complete

    def ask(self, query: Query) -> Deferred[Answer]:
        """Find the answer; see :class:`~heimdall.interfaces.ISource`."""
        query.passed = None  # it may have been asked before
        for judge in self._clients:
            verdict = judge(query)
            if verdict is not None:
                return maybeDeferred(_told, verdict)
        known = self._memory.get(query, self._clock.seconds())
        if known is not None:
            answer, body, _ = known
            return succeed(answer.with_body(query, body))
        for judge in self._names:
            verdict = judge(query)
            if isinstance(verdict, Answer) and verdict.alias and self._complete is not None:
                return deferred(partial(self._complete, verdict), query)
            if verdict is not None:
                return maybeDeferred(_told, said(query, verdict, self._clock.seconds()))
        return self._source.ask(query).addCallback(self._settled, query)

    def _settled(self, answer: Answer, query: Query) -> Answer:
        return _told(settled(query, answer, self._names, self._clock.seconds()))


def _told(verdict: Answer | Drop) -> Answer:
    """Return the answer that a verdict is.

    :raises NoAnswer: it is silence.
    """
    if isinstance(verdict, Answer):
        return verdict
    raise NoAnswer("a policy drops this query", _DROPS)
