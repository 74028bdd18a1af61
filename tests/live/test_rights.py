"""A node whose Redis does not do what it needs: for want of a right, or in the state that it is in. It says so."""

from __future__ import annotations

from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from tests.cluster import Cluster
from tests.command.typed import typed
from tests.live.test_reader import PASSWORD, users
from tests.live.test_workers import dealt
from tests.redisserver import RedisServer, version
from tests.running import QUICK, Running

USER = users()[0]


class Missing(SynchronousTestCase):
    """Rights that are missing."""

    def cluster(self, redis: RedisServer) -> Cluster:
        """Return a node whose user has a password there."""
        url = redis.url.replace("//", f"//heimdall:{PASSWORD}@")
        return Cluster(1, redis=redis, delay=0.0, url=url, environs=[QUICK])

    def check(self, user: str, right: str) -> None:
        """Check that a node with this user is degraded, answers all the same, and tells of the right once."""
        redis = RedisServer(users=[user])
        with self.cluster(redis) as cluster:
            [node] = cluster.nodes
            for number in range(5):
                self.assertEqual(node.ask(f"n{number}.example").rcode(), 0)
            cluster.wait(lambda: node.members()["members"][0]["status"] == "degraded")
            for number in range(5, 9):
                self.assertEqual(node.ask(f"n{number}.example").rcode(), 0)
            self.assertGreaterEqual(node.metric("heimdall_redislink_missing_rights"), 1)
            self.assertEqual(node.get("/ready")[0], 200)
            # What is heard is no news until Redis answers, which may be after it was refused for the first time.
            cluster.wait(lambda: right in node.log)
            self.assertEqual(sum(right in line for line in node.log.splitlines()), 1, node.log)
            self.assertNotIn(PASSWORD, node.log)
            self.assertEqual(node.trouble(), [])

    def test_all(self) -> None:
        """With what docs/redis.md lists nothing is missing."""
        redis = RedisServer(users=[USER])
        with self.cluster(redis) as cluster:
            [node] = cluster.nodes
            node.ask("www.example")
            cluster.flush(0, "example")
            cluster.wait(lambda: node.metric("heimdall_cache_hot_told_total", result="told"))
            self.assertEqual(node.metric("heimdall_redislink_missing_rights"), 0)
            self.assertEqual(node.members()["members"][0]["status"], "healthy")

    def test_scripts(self) -> None:
        """The scripts."""
        self.check(f"{USER} -evalsha -eval", "does not let its user use the command evalsha")

    def test_command(self) -> None:
        """A command."""
        self.check(f"{USER} -set", "does not let its user use the command set")

    def test_in_script(self) -> None:
        """A command that scripts run; since 8.0 Redis says which."""
        right = "the command get" if (version() or 0) >= 8 else "a command that our scripts run"
        self.check(f"{USER} -get", f"does not let its user use {right}")

    def test_keys(self) -> None:
        """The keys."""
        self.check(USER.replace("~heimdall:", "~other:"), "does not let its user use the keys")

    def test_channels(self) -> None:
        """The channels."""
        self.check(USER.replace("&heimdall:", "&other:"), "lets us hear nothing")


class States(SynchronousTestCase):
    """A Redis that is there, and refuses commands."""

    def check(self, reason: str, begin: tuple[str, ...], end: tuple[str, ...], *arguments: str) -> None:
        """Check that a node is degraded meanwhile and healthy afterwards, answers all the same, and tells both once."""
        redis = RedisServer(maxmemory_policy="noeviction")
        with Cluster(1, redis=redis, delay=0.0, arguments=arguments) as cluster:
            [node] = cluster.nodes

            def status() -> str:
                return str(node.members()["members"][0]["status"])

            cluster.wait(lambda: status() == "healthy")
            redis.command(*begin)
            self.assertEqual(node.ask("www.example").rcode(), 0)
            cluster.wait(lambda: status() == "degraded")
            self.assertEqual(node.get("/ready")[0], 200)
            self.assertGreaterEqual(node.metric("heimdall_redislink_refusal_up", reason=reason), 1)
            self.assertGreaterEqual(node.metric("heimdall_redislink_error_replies_total", reason=reason), 1)
            dealt(lambda number: node.ask(f"n{number}.example"))
            begins, ends = f"refuses commands: {reason.upper()}, ", f"refuses commands no more: {reason.upper()}, "
            cluster.wait(lambda: begins in node.log)
            redis.command(*end)
            cluster.wait(lambda: status() == "healthy", 120.0)
            self.assertEqual(node.metric("heimdall_redislink_refusal_up"), 0)
            cluster.wait(lambda: ends in node.log)
            self.assertEqual((node.log.count(begins), node.log.count(ends)), (1, 1), node.log)
            self.assertEqual(node.trouble(), [])

    def test_full(self) -> None:
        """One that is full."""
        self.check("oom", ("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0"))

    def test_replica(self) -> None:
        """One that is a replica now."""
        self.check("readonly", ("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"))

    def test_workers(self) -> None:
        """One that lacks its replicas, at a node of two workers: a state that all processes meet is told once."""
        needed = ("CONFIG", "SET", "min-replicas-to-write")
        self.check("noreplicas", (*needed, "1"), (*needed, "0"), "--workers=2")


class Unsealed(SynchronousTestCase):
    """Answers that anybody can forge who can write to Redis."""

    SAID = "anybody who can write to it can forge answers; set redis.secret_file"

    def test_used(self) -> None:
        """A node that uses Redis without a secret warns once, however many processes it has and links it loses."""
        redis = RedisServer()
        with Cluster(1, redis=redis, delay=0.0, arguments=("--workers=2",)) as cluster:
            [node] = cluster.nodes
            cluster.wait(lambda: self.SAID in node.log)
            redis.kill()
            cluster.wait(lambda: node.metric("heimdall_redislink_connection_up") == 0)
            redis.start()
            cluster.wait(cluster.linked)
            self.assertEqual(node.log.count("forge"), 1, node.log)

    def test_not_used(self) -> None:
        """One that finds no Redis, or has a secret, warns of nothing; nor does a check of what nobody asked for."""
        node = Running("--upstream=127.0.0.1:1")
        self.addCleanup(node.clean)
        Cluster.wait(lambda: "no Redis at" in node.log)
        self.assertNotIn("forge", node.log)
        told = typed("check", "--upstream=127.0.0.1:1", "--no-http", "--listen=127.0.0.1:0")
        self.assertNotIn("forge", told.out)
        secret = [{"HEIMDALL_REDIS_SECRET": "0123456789abcdef"}]
        with Cluster(1, delay=0.0, environs=secret) as cluster:
            self.assertNotIn("forge", cluster.nodes[0].log)

    def test_private(self) -> None:
        """Nor does one whose Redis is a Unix socket in a folder that is closed to others; in an open one it does."""
        redis = RedisServer(unix=True).start()
        self.addCleanup(redis.stop)
        for mode in (0o700, 0o755):
            redis.folder.chmod(mode)
            node = Running(f"--redis={redis.url}", "--upstream=127.0.0.1:1")
            self.addCleanup(node.clean)
            Cluster.wait(partial(self.linked, node))
            told = typed("check", f"--redis={redis.url}", "--upstream=127.0.0.1:1", "--no-http", "--listen=127.0.0.1:0")
            self.assertEqual((self.SAID in node.log, "forge" in told.out), (mode == 0o755,) * 2, node.log + told.out)
            node.end()

    def linked(self, node: Running) -> bool:
        """Return whether a node is connected to Redis."""
        return node.metric("heimdall_redislink_connection_up") == 1
