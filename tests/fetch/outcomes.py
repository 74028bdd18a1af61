"""Ask a server, or over one transport, and wait for what comes of it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from heimdall.asking import deferred
from heimdall.fetch.judgement import Unusable
from heimdall.interfaces import IExchange, ITransport, NoAnswer, Ongoing, Told
from heimdall.message.answer import Answer
from heimdall.message.edns import OTHER, ExtendedError
from heimdall.message.query import WITH_OPT, Query


def exchange(way: Any, query: Query, timeout: float, form: int = WITH_OPT) -> Deferred[Answer]:
    """Ask; fires with the answer, a failure that the server told among them, or fails with NoAnswer."""

    def tell(query: Query, told: Told) -> Ongoing:
        def on_outcome(outcome: Answer | Unusable | Failure) -> None:
            if isinstance(outcome, Unusable):
                unreachable = NoAnswer(outcome.text, ExtendedError(OTHER, outcome.text))
                told(outcome.answer if outcome.said else Failure(unreachable))
            else:
                told(outcome)

        if ITransport.providedBy(way):
            ongoing: Ongoing = way.exchange(query, form, timeout, on_outcome)
        else:
            ongoing = IExchange(way).tell(query, timeout, on_outcome)
        return ongoing

    return deferred(tell, query)
