"""Look-ups at a real replica, and a node that only reads."""

from __future__ import annotations

from zope.interface.verify import verifyObject

from heimdall.cache.scripts import Script
from heimdall.interfaces import ILink, LinkDown
from heimdall.redislink import ReadSplit, Startable
from tests.rediscase import RedisCase, real_reactor
from tests.rediscase import really_until as until
from tests.redislink.test_cluster import tally
from tests.redisserver import RedisServer


class Split(RedisCase):
    """A master and its replica, which follows in real time."""

    reactor = real_reactor

    async def pair(self) -> tuple[RedisServer, RedisServer, Startable]:
        """Start both, and a link to them."""
        master = self.server()
        replica = self.server(replicaof=f"127.0.0.1 {master.port}")
        await until(lambda: b"master_link_status:up" in replica.command("INFO", "replication"))
        link = self.linked(master.url, replica_url=replica.url)
        self.assertTrue(verifyObject(ILink, link))
        await until(lambda: tally(link, "replica_up") and tally(link, "connection_up"))
        return master, replica, link

    async def test_places(self) -> None:
        """Look-ups go to the replica, all else to the master, whose clock and channels count."""
        master, replica, link = await self.pair()
        heard: list[bytes] = []
        link.listen("c", heard.append)
        await until(lambda: link.hearing)
        await link.run("SET", "k", "v")
        await until(lambda: replica.command("GET", "k") == b"v")
        for server in (master, replica):
            server.command("CONFIG", "RESETSTAT")
        self.assertEqual(await link.run("GET", "k"), b"v")
        self.assertEqual(await link.run(b"MGET", "k", "none"), [b"v", None])
        self.assertEqual(await link.run("EVAL", "return redis.call('GET', KEYS[1])", 1, "k"), b"v")
        stats = {server: server.command("INFO", "commandstats") for server in (master, replica)}
        self.assertIn(b"cmdstat_mget", stats[replica])
        self.assertNotIn(b"cmdstat_mget", stats[master])
        self.assertNotIn(b"cmdstat_eval", stats[replica])
        await link.run("PUBLISH", "c", "m")
        await until(lambda: heard == [b"m"])
        self.assertIsNotNone(link.now())
        self.assertEqual((link.place(b"k"), tally(link, "lookups_total", "replica")), (0, 2))

    async def test_scripts(self) -> None:
        """A script that looks keys up is run with those only that the replica does not have."""
        master, replica, link = await self.pair()
        look = Script("return redis.call('MGET', unpack(KEYS))")
        split = ReadSplit(link, replica_link := self.linked(replica.url), (look.digest,))
        await until(lambda: replica_link.up)
        master.command("MSET", "a", "A", "b", "B", "lease", b"\0token")
        await until(lambda: replica.command("GET", "lease") == b"\0token")
        replica.command("CONFIG", "SET", "replica-read-only", "no")
        replica.command("DEL", "b")  # as if it were behind
        master.command("CONFIG", "RESETSTAT")
        keys = [b"a", b"b", b"lease", b"none"]
        expected = [b"A", b"B", b"\0token", None]
        self.assertEqual(await look.run(split, keys), expected)
        self.assertEqual(await look.run(split, [b"a"]), [b"A"])
        self.assertEqual(await look.run(split, keys), expected)
        self.assertIn(b"cmdstat_evalsha:calls=2", master.command("INFO", "commandstats"))
        with self.assertRaises(LinkDown):
            await split.run("EVALSHA", "0" * 40, 1, "a")
        # What the replica has is worth having when the master is gone.
        master.kill()
        await until(lambda: not tally(link, "connection_up"))
        self.assertEqual(await look.run(split, keys), [b"A", None, None, None])
        with self.assertRaises(LinkDown):
            await look.run(split, [b"none"])

    async def test_one_away(self) -> None:
        """Without the replica the master is asked; without the master look-ups go on, and writes fail at once."""
        master, replica, link = await self.pair()
        await link.run("SET", "k", "v")
        await until(lambda: replica.command("GET", "k") == b"v")
        changes: list[bool] = []
        link.watch(lambda: changes.append(link.up))
        replica.kill()
        await until(lambda: not tally(link, "replica_up"))
        self.assertEqual(await link.run("GET", "k"), b"v")
        self.assertEqual(tally(link, "lookups_total", "master"), 1)
        replica.start()
        await until(lambda: tally(link, "replica_up") and replica.command("GET", "k") == b"v")
        master.kill()
        with self.assertRaises(LinkDown):
            while True:
                await link.run("SET", "k", "w")
        self.assertTrue(link.up)
        self.assertEqual(await link.run("GET", "k"), b"v")
        replica.kill()
        await until(lambda: not link.up)
        self.assertEqual(changes[-1], False)


class Reader(RedisCase):
    """A node that only reads."""

    reactor = real_reactor

    async def test_reads(self) -> None:
        """What changes a key is refused before it is sent; all else works."""
        server = self.server()
        server.command("SET", "k", "v")
        link = self.linked(server.url, reads_only=True)
        self.assertTrue(verifyObject(ILink, link))
        await until(lambda: link.up)
        self.assertEqual(await link.run("GET", "k"), b"v")
        self.assertEqual(await link.run(b"mget", "k"), [b"v"])
        self.assertEqual(await link.run("ZRANGE", "none", 0, -1), [])
        self.assertEqual(await link.run("PUBLISH", "c", "m"), 0)
        for command in (
            ("SET", "k", "w"),
            ("DEL", "k"),
            ("EVAL", "return 1", 0),
            ("ZADD", "z", 1, "a"),
            ("SOMETHING",),
        ):
            failure = await self.assertFailure(link.run(*command), LinkDown)
            self.assertTrue(str(failure).startswith("NOPERM"))
        self.assertEqual(server.command("GET", "k"), b"v")
        self.assertEqual(tally(link, "refused_total"), 5)
        self.assertNotIn(b"cmdstat_eval", server.command("INFO", "commandstats"))
        self.assertIsNotNone(link.now())
