"""The wall clock stepped by a day while a node runs."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.live.test_reload import wait
from tests.mutator import start
from tests.redisserver import RedisServer
from tests.running import PATIENT, Running

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
DAY = 86_400


class Steps(SynchronousTestCase):
    """Steps of a day, forwards and backwards, each under a node that holds answers and waits for others."""

    if LIBRARY is None:
        skip = "no libfaketime here: apt-get install faketime"

    def setUp(self) -> None:
        port = start(self)
        silent = socket.socket(type=socket.SOCK_DGRAM)
        self.addCleanup(silent.close)
        silent.bind(("127.0.0.1", 0))
        redis = RedisServer().start()
        self.addCleanup(redis.stop)
        self.clock = Path(self.mktemp()).absolute()
        self.step(0)
        environ = {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self.clock),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_NO_CACHE": "1",
            **PATIENT,
            "HEIMDALL_FETCH_DEADLINE": "1.5",
            "HEIMDALL_REDIS_READ_BUDGET": "1",
        }
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
            config.write(f'[fetch.routes]\n"silent.example" = ["127.0.0.1:{silent.getsockname()[1]}"]\n')
            config.write("[cache]\nstale = false\nrefresh = false\n[peers]\nheartbeat = 0.5\nexpiry = 2\n")
            config.flush()
            self.node = Running(
                f"--config={config.name}", f"--upstream=127.0.0.1:{port}", f"--redis={redis.url}", environ=environ
            )
        self.addCleanup(self.node.clean)

    def step(self, seconds: int) -> None:
        """Set the node's wall clock so far from the true time."""
        beside = self.clock.with_suffix(".new")
        beside.write_text(f"{seconds:+d}\n")
        os.replace(beside, self.clock)

    def ask(self, name: str) -> tuple[int, int]:
        """Ask; return the response code, and the first TTL."""
        reply = self.node.ask(name, timeout=120)
        return reply.rcode(), reply.answer[0].ttl if reply.answer else 0

    def stepped(self, seconds: int) -> None:
        """Fill the cache, step, and see that time goes on as if nothing had happened."""
        wait(lambda: self.node.metric("heimdall_redislink_connection_up"), "Redis is linked")
        began = time.monotonic()
        for number in range(20):
            self.assertEqual(self.ask(f"n{number}.example"), (0, 300))
        asked = self.node.metric("heimdall_fetch_queries_total")
        self.step(seconds)
        time.sleep(1.2)
        for number in range(20):
            rcode, ttl = self.ask(f"n{number}.example")
            self.assertEqual((rcode, 299 - (time.monotonic() - began) <= ttl < 300), (0, True), ttl)
        self.assertEqual(self.node.metric("heimdall_fetch_queries_total"), asked, "the cache was emptied")
        self.assertEqual(self.ask("name.silent.example")[0], 2)
        self.assertEqual(self.ask("new.example"), (0, 300))
        beats = self.node.metric("heimdall_peers_heartbeats_total", result="ok")
        wait(lambda: self.node.metric("heimdall_peers_heartbeats_total", result="ok") > beats, "a heartbeat")
        self.assertEqual(len(self.node.members()["members"]), 1)
        self.assertEqual(self.node.trouble(), [])

    def test_forwards(self) -> None:
        """A day forwards: nothing expires early, time-outs end, heartbeats go on."""
        self.stepped(DAY)

    def test_backwards(self) -> None:
        """A day backwards: nothing lives for ever, time-outs end, heartbeats go on."""
        self.stepped(-DAY)
