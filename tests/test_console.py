"""What an operator does with the cache, on one node without Redis and on one whose Redis is not there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from heimdall.cache.flushed import Flush
from heimdall.config.settings import Fetch, Redis, Settings
from heimdall.console import Console
from heimdall.interfaces import LinkDown
from heimdall.message.wire import from_text
from heimdall.peers.inspect import NO_FLUSH, Inquiries
from heimdall.pipeline import lay
from heimdall.station import Station
from heimdall.testing import Scripted
from tests.cache.questions import positive, question
from tests.rediscase import reactor, until
from tests.virtual_time import VirtualCase

NAME = from_text("www.a.example")


class Alone(VirtualCase):
    """One node."""

    def console(self, redis: Redis, port: int = 1) -> Console:
        """A node that holds two names, and has an upstream on a port."""
        self.path = lay(Settings(fetch=Fetch(upstreams=(f"127.0.0.1:{port}",)), redis=redis), reactor)
        self.addCleanup(self.path.close)
        self.path.start()
        for text in ("www.a.example", "b.example"):
            self.path.memory.put(question(text), positive(text), reactor.seconds())
        sharing = self.path.sharing
        station = self.station = Station(self.path, reactor, (), "one")
        inquiries = None
        if sharing is not None:
            inquiries = Inquiries(
                sharing.notices,
                reactor,
                node="one",
                held=station.held,
                members=lambda: self.fail("nobody can be asked"),
            )
        return Console(self.path, "one", station, reactor, inquiries)

    def came(self, upstream: Scripted, count: int) -> bool:
        """Whether so many questions came to an upstream."""
        return upstream.count() >= count

    async def held(self, console: Console, text: str) -> list[str]:
        """Return the types of what is held for a name."""
        found: Mapping[str, Any] = await console.inspect(from_text(text))
        self.assertEqual([(node["node"], node["own"]) for node in found["nodes"]], [("one", True)])
        return [held["type"] for held in found["nodes"][0]["held"]]

    async def test_no_redis(self) -> None:
        """Without Redis this node forgets the name, and says that it did so alone."""
        console = self.console(Redis(enabled=False))
        self.assertEqual(await self.held(console, "www.a.example"), ["A"])
        told = await console.flush(NAME, False)
        self.assertEqual((told["shared"], told["reason"]), (False, "Redis is not in use"))
        self.assertEqual((told["nodes"], told["silent"], told["name"]), (["one"], [], "www.a.example"))
        self.assertEqual(await self.held(console, "www.a.example"), [])
        self.assertEqual(await self.held(console, "b.example"), ["A"])
        found = await console.inspect(NAME, 1)
        self.assertEqual((found["type"], found["redis"]["reason"]), ("A", "Redis is not in use"))
        self.assertEqual((found["silent"], found["reason"]), ((), "Redis is not in use"))

    async def test_asked_before_a_reload(self) -> None:
        """What was asked before a reload and is under way is asked again, by whatever way the flush is heard of."""
        upstream = Scripted(reactor).start()
        self.addCleanup(upstream.stop)
        upstream.silent = True
        for number, redis in enumerate((Redis(enabled=False), Redis(url="redis://127.0.0.1:1"))):
            self.console(redis, upstream.port)
            asked = self.path.inside.ask(question("slow.example"))
            await until(partial(self.came, upstream, number + 1))
            (flight,) = self.path.once._flights.values()
            await self.station.change(self.path.settings)
            self.assertEqual(flight.round, 0)
            sharing = self.station.path.sharing
            if sharing is None:
                self.station.forget(Flush(NO_FLUSH, 0.0, from_text("slow.example"), False))
            else:
                self.failureResultOf(sharing.flushes.flush(from_text("slow.example"), False), LinkDown)
            self.assertEqual(flight.round, 1)
            await self.station.close()
            await asked

    async def test_redis_away(self) -> None:
        """While Redis is away this node forgets the name all the same, and says that nobody else was told."""
        console = self.console(Redis(url="redis://127.0.0.1:1"))
        told = await console.flush(from_text("a.example"), True)
        self.assertEqual((told["shared"], told["swept"], told["subtree"]), (False, False, True))
        self.assertNotEqual(told["reason"], "")
        self.assertEqual(await self.held(console, "www.a.example"), [])
        self.assertEqual(await self.held(console, "b.example"), ["A"])
        found = await console.inspect(NAME)
        self.assertEqual(found["reason"], "other nodes cannot be heard")
        self.assertFalse(found["redis"]["complete"])
        with self.assertRaises(LinkDown):
            await self.path.inspection.redis(NAME)
