"""Two regions, each with a real Redis: caches of their own, flushes shared."""

from __future__ import annotations

import tempfile
import time
import urllib.request
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

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
            with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
                config.write(f'[redis]\nurl = "{here.url}"\nregions = ["{there.url}"]\n')
                config.flush()
                self.nodes.append(Running(f"--config={config.name}", f"--upstream=127.0.0.1:{port}"))
            self.addCleanup(self.nodes[-1].clean)

    def soon(self, true: Callable[[], bool], seconds: float) -> float:
        """Wait until something is true; return how long that took."""
        began = time.monotonic()
        while not true():
            self.assertLess(time.monotonic() - began, seconds)
            time.sleep(0.01)
        return time.monotonic() - began

    def test_flush(self) -> None:
        """What one region flushes is gone from memory and Redis of the other; answers are not shared."""
        for node, store in zip(self.nodes, self.stores, strict=True):
            self.soon(lambda node=node: node.ask("www.a.example").rcode() == 0, 5)  # type: ignore[misc]
            self.soon(lambda store=store: store.command("KEYS", "heimdall:c1:*") != [], 5)  # type: ignore[misc]
            self.assertEqual(node.metric("heimdall_accept_answers_total", origin="redis"), 0)
        time.sleep(0.5)
        held = self.nodes[1].metric("heimdall_cache_memory_entries")
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.nodes[0].http}/api/v1/cache?name=a.example&subtree=1", method="DELETE"
        )
        with urllib.request.urlopen(request, timeout=5) as page:
            self.assertEqual(page.status, 200)
        self.soon(lambda: self.nodes[1].metric("heimdall_cache_memory_entries") == held - 1, 2)
        self.soon(lambda: self.stores[1].command("KEYS", "heimdall:c1:*") == [], 12)
        for node in self.nodes:
            self.assertEqual(node.trouble(), [])
