"""The main job, end to end: a load of real names, twice; Redis killed in the middle; a second node."""

from __future__ import annotations

import signal
from collections.abc import Mapping

from twisted.trial.unittest import SynchronousTestCase

from tests.live.test_reload import wait
from tests.load import GOOD, start, steady
from tests.load import PATIENT as ANSWERED
from tests.nsd import SKIP as NO_NSD
from tests.nsd import Nsd
from tests.redisserver import RedisServer
from tests.running import ANSWERING, NO_DNSPERF, PATIENT, Dnsperf, Running

NAMES = 10_000


class Load(SynchronousTestCase):
    """10,000 names of a real zone."""

    skip = NO_NSD or NO_DNSPERF

    def setUp(self) -> None:
        self.nsd = Nsd(NAMES, zone="zone.example").start()
        self.addCleanup(self.nsd.stop)
        self.names = [f"n{number}.{self.nsd.zone}" for number in range(NAMES)]

    def node(self, *arguments: str, environ: Mapping[str, str] = ANSWERING) -> Running:
        """A node that asks NSD."""
        node = Running(f"--upstream={self.nsd.text}", *arguments, environ=environ)
        self.addCleanup(node.clean)
        return node

    def redis(self) -> RedisServer:
        """A Redis of our own."""
        redis = RedisServer().start()
        self.addCleanup(redis.stop)
        return redis

    def test_twice(self) -> None:
        """No query is lost, and the second time all come from memory."""
        node = self.node("--no-redis")
        for origin in ("upstream", "memory"):
            load = Dnsperf(node.port, self.names, "-n", "1", "-c", "4")
            self.assertEqual(load.result(), (NAMES, 0, f"NOERROR {NAMES} (100.00%)"))
            self.assertEqual(node.metric("heimdall_accept_answers_total", origin=origin), NAMES)
        self.assertEqual(node.metric("heimdall_fetch_queries_total", result="answer"), NAMES)
        self.assertEqual(node.trouble(), [])

    def test_redis_killed_and_restarted(self) -> None:
        """Redis dies and comes back in the middle of a load: no query is lost, none fails, and it is used again."""
        redis = self.redis()
        node = self.node(f"--redis={redis.url}")
        load = start([node.port], steady(self.names, 2000), ages=(), most=100, **ANSWERED)
        load.pass_queries(2000)
        redis.kill()
        load.pass_queries(4000)
        redis.restart()
        load.pass_queries(4000)
        self.assertEqual({one.verdict for one in load.end(now=True)}, {GOOD})
        wait(lambda: node.metric("heimdall_redislink_connection_up"), "Redis is linked again")
        node.ask(f"www.{self.nsd.zone}")
        wait(lambda: redis.command("DBSIZE") > 0, "an answer is stored")
        self.assertEqual(node.trouble(), [])

    def test_second_node(self) -> None:
        """What one node asked, another answers from Redis when the upstream is gone."""
        redis = self.redis()
        names = self.names[:2000]
        first, second = (self.node(f"--redis={redis.url}", environ=PATIENT) for _ in range(2))
        for node in (first, second):
            wait(lambda: node.metric("heimdall_redislink_connection_up"), "Redis is linked")  # noqa: B023
        self.assertEqual(Dnsperf(first.port, names, "-n", "1", "-c", "4").result()[1], 0)
        wait(lambda: len(redis.command("KEYS", "heimdall:c1:*")) == len(names), "all answers are stored")
        self.nsd.kill()
        found = Dnsperf(second.port, names, "-n", "1", "-c", "4").result()
        self.assertEqual(found, (len(names), 0, f"NOERROR {len(names)} (100.00%)"))
        # On a slow one the first node has had time to tell which names are hot: these are loaded at the start.
        loaded = second.metric("heimdall_cache_warm_names_total", result="loaded")
        self.assertEqual(second.metric("heimdall_accept_answers_total", origin="redis") + loaded, len(names))
        self.assertEqual(second.metric("heimdall_fetch_queries_total", result="answer"), 0)

    def test_members(self) -> None:
        """Nodes see each other; one that is told to end is off the list at once and ends without an error."""
        redis = self.redis()
        first, second = (self.node(f"--redis={redis.url}", f"--node={name}") for name in ("one", "two"))
        self.await_members(first, ["one", "two"])
        self.assertEqual([member["status"] for member in first.members()["members"]], ["healthy", "healthy"])
        self.assertEqual(second.end(signal.SIGTERM), 0)
        self.assertEqual([member["id"] for member in first.members()["members"]], ["one"])
        self.assertEqual(second.trouble(), [])

    def await_members(self, node: Running, names: list[str]) -> None:
        """Wait until a node lists these."""
        wait(lambda: [member["id"] for member in node.members()["members"]] == names, f"{names} are listed")
