"""Send each question to the source that is in charge of its name."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred
from zope.interface import classImplements

from heimdall.asking import deferred, teller
from heimdall.interfaces import ISource, ITeller, Ongoing, Told
from heimdall.message.answer import Answer
from heimdall.message.query import DS, Query
from heimdall.message.wire import suffixes, to_text
from heimdall.tally import Count, Tally


class Route:
    """A source by the longest suffix of the name.

    DS records belong to the parent of a zone, so a question for them goes where the parent's go (RFC 4035, 3.1.4.1).

    :param default: who is asked about all other names.
    :param routes: the sources by the folded wire name that theirs end in.
    """

    def __init__(self, default: ISource, routes: Mapping[bytes, ISource] | None = None) -> None:
        self._default = teller(default)
        self._routes = {suffix: teller(source) for suffix, source in (routes or {}).items()}
        self._taken = Count("heimdall_fetch_routed_total", "Questions by where they were sent.", "to")
        self._usual = self._taken.cell("default")
        self.tallies: list[Tally] = [self._taken]

    def ask(self, query: Query) -> Deferred[Answer]:
        """Find the answer; see :class:`~heimdall.interfaces.ISource`."""
        return deferred(self.tell, query)

    def tell(self, query: Query, told: Told) -> Ongoing:
        """Find the answer; see :class:`~heimdall.interfaces.ITeller`."""
        if self._routes:
            name = query.name
            if query.qtype == DS and name[0]:
                name = name[name[0] + 1 :]
            for suffix in suffixes(name):
                tell = self._routes.get(suffix)
                if tell is not None:
                    self._taken.add("route")
                    if query.trace is not None:
                        query.trace.note("route", "a route", suffix=to_text(suffix))
                    return tell(query, told)
        self._usual.n += 1
        if query.trace is not None:
            query.trace.note("route", "the upstreams of all names")
        return self._default(query, told)


classImplements(Route, ITeller)
