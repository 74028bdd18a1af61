"""Who of a batch may pass: asked once for many messages, and with the same outcome as one by one."""

from __future__ import annotations

import socket

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from zope.interface import implementer
from zope.interface.verify import verifyObject

from heimdall.accept.front import Front
from heimdall.accept.slots import Slots
from heimdall.admit.acl import Acl
from heimdall.admit.limit import Limit
from heimdall.admit.policy import policy
from heimdall.interfaces import IClientGate, IPolicy
from heimdall.message.answer import Answer, make
from heimdall.message.passed import Changes
from heimdall.message.query import REFUSED, Client, Query
from tests.accept.test_front import Gate
from tests.accept.test_repeats import Case
from tests.cache.questions import positive, question
from tests.message.messages import query_wire
from tests.ports import NO_IPV6


@implementer(IClientGate)
class Rate(Gate):
    """A gate that lets so many more pass, and takes note of what it was asked."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.asked: list[tuple[str, int]] = []

    def admit(self, client: Client, count: int) -> bool:
        """Let all pass or none."""
        self.asked.append((client[0], count))
        if count <= self.most:
            self.most -= count
            return True
        return False


class Batches(Case):
    """Batches before a gate that counts."""

    wire = query_wire("a.example", use_edns=0)

    def lead(self, *gates: Gate | Limit | Acl) -> None:
        """Lead what comes by these gates, with one name in memory and one client that is known."""
        self.front = Front(gates, self.memory, [], self.source, self.clock)
        self.memory.put(question(), positive(), 0.0)
        self.taken(self.wire)
        self.ask(self.wire)
        for gate in gates:
            if isinstance(gate, Rate):
                gate.most += len(gate.asked)
                gate.asked.clear()

    def test_once(self) -> None:
        """A known client's messages are one question to the gate, whatever is known of what they ask."""
        gate = Rate(100)
        self.lead(gate)
        judged = gate.judged
        _, left, _ = self.ask(self.wire, query_wire("b.example", use_edns=0), b"\0" * 20, self.wire)
        self.assertEqual((gate.asked, gate.judged - judged), ([("127.0.0.1", 4)], 0))
        self.assertEqual(left, [1, 2])

    def test_passed(self) -> None:
        """What is left of those that passed is marked, and no gate judges it again."""
        for other, read in ((query_wire("b.example", use_edns=0), True), (query_wire("b.example", "MX"), False)):
            gate = Rate(1)
            self.lead(gate)
            judged = gate.judged
            for passed in (True, False):
                self.client.send(other)
                ((index, query, let_pass),), _ = self.front.repeats.answer(self.slots, self.slots.receive())
                self.assertEqual((index, query is not None, let_pass), (0, read or not passed, passed))
                if query is not None:
                    self.front.take_new(query, let_pass, lambda *_: None)
                else:
                    self.front.take(other, self.client.getsockname(), False, lambda *_: None, let_pass)
                self.assertEqual(gate.judged - judged, not passed)

    def test_not_all(self) -> None:
        """A client of whom not all messages may pass has each judged; a new one of the same batch does not notice."""
        gate = Rate(3)
        self.lead(gate)
        judged = gate.judged
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.2", 0))
            for times in (1, 2):
                for _ in range(times):
                    other.sendto(self.wire, self.udp.getsockname())
                for _ in range(4):
                    self.client.send(self.wire)
                left, silent = self.front.repeats.answer(self.slots, self.slots.receive())
                self.assertEqual((left, silent), ([], []))
        self.assertEqual(gate.judged - judged, 4 + 4)
        self.assertEqual(gate.asked, [("127.0.0.2", 1), ("127.0.0.1", 4), ("127.0.0.2", 2), ("127.0.0.1", 4)])

    def test_two_that_count(self) -> None:
        """Two gates that count judge each message, since one must not count what the other does not let pass."""
        gates = Rate(100), Rate(100)
        self.lead(*gates)
        self.ask(*[self.wire] * 3)
        self.assertEqual([(gate.asked, gate.judged) for gate in gates], [([], 5), ([], 5)])

    def test_refused(self) -> None:
        """Who may not ask is never let pass, though somebody of the same batch is."""
        self.lead(Acl(["127.0.0.1"]))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.2", 0))
            other.settimeout(60)
            for _ in range(3):
                other.sendto(self.wire, self.udp.getsockname())
                replies, left, _ = self.ask_beside(self.wire)
                self.assertEqual((replies[0][3] & 15, left), (0, []))
                self.assertEqual(other.recv(4096)[3] & 15, 5)

    def ask_beside(self, wire: bytes) -> tuple[list[bytes], list[int], list[int]]:
        """Ask where another one has asked as well; return what came back to us."""
        self.client.send(wire)
        count = self.slots.receive()
        left, silent = self.front.repeats.answer(self.slots, count)
        self.assertEqual(list(self.slots.send(count)), [])
        return [self.client.recv(4096)], [index for index, *_ in left], silent

    def test_ipv6(self) -> None:
        """Clients over IPv6 are told apart as well."""
        if NO_IPV6:
            self.skipTest(NO_IPV6)
        gate = Rate(100)
        self.lead(gate)
        with (
            socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp,
            socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client,
        ):
            udp.bind(("::1", 0))
            slots = Slots(udp, False)
            for _ in range(2):
                client.sendto(self.wire, udp.getsockname())
                client.sendto(self.wire, udp.getsockname())
                left, silent = self.front.repeats.answer(slots, slots.receive())
                self.assertEqual((left, silent), ([], []))
        self.assertEqual(gate.asked, [("::1", 2), ("::1", 2)])


class Tokens(Case):
    """The rate limit of the house."""

    def test_is_a_rate_gate(self) -> None:
        """A Limit is an IClientGate."""
        verifyObject(IClientGate, Limit(self.clock, 1))

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12)), max_size=20))
    def test_same(self, batches: list[tuple[int, int]]) -> None:
        """To take tokens together comes to the same as to take them one by one, where all are there."""
        clock = Clock()
        clock.advance(1000)
        together, single = Limit(clock, 2.0, 10.0), Limit(clock, 2.0, 10.0)
        client = ("192.0.2.1", 53)
        for wait, count in batches:
            clock.advance(wait / 7)
            one_by_one = [single.admit(client, 1) for _ in range(count)]
            if not together.admit(client, count):
                self.assertIn(False, one_by_one)
                self.assertEqual([together.admit(client, 1) for _ in range(count)], one_by_one)
            else:
                self.assertNotIn(False, one_by_one)


@implementer(IPolicy)
class Outsiders:
    """Refuses one host; keeps the queries it is shown."""

    depends = frozenset(("name", "client"))

    def __init__(self) -> None:
        self.shown: list[Query] = []

    def judge(self, query: Query) -> Answer | None:
        self.shown.append(query)
        return make(query, REFUSED, "local") if query.client[0] == "127.0.0.2" else None


class Policies(Case):
    """Batches before a policy of a user's own that looks at the client."""

    def test_each_client(self) -> None:
        """The same bytes from two hosts in one batch, and what is alike: each host is judged, and has its own reply."""
        own = Outsiders()
        gate = policy("house.Outsiders", own, self.clock, Changes())
        self.front = Front([Acl(["127.0.0.0/8"]), gate], self.memory, [], self.source, self.clock)
        for name in ("a.example", "b.example"):
            self.memory.put(question(name), positive(name), 0.0)
        outer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(outer.close)
        outer.bind(("127.0.0.2", 0))
        outer.connect(self.udp.getsockname())
        known, alike = query_wire("a.example", use_edns=0), query_wire("b.example", use_edns=0)
        for _ in range(2):
            self.taken(known)
        own.shown.clear()
        clients = [(self.client, known), (outer, known), (outer, alike), (self.client, alike)] * 2
        for client, wire in clients:
            client.send(wire)
        left, silent = self.front.repeats.answer(self.slots, self.slots.receive())
        self.assertEqual((left, silent), ([], []))
        self.assertEqual(list(self.slots.send(len(clients), [])), [])
        for client, _ in clients:
            self.assertEqual(client.recv(4096)[3] & 15, REFUSED if client is outer else 0)
        # What it was shown is still what came.
        self.assertEqual(
            [(shown.client, shown.wire, shown.name) for shown in own.shown],
            [(client.getsockname(), wire, question("a.example" if wire == known else "b.example").name)
             for client, wire in clients],
        )  # fmt: skip
