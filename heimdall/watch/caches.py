"""The pages on what the cache holds: see a name on every node, flush it on every node, and follow a question."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from twisted.web.server import Request

from heimdall.interfaces import Unanswered
from heimdall.message import query as queries
from heimdall.message.query import ANY, Query
from heimdall.tally import Tally
from heimdall.watch.asked import Asked
from heimdall.watch.page import Page, page
from heimdall.watch.trust import Trust

AT_ONCE: Final = 8
"""Requests that are worked at; more are told to come back."""

SEARCHING: Final = "a search through all that is held is under way; ask again when it is done, or without all"

_A: Final = 1
_HERE: Final = "127.0.0.1"

Work = Callable[[], Deferred[Mapping[str, Any]]]


class Console(Protocol):
    """What can be done with the cache; all return what is to be told, as JSON, and never fail for want of Redis."""

    def flush(self, name: bytes, subtree: bool) -> Deferred[Mapping[str, Any]]:
        """Flush a name on every node."""

    def inspect(self, name: bytes, qtype: int, every: bool) -> Deferred[Mapping[str, Any]]:
        """Look up a name on every node; type 0 for all of them."""

    def follow(self, query: Query) -> Deferred[Mapping[str, Any]]:
        """Ask a question as its client does, and tell what each station did; fails with Unanswered if none serves."""


class Caches:
    """Shows, flushes and asks.

    The cache tells what clients ask for, and to look into it costs every node some work.

    :param trust: judges who may look, flush, and have upstreams asked.
    """

    def __init__(self, console: Console, trust: Trust) -> None:
        self._console, self._trust = console, trust
        self._under_way = 0
        self._searching = False
        self.tallies: list[Tally] = trust.tallies

    def show(self, request: Request) -> Deferred[Page]:
        """Return what every tier and node holds for ``name``, of ``type`` or all; with ``all=1`` uncommon types too.

        That takes a search through all that is held: one is made at a time.
        """
        try:
            asked = Asked(request, "name", "type", "all")
            every = asked.flag("all")
        except ValueError as error:
            return succeed(page({"error": str(error)}, 400))
        if not every:
            return self._trusted(request, lambda: self._inspect(asked, False))
        return self._trusted(request, lambda: self._inspect(asked, True), self._search)

    def _search(self, work: Work) -> Deferred[Page]:
        if self._searching:
            return succeed(page({"error": SEARCHING}, 503))
        self._searching = True
        return self._bounded(work).addBoth(self._searched)

    def _searched(self, result: Any) -> Any:
        self._searching = False
        return result

    def flush(self, request: Request) -> Deferred[Page]:
        """Flush ``name``, with ``subtree=1`` all below it as well."""
        return self._trusted(request, lambda: self._flush(Asked(request, "name", "subtree")))

    def ask(self, request: Request) -> Deferred[Page]:
        """Ask for ``name`` and ``type`` on the path of a query, with ``do=1`` and ``cd=1``, as ``client`` would."""
        return self._trusted(request, lambda: self._ask(Asked(request, "name", "type", "do", "cd", "client")))

    def _inspect(self, asked: Asked, every: bool) -> Deferred[Mapping[str, Any]]:
        qtype = asked.qtype()
        return self._console.inspect(asked.name(), 0 if qtype == ANY else qtype, every)

    def _flush(self, asked: Asked) -> Deferred[Mapping[str, Any]]:
        return self._console.flush(asked.name(), asked.flag("subtree"))

    def _ask(self, asked: Asked) -> Deferred[Mapping[str, Any]]:
        name, qtype = asked.name(), asked.qtype() or _A
        query = queries.make(name, qtype, do=asked.flag("do"), cd=asked.flag("cd"))
        query.stream = False  # as most clients ask; no answer is cut for that here
        query.client = (asked.address("client", _HERE), 0)
        return self._console.follow(query)

    def _trusted(
        self, request: Request, work: Work, how: Callable[[Work], Deferred[Page]] | None = None
    ) -> Deferred[Page]:
        refused = self._trust.refuse(request)
        return succeed(page({"error": refused}, 403)) if refused else (how or self._bounded)(work)

    def _bounded(self, work: Work) -> Deferred[Page]:
        if self._under_way >= AT_ONCE:
            return succeed(page({"error": "too many such requests are under way; ask again in a moment"}, 503))
        try:
            done = work()
        except ValueError as error:
            return succeed(page({"error": str(error)}, 400))
        except Exception:
            done = fail()
        self._under_way += 1
        return done.addBoth(self._over).addCallbacks(page, _unanswered)

    def _over(self, result: Any) -> Any:
        self._under_way -= 1
        return result


def _unanswered(failure: Failure) -> Page:
    """Say that no process of this node that serves could be asked."""
    failure.trap(Unanswered)
    return page({"error": failure.getErrorMessage()}, 503)
