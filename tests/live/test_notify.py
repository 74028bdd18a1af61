"""A node under a manager that opens its sockets, hears how it does, and starts it again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import dns.message
import dns.query
from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parents[2]

STARTED = """
import os, sys
for at in (0, 1):
    os.dup2(int(sys.argv[1 + at]), 100 + at)
for at in (0, 1):
    os.dup2(100 + at, 3 + at)
    os.close(100 + at)
own = str(os.getpid())
os.environ |= {"LISTEN_PID": own, "LISTEN_FDS": "2", "LISTEN_FDNAMES": "dns:dns", "WATCHDOG_PID": own}
os.execv(sys.executable, [sys.executable, "-m", "twisted", "--log-format=text", "heimdall", *sys.argv[3:]])
"""
"""What systemd does between fork and exec."""

ALIVE = 1.5
"""Seconds between two signs of life that the manager allows; tests.watch.test_notify holds how often they come."""


class Managed(SynchronousTestCase):
    """A manager, as far as a service sees it."""

    def setUp(self) -> None:
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.tcp.close)
        self.port = self.tcp.getsockname()[1]
        self.udp = socket.socket(type=socket.SOCK_DGRAM)
        self.addCleanup(self.udp.close)
        self.udp.bind(("127.0.0.1", self.port))
        folder = tempfile.TemporaryDirectory(prefix="heimdall-manager-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.manager.close)
        self.manager.bind(str(self.folder / "notify"))
        self.manager.settimeout(120)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a node with the sockets."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HEIMDALL_", "REDIS_"))}
        told = {
            "PYTHONPATH": str(ROOT),
            "NOTIFY_SOCKET": str(self.folder / "notify"),
            "WATCHDOG_USEC": str(int(ALIVE * 1e6)),
            "HEIMDALL_ADMIT_RECORDS": "www.example 60 A 192.0.2.1",
        }
        descriptors = (self.udp.fileno(), self.tcp.fileno())
        options = ("--no-redis", "--no-http", "--upstream=127.0.0.1:1", *arguments)
        started = subprocess.Popen(
            [sys.executable, "-c", STARTED, *map(str, descriptors), *options],
            pass_fds=descriptors,
            cwd=self.folder,
            env=kept | told,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.addCleanup(started.communicate)
        self.addCleanup(started.kill)
        return started

    def await_word(self, word: str) -> dict[str, str]:
        """Return the first message that has a field."""
        while True:
            message = dict(line.split("=", 1) for line in self.manager.recv(4096).decode().split("\n"))
            if word in message:
                return message

    def ask(self) -> dns.message.Message:
        """Ask over TCP, and be sure of the answer."""
        return dns.query.tcp(dns.message.make_query("www.example", "A"), "127.0.0.1", timeout=120, port=self.port)

    def end(self, process: subprocess.Popen[str]) -> str:
        """End a process well; return its log."""
        process.send_signal(signal.SIGTERM)
        log, _ = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, log)
        return log

    def test_life(self) -> None:
        """A node serves on the sockets it was given; it says that it is ready, lives, and ends."""
        process = self.start()
        self.assertEqual(self.await_word("READY")["STATUS"], "healthy: 0 queries so far, 0 answers in memory")
        self.assertEqual(len(self.ask().answer), 1)
        for _ in range(4):
            self.assertIn("healthy: 1 queries so far", self.await_word("WATCHDOG")["STATUS"])
        self.assertIn(f"Serving DNS on 127.0.0.1:{self.port};", self.end(process))
        self.assertIn("ending", self.await_word("STOPPING")["STATUS"])

    def test_again(self) -> None:
        """Queries that come while no node runs wait in the sockets for the next one: none is lost."""
        for number in range(2):
            client = socket.socket(type=socket.SOCK_DGRAM)
            self.addCleanup(client.close)
            client.settimeout(120)
            client.connect(("127.0.0.1", self.port))
            query = dns.message.make_query("www.example", "A")
            client.send(query.to_wire())
            process = self.start()
            self.assertTrue(query.is_response(dns.message.from_wire(client.recv(512))), number)
            self.assertEqual(len(self.ask().answer), 1)
            self.end(process)

    def test_instead(self) -> None:
        """The sockets stand for accept.listen: an address set elsewhere is not bound, and the log says so."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            process = self.start(f"--listen=127.0.0.1:{taken.getsockname()[1]}")
            self.await_word("READY")
            self.assertIn(
                "option --listen: accept.listen is not used, but the sockets that we were started with",
                self.end(process),
            )
