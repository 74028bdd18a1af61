"""Two regions, each with a real Redis: caches of their own, flushes shared."""

from __future__ import annotations

import json
import tempfile
import urllib.request
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from tests.chaos.proxy import Proxy
from tests.live.test_one_flush import command
from tests.live.test_reload import wait
from tests.mutator import start
from tests.redisserver import RedisServer
from tests.running import Running


class Regions(SynchronousTestCase):
    """A node in each region."""

    def setUp(self) -> None:
        port = start(self)
        self.stores = [RedisServer().start() for _ in range(2)]
        for store in self.stores:
            self.addCleanup(store.stop)
        self.nodes = []
        for here, there in (self.stores, self.stores[::-1]):
            # Each region is an ocean away from the other.
            ocean = Proxy(there.port).start()
            self.addCleanup(ocean.stop)
            ocean.delay = 0.1
            with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
                config.write(f'[redis]\nurl = "{here.url}"\nregions = ["redis://127.0.0.1:{ocean.port}"]\n')
                config.flush()
                self.nodes.append(Running(f"--config={config.name}", f"--upstream=127.0.0.1:{port}"))
            self.addCleanup(self.nodes[-1].clean)

    def soon(self, true: Callable[[], bool]) -> None:
        """Wait until something is true."""
        wait(true, "what should be soon")

    def fill(self) -> None:
        """Have each node hold an answer, in memory and in its own Redis."""
        for node, store in zip(self.nodes, self.stores, strict=True):
            self.soon(lambda node=node: node.ask("www.a.example").rcode() == 0)  # type: ignore[misc]
            self.soon(lambda store=store: store.command("KEYS", "heimdall:c1:*") != [])  # type: ignore[misc]
            self.soon(lambda node=node: node.log.count("Redis answers at") == 2)  # type: ignore[misc]

    def forgotten(self, number: int) -> bool:
        """Whether a node has forgotten its answer."""
        told = json.loads(self.nodes[number].get("/api/v1/cache?name=www.a.example")[1])
        [held] = [each["held"] for each in told["nodes"] if each["own"]]
        return not held

    def flush(self, name: str) -> tuple[int, str]:
        """Flush a name by the command of the first node; return its exit code, and what it says of the other region."""
        code, lines = command(self.nodes[0], "flush", name)
        [line] = [line for line in lines if line.startswith("Region ")]
        return code, line.partition(": ")[2]

    def test_hung(self) -> None:
        """A region that hangs is named, with a code that tells of failure, and told when it comes back."""
        self.fill()
        self.stores[1].pause()
        # Which of the two depends on how long the command takes to start.
        reasons = ("it has not answered within 1 s", "it is away")
        self.assertIn(self.flush("www.a.example"), [(1, f"not told, {reason}") for reason in reasons])
        self.assertEqual(self.nodes[0].metric("heimdall_cache_regions_lacked_flushes"), 1)
        self.assertTrue(self.forgotten(0))
        self.assertFalse(self.forgotten(1))
        self.soon(lambda: self.flush("b.example") == (1, "not told, it is away"))  # the connection is given up
        self.stores[1].resume()
        self.soon(lambda: self.forgotten(1))
        self.soon(lambda: self.nodes[0].metric("heimdall_cache_regions_lacked_flushes") == 0)
        self.soon(lambda: self.stores[1].command("KEYS", "heimdall:c1:*") == [])
        self.soon(lambda: self.flush("c.example") == (0, "told"))  # a busy machine may need more than a second for it
        self.assertEqual([node.trouble() for node in self.nodes], [[], []])

    def test_flush(self) -> None:
        """What one region flushes is gone from memory and Redis of the other; answers are not shared."""
        self.fill()
        for node in self.nodes:
            self.assertEqual(node.metric("heimdall_accept_answers_total", origin="redis"), 0)
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.nodes[0].http}/api/v1/cache?name=a.example&subtree=1", method="DELETE"
        )
        with urllib.request.urlopen(request, timeout=120) as page:
            self.assertEqual(page.status, 200)
        self.soon(lambda: self.forgotten(1))
        self.soon(lambda: self.stores[1].command("KEYS", "heimdall:c1:*") == [])
        for node in self.nodes:
            self.assertEqual(node.trouble(), [])
