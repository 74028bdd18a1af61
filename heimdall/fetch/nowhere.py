"""The source of who has no upstream: nothing can be learnt."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from heimdall.interfaces import ISource, NoAnswer
from heimdall.message.answer import Answer
from heimdall.message.edns import NO_REACHABLE_AUTHORITY, ExtendedError
from heimdall.message.query import Query

_NONE = ExtendedError(NO_REACHABLE_AUTHORITY, "no upstream is configured")


@implementer(ISource)
class Nowhere:
    """Knows nothing, and says why."""

    def ask(self, query: Query) -> Deferred[Answer]:
        """Fail with :class:`~heimdall.interfaces.NoAnswer`."""
        return fail(NoAnswer("no upstream is configured", _NONE))
