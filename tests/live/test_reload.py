"""SIGHUP: a node in a process of its own goes on with another configuration, and no query is lost for it."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.load import GOOD, start, steady
from tests.load import PATIENT as ANSWERED
from tests.redisserver import RedisServer
from tests.running import ANSWERING, PATIENT, Running
from tests.slowup import SlowUpstream

LOADED = "Loaded the configuration again"


def wait(true: Callable[[], object], what: str, seconds: float = 120.0) -> None:
    """Wait until something is true."""
    ends = time.monotonic() + seconds
    while not true():
        if time.monotonic() > ends:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


class Case(SynchronousTestCase):
    """A node with a configuration in a file."""

    arguments: tuple[str, ...] = ()
    environ: Mapping[str, str] | None = None

    def setUp(self) -> None:
        self.upstream = SlowUpstream(0.0, 3600)
        self.addCleanup(self.upstream.stop)
        self.file = Path(self.mktemp()).absolute()
        self.times = 0

    def start(self, text: str = "", *arguments: str) -> Running:
        """Start a node with this in its file."""
        self.file.write_text(text)
        self.node = Running(
            f"--upstream={self.upstream.text}", f"--config={self.file}", *(arguments or ("--no-redis",)),
            *self.arguments, environ=self.environ,
        )  # fmt: skip
        self.addCleanup(self.node.clean)
        return self.node

    def reload(self, text: str, said: str = LOADED) -> None:
        """Put this into the file, send SIGHUP, and wait for the line in the log."""
        before = self.node.log.count(said)
        self.file.write_text(text)
        self.node.process.send_signal(signal.SIGHUP)
        wait(lambda: self.node.log.count(said) > before, f"{said!r} in the log:\n{self.node.log}")

    def rcode(self, name: str) -> int:
        """Ask for a name; return the response code."""
        return int(self.node.ask(name).rcode())


class Reload(Case):
    """One process."""

    def test_blocked(self) -> None:
        """A name that is blocked from now on is not answered from memory any more; one that was blocked is asked."""
        self.start('[admit]\nblock = ["b.example"]\n')
        self.assertEqual([self.rcode(name) for name in ("a.example", "b.example", "c.example")], [0, 3, 0])
        self.reload('[admit]\nblock = ["a.example"]\n')
        self.assertEqual([self.rcode(name) for name in ("a.example", "b.example", "c.example")], [3, 0, 0])
        self.assertEqual(self.node.metric("heimdall_accept_answers_total", origin="memory"), 1)
        self.assertIn("changed: admit.block", self.node.log)

    def test_memory_and_counters(self) -> None:
        """What memory holds is still there, and no counter falls, also after the old path is gone."""
        self.start("[fetch]\ndeadline = 1.0\n")
        for number in range(20):
            self.rcode(f"n{number}.example")
        for names in ("fetch.deadline", "cache.memory"):
            section, _, key = names.partition(".")
            self.reload(f"[{section}]\n{key} = {1 if key == 'deadline' else 10_000_000}\n")
        for number in range(20):
            self.rcode(f"n{number}.example")
        time.sleep(2)  # the old ways are closed half a second behind their deadline
        self.assertEqual(self.upstream.counts()["asked"], 20)
        self.assertEqual(self.node.metric("heimdall_accept_queries_total"), 40)
        self.assertEqual(self.node.metric("heimdall_fetch_queries_total"), 20)
        self.assertEqual(self.node.metric("heimdall_cache_once_asked_total"), 20)
        self.assertEqual(self.node.metric("heimdall_cache_memory_limit_bytes"), 10_000_000)

    def test_faults(self) -> None:
        """A configuration with faults is told in a line for each, and the old one goes on."""
        self.start('[admit]\nblock = ["b.example"]\n')
        self.reload("[admit]\nblok = 1\n[cache]\nmemory = -1\n", "The configuration has faults")
        self.assertEqual(self.rcode("b.example"), 3)
        for said in ("no such key admit.blok", "cache.memory = -1"):
            self.assertIn(said, self.node.log)
        self.reload('[admit]\ngates = ["collections.OrderedDict"]\n', "The configuration cannot be used")
        self.assertEqual([self.rcode("b.example"), self.node.trouble()], [3, []])

    def test_sockets_stay(self) -> None:
        """What takes a restart is said, and left as it was."""
        self.start()
        self.reload('[watch]\nlog = "json"\n')
        self.assertIn("watch.log is not as it was: that takes a restart", self.node.log)
        self.assertEqual(self.rcode("a.example"), 0)

    def test_connection_stays(self) -> None:
        """A connection over TCP goes on, on the new way."""
        self.start()
        message = bytes.fromhex("0007 0100 0001 0000 0000 0000") + b"\1a\7example\0\0\1\0\1"
        with socket.create_connection(("127.0.0.1", self.node.port), timeout=60) as tcp:
            for expected in (0, 3):
                tcp.sendall(len(message).to_bytes(2, "big") + message)
                self.assertEqual(tcp.recv(512)[2 + 3] & 15, expected)
                self.reload('[admit]\nblock = ["a.example"]\n')


class Lossless(Case):
    """Under load."""

    environ = ANSWERING

    def test_nothing_lost(self) -> None:
        """Under a load of cached and uncached names, reloads lose no query, and each is answered."""
        self.start()
        asks = steady([f"n{number}.example" for number in range(5000)], 1500)
        load = start([self.node.port], asks, sockets=8, most=100, **ANSWERED)
        for number in range(5):
            load.pass_queries(700)
            self.reload(f'[admit]\nblock = ["b{number}.example"]\n')
        load.pass_queries(700)
        self.assertEqual({one.verdict for one in load.end(now=True)}, {GOOD})
        self.assertEqual(self.node.trouble(), [])


class Shared(Case):
    """With Redis."""

    environ = PATIENT

    def test_one_member(self) -> None:
        """The node stays on the list under its name; another Redis is another list; a flush holds across a reload."""
        redis = RedisServer()
        redis.start()
        self.addCleanup(redis.stop)
        peers = "[peers]\nheartbeat = 0.5\nexpiry = 2\n"
        node = self.start(peers, f"--redis={redis.url}")

        def members() -> list[str]:
            return [member["id"] for member in node.members()["members"]]

        wait(lambda: node.members()["shared"] and node.metric("heimdall_redislink_connection_up"), "a link")
        before = members()
        self.assertEqual(self.rcode("a.example"), 0)
        self.reload(f"{peers}[cache]\nttl_ceiling = 600\n")
        self.assertEqual((members(), node.members()["shared"]), (before, True))
        self.assertEqual(node.metric("heimdall_redislink_connection_up"), 1)
        beats = node.metric("heimdall_peers_heartbeats_total", result="ok")
        wait(lambda: node.metric("heimdall_peers_heartbeats_total", result="ok") > beats + 4, "what was, has expired")
        self.assertEqual(self.rcode("a.example"), 0)
        self.assertEqual((members(), self.upstream.counts()["asked"], node.trouble()), (before, 1, []))
        self.reload(f'{peers}node = "two"\n')
        wait(lambda: members() == ["two"], "the list has the new name alone")
        self.assertNotIn("is called", node.log)
