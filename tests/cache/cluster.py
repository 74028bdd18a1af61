"""Nodes of a cluster in this process, from memory to a scripted upstream, around a real Redis."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from heimdall import sharing
from heimdall.cache.forget import Forgetting
from heimdall.cache.memory import Memory
from heimdall.cache.once import Once
from heimdall.cache.shelf import Shelf
from heimdall.config.settings import Cache, Redis
from heimdall.interfaces import ISource, NoAnswer
from heimdall.message import answer
from heimdall.message.answer import Answer
from heimdall.message.edns import OTHER, ExtendedError
from heimdall.message.query import Query
from heimdall.redislink import connect_to
from heimdall.sharing import share
from heimdall.tally import Count
from tests.cache.questions import question
from tests.rediscase import PATIENT, RedisCase, pause, reactor, until
from tests.redisserver import RedisServer


@implementer(ISource)
class Upstream:
    """One for all nodes: knows every name after a while, another address each time.

    ``asked``  the names it was asked for, in order
    """

    def __init__(self, ttl: int = 60, delay: float = 0.03) -> None:
        self.asked: list[bytes] = []
        self.ttl, self.delay, self.broken = ttl, delay, False

    def ask(self, query: Query) -> Deferred[Answer]:
        """Answer with how often it was asked so far, as an address."""
        self.asked.append(query.name)
        if self.broken:
            return fail(NoAnswer("broken", ExtendedError(OTHER)))
        rows = [(query.name, 1, self.ttl, len(self.asked).to_bytes(4, "big"))]
        waiting: Deferred[Answer] = Deferred(lambda _: call.cancel())
        known = answer.local(query, 0, rows, origin="upstream").replace(keep=True)
        call = reactor.callLater(self.delay, waiting.callback, known)
        return waiting


class One:
    """A node."""

    def __init__(self, url: str, upstream: ISource, secret: str, settings: Mapping[str, Any]) -> None:
        cache = Cache(**{"refresh_share": 0.5, **settings})
        self.memory = Memory(cache.memory, stale_window=60.0, refresh_share=cache.refresh_share)
        redis = Redis(url=url, secret=secret, read_budget=0.2)
        self.sharing = share(redis, cache, reactor, self.memory, upstream)
        self.once = Once(self.memory, self.sharing.source, reactor)
        self.once.landed = self.sharing.hot.hitters.missed.landed
        self.shelf = Shelf(self.sharing.source, self.memory, self.once)
        self.memory.refresh = self.once.refresh
        self.forgetting = Forgetting(self.memory, reactor)
        self.sharing.flushes.forgets += self.forgetting.forget, lambda flush: self.once.forget(flush.matches)
        self.sharing.hot.node = id(self) & 0xFFFF

    @property
    def sure(self) -> bool:
        """Whether it has read what was flushed."""
        doubts = self.count("heimdall_cache_assure_doubts_total")
        return doubts > 0 and self.memory.sure_until > reactor.seconds()

    def known(self, query: Query) -> bytes | None:
        """Return the address that memory has for a name, without using it."""
        held = self.memory.held(query, reactor.seconds())
        return held[0].body[-4:] if held is not None and held[1] > reactor.seconds() else None

    def use(self, query: Query, times: int = 1) -> None:
        """Answer a query from memory so often."""
        for _ in range(times):
            assert self.memory.get(query, reactor.seconds()) is not None

    def count(self, name: str, *values: str) -> int:
        """Read a counter."""
        return sum(t.total(*values) for t in self.sharing.tallies if isinstance(t, Count) and t.name == name)

    async def stored(self, answers: int = 1) -> None:
        """Wait until it has stored so many answers in Redis."""
        await until(lambda: self.count("heimdall_cache_redis_writes_total", "stored") >= answers)

    async def ask(self, *names: str) -> list[str]:
        """Ask as clients do, memory first; return who knew, once it is counted as well."""
        origins = []
        for query in map(question, names):
            found = self.memory.get(query, reactor.seconds())
            known = found[0] if found else await self.shelf.ask(query)
            origins.append(known.origin)
        await pause(0)
        return origins


class Nodes(RedisCase):
    """Starts nodes and takes them down again."""

    def setUp(self) -> None:
        """Have nodes be patient with a Redis that is well, however busy the machine."""
        super().setUp()
        self.patch(sharing, "connect_to", partial(connect_to, **PATIENT))

    async def nodes(self, server: RedisServer, upstream: ISource, size: int = 1, **settings: Any) -> list[One]:
        """Return nodes that are linked to Redis and hear each other."""
        nodes = [self.node(server.url, upstream, **settings) for _ in range(size)]
        await until(lambda: all(node.sharing.link.up and node.sharing.notices.hearing for node in nodes))
        await until(lambda: all(node.sure for node in nodes))
        return nodes

    def node(self, url: str, upstream: ISource, secret: str = "", **settings: Any) -> One:
        """Return a node."""
        node = One(url, upstream, secret, settings)
        self.addCleanup(node.sharing.close)
        self.addCleanup(node.once.close)
        self.addCleanup(node.forgetting.stop)
        node.sharing.start()
        return node
