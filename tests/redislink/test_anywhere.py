"""Two nodes are one cache wherever Redis lives: what one learns the other knows, and what one flushes both forget."""

from __future__ import annotations

import os

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from heimdall.cache.flush import SLACK
from heimdall.message.wire import from_text
from heimdall.redislink.slots import SLOTS
from tests.cache.cluster import Nodes, One, Upstream
from tests.cache.questions import question
from tests.rediscase import pause, until
from tests.redislink.test_cluster import tally
from tests.redislink.test_cluster import url as cluster_url
from tests.redisserver import RedisServer, Sentinel, cluster, valkey

NAMES = [f"host{number}.example" for number in range(60)]


class Anywhere(Nodes):
    """Two nodes and one upstream."""

    async def one_cache(self, url: str, *servers: RedisServer, slots: int = 0) -> list[One]:
        """Check that two nodes at a URL are one cache; return them.

        :param slots: how many a cluster serves: a link is up with its first master, and what lives elsewhere is lost.
        """
        upstream = Upstream()
        nodes = [self.node(url, upstream) for _ in range(2)]
        await until(lambda: all(node.sharing.link.up and node.sharing.notices.hearing for node in nodes))
        await until(lambda: all(node.memory.sure_until > 1.0 for node in nodes))
        if slots:
            await until(lambda: all(tally(node.sharing.link, "served_slots") == slots for node in nodes))
        one, two = nodes
        self.assertEqual(set(await one.ask(*NAMES)), {"upstream"})
        await until(lambda: one.count("heimdall_cache_redis_writes_total", "stored") >= len(NAMES))
        self.assertEqual(set(await two.ask(*NAMES)), {"redis"})
        # One flight for both.
        asked = len(upstream.asked)
        both = [Deferred.fromCoroutine(node.ask("cold.example")) for node in nodes]
        await gatherResults(both)
        self.assertEqual(len(upstream.asked), asked + 1)
        # One flush for both, and for Redis.
        for node in nodes:
            self.assertIsNotNone(node.known(question(NAMES[7])))
        await one.sharing.flushes.flush(from_text(NAMES[7]), False)
        await until(lambda: two.known(question(NAMES[7])) is None)
        self.assertIsNone(one.known(question(NAMES[7])))
        # What is asked for too soon behind a flush counts as flushed, by as much as their clocks are in doubt.
        await pause(2 * (SLACK + sum(node.sharing.link.doubt() for node in nodes)))
        stored = two.count("heimdall_cache_redis_writes_total", "stored")
        self.assertEqual(await two.ask(NAMES[7]), ["upstream"])
        await until(lambda: two.count("heimdall_cache_redis_writes_total", "stored") > stored)
        self.assertEqual(await one.ask(NAMES[7]), ["redis"])
        # A flush of a subtree takes the keys away, wherever they are.
        await two.sharing.flushes.flush(from_text("example"), True)
        await until(lambda: one.known(question(NAMES[8])) is None)
        await two.sharing.sweep.run()
        self.assertEqual([key for server in servers for key in server.command("KEYS", "*:c1:*example*")], [])
        return nodes

    async def test_cluster(self) -> None:
        """In a Redis Cluster keys and scripts go to many masters."""
        servers = await deferToThread(cluster, 3, replicas=False)
        for server in servers:
            self.addCleanup(server.stop)
        nodes = await self.one_cache(cluster_url(servers), *servers, slots=SLOTS)
        await until(lambda: tally(nodes[0].sharing.link, "served_slots") == SLOTS)
        self.assertEqual(tally(nodes[0].sharing.link, "redirects_total"), 0)

    async def test_sentinel(self) -> None:
        """Behind a sentinel there is one Redis like any other."""
        server = self.server()
        sentinel = Sentinel(server, quorum=1)
        self.addCleanup(sentinel.stop)
        sentinel.start()
        await self.one_cache(f"redis+sentinel://127.0.0.1:{sentinel.port}/main", server)

    async def test_valkey(self) -> None:
        """A Valkey is as good as a Redis."""
        self.patch(os, "environ", {**os.environ, "HEIMDALL_TEST_REDIS": valkey()})
        server = self.server()
        self.assertIn("server_name:valkey", server.command("INFO", "server").decode())
        await self.one_cache(server.url, server)

    async def test_unix(self) -> None:
        """A Unix socket is enough."""
        server = self.server(unix=True)
        await self.one_cache(server.url, server)
