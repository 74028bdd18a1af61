"""Look-ups a second through the shared cache: one process, a real Redis beside it, 200 queries outstanding.

Run as ``python -m benchmarks.redis_lookup``.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import deferLater, react
from zope.interface import implementer

from heimdall.cache.redis import Shared
from heimdall.interfaces import ISource, NoAnswer
from heimdall.message import answer, query, wire
from heimdall.message.answer import Answer
from heimdall.message.edns import OTHER, ExtendedError
from heimdall.message.query import Query
from heimdall.redislink import connect_to
from tests.redisserver import RedisServer

NAMES = 10_000
OUTSTANDING = 200
SECONDS = 5.0


@implementer(ISource)
class Upstream:
    """Knows every name, at once; counts what it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.gone = False

    def ask(self, query: Query) -> Deferred[Answer]:
        """Answer with an address record."""
        self.asked += 1
        if self.gone:
            return fail(NoAnswer("gone", ExtendedError(OTHER)))
        made = answer.local(query, 0, [(query.name, 1, 3600, b"\1\2\3\4")], origin="upstream")
        return succeed(made.replace(keep=True))


async def measure(reactor: Any) -> None:
    """Fill Redis through the cache, then ask for everything again and again."""
    server = RedisServer().start()
    link = connect_to(reactor, server.url)
    try:
        link.start()
        while not link.up:
            await deferLater(reactor, 0.01)
        upstream = Upstream()
        shared = Shared(link, upstream, reactor, most_writes=NAMES, budget=1.0)
        names = [wire.from_text(f"host{number}.example.com") for number in range(NAMES)]
        for chunk in range(0, NAMES, OUTSTANDING):
            for name in names[chunk : chunk + OUTSTANDING]:
                await shared.ask(query.make(name, 1))
        await deferLater(reactor, 0.5)
        upstream.asked, upstream.gone = 0, True
        done = 0
        finished: Deferred[None] = Deferred()
        queries = [query.make(name, 1) for name in names]
        began, cpu = time.perf_counter(), time.process_time()

        def ask() -> None:
            shared.ask(queries[done % NAMES]).addCallbacks(answered, finished.errback)

        outstanding = OUTSTANDING

        def answered(found: Answer) -> None:
            nonlocal done, outstanding
            done += 1
            if time.perf_counter() - began < SECONDS:
                ask()
                return
            outstanding -= 1
            if not outstanding:
                finished.callback(None)

        for _ in range(OUTSTANDING):
            ask()
        await finished
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        rate, each = done / took, cpu / done * 1e6
        sys.stdout.write(f"{rate:,.0f} look-ups a second, {each:.1f} us CPU each, {upstream.asked} asked upstream\n")
    finally:
        await link.close()
        server.stop()


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(measure(reactor)))
