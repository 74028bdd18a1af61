"""A node whose user of Redis may not do all that it needs: it says so, and names what is missing."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.cluster import Cluster
from tests.live.test_reader import PASSWORD, users
from tests.redisserver import RedisServer, version
from tests.running import QUICK

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
