"""Ask a source, and be called back: a Deferred costs as much as all else that is done for one answer of Redis."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from heimdall.interfaces import Drop, ISource, ITeller, Judge, Ongoing, Tell, Told
from heimdall.message.answer import Answer
from heimdall.message.query import Query


def teller(source: ISource) -> Tell:
    """Return what asks a source as :class:`~heimdall.interfaces.ITeller` says, whether it is one or not."""
    if ITeller.providedBy(source):
        tell: Tell = source.tell
        return tell

    def ask(query: Query, told: Told) -> Ongoing:
        return source.ask(query).addBoth(told)

    return ask


def deferred(tell: Tell, query: Query) -> Deferred[Answer]:
    """Ask what calls back; return the Deferred that :class:`~heimdall.interfaces.ISource` speaks of."""
    ongoing: list[Ongoing] = []

    def cancelled(_: Deferred[Answer]) -> None:
        ongoing.pop().cancel()

    waiter: Deferred[Answer] = Deferred(cancelled)

    def told(outcome: Answer | Failure) -> None:
        ongoing.clear()
        if isinstance(outcome, Failure):
            waiter.errback(outcome)
        else:
            waiter.callback(outcome)

    work = tell(query, told)
    if not waiter.called:
        ongoing.append(work)
    return waiter


def settled(query: Query, answer: Answer, judges: Sequence[Judge], now: float) -> Answer | Drop:
    """Return what is told of a query that policies let pass, now that its answer is there.

    :param judges: asked again, where what they said before does not hold any longer.
    """
    passed = query.passed
    if passed is None:
        return answer
    if not passed.holds(query.name, now):
        query.passed = None
        for judge in judges:
            verdict = judge(query)
            if verdict is not None:
                return said(query, verdict, now)
    return said(query, answer, now)


def said(query: Query, verdict: Answer | Drop, now: float) -> Answer | Drop:
    """Return what is told where a gate for names ends a query, on the terms of those before it."""
    passed = query.passed
    if passed is None or not isinstance(verdict, Answer):
        return verdict
    return passed.applied(query, verdict, now)
