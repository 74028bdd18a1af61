"""Hold every TTL between a floor and a ceiling, before any cache sees it."""

from __future__ import annotations

from functools import partial

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import classImplements

from heimdall.asking import deferred, teller
from heimdall.interfaces import ISource, ITeller, Ongoing, Told
from heimdall.message.answer import Answer
from heimdall.message.query import Query


class Bounds:
    """Asks ``source`` and bounds the TTLs of what it answers, in seconds.

    :param floor: the least.
    :param ceiling: the most; ``negative`` the most for answers that say no (RFC 2308, 5).
    """

    def __init__(self, source: ISource, *, floor: int = 0, ceiling: int = 86400, negative: int = 3600) -> None:
        self._tell = teller(source)
        self._floor, self._ceiling, self._negative = floor, ceiling, negative

    def ask(self, query: Query) -> Deferred[Answer]:
        """Find the answer; see :class:`~heimdall.interfaces.ISource`."""
        return deferred(self.tell, query)

    def tell(self, query: Query, told: Told) -> Ongoing:
        """Find the answer; see :class:`~heimdall.interfaces.ITeller`."""
        return self._tell(query, partial(self._told, told))

    def _told(self, told: Told, outcome: Answer | Failure) -> None:
        if not isinstance(outcome, Failure):
            outcome = outcome.bounded(self._floor, self._ceiling, self._negative)
        told(outcome)


classImplements(Bounds, ITeller)
