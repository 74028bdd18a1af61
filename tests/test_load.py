"""The load and the slow upstream, against each other: what tests and benchmarks rely on."""

from __future__ import annotations

import socket

from twisted.trial.unittest import SynchronousTestCase

from tests.load import FAILED, GOOD, NEVER, PATIENT, WRONG, Ask, Told, quantile, start
from tests.redisserver import wait_for
from tests.slowup import AAAA, SlowUpstream


class Loads(SynchronousTestCase):
    """A load on an upstream, as if it were a node."""

    def setUp(self) -> None:
        self.upstream = SlowUpstream(delay=0.05, ttl=20)
        self.addCleanup(self.upstream.stop)

    def ask(self, *asks: Ask, ports: tuple[int, ...] = (), ages: tuple[int, ...] = (0,)) -> list[Told]:
        """Ask, and wait for the end."""
        return start(ports or (self.upstream.port,), asks, ages=ages, lost=60.0).end()

    def server(self) -> socket.socket:
        """A socket of a node."""
        server = socket.socket(type=socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        server.bind(("127.0.0.1", 0))
        return server

    def test_good(self) -> None:
        """Answers come after the delay, with their TTL, and are right for name and type."""
        asks = [Ask(number / 1000, 0, f"N{number}.example", "", AAAA if number % 2 else 1) for number in range(50)]
        told = self.ask(*asks)
        self.assertEqual([one.verdict for one in told], [GOOD] * 50, told[0])
        self.assertEqual({one.ttl for one in told}, {20})
        self.assertTrue(all(one.took >= 0.05 for one in told))

    def test_counts(self) -> None:
        """The upstream counts what it is asked, in whatever case, and what it is asked again within the TTL."""
        self.ask(Ask(0.0, 0, "one.example"), Ask(0.0, 0, "two.example"), Ask(0.1, 0, "ONE.example"))
        self.assertEqual(self.upstream.counts(), {"asked": 3, "distinct": 2, "again": 1, "early": 0})
        self.upstream.reset(ttl=0)
        self.ask(Ask(0.0, 0, "one.example"), Ask(0.1, 0, "one.example"))
        self.assertEqual(self.upstream.counts(), {"asked": 2, "distinct": 1, "again": 0, "early": 0})

    def test_wrong(self) -> None:
        """An answer with other data is wrong, unless that is what the name has by now."""
        self.upstream.change(1)
        self.assertEqual([one.verdict for one in self.ask(Ask(0.0, 0, "one.example"))], [WRONG])
        self.assertEqual([one.verdict for one in self.ask(Ask(0.0, 0, "one.example"), ages=(1,))], [GOOD])

    def test_failed(self) -> None:
        """Another response code is a failure; the question of another name is a wrong answer."""
        server = self.server()
        asks = [Ask(0.0, 0, "one.example"), Ask(0.2, 0, "two.example")]
        load = start((server.getsockname()[1],), asks, **PATIENT)
        for spoil in (
            lambda q: q[:2] + b"\x81\x82" + q[4:],
            lambda q: q[:2] + b"\x81\x80" + q[4:].replace(b"two", b"six"),
        ):
            query, client = server.recvfrom(512)
            server.sendto(spoil(query), client)
        self.assertEqual([one.verdict for one in load.end()], [FAILED, WRONG])

    def test_next_node(self) -> None:
        """A node that is not there costs nothing, one that is silent a second: then the next one is asked."""
        gone = self.server()
        port = gone.getsockname()[1]
        gone.close()
        silent = self.server().getsockname()[1]
        there = self.upstream.port
        told = self.ask(Ask(0.0, 0, "one.example"), Ask(0.1, 1, "two.example"), ports=(port, silent, there))
        self.assertEqual([one.verdict for one in told], [GOOD, GOOD])
        self.assertEqual([one.retries for one in told], [2, 1])
        self.assertTrue(all(one.took >= 1.0 for one in told), told)

    def test_lost(self) -> None:
        """A query that nobody answers is lost; a load that is told to end asks nothing more."""
        asks = [Ask(0.0, 0, "one.example"), Ask(600.0, 0, "two.example")]
        load = start((self.server().getsockname()[1],), asks, lost=0.1)
        wait_for(lambda: load.sent == 1)
        self.assertEqual([one.verdict for one in load.end(now=True)], [NEVER])

    def test_quantile(self) -> None:
        """A quantile is one of the values, the greatest at most."""
        self.assertEqual([quantile([3, 1, 2, 4], share) for share in (0, 0.5, 0.99, 1)], [1, 3, 4, 4])
