"""A real Redis Cluster as one link: keys go where they live, and a node that is away takes its own keys only."""

from __future__ import annotations

import time

from twisted.internet.threads import deferToThread

from heimdall.interfaces import LinkDown
from heimdall.redislink import Startable
from heimdall.redislink.slots import SLOTS, slot
from heimdall.tally import Count, Gauge
from tests.ports import free_port
from tests.rediscase import RedisCase, real_reactor
from tests.rediscase import really_pause as pause
from tests.rediscase import really_until as until
from tests.redisserver import RedisServer, cluster

KEYS = [b"key-%d" % number for number in range(300)]


def url(nodes: list[RedisServer]) -> str:
    """Return the URL of a cluster."""
    return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)


def tally(link: Startable, name: str, *values: str) -> float:
    """Read one of a link's counters or gauges."""
    for one in link.tallies:
        if one.name == f"heimdall_redislink_{name}" and isinstance(one, (Count, Gauge)):
            read = one.total(*values) if isinstance(one, Count) else one.read()
            assert isinstance(read, (int, float))
            return read
    raise KeyError(name)


class Case(RedisCase):
    """Starts clusters, whose nodes miss each other in real time."""

    reactor = real_reactor

    async def nodes(self, masters: int = 3, *, replicas: bool = False, **options: str) -> list[RedisServer]:
        """Start a cluster."""
        nodes = await deferToThread(cluster, masters, replicas=replicas, **options)
        for node in nodes:
            self.addCleanup(node.stop)
        return nodes

    async def whole(self, link: Startable) -> None:
        """Wait until every slot is served."""
        await until(lambda: tally(link, "served_slots") == SLOTS)


class Routing(Case):
    """Commands in a cluster that is well."""

    async def test_commands(self) -> None:
        """Whatever we ask of Redis works, keys of one place together, and some commands of any keys."""
        nodes = await self.nodes()
        # The first seed does not exist.
        link = self.linked(url([nodes[1]]).replace("//", f"//127.0.0.1:{free_port()},"), clock_key=b"{a}")
        self.assertIsNone(link.now())
        with self.assertRaises(LinkDown):
            await link.run("GET", "a")
        await self.whole(link)
        for key in KEYS:
            self.assertEqual(await link.run("SET", key, b"v" + key, "PX", 60000), b"OK")
        self.assertEqual(await link.run("MGET", *KEYS, "none"), [b"v" + key for key in KEYS] + [None])
        self.assertEqual(sum(node.command("DBSIZE") for node in nodes), len(KEYS))
        self.assertEqual({node.command("DBSIZE") > 50 for node in nodes}, {True})
        # All of them are found by one SCAN, in as many steps as it takes.
        found: list[bytes] = []
        cursor: object = b"0"
        while True:
            reply = await link.run("SCAN", cursor if isinstance(cursor, bytes) else b"", "MATCH", "key-*", "COUNT", 20)
            assert isinstance(reply, list)
            cursor = reply[0]
            found += reply[1]
            if cursor == b"0":
                break
        self.assertEqual(sorted(set(found)), sorted(KEYS))
        self.assertEqual(await link.run("DEL", *KEYS[:100]), 100)
        # Scripts run where their keys are, and are known everywhere.
        digest = await link.run("SCRIPT", "LOAD", "return redis.call('GET', KEYS[1])")
        assert isinstance(digest, bytes)
        for key in KEYS[100:110]:
            self.assertEqual(await link.run("EVALSHA", digest, 1, key), b"v" + key)
        self.assertEqual(await link.run("EVAL", "return 7", 0), 7)
        self.assertEqual(await link.run("ZADD", "{a}set", 1, "x", 2, "y"), 2)
        self.assertEqual(await link.run("ZRANGE", "{a}set", 0, -1), [b"x", b"y"])
        self.assertEqual(await link.run("PEXPIRE", "{a}set", 1000), 1)
        self.assertIsInstance(await link.run("TIME"), list)
        self.assertAlmostEqual(link.now() or 0.0, time.time(), 1)
        failure = await self.assertFailure(link.run("EVAL", "return 1", 2, "a", "b"), LinkDown)
        self.assertIn("CROSSSLOT", str(failure))
        failure = await self.assertFailure(link.run("EVALSHA", "0" * 40, 1, "a"), LinkDown)
        self.assertTrue(str(failure).startswith("NOSCRIPT"))

    async def test_channels(self) -> None:
        """What is published through any node is heard, and again when the node that we listen to is gone."""
        nodes = await self.nodes(replicas=True)
        links = [self.linked(url(nodes)) for _ in range(2)]
        heard: list[bytes] = []
        links[0].listen("c", heard.append)
        await until(lambda: all(link.up for link in links) and links[0].hearing)
        # The nodes of a young cluster may not all have found each other: then a message is lost between them.
        while not heard:
            await links[1].run("PUBLISH", "c", "is somebody there?")
            await pause(0.05)
        heard.clear()
        for number in range(10):
            await links[1].run("PUBLISH", "c", str(number))
        await until(lambda: heard[-10:] == [b"%d" % number for number in range(10)])
        [at] = [node for node in nodes if b"sub=1" in node.command("CLIENT", "LIST")]
        at.kill()
        await until(lambda: not links[0].hearing)
        await until(lambda: links[0].hearing)

    async def test_moved(self) -> None:
        """A slot that moves is followed: asked for at the new node while it moves, and found there afterwards."""
        nodes = await self.nodes()
        link = self.linked(url(nodes))
        await self.whole(link)
        key = b"a"
        await link.run("SET", key, "v")
        [source] = [node for node in nodes if node.command("DBSIZE")]
        [target, other] = [node for node in nodes if node is not source]
        ids = {node: node.command("CLUSTER", "MYID").decode() for node in nodes}
        target.command("CLUSTER", "SETSLOT", slot(key), "IMPORTING", ids[source])
        source.command("CLUSTER", "SETSLOT", slot(key), "MIGRATING", ids[target])
        source.command("MIGRATE", "127.0.0.1", target.port, key, 0, 1000)
        self.assertEqual(await link.run("GET", key), b"v")
        self.assertEqual(tally(link, "redirects_total", "ask"), 1)
        for node in (target, source, other):
            node.command("CLUSTER", "SETSLOT", slot(key), "NODE", ids[target])
        self.assertEqual(await link.run("GET", key), b"v")
        self.assertEqual(tally(link, "redirects_total", "moved"), 1)
        self.assertEqual(await link.run("GET", key), b"v")
        self.assertEqual(tally(link, "redirects_total", "moved"), 1)


class Failing(Case):
    """Nodes that go away."""

    async def failures(self, link: Startable) -> dict[int, str]:
        """Write and read some keys, all with right replies or a LinkDown; return why it was that."""
        found: dict[int, str] = {}
        for number, key in enumerate(KEYS[:60]):
            try:
                await link.run("SET", key, key)
                self.assertIn(await link.run("GET", key), (key, None))
            except LinkDown as error:
                found[number] = str(error).partition(":")[0]
        await pause(0.005)
        return found

    async def test_failover_under_load(self) -> None:
        """A master that dies costs its own keys only, until its replica has taken over; one that hangs as well."""
        nodes = await self.nodes(replicas=True, cluster_node_timeout="2000")
        link = self.linked(url(nodes), slow=1.0, time_limit=10.0, silent=20.0)
        await self.whole(link)
        for strike, share in ((nodes[0].kill, range(5461)), (nodes[1].pause, range(5461, 10922))):
            strike()
            struck = False
            while (found := await self.failures(link)) or not struck:
                # A busy machine may be slow for a moment with any of them; that is not what the strike costs.
                elsewhere = [why for number, why in found.items() if slot(KEYS[number]) not in share]
                self.assertEqual([why for why in elsewhere if why != "a reply is overdue"], [])
                struck = struck or len(found) > len(elsewhere)

    async def test_no_replica(self) -> None:
        """The keys of a node that stays away are misses at once, those of the others are served."""
        nodes = await self.nodes()
        link = self.linked(url(nodes))
        await self.whole(link)
        nodes[2].kill()
        await until(lambda: tally(link, "served_slots") < SLOTS)
        self.assertTrue(link.up)
        away = [key for key in KEYS if slot(key) > 10921]
        self.assertTrue(50 < len(away) < 150)
        for key in away:
            self.failureResultOf(link.run("SET", key, "v"), LinkDown)  # in the same turn
        for key in set(KEYS) - set(away):
            self.assertEqual(await link.run("SET", key, "v"), b"OK")

    async def test_all_away(self) -> None:
        """A cluster that is away is told once, and found when it is there again."""
        nodes = await self.nodes(masters=1)
        link = self.linked(url(nodes))
        await self.whole(link)
        nodes[0].kill()
        await until(lambda: not link.up)
        await until(lambda: tally(link, "maps_total", "failed") >= 2)
        nodes[0].start()
        await self.whole(link)
        self.assertEqual(len([event for event in self.events if "no map" in event]), 1)

    async def test_no_cluster(self) -> None:
        """A Redis that is no cluster is told as such."""
        link = self.linked(url([self.server()]))
        await until(lambda: tally(link, "maps_total", "failed"))
        self.assertIn("is it a Redis Cluster?", self.events[0])
