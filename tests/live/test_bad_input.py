"""Bad input by the hundred thousand, from clients and from the upstream; connections that mean no good."""

from __future__ import annotations

import contextlib
import random
import socket
import tempfile
from io import BufferedReader

import dns.exception
import dns.message
import dns.query
from twisted.trial.unittest import SynchronousTestCase

from tests.live.test_reload import wait
from tests.mutator import damaged, start
from tests.running import Running

MESSAGES = 40_000
MEGABYTE = 1_000_000


class Case(SynchronousTestCase):
    """A node with little memory, in front of an upstream that damages its replies."""

    damaged_replies = 0

    def setUp(self) -> None:
        port = start(self, self.damaged_replies)
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
            config.write('[cache]\nmemory = "4MB"\n[redis]\nenabled = false\n')
            config.flush()
            self.node = Running(f"--config={config.name}", f"--upstream=127.0.0.1:{port}")
        self.addCleanup(self.node.clean)
        wait(lambda: self.good("ready.example"), "a good answer")
        self.chance = random.Random(7)

    def queries(self, count: int) -> list[bytes]:
        """Damaged queries of all kinds."""
        kinds = [
            dns.message.make_query(f"name{number}.Some.example", qtype, **more).to_wire()  # type: ignore[arg-type]
            for number in range(20)
            for qtype in ("A", "HTTPS", "TXT")
            for more in ({}, {"use_edns": 0}, {"want_dnssec": True, "payload": 4096})
        ]
        return [damaged(self.chance.choice(kinds), self.chance) for _ in range(count)]

    def good(self, name: str) -> bool:
        """Whether the node answers a question well."""
        with contextlib.suppress(dns.exception.DNSException):
            return self.node.ask(name).rcode() == 0
        return False

    def assertWell(self, before: int) -> None:
        """The node still answers, has logged no exception, and takes no more memory than before.

        A reply may be damaged in its code or data alone, which nobody can tell: that to this question is not.
        """
        self.assertTrue(self.good("name.still.example"))
        self.assertEqual(self.node.trouble(), [])
        self.assertLess(self.node.resident - before, 12 * MEGABYTE)


class Queries(Case):
    """From clients."""

    def flood(self, count: int) -> None:
        """Send damaged queries over UDP, a hundred and a good one at a time; go on when that one is answered."""
        good = dns.message.make_query("ready.example", "A", id=0xBEEF).to_wire()
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", self.node.port))
            client.settimeout(0.5)
            for number, message in enumerate(self.queries(count)):
                client.send(message)
                if number % 100 == 99:
                    client.send(good)
                    # A lost datagram is sent again; a damaged query may have the good one's id, and does no harm.
                    while not self.heard(client, good[:2]):
                        client.send(good)

    def heard(self, client: socket.socket, identity: bytes) -> bool:
        """Take replies until one has this id; return False when none comes for a while."""
        with contextlib.suppress(TimeoutError):
            while client.recv(65535)[:2] != identity:
                pass
            return True
        return False

    def test_datagrams(self) -> None:
        """100,000 damaged queries over UDP: no exception, memory flat, the node goes on."""
        self.flood(MESSAGES // 5)
        before = self.node.resident
        self.flood(MESSAGES)
        self.assertGreater(self.node.metric("heimdall_accept_queries_total", transport="udp"), MESSAGES)
        self.assertWell(before)

    def stream(self, count: int) -> None:
        """Send damaged queries over TCP, 100 at a time and a good one behind them; wait for its reply.

        What is too short for a header ends a connection; there is one such in every tenth lot. Some connections
        are broken in the middle of a message.
        """
        good = dns.message.make_query("ready.example", "A", id=0xBEEF).to_wire()
        whole = [message for message in self.queries(count) if len(message) >= 12 and message[:2] != good[:2]]
        client, replies = self.connect()
        for lot, at in enumerate(range(0, len(whole), 100)):
            messages = [*whole[at : at + 100], b"short" if lot % 10 == 9 else good]
            if lot % 40 == 20:
                client.sendall(b"\0\x50" + self.chance.randbytes(20))
                client.close()
                client, replies = self.connect()
            client.sendall(b"".join(len(each).to_bytes(2, "big") + each for each in messages))
            if not self.wait_for(replies, good[:2]):
                client.close()
                client, replies = self.connect()
        client.close()

    def wait_for(self, replies: BufferedReader, identity: bytes) -> bool:
        """Read replies until one has this id; return False when the connection is closed before."""
        while size := replies.read(2):
            if replies.read(int.from_bytes(size, "big"))[:2] == identity:
                return True
        return False

    def connect(self) -> tuple[socket.socket, BufferedReader]:
        """Open a connection to the node; return it, and what to read it by."""
        client = socket.create_connection(("127.0.0.1", self.node.port), timeout=60)
        return client, client.makefile("rb")

    def test_streams(self) -> None:
        """100,000 damaged queries over TCP: no exception, memory flat, the node goes on."""
        self.stream(MESSAGES // 5)
        before = self.node.resident
        self.stream(MESSAGES)
        self.assertGreater(self.node.metric("heimdall_accept_queries_total", transport="tcp"), MESSAGES * 0.8)
        self.assertWell(before)


class Replies(Case):
    """From the upstream."""

    damaged_replies = 9

    def ask(self, first: int, count: int) -> int:
        """Ask for as many names, 100 at a time; return how many were answered."""
        answered = 0
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", self.node.port))
            client.settimeout(60)
            for start in range(first, first + count, 100):
                for number in range(start, start + 100):
                    client.send(dns.message.make_query(f"n{number}.example", "A").to_wire())
                for _ in range(100):
                    answered += len(client.recv(4096)) > 12
        return answered

    def test_replies(self) -> None:
        """100,000 damaged replies: every client is answered, no exception, memory flat."""
        self.assertEqual(self.ask(0, 2_000), 2_000)
        before = self.node.resident
        self.assertEqual(self.ask(2_000, MESSAGES // 10), MESSAGES // 10)
        self.assertGreater(self.node.metric("heimdall_fetch_mismatched_total"), MESSAGES / 10)
        self.assertWell(before)


class Connections(Case):
    """200 connections from one address that do no good."""

    def test_good_clients_lose_nothing(self) -> None:
        """Idle, slow and never-reading connections from one address: a good client elsewhere loses nothing."""
        bad: list[socket.socket] = []
        query = dns.message.make_query("big.example", "A").to_wire()
        framed = len(query).to_bytes(2, "big") + query
        for number in range(200):
            client = socket.create_connection(("127.0.0.1", self.node.port), 60, source_address=("127.0.0.3", 0))
            self.addCleanup(client.close)
            client.setblocking(False)
            with contextlib.suppress(OSError):  # it may have been shown the door already
                if number % 3 == 1:
                    client.send(framed[: number % 20])
                elif number % 3 == 2:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                    client.send(framed * 1000)
            bad.append(client)
        lost = 0
        for number in range(20):
            for client in bad[1::3]:
                with contextlib.suppress(OSError):
                    client.send(framed[:1])
            message = dns.message.make_query(f"good{number}.example", "A")
            try:
                reply = dns.query.tcp(message, "127.0.0.1", 60, port=self.node.port, source="127.0.0.4")
                lost += reply.rcode() != 0
            except (OSError, EOFError, dns.exception.DNSException):
                lost += 1
        self.assertEqual(lost, 0)
        self.assertEqual(self.node.trouble(), [])
