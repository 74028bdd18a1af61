"""A node that only reads, as a user of Redis who may do no more than docs/redis.md grants it."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping

from twisted.trial.unittest import SynchronousTestCase

from tests.cluster import Cluster
from tests.house.tree import ROOT
from tests.live.test_one_flush import NAME, NEW, OLD, age, api, command
from tests.redisserver import RedisServer, need
from tests.running import QUICK, Running

PASSWORD = "password"


def users() -> list[str]:
    """Return the users that docs/redis.md tells operators to make: the one that writes, and the one that reads."""
    lines: list[str] = re.findall(r"^user .*$", (ROOT / "docs/redis.md").read_text(encoding="utf-8"), re.M)
    return lines


class Readers(Cluster):
    """A cluster whose nodes are those users, the last one the reader."""

    def where(self, number: int) -> str:
        """Return where a node finds Redis."""
        assert self.redis is not None
        user = "heimdall-reader" if number == 2 else "heimdall"
        return self.redis.url.replace("//", f"//{user}:{PASSWORD}@")


class Reader(SynchronousTestCase):
    """Two nodes that share, and one that only reads."""

    def setUp(self) -> None:
        need(7)
        environs: list[Mapping[str, str]] = [QUICK, QUICK, QUICK | {"HEIMDALL_REDIS_ROLE": "reader"}]
        self.cluster = Readers(2, redis=RedisServer(users=users()), delay=0.0, environs=environs)
        self.cluster.__enter__()
        self.addCleanup(self.cluster.__exit__)
        self.writer = self.cluster.nodes[0]
        for node in self.cluster.nodes:
            self.cluster.wait(lambda node=node: node.metric("heimdall_redislink_ear_up"))  # type: ignore[misc]

    def reader(self) -> Running:
        """Start the node that only reads."""
        reader = self.cluster.add()
        self.cluster.wait(lambda: reader.metric("heimdall_redislink_ear_up"))
        return reader

    def warm(self) -> None:
        """Have the nodes share an answer that is hot."""
        for _ in range(5):
            self.writer.ask(NAME)
        told = "heimdall_cache_hot_told_total"
        self.cluster.wait(lambda: self.writer.metric(told, result="told"))

    def test_reads(self) -> None:
        """It is warm before it is asked, and shows what it and the others hold and are asked for; it is on no list."""
        self.warm()
        reader = self.reader()
        self.assertRegex(reader.log, r"Warm with 1 names, \d+ bytes, after [0-9.]+ s: that is all")
        reader.ask(NAME)
        self.assertEqual(reader.metric("heimdall_accept_answers_total", origin="memory"), 1)
        self.assertEqual(reader.metric("heimdall_redislink_refused_total"), 0)
        code, lines = command(reader, "top", "--once")
        self.assertEqual((code, lines[3].split()[:2]), (0, [NAME, "A"]))
        code, lines = command(reader, "inspect", NAME, "A")
        self.assertEqual((code, [line.split()[0] for line in lines[1:5]]), (0, ["redis", "node2*", "node0", "node1"]))
        self.assertEqual(lines[1].split()[6], "node0")
        members = [member["id"] for member in self.writer.members()["members"]]
        self.assertEqual(members, ["node0", "node1"])
        self.assertNotIn("NOPERM", reader.log)

    def test_obeys(self) -> None:
        """It forgets what is flushed elsewhere, and says so; that it does not say so is not missed."""
        reader = self.reader()
        self.assertEqual([age(node.ask(NAME)) for node in (self.writer, reader)], [OLD, OLD])
        self.cluster.upstream.change(NEW)
        code, lines = command(self.writer, "flush", NAME)
        self.assertEqual((code, lines[0]), (0, f"Flushed {NAME} on 3 nodes: node0, node1, node2"))
        self.assertEqual(age(reader.ask(NAME)), NEW)
        reader.process.send_signal(signal.SIGSTOP)
        told = api(self.writer, "DELETE", name=NAME)
        reader.process.send_signal(signal.SIGCONT)
        self.assertEqual((told["nodes"], told["silent"]), (["node0", "node1"], []))
        self.cluster.wait(lambda: reader.metric("heimdall_cache_flush_known_flushes") == 2)

    def test_flushes_itself(self) -> None:
        """What is flushed at it concerns it alone: it says so with an exit code, and gives the old data no more."""
        reader = self.reader()
        self.assertEqual([age(node.ask(NAME)) for node in (self.writer, reader)], [OLD, OLD])
        self.cluster.upstream.change(NEW)
        code, lines = command(reader, "flush", NAME)
        self.assertEqual((code, lines), (1, [
            f"Flushed {NAME} on 1 node: node2",
            "Redis: not told, this node only reads (redis.role)",
            "  The other nodes go on with what they have: flush it at one that shares.",
        ]))  # fmt: skip
        self.assertEqual([age(node.ask(NAME)) for node in (self.writer, reader)], [OLD, NEW])
        self.cluster.wait(lambda: reader.metric("heimdall_cache_redis_lookups_total", result="flushed"))
        self.assertEqual(self.writer.metric("heimdall_cache_flush_known_flushes"), 0)
        self.assertEqual(self.cluster.trouble(), [])
