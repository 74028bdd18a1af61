"""A new node beside an old one, and a cluster that was all off: how often the first queries come from memory."""

from __future__ import annotations

import json
import sys
import time
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from heimdall.cache.heavy_hitters import EVERY
from tests.cluster import Cluster, counts
from tests.load import Ask
from tests.redisserver import RedisServer
from tests.running import Running

NAMES = 10_000
FIRST = 1000
LOOKED = 'heimdall_cache_hot_told_total{result="told"}'


class Warm(SynchronousTestCase):
    """Zipf loads on real nodes with a real Redis that keeps its data."""

    def setUp(self) -> None:
        self.random = Random(11)
        self.weights = [1 / (number + 1) for number in range(NAMES)]

    def zipf(self, size: int, node: int, *, rate: int = 2000) -> list[Ask]:
        """Return so many queries for names of which the second is asked half as often as the first, and so on."""
        chosen = self.random.choices(range(NAMES), self.weights, k=size)
        return [Ask(at / rate, node, f"n{number}.zipf.example") for at, number in enumerate(chosen)]

    def memory_share(self, cluster: Cluster, node: int) -> float:
        """Ask a node the next queries of the load; return which share of them memory knew."""
        before = self.from_memory(cluster.nodes[node])
        told = cluster.ask(self.zipf(FIRST, node))
        self.assertEqual({one.verdict for one in told}, {"good"})
        return (self.from_memory(cluster.nodes[node]) - before) / FIRST

    def from_memory(self, node: Running) -> float:
        """Return how many answers came from memory so far."""
        return node.metric("heimdall_accept_answers_total", origin="memory")

    def loaded(self, node: Running) -> float:
        """Return how many names it loaded when it started."""
        return node.metric("heimdall_cache_warm_names_total", result="loaded")

    def said(self, what: str, **numbers: float) -> None:
        """Print what was measured."""
        print(what, ", ".join(f"{name} {number:.3f}" for name, number in numbers.items()), file=sys.stderr)

    def busy(self, cluster: Cluster) -> None:
        """Have the nodes asked enough for their memories to be full of what is hot, until all of that was told."""
        for node in range(len(cluster.nodes)):
            cluster.ask(self.zipf(6000, node))
        for _ in range(4):
            self.looked(cluster)

    def looked(self, cluster: Cluster) -> None:
        """Wait until every node has told once more of what it was asked, or had the time to: there is no more."""
        told = [counts(node).get(LOOKED, 0) for node in cluster.nodes]

        def more() -> bool:
            now = [counts(node).get(LOOKED, 0) for node in cluster.nodes]
            return all(new > old for new, old in zip(now, told, strict=True))

        ends = time.monotonic() + 1.5 * EVERY
        while not more() and time.monotonic() < ends:
            time.sleep(0.05)
        time.sleep(1)  # a look tells in several pieces

    def test_first_queries(self) -> None:
        """The first 1,000 queries to a new node come from memory nearly as often as the same number to an old one.

        So they do when all nodes were off, and Redis, which keeps an append-only file, was restarted as well.
        """
        redis = RedisServer(appendonly="yes")
        with Cluster(2, redis=redis, delay=0.02) as cluster:
            self.busy(cluster)
            old = self.memory_share(cluster, 0)
            began = time.monotonic()
            new = cluster.add()
            took = time.monotonic() - began
            fresh, cold = self.memory_share(cluster, 2), self.cold(cluster)
            self.said("from memory:", old=old, new=fresh, cold=cold, loaded=self.loaded(new), start_seconds=took)
            self.assertGreater(fresh, 0.9 * old)
            self.assertLess(cold, 0.8 * old)
            self.assertRegex(new.log, r"Warm with \d+ names, \d+ bytes, after [\d.]+ s: that is all")
            top = json.loads(new.get("/api/v1/top")[1])
            self.assertIn("n0.zipf.example", [told["name"] for told in top["names"][:3]])

            time.sleep(1.5)  # the file is written once a second
            for node in cluster.nodes:
                node.end()
            redis.restart()
            cluster.upstream.reset()
            cluster.nodes[0].again()
            fresh = self.memory_share(cluster, 0)
            self.said("after a restart of all:", old=old, new=fresh, upstream=cluster.upstream.counts()["asked"])
            self.assertGreater(fresh, 0.9 * old)
            self.assertEqual(cluster.trouble(), [])

    def cold(self, cluster: Cluster) -> float:
        """Return the same share for a node that is not warmed."""
        cluster._environs = [{"HEIMDALL_CACHE_WARM_SECONDS": "0"}]
        cluster.add()
        return self.memory_share(cluster, len(cluster.nodes) - 1)

    def test_ready_in_time(self) -> None:
        """A node is not ready before it is warm, answers all the same, and is ready without Redis in a second."""
        with Cluster(1, delay=0.02, environs=[{"HEIMDALL_CACHE_WARM_SECONDS": "60"}]) as cluster:
            redis: Any = cluster.redis
            redis.pause()
            began = time.monotonic()
            node = cluster.add()
            self.assertLess(time.monotonic() - began, 40)
            redis.resume()
            self.assertIn("Redis is away", node.log)
