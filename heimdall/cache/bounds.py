"""Hold every TTL between a floor and a ceiling, before any cache sees it."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from zope.interface import classImplements

from heimdall.interfaces import ISource
from heimdall.message.answer import Answer
from heimdall.message.query import Query


class Bounds:
    """Asks ``source`` and bounds the TTLs of what it answers, in seconds.

    :param floor: the least.
    :param ceiling: the most; ``negative`` the most for answers that say no (RFC 2308, 5).
    """

    def __init__(self, source: ISource, *, floor: int = 0, ceiling: int = 86400, negative: int = 3600) -> None:
        self._ask = source.ask
        self._bounds = (floor, ceiling, negative)

    def ask(self, query: Query) -> Deferred[Answer]:
        """Find the answer; see :class:`~heimdall.interfaces.ISource`."""
        return self._ask(query).addCallback(Answer.bounded, *self._bounds)


classImplements(Bounds, ISource)
