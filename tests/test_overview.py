"""The cluster at a glance, of a node in this process and of several under load."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from heimdall.accept.sockets import bind, bind_stream
from heimdall.config.settings import Fetch, Peers, Redis, Settings
from heimdall.node import Node, build
from heimdall.overview import TOOK
from heimdall.peers.registry import MOST_BYTES, MOST_STATS
from heimdall.statistics import ORIGINS
from heimdall.tally import SECONDS
from tests.cluster import Cluster

ANY_REACTOR: Any = reactor


class Alone(TestCase):
    """A node that shares nothing, and has not been asked yet."""

    def node(self, **fetch: Any) -> Node:
        """A node on free ports of the loopback, that does not run."""
        settings = Settings(redis=Redis(enabled=False), fetch=Fetch(**fetch), peers=Peers(node="one"))
        bound = bind(["127.0.0.1:0"], asked=True)
        http = bind_stream("127.0.0.1:0")
        for each in (bound[0].udp, bound[0].tcp, http):
            self.addCleanup(each.close)
        node = build(settings, ANY_REACTOR, bound, http, {"POD_IP": "192.0.2.99"})
        assert isinstance(node, Node)
        return node

    def told(self, node: Node) -> Any:
        """What the page is told, as it arrives there."""
        return json.loads(json.dumps(self.successResultOf(node.presence.overview.overview()), allow_nan=False))

    def test_alone(self) -> None:
        """It lists itself, says why it is alone, knows no rate yet, and its Redis is none."""
        node = self.node(upstreams=("192.0.2.1:53",))
        told = self.told(node)
        self.assertEqual((told["node"], told["shared"], told["reason"]), ("one", False, "Redis is not in use"))
        (member,) = told["members"]
        self.assertEqual((member["id"], member["own"], member["queries"], member["age"]), ("one", True, None, 0))
        self.assertEqual(member["answers"], dict.fromkeys(ORIGINS, 0))
        self.assertEqual(told["answers"], {"ago": [], **{origin: [] for origin in ORIGINS}})
        self.assertEqual(told["latency"]["counts"], [0] * len(told["latency"]["bounds"]) + [0])
        self.assertIsNone(told["redis"])

    def test_upstreams(self) -> None:
        """Each upstream is listed with the names it is for; sources of a user's own are none."""
        routes = {
            "corp.example": ("192.0.2.2:53",),
            "nowhere.example": (),
            "own.example": ("import:heimdall.fetch.nowhere.Nowhere",),
            "lab.example": ("192.0.2.3:53", "192.0.2.4:53"),
        }
        listed = self.told(self.node(upstreams=("192.0.2.1:53",), routes=routes))["upstreams"]
        self.assertEqual(
            [(server["server"], server["names"], server["up"], server["rtt"]) for server in listed],
            [
                ("192.0.2.1:53", "", True, None),
                ("192.0.2.2:53", "corp.example", True, None),
                ("192.0.2.3:53", "lab.example", True, None),
                ("192.0.2.4:53", "lab.example", True, None),
            ],
        )

    def test_fits(self) -> None:
        """What a node tells of itself has room in the registry, however much it has counted."""
        node = self.node(upstreams=("192.0.2.1:53",))
        stats = node.stats()
        most = [*stats, *TOOK]
        self.assertLess(len(most), MOST_STATS)
        self.assertLess(len(json.dumps(dict.fromkeys(most, 12345678901234.0))), MOST_BYTES - 1200)
        self.assertEqual([name for name in stats if name in TOOK], [])
        self.assertEqual(len(TOOK), len(SECONDS) + 1)


class Together(SynchronousTestCase):
    """Two nodes with a Redis, asked."""

    def test_cluster(self) -> None:
        """A node tells of both how many were answered from where and how long that took, and of Redis how it does."""
        with Cluster(2, delay=0.01) as cluster:
            for turn in range(30):
                for number, node in enumerate(cluster.nodes):
                    node.ask(f"n{turn % 5}.example" if number else f"n{turn % 3}.example")
            told: Any = {}

            def seen() -> bool:
                told.update(json.loads(cluster.nodes[0].get("/api/v1/overview")[1]))
                return sum(sum(member["answers"].values()) for member in told["members"]) >= 58

            # What was answered before a node's first heartbeat is in no rate of the last minute.
            cluster.wait(lambda: all(len(node.members()["members"]) == 2 for node in cluster.nodes))
            cluster.wait(lambda: json.loads(cluster.nodes[0].get("/api/v1/overview")[1])["answers"]["ago"])
            for turn in range(30):
                for node in cluster.nodes:
                    node.ask(f"m{turn % 5}.example")
            cluster.wait(seen)
            self.assertEqual([member["id"] for member in told["members"]], ["node0", "node1"])
            self.assertTrue(told["shared"])
            both = {origin: sum(member["answers"][origin] for member in told["members"]) for origin in ORIGINS}
            self.assertGreater(both["memory"], 40)
            self.assertGreaterEqual(both["upstream"], 5)
            self.assertGreaterEqual(sum(told["latency"]["counts"]), 58)
            self.assertTrue(told["redis"]["up"] and told["redis"]["hearing"])
            self.assertLess(0, told["redis"]["rtt"])
            self.assertNotIn("@", told["redis"]["at"])
            self.assertEqual(cluster.trouble(), [])
