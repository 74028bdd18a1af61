"""A node that starts is warm: what it loads from a real Redis, and what it does without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.task import deferLater

from heimdall.cache.ranks import AT_ONCE, Asked, Row
from heimdall.cache.warm import Warm
from heimdall.config.settings import Admit, Fetch, Redis, Settings
from heimdall.interfaces import ILink
from heimdall.message.query import Query
from heimdall.pipeline import lay
from tests.cache.cluster import Nodes, One, Upstream
from tests.cache.questions import question
from tests.rediscase import pause, reactor, until
from tests.redisserver import RedisServer

NAMES = [f"n{number:03}.example" for number in range(200)]


class Case(Nodes):
    """An old node, and a new one."""

    async def old(self, server: RedisServer, ttl: int = 60, names: list[str] = NAMES) -> One:
        """Return a node that was asked for all names, the first ones more often, and has told so."""
        [old] = await self.nodes(server, Upstream(ttl=ttl))
        await gatherResults([Deferred.fromCoroutine(old.ask(name, name, name)) for name in names])
        await self.told(old, names)
        await until(lambda: old.count("heimdall_cache_redis_writes_total", "stored") >= len(names))
        return old

    async def told(self, node: One, names: list[str]) -> None:
        """Have a node tell that these names are hot, the first one most."""
        now = node.sharing.link.now() or 0.0
        rows = [Asked(question(name).key, len(names) - at, 0, 0, 60) for at, name in enumerate(names)]
        for at in range(0, len(rows), AT_ONCE):
            await node.sharing.ranks.add(rows[at : at + AT_ONCE], 1, now)

    async def new(self, server: RedisServer, **settings: Any) -> One:
        """Return a node that was warmed."""
        node = self.node(server.url, Upstream(), **settings)
        await node.sharing.warm.start()
        await until(lambda: node.sure)
        return node

    def found(self, node: One, result: str) -> int:
        """Return how many names were found so."""
        return node.count("heimdall_cache_warm_names_total", result)


class Loading(Case):
    """What is loaded."""

    async def test_hot_names(self) -> None:
        """A new node has what is hot in memory before anybody asks, and answers it from there."""
        server = self.server()
        await self.old(server)
        node = await self.new(server)
        self.assertEqual(set(await node.ask(*NAMES)), {"memory"})
        self.assertEqual(self.found(node, "loaded"), len(NAMES))
        self.assertIn("Warm with 200 names", self.events[-1])
        self.assertEqual(list(node.sharing.hot.names)[:2], [question(name).key for name in NAMES[:2]])

    async def test_ttls(self) -> None:
        """What is loaded has the age that it has, not that of a new answer."""
        server = self.server()
        await self.old(server, names=NAMES[:5])
        began = reactor.seconds()
        await pause(1.5)
        node = await self.new(server)
        life = node.memory.life(question(NAMES[0]).key)
        assert life is not None
        self.assertAlmostEqual(life[2], began + 60, 0)

    async def test_what_is_no_good(self) -> None:
        """What was flushed, is stale, gone, rubbish or leased is not loaded, nor what is no question."""
        server = self.server()
        old = await self.old(server, names=NAMES[:10])
        keys = [b"heimdall:c1:" + question(name).key for name in NAMES]
        server.command("DEL", keys[1])
        server.command("SET", keys[2], b"\0" + b"x" * 8, "PX", 60000)
        server.command("SET", keys[3], b"rubbish", "PX", 60000)
        server.command("SET", keys[4], server.command("GET", keys[5]), "PX", 60000)
        server.command("ZADD", old.sharing.ranks.keys[0], 7, "rubbish")
        value = server.command("GET", keys[0])
        await old.sharing.flushes.flush(question(NAMES[0]).name, False)
        await until(lambda: not server.command("EXISTS", keys[0], "heimdall:flushes:todo", "heimdall:flushes:sweeper"))
        server.command("SET", keys[0], value, "PX", 60000)  # as if it had not been swept yet
        node = await self.new(server)
        results = {result: self.found(node, result) for result in ("loaded", "flushed", "missing", "rubbish")}
        self.assertEqual(results, {"loaded": 5, "flushed": 1, "missing": 2, "rubbish": 3})
        self.assertIsNone(node.known(question(NAMES[0])))

    async def test_stale(self) -> None:
        """What is stale by now is not loaded."""
        server = self.server()
        await self.old(server, ttl=1, names=NAMES[:5])
        await pause(1.1)
        node = await self.new(server)
        self.assertEqual((self.found(node, "stale"), len(node.memory)), (5, 0))

    async def test_forged(self) -> None:
        """Nothing is loaded that was not sealed with our secret."""
        server = self.server()
        await self.old(server, names=NAMES[:5])
        node = self.node(server.url, Upstream(), secret="a secret that it lacks")
        await node.sharing.warm.start()
        self.assertEqual((self.found(node, "rubbish"), len(node.memory)), (5, 0))

    async def test_blocked(self) -> None:
        """What this node blocks it does not load, though others answer it: memory would give it to everybody."""
        server = self.server()
        await self.old(server, names=NAMES[:5])
        settings = Settings(redis=Redis(url=server.url), fetch=Fetch(upstreams=()), admit=Admit(block=(NAMES[0],)))
        path = lay(settings, reactor)
        self.addCleanup(path.close)
        path.start()
        await path.warm()
        origins = [(await path.inside.ask(question(name))).origin for name in NAMES[:2]]
        self.assertEqual((origins, len(path.memory)), (["blocked", "memory"], 4))

    async def test_queries_meanwhile(self) -> None:
        """Queries are answered while the node gets warm, and what they bring is not loaded over."""
        server = self.server()
        await self.old(server)
        node = self.node(server.url, Upstream())
        await until(lambda: node.sharing.link.up)
        warming = node.sharing.warm.start()
        self.assertEqual(len(await node.ask(NAMES[-1], "cold.example")), 2)
        await warming
        self.assertEqual(self.found(node, "held") + self.found(node, "loaded"), len(NAMES))


class Bounds(Case):
    """It neither takes for ever nor fills everything."""

    async def test_bytes(self) -> None:
        """No more than the share of the memory is filled, and the hottest names come first."""
        server = self.server()
        await self.old(server)
        node = await self.new(server, memory=100_000, warm_share=0.5)
        self.assertTrue(50 < len(node.memory) < 200)
        self.assertLess(node.memory.used, 100_000)
        self.assertIsNotNone(node.known(question(NAMES[0])))
        self.assertIsNone(node.known(question(NAMES[-1])))
        self.assertIn("no more room", self.events[-1])

    async def test_off(self) -> None:
        """Nothing is loaded where that is off, and the node is ready at once."""
        server = self.server()
        await self.old(server, names=NAMES[:5])
        for off in ({"warm_seconds": 0.0}, {"hot_names": 0}):
            node = self.node(server.url, Upstream(), **off)
            self.assertIsNone(self.successResultOf(node.sharing.warm.start()))
            self.assertEqual(len(node.memory), 0)

    async def test_away(self) -> None:
        """Without Redis the node is ready after half a second; the log says why."""
        server = self.server()
        server.kill()
        node = self.node(server.url, Upstream(), warm_seconds=30.0)
        began = reactor.seconds()
        await node.sharing.warm.start()
        self.assertAlmostEqual(reactor.seconds() - began, 0.5, 2)
        self.assertIn("Redis is away", self.events[-1])

    async def test_comes_later(self) -> None:
        """A node that found no Redis at the start gets warm when it is there."""
        server = self.server()
        await self.old(server)
        server.pause()
        node = self.node(server.url, Upstream())
        await node.sharing.warm.start()
        self.assertEqual(len(node.memory), 0)
        server.resume()
        await until(lambda: node.count("heimdall_cache_warm_names_total", "loaded"))

    async def test_hung(self) -> None:
        """A Redis that hangs while names are loaded costs no more than the time for that."""
        server = self.server()
        await self.old(server)
        node = self.node(server.url, Upstream(), warm_seconds=0.7)
        await until(lambda: node.sharing.link.up)
        server.pause()
        began = reactor.seconds()
        await node.sharing.warm.start()
        self.assertAlmostEqual(reactor.seconds() - began, 0.7, 2)
        server.resume()

    async def test_time(self) -> None:
        """When the time is over, what was loaded so far is what there is; the progress is logged each second."""
        server = self.server()
        await self.old(server)
        warm = self.slow(await self.new(server, hot_names=0), server, 1.3, seconds=2.5)
        await warm.start()
        progress = [event for event in self.events if event.startswith("Warming: ")]
        self.assertEqual([event.split(",")[0] for event in progress], ["Warming: 64 names"])
        self.assertIn("Warm with 64 names", self.events[-1])
        self.assertIn("no more time", self.events[-1])

    async def test_stop(self) -> None:
        """A node that ends while it gets warm gives up."""
        server = self.server()
        await self.old(server)
        warm = self.slow(await self.new(server, hot_names=0), server, 0.3)
        warming = warm.start()
        await pause(0.4)
        warm.stop()
        self.assertIsNone(self.successResultOf(warming))
        self.assertIn("given up", self.events[-1])
        warm.stop()

    async def test_log_of_flushes(self) -> None:
        """Where it cannot be learnt what was flushed nothing is loaded."""
        server = self.server()
        await self.old(server, names=NAMES[:5])
        node = await self.new(server, hot_names=0)
        warm = self.slow(node, server, 0.0, sync=lambda: succeed(False))
        await warm.start()
        self.assertEqual(len(node.memory), 0)
        self.assertIn("what was flushed is not known", self.events[-1])

    async def test_refused(self) -> None:
        """A Redis that refuses, or lies, is told of, and the node is ready."""
        server = self.server()
        old = await self.old(server, names=NAMES[:5])
        node = await self.new(server, hot_names=0)
        lying = self.slow(node, server, 0.0, reply=b"OK")
        await lying.start()
        self.assertIn("no list of values", self.events[-1])
        server.command("SET", old.sharing.ranks.keys[0], "x")
        await self.slow(node, server, 0.0).start()
        self.assertIn("WRONGTYPE", self.events[-1])

    async def test_bug(self) -> None:
        """A bug of ours does not keep a node from being ready."""
        server = self.server()
        await self.old(server, names=NAMES[:5])
        node = await self.new(server, hot_names=0)
        warm = self.slow(node, server, 0.0, sync=lambda: succeed(True))
        self.patch(warm, "_judge", None)
        await warm.start()
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def slow(
        self,
        node: One,
        server: RedisServer,
        delay: float,
        *,
        seconds: float = 2.0,
        sync: Callable[[], Deferred[bool]] | None = None,
        reply: object = None,
    ) -> Warm:
        """Return what warms a node, over a link on which each list of answers takes so long."""
        sharing = node.sharing
        run = sharing.link.run

        async def later(*command: bytes | str | int) -> object:
            if command[0] != "MGET":
                return await run(*command)
            await deferLater(reactor, delay)
            return reply or await run(*command)

        self.patch(sharing.link, "run", lambda *command: Deferred.fromCoroutine(later(*command)))
        link: ILink = sharing.link
        sharing.ranks.most = 5000

        def judge(query: Query, key: bytes, value: bytes, now: float) -> Any:
            return sharing.warm._judge(query, key, value, now)

        def learn(rows: list[Row], age: float) -> None:
            sharing.hot.learn(rows, age)

        return Warm(
            link,
            node.memory,
            sharing.ranks,
            reactor,
            judge=judge,
            sync=sync or sharing.flushes.sync,
            learn=learn,
            seconds=seconds,
        )
