"""Tests of one socket to a server: what leaves together, and what has come together. Real sockets, read by hand."""

from __future__ import annotations

import os
import socket
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure

from heimdall.fetch.judgement import Unusable
from heimdall.fetch.port import Flight, Outcome, Port
from heimdall.fetch.udp import SHARE
from heimdall.message.answer import Answer
from heimdall.message.query import WITH_OPT, make, write
from heimdall.message.wire import from_text
from tests.fetch.test_poll import Case
from tests.gso import NOT_CUT, SO_NO_CHECK, UDP_GRO


class One(Case):
    """An exchange over one socket, or over one after the other."""

    skip = NOT_CUT
    ports = 1

    def setUp(self) -> None:
        super().setUp()
        self.server.settimeout(60)

    def ask_for(self, *names: str) -> list[Flight]:
        """Ask for names in one turn."""
        return [self.udp.exchange(make(from_text(name), 1), WITH_OPT, 60.0, self.told.append) for name in names]

    @property
    def port(self) -> Port:
        """The socket that is asked from."""
        return self.udp._ring[0]

    def refuse(self) -> None:
        """Let the socket hear that the server's port is closed, and open that again."""
        address = self.server.getsockname()
        self.server.close()
        os.write(self.port.fileno(), b"anyone?")
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.server.close)
        self.server.bind(address)
        self.server.settimeout(60)

    def assertCame(self, *flights: Flight) -> None:
        """Once this turn is over these questions have come, and nothing else has."""
        self.clock.advance(0)
        found = Counter(self.server.recv(512) for _ in flights)
        self.assertEqual(found, Counter(map(wire, flights)))
        self.server.setblocking(False)
        self.assertRaises(BlockingIOError, self.server.recv, 512)
        self.server.settimeout(60)


def wire(flight: Flight) -> bytes:
    """Return the message that asks a question."""
    return write(flight.query, flight.identity, flight.form)


class Leaving(One):
    """The questions of one turn."""

    def test_as_one(self) -> None:
        """Those of one size leave as one message, and with them one that is shorter."""
        self.server.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        asked = self.ask_for("one.example", "two.example", "x.example")
        self.clock.advance(0)
        self.assertEqual(self.server.recv(4096), b"".join(map(wire, asked)))

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.integers(1, 60), max_size=40))
    def test_any(self, lengths: list[int]) -> None:
        """Whatever their sizes, each comes once, by itself and as it is."""
        self.assertCame(*self.ask_for(*("n" * length for length in lengths)))

    def test_switched_off(self) -> None:
        """Where that is not wanted each leaves by itself."""
        self.exchange(cut=False)
        self.server.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        self.assertCame(*self.ask_for("one.example", "two.example", "six.example"))

    def test_not_cut(self) -> None:
        """Where the kernel does not take it so, all leave one by one from then on, and that is told once."""
        self.assertCame(*self.ask_for("one.example"))
        self.port._sock.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
        with capturedLogs() as events:
            self.assertCame(*self.ask_for("two.example", "six.example", "ten.example"))
            self.assertCame(*self.ask_for("mail.example", "news.example"))
        why = "The kernel cuts up no questions here, so they leave one by one: [Errno 22] Invalid argument"
        self.assertEqual([formatEvent(event) for event in events], [why])
        self.assertEqual(self.told, [])

    def test_not_at_all(self) -> None:
        """Where the kernel takes nothing each question fails by itself, and is counted."""
        self.ask_for("one.example", "two.example", "mail.example")
        self.port._sock.shutdown(socket.SHUT_WR)
        self.clock.advance(0)
        self.assertEqual([type(outcome) for outcome in self.told], [Unusable] * 3)
        self.assertEqual(self.udp.ledger.failed.counts, {("socket",): 3})

    def test_refused_before(self) -> None:
        """A refusal of what was asked before ends that, and keeps nothing of this turn from leaving."""
        self.assertCame(*self.ask_for("before.example"))
        asked = self.ask_for("one.example", "two.example", "mail.example")
        self.refuse()
        self.assertCame(*asked)
        self.assertEqual([type(outcome) for outcome in self.told], [Unusable])

    def test_given_up_by_another(self) -> None:
        """Who is told of a refusal may give up what is to leave in another message: that does not leave."""
        (before,) = self.ask_for("before.example")
        self.assertCame(before)
        *given_up, asked = self.ask_for("one.example", "two.example", "a.much.longer.example", "another.long.example")

        def give_up(_outcome: Outcome | Failure) -> None:
            for flight in given_up:
                flight.cancel()

        before.told = give_up
        self.refuse()
        self.assertCame(asked)
        self.assertEqual([type(outcome) for outcome in self.told], [Failure] * 3)


class Sharing(Case):
    """Which questions share a port."""

    ports = 64

    def asked_from(self, count: int) -> Counter[int]:
        """Ask so many questions in one turn; return how many came from each port."""
        for _ in range(count):
            self.ask()
        self.clock.advance(0)
        self.server.settimeout(60)
        return Counter(self.server.recvfrom(512)[1][1] for _ in range(count))

    def test_few(self) -> None:
        """Few questions of one turn leave from one port."""
        self.assertEqual(len(self.asked_from(SHARE)), 1)

    def test_many(self) -> None:
        """Of many there are no more from one port than may be, unless chance draws it again; each turn has another."""
        self.assertGreater(len(self.asked_from(SHARE * 10)), 4)
        self.assertGreater(len({port for _ in range(20) for port in self.asked_from(1)}), 8)

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
        return [message[:2] + b"\x81\x80" + message[4:] for message, _ in asked], asked[0][1]

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
        self.assertEqual(sorted(type(outcome).__name__ for outcome in self.told), ["Answer", "Unusable", "Unusable"])
