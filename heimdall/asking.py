"""Ask a source, and be called back: a Deferred costs as much as all else that is done for one answer of Redis."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from heimdall.interfaces import ISource, ITeller, Ongoing, Tell, Told
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
