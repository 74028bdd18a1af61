"""Tests of one socket to a server: what leaves together, and what has come together. Real sockets, read by hand."""

from __future__ import annotations

import os
import socket
from collections import Counter
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure

from heimdall.fetch.ledger import Ledger
from heimdall.fetch.port import Port
from heimdall.fetch.udp import SHARE, Udp
from heimdall.gso import cuts
from heimdall.message.answer import Answer
from heimdall.message.query import make, write
from heimdall.message.wire import from_text
from tests.fetch.test_poll import Case

SO_NO_CHECK: Final = 11
"""A socket that sends no checksums: the kernel cuts up nothing for that one (udp_send_skb)."""
UDP_GRO: Final = 104
"""A socket that is given what left as one message as one, not in pieces."""


def _why_not() -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        return None if cuts(udp) else "this kernel cuts up no datagrams (UDP_SEGMENT, Linux 4.18)"


NOT_CUT: Final = _why_not()
"""Why tests of it are skipped, or None."""


class One(Case):
    """A way over one socket."""

    skip = NOT_CUT

    def setUp(self) -> None:
        super().setUp()
        self.server.settimeout(60)
        self.udp = self.way()

    def way(self, cut: bool = True) -> Udp:
        """Return a way with one socket, or with one after the other."""
        port = self.server.getsockname()[1]
        ledger = Ledger()
        made = Udp(self.clock, self.fds, "127.0.0.1", port, write=write, ledger=ledger, ports=1, cut=cut)
        self.addCleanup(made.close)
        self.poll = made._fds  # type: ignore[assignment]
        return made

    def ask_for(self, *names: str) -> list[bytes]:
        """Ask for names in one turn; return the messages that should come."""
        flights = [self.udp.tell(make(from_text(name), 1), 60.0, self.told.append) for name in names]
        return [write(flight.query, flight.identity) for flight in flights]

    @property
    def port(self) -> Port:
        """The socket that is asked from."""
        return self.udp._ring[0]

    def came(self, count: int) -> Counter[bytes]:
        """Return so many messages that have come, and look that there are no more."""
        self.clock.advance(0)
        found = Counter(self.server.recv(512) for _ in range(count))
        self.server.setblocking(False)
        self.assertRaises(BlockingIOError, self.server.recv, 512)
        self.server.settimeout(60)
        return found


class Leaving(One):
    """The questions of one turn."""

    def test_as_one(self) -> None:
        """Those of one size leave as one message, and with them one that is shorter."""
        self.server.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        one, two, short = self.ask_for("one.example", "two.example", "x.example")
        self.clock.advance(0)
        self.assertEqual(self.server.recv(4096), one + two + short)

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.integers(1, 60), max_size=40))
    def test_any(self, lengths: list[int]) -> None:
        """Whatever their sizes, each comes once, by itself and as it is."""
        asked = self.ask_for(*("n" * length for length in lengths))
        self.assertEqual(self.came(len(asked)), Counter(asked))

    def test_switched_off(self) -> None:
        """Where that is not wanted each leaves by itself."""
        self.udp = self.way(cut=False)
        self.server.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        asked = self.ask_for("one.example", "two.example", "six.example")
        self.assertEqual(self.came(3), Counter(asked))

    def test_not_cut(self) -> None:
        """Where the kernel does not take it so, all leave one by one from then on, and that is told once."""
        with capturedLogs() as events:
            self.ask_for("one.example")
            self.port._sock.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
            for names in (("two.example", "six.example", "ten.example"), ("mail.example", "news.example")):
                asked = self.ask_for(*names)
                self.assertLessEqual(Counter(asked), self.came(len(asked) + (names[0] == "two.example")))
        why = "The kernel cuts up no questions here, so they leave one by one: [Errno 22] Invalid argument"
        self.assertEqual([formatEvent(event) for event in events], [why])
        self.assertEqual(self.told, [])

    def test_not_at_all(self) -> None:
        """Where the kernel takes nothing each question fails by itself, and is counted."""
        self.ask_for("one.example", "two.example", "mail.example")
        self.port._sock.shutdown(socket.SHUT_WR)
        self.clock.advance(0)
        self.assertEqual([type(outcome) for outcome in self.told], [Failure] * 3)
        self.assertEqual(self.udp.ledger.failed.counts, {("socket",): 3})

    def test_refused_before(self) -> None:
        """A refusal of what was asked before ends that, and keeps nothing of this turn from leaving."""
        self.ask_for("before.example")
        self.clock.advance(0)
        address = self.server.getsockname()
        self.server.close()
        asked = self.ask_for("one.example", "two.example", "mail.example")
        os.write(self.port.fileno(), b"anyone?")
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.server.close)
        self.server.bind(address)
        self.server.settimeout(60)
        self.assertEqual(self.came(3), Counter(asked))
        self.assertEqual([type(outcome) for outcome in self.told], [Failure])

    def test_given_up_by_another(self) -> None:
        """Who is told of a refusal may give up what is to leave in another message: that does not leave."""
        self.ask_for("before.example")
        self.clock.advance(0)
        self.server.recv(512)
        address = self.server.getsockname()
        self.server.close()
        flights = [
            self.udp.tell(make(from_text(name), 1), 60.0, self.told.append)
            for name in ("one.example", "two.example", "a.much.longer.example", "another.long.example")
        ]
        (before,) = (flight for flight in self.port.flights.values() if flight not in flights)

        def give_up(_outcome: Answer | Failure) -> None:
            for flight in flights[:3]:
                flight.cancel()

        before.told = give_up
        os.write(self.port.fileno(), b"anyone?")
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.server.close)
        self.server.bind(address)
        self.server.settimeout(60)
        self.assertEqual(self.came(1), Counter([write(flights[3].query, flights[3].identity)]))
        self.assertEqual([type(outcome) for outcome in self.told], [Failure] * 3)


class Sharing(Case):
    """Which questions share a port."""

    def ports(self, count: int) -> Counter[int]:
        """Ask so many questions in one turn; return how many came from each port."""
        for _ in range(count):
            self.ask()
        self.clock.advance(0)
        self.server.settimeout(60)
        return Counter(self.server.recvfrom(512)[1][1] for _ in range(count))

    def test_few(self) -> None:
        """Few questions of one turn leave from one port."""
        self.assertEqual(len(self.ports(SHARE)), 1)

    def test_many(self) -> None:
        """Of many there are no more from one port than may be, unless chance draws it again; so do those of turns."""
        self.udp._ports = 64
        self.assertGreater(len(self.ports(SHARE * 10)), 4)
        self.assertGreater(len({port for _ in range(20) for port in self.ports(1)}), 8)

    def test_given_up(self) -> None:
        """A port that was refused in the middle of a turn takes no more of it."""
        self.ask()
        (port,) = self.udp._ring
        port.refuse()
        self.ask()
        self.clock.advance(0)
        self.assertIsNot(self.udp._ring[-1], port)
        self.assertEqual((len(self.told), self.udp.inflight), (1, 1))


class Coming(One):
    """The replies that have come to one socket."""

    def replies(self) -> tuple[list[bytes], tuple[str, int]]:
        """Ask three questions; return the replies to them, and where they go."""
        self.ask_for("one.example", "two.example", "six.example")
        self.clock.advance(0)
        asked = [self.server.recvfrom(512) for _ in range(3)]
        return [wire[:2] + b"\x81\x80" + wire[4:] for wire, _ in asked], asked[0][1]

    def test_all(self) -> None:
        """All are read at once, and each is told."""
        replies, asker = self.replies()
        for reply in replies:
            self.server.sendto(reply, asker)
        self.poll.doRead()
        self.assertEqual([type(outcome) for outcome in self.told], [Answer] * 3)

    def test_twice(self) -> None:
        """A reply that comes twice is told once."""
        (first, second, third), asker = self.replies()
        for reply in (first, first, second, third):
            self.server.sendto(reply, asker)
        self.poll.doRead()
        self.assertEqual([type(outcome) for outcome in self.told], [Answer] * 3)

    def test_before_a_refusal(self) -> None:
        """What was answered before the server's port was closed is told; the others fail."""
        (first, *_), asker = self.replies()
        self.server.sendto(first, asker)
        self.server.close()
        os.write(self.port.fileno(), b"anyone?")
        self.poll.doRead()
        self.assertEqual(sorted(type(outcome).__name__ for outcome in self.told), ["Answer", "Failure", "Failure"])
