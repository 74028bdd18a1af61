"""Heimdall does all that it does while it is measured: nothing is off in the configuration of the benchmark."""

from __future__ import annotations

import time

from attrs import evolve
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase

from benchmarks.beside import peers
from benchmarks.beside.ground import ZONE, Ground, plain
from benchmarks.beside.peers import Heimdall, Setting, options
from benchmarks.beside.store import Store
from benchmarks.beside.works import WORKS
from heimdall.config.settings import Redis, Settings
from heimdall.message import query
from heimdall.message.wire import from_text
from heimdall.pipeline import lay
from heimdall.tap import Options
from tests.nsd import SKIP
from tests.redisserver import wait_for
from tests.running import PATIENT


class Configuration(SynchronousTestCase):
    """What the benchmark sets."""

    def settings(self, entries: int) -> Settings:
        """The settings that a workload of so many names gives a node with a Redis."""
        arguments, environ = options(Setting(53053, "0", entries=entries, redis="redis://127.0.0.1:1"))
        read = Options()
        read.environ = environ
        read.parseOptions(arguments)
        return read.loaded.settings

    def test_defaults(self) -> None:
        """Nothing differs from the defaults but where others are, the rate limit, and memory for a million names."""
        usual = Settings()
        for work in WORKS:
            found = self.settings(work.entries)
            self.assertEqual(found.accept, usual.accept)
            self.assertEqual(found.admit.allow, usual.admit.allow)
            self.assertGreater(found.admit.rate, 0)
            self.assertTrue(found.watch.enabled)
            self.assertTrue(found.cache.stale and found.cache.refresh and found.cache.hot_names)
            if work.entries == WORKS[0].entries:
                self.assertEqual(found.cache, usual.cache)

    def test_access(self) -> None:
        """A client of a foreign network is refused, one of ours is not."""
        path = lay(evolve(self.settings(WORKS[0].entries), redis=Redis(enabled=False)), reactor)
        self.addCleanup(path.close)
        wire = query.write(query.make(from_text("localhost"), 1), 1)

        def take(host: str) -> bytes:
            reply = path.server.take(wire, (host, 53000), False, lambda reply, client: None)
            return reply or b""

        self.assertEqual(take("203.0.113.1")[3] & 15, query.REFUSED)
        self.assertEqual(take("192.168.1.1")[3] & 15, 0)


class Process(SynchronousTestCase):
    """The process that is measured."""

    skip = SKIP

    def test_on(self) -> None:
        """TTLs age, an OPT is answered, the limit knows the client, metrics count, and Redis has the answers."""
        asked = peers.options
        self.patch(peers, "options", lambda setting: (asked(setting)[0], asked(setting)[1] | PATIENT))
        ground, store = Ground(plain()), Store()
        self.addCleanup(ground.stop)
        self.addCleanup(store.stop)
        node = Heimdall(Setting(ground.port, "", redis=store.url, node="one"))
        self.addCleanup(node.clean)
        began = time.monotonic()
        first = node.ask(f"host.{ZONE}")
        self.assertEqual(first.edns, 0)
        wait_for(lambda: node.ask(f"host.{ZONE}").answer[0].ttl <= first.answer[0].ttl - 2)
        self.assertGreater(time.monotonic() - began, 0.9)
        self.assertEqual(node.metric("heimdall_admit_limit_prefixes"), 1)
        self.assertEqual(node.metric("heimdall_admit_refused_total"), 0)
        self.assertEqual(node.metric("heimdall_accept_answers_total", origin="upstream"), 1)
        self.assertGreater(node.metric("heimdall_accept_answers_total", origin="memory"), 1)
        self.assertGreater(node.metric("heimdall_accept_query_seconds_count"), 2)
        other = Heimdall(Setting(ground.port, "", redis=store.url, node="two"))
        self.addCleanup(other.clean)
        wait_for(lambda: node.metric("heimdall_cache_redis_writes_total", result="stored"))
        other.ask(f"host.{ZONE}")
        self.assertEqual(other.metric("heimdall_accept_answers_total", origin="redis"), 1)
