"""The pages that carry answers: out of a tier as a file, and into one from a part of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.server import Request

from heimdall.interfaces import NO_REDIS
from heimdall.message.bundle import Record, end, head, record, split
from heimdall.watch.asked import Asked
from heimdall.watch.flow import Flow
from heimdall.watch.page import Page, page, why
from heimdall.watch.trust import Trust

KIND: Final = "application/octet-stream"
TIERS: Final = ("memory", "redis")

MOST_TAKING: Final = 4
"""Parts that are taken in at once; who has more is told to come back."""


class Carrier(Protocol):
    """Who carries; each fails with :class:`LinkDown` where Redis cannot be asked."""

    def now(self) -> float:
        """Return the seconds since 1970."""

    async def expected(self, tier: str) -> int:
        """Return about how many answers there are."""

    def out(self, tier: str) -> AsyncIterator[list[Record]]:
        """Yield what a tier holds, some at a time."""

    async def into(self, tier: str, records: Sequence[Record]) -> dict[str, int]:
        """Take some in; return how many came to what."""


class Carried:
    """Carries for who may change things: what is held tells who asked for what.

    :param trust: judges who that is.
    """

    def __init__(self, carrier: Carrier, trust: Trust, clock: IReactorTime) -> None:
        self._carrier, self._trust, self._clock = carrier, trust, clock
        self._exporting = False
        self._taking = 0

    def export(self, request: Request) -> Deferred[Page | Flow]:
        """Return all that a tier (``from``) holds, as a file of answers."""
        refused = self._refused(request)
        if refused is not None:
            return succeed(refused)
        if self._exporting:
            return succeed(page({"error": "another export is under way; ask again when it is done"}, 503))
        try:
            tier = Asked(request, "from").word("from", *TIERS)
        except ValueError as error:
            return succeed(page({"error": str(error)}, 400))
        if request.method == b"HEAD":
            return succeed(Page(200, KIND, b""))
        self._exporting = True
        begun: Deferred[Page | Flow] = Deferred.fromCoroutine(self._begin(tier))
        return begun.addErrback(self._not_begun)

    async def _begin(self, tier: str) -> Page | Flow:
        return Flow(KIND, self._pieces(tier, await self._carrier.expected(tier)), self._clock, self._exported)

    async def _pieces(self, tier: str, expected: int) -> AsyncGenerator[bytes]:
        count = 0
        yield head(expected, self._carrier.now())
        async for records in self._carrier.out(tier):
            count += len(records)
            if records:
                yield b"".join(record(key, value) for key, value in records)
        yield end(count)

    def _not_begun(self, failure: Failure) -> Page:
        self._exported()
        return self._away(failure)

    def _exported(self) -> None:
        self._exporting = False

    def take(self, request: Request) -> Deferred[Page]:
        """Take the answers of the body into a tier (``into``), and return how many came to what."""
        refused = self._refused(request)
        if refused is not None:
            return succeed(refused)
        if self._taking >= MOST_TAKING:
            return succeed(page({"error": "too many imports are under way; ask again in a moment"}, 503))
        try:
            tier = Asked(request, "into").word("into", *TIERS)
            records = split(request.content.read() if request.content is not None else b"")
        except ValueError as error:
            return succeed(page({"error": str(error)}, 400))
        self._taking += 1
        taking = Deferred.fromCoroutine(self._carrier.into(tier, records))
        taken: Deferred[Page] = taking.addBoth(self._taken).addCallback(lambda counts: page({"results": counts}))
        return taken.addErrback(self._away)

    def _taken(self, result: dict[str, int] | Failure) -> dict[str, int] | Failure:
        self._taking -= 1
        return result

    def _refused(self, request: Request) -> Page | None:
        refused = self._trust.refuse(request)
        return page({"error": refused}, 403) if refused else None

    def _away(self, failure: Failure) -> Page:
        reason = why(failure)
        said = f"Redis cannot be asked: {reason}"
        return page({"error": "this needs Redis, which is not in use" if reason == NO_REDIS else said}, 503)
