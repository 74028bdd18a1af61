"""The HTTP an operator and a cluster ask: a page for browsers, metrics, probes, members, and what the cache holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

from cattrs import Converter
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from heimdall.bugs import reporter
from heimdall.interfaces import Member
from heimdall.tally import Gauge, Tally
from heimdall.watch.caches import Caches
from heimdall.watch.carried import Carried
from heimdall.watch.files import load
from heimdall.watch.flow import Flow
from heimdall.watch.metrics import Metrics, openmetrics_wanted
from heimdall.watch.page import TEXT, Page, page, why
from heimdall.watch.site import Guarded
from heimdall.watch.trust import Trust, from_here

REUSED = 1.0
"""Seconds that a page of metrics is given again to other machines: of all they may ask for it costs most to write."""

MEMBERS_WAIT = 2.0
"""Seconds that the list of members may take before it is given without Redis."""

_converter = Converter()
# JSON has no word for infinity or for what is not a number.
_converter.register_unstructure_hook(float, lambda number: number if isfinite(number) else None)


TAKES = b"/api/v1/import"
"""The page whose requests have a body."""

Show = Callable[[Request], Deferred[Any]]
"""Answers one request, by a :class:`Page` or a :class:`Flow`."""


class Admin(Resource):
    """Every page of the operator's HTTP.

    :param clock: the reactor's time.
    :param tallies: what all parts count, ours (attribute ``tallies``) left out; gone through anew at every scrape.
    :param count: brings them up to date, where that takes a moment; never fails.
    :param processes: returns the numbers of the processes that this one has for its work.
    :param ready: returns whether queries should be sent here, and if not, why.
    :param own: returns this node as the registry would list it.
    :param members: returns who is in the cluster, or fails with :class:`LinkDown`; None where nothing is shared.
    :param caches: the pages on the cache; None where there are none.
    :param carried: the pages that carry answers out and in; None where there are none.
    :param overview: returns the cluster at a glance, as JSON; None where there is nothing to see.
    :param trust: judges who may read what the cluster is asked for; None for everybody.
    :param top: returns what is asked for most in the cluster, as JSON; None where nobody keeps count.
    """

    isLeaf = True
    log = Logger()

    def __init__(
        self,
        *,
        clock: IReactorTime,
        tallies: Iterable[Tally],
        ready: Callable[[], tuple[bool, Sequence[str]]],
        own: Callable[[], Member],
        members: Callable[[], Deferred[Sequence[Member]]] | None = None,
        caches: Caches | None = None,
        carried: Carried | None = None,
        overview: Callable[[], Deferred[Mapping[str, Any]]] | None = None,
        trust: Trust | None = None,
        top: Callable[[], Deferred[Mapping[str, Any]]] | None = None,
        count: Callable[[], Deferred[None]] = lambda: succeed(None),
        processes: Callable[[], Iterable[int]] = tuple,
    ) -> None:
        super().__init__()
        self._clock = clock
        self._ready = ready
        self._own = own
        self._members = members
        self._overview = overview
        self._trust = trust
        self._top = top
        self._count = count
        self._files = load()
        self.site = Guarded(self, clock)
        judged = caches.tallies if caches is not None else []
        up = Gauge("heimdall_watch_ready_up", "1 while queries should come here, else 0.", self._is_ready)
        self._written: dict[bool, tuple[float, Page]] = {}
        self._metrics = Metrics(tallies, self.site.tallies, judged, [up], processes=processes)
        self.tallies: list[Tally] = [up, *self._metrics.tallies, *self.site.tallies, *judged]
        # By path, and there by method.
        self._pages: dict[bytes, dict[bytes, Show]] = {
            b"/": {b"GET": self._show_index},
            b"/metrics": {b"GET": self._show_metrics},
            b"/live": {b"GET": self._show_live},
            b"/ready": {b"GET": self._show_ready},
            b"/api/v1/members": {b"GET": self._show_members},
        }
        if caches is not None:
            self._pages[b"/api/v1/cache"] = {b"GET": caches.show, b"DELETE": caches.flush}
            self._pages[b"/api/v1/ask"] = {b"GET": caches.ask}
        if carried is not None:
            self._pages |= {b"/api/v1/export": {b"GET": carried.export}, TAKES: {b"POST": carried.take}}
            self.site.bodies = (TAKES,)
        if overview is not None:
            self._pages[b"/api/v1/overview"] = {b"GET": self._show_overview}
        self._pages[b"/api/v1/top"] = {b"GET": self._show_top}

    def render(self, request: Request) -> int:
        """Answer one request; a client that leaves ends the work for it."""
        shown = maybeDeferred(self._show, request)
        request.notifyFinish().addErrback(lambda _gone: shown.cancel())
        shown.addErrback(self._bug)
        shown.addCallback(self._send, request)
        return NOT_DONE_YET

    def _show(self, request: Request) -> Deferred[Page]:
        methods = self._pages.get(request.path)
        if methods is None and request.path in self._files:
            methods = {b"GET": self._show_file}
        if methods is None:
            return succeed(page({"error": "there is no such page"}, 404))
        show = methods.get(b"GET" if request.method == b"HEAD" else request.method)
        if show is None:
            reading = [b"GET", b"HEAD"] if b"GET" in methods else []
            allowed = b", ".join([*reading, *(method for method in methods if method != b"GET")])
            request.setHeader(b"Allow", allowed)
            return succeed(page({"error": f"this page takes {allowed.decode()} only"}, 405))
        if self._trust is not None and request.path.startswith(b"/api/"):
            refused = self._trust.refuse_reader(request)
            if refused:
                return succeed(page({"error": refused}, 403))
        return show(request)

    def _send(self, shown: Page | Flow, request: Request) -> Deferred[None] | None:
        if request.channel is None:  # the client has left
            if isinstance(shown, Flow):
                shown.drop()
            return None
        if isinstance(shown, Flow):
            return shown.start(request)
        request.setResponseCode(shown.status)
        request.setHeader(b"Content-Type", shown.kind.encode())
        request.setHeader(b"Content-Length", b"%d" % len(shown.body))
        request.write(shown.body)
        request.finish()
        return None

    def _bug(self, failure: Failure) -> Page:
        if not failure.check(CancelledError):
            reporter(self._clock).report(self.log, "a page of the operator's HTTP failed", failure)
        return page({"error": "this page failed; the log says why"}, 500)

    def _show_file(self, request: Request) -> Deferred[Page]:
        return succeed(self._files[request.path])

    def _show_index(self, request: Request) -> Deferred[Page]:
        """Return the page to a browser, and to others what else there is."""
        if "text/html" in (request.getHeader("accept") or ""):
            return self._show_file(request)
        text = "Heimdall\n\n" + "".join(f"{path.decode()}\n" for path in self._pages)
        return succeed(Page(200, TEXT, text.encode()))

    def _show_metrics(self, request: Request) -> Deferred[Page]:
        accept = request.getHeader("accept") or ""
        until, written = self._written.get(openmetrics_wanted(accept), (0.0, None))
        if written is not None and self._clock.seconds() < until and not from_here(request):
            return succeed(written)
        return self._count().addCallback(lambda _: self._write_metrics(accept))

    def _write_metrics(self, accept: str) -> Page:
        written = Page(200, *self._metrics.render(accept))
        self._written[openmetrics_wanted(accept)] = self._clock.seconds() + REUSED, written
        return written

    def _show_live(self, request: Request) -> Deferred[Page]:
        return succeed(Page(200, TEXT, b"ok\n"))

    def _show_ready(self, request: Request) -> Deferred[Page]:
        ready, reasons = self._ready()
        return succeed(page({"ready": ready, "reasons": list(reasons)}, 200 if ready else 503))

    def _is_ready(self) -> float:
        return float(self._ready()[0])

    def _show_members(self, request: Request) -> Deferred[Page]:
        if self._members is None:
            return succeed(self._listed([], "Redis is not in use"))
        listed = self._members().addTimeout(MEMBERS_WAIT, self._clock)
        return listed.addCallbacks(self._listed, self._unlisted)

    def _show_overview(self, request: Request) -> Deferred[Page]:
        if self._overview is None:
            return succeed(page({"error": "there is nothing to see"}, 503))
        return self._overview().addCallback(page, indent=None)

    def _show_top(self, request: Request) -> Deferred[Page]:
        refused = self._trust.refuse(request) if self._trust is not None else ""
        if refused:
            return succeed(page({"error": refused}, 403))
        if self._top is None:
            return succeed(page({"error": "nothing is counted, as cache.hot_names is 0"}, 503))
        counted = self._top().addTimeout(MEMBERS_WAIT, self._clock)
        return counted.addCallbacks(page, self._uncounted)

    def _uncounted(self, failure: Failure) -> Page:
        return page({"error": f"Redis cannot be asked: {why(failure)}"}, 503)

    def _unlisted(self, failure: Failure) -> Page:
        return self._listed([], why(failure))

    def _listed(self, members: Sequence[Member], away: str = "") -> Page:
        """Return the list, this node on it in any case: it answers, whatever the registry knows of it."""
        own = self._own()
        everyone = sorted([own, *(member for member in members if member.id != own.id)], key=lambda each: each.id)
        return page({"shared": not away, "reason": away, "members": _converter.unstructure(everyone)})
