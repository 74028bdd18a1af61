"""Messages that come again: answered in one go just as they would be one by one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import dns.edns
import dns.message
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from heimdall.accept import passing, repeats
from heimdall.accept.front import Front
from heimdall.accept.slots import Slots
from heimdall.admit.acl import Acl
from heimdall.admit.limit import Limit
from heimdall.cache.memory import Memory
from heimdall.interfaces import DROP
from heimdall.message import query
from heimdall.message.answer import make
from heimdall.message.query import REFUSED
from tests.accept.echo import NO_BATCHES
from tests.accept.test_front import Gate, Source
from tests.cache.questions import negative, positive, question
from tests.message.messages import query_wire

NAMES = ("a.example", "b.example", "C.eXample")

Step = tuple[str, int]

GROWN = """
import gc, os, sys
from twisted.internet.task import Clock
from heimdall.accept import alike, repeats
from heimdall.accept.alike import Alike
from heimdall.accept.front import Front
from heimdall.cache.memory import Memory
from heimdall.message import query
from tests.accept.test_front import Source
from tests.cache.questions import positive, question
from tests.message.messages import query_wire
from tests.running import resident
repeats.MOST_BYTES = alike.MOST_BYTES = 1 << 40
memory = Memory(1_000_000)
memory.put(question("a.example"), positive(), 0.0)
front = Front([], memory, [], Source(), Clock())
name = b"abcdefghijklmnop"
def spelt(number):
    letters = bytes(byte - 32 * (number >> at & 1) for at, byte in enumerate(name))
    return query_wire("a.example", use_edns=0).replace(b"\\x01a\\x07example", b"\\x10" + letters)
memory.put(query.make(b"\\x10" + name + b"\\0", 1), positive(), 0.0)
def grown():
    gc.collect()
    return resident(os.getpid())
def take(wire):
    front.take(wire, ("192.0.2.1", 53), False, print)
if sys.argv[1] == "messages":
    wires = [spelt(number) for number in range(20_000)]
    take(wires[0])
    before = grown()
    for wire in wires:
        take(wire)
    print((grown() - before) / front.repeats.used)
else:
    shapes = Alike()
    wires = [query_wire("a.example", use_edns=0, payload=512 + number) for number in range(20_000)]
    before = grown()
    for wire in wires:
        shapes.learn(query.read(wire))
    print((grown() - before) / shapes.bytes)
"""


class Case(SynchronousTestCase):
    """A front, and messages from a real socket to it."""

    skip = NO_BATCHES

    def setUp(self) -> None:
        self.clock = Clock()
        self.memory = Memory(1_000_000)
        self.gate, self.source = Gate(), Source()
        self.front = Front([self.gate], self.memory, [], self.source, self.clock)
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.client.connect(self.udp.getsockname())
        self.addCleanup(self.udp.close)
        self.addCleanup(self.client.close)
        self.slots = Slots(self.udp, False)

    def ask(self, *wires: bytes) -> tuple[list[bytes], list[int], list[int]]:
        """Answer messages in one go; return the replies, those that are left, and those with silence for a reply."""
        for wire in wires:
            self.client.send(wire)
        count = self.slots.receive()
        self.assertEqual(count, len(wires))
        left, silent = self.front.repeats.answer(self.slots, count)
        self.assertEqual(list(self.slots.send(count, [*(index for index, *_ in left), *silent])), [])
        replies = [self.client.recv(4096) for _ in range(count - len(left) - len(silent))]
        return replies, [index for index, *_ in left], silent

    def taken(self, wire: bytes) -> bytes | None:
        """Take a message the long way."""
        return self.front.take(wire, self.client.getsockname(), False, lambda *_: None)


class Known(Case):
    """One message again and again."""

    wire = query_wire("A.eXample", use_edns=0)

    def setUp(self) -> None:
        super().setUp()
        self.memory.put(question(), positive(), 0.0)

    def test_first_the_long_way(self) -> None:
        """A message that was never seen is left; once it was answered from memory it is answered here."""
        self.assertEqual(self.ask(self.wire), ([], [0], []))
        reply = self.taken(self.wire)
        assert reply is not None
        other = b"\xab\xcd" + self.wire[2:]
        self.assertEqual(self.ask(self.wire, other), ([reply, other[:2] + reply[2:]], [], []))

    def test_counted(self) -> None:
        """Each is counted, timed, and a use of the answer in memory."""
        self.taken(self.wire)
        self.ask(*[self.wire] * 5)
        self.assertEqual(self.front.queries.counts, {("udp",): 6})
        self.assertEqual(self.front.answers.counts, {("memory", "noerror"): 6})
        self.assertEqual(sum(self.front._times.buckets), 6)
        (kept,) = self.memory.inspect([question().key], 0.0)
        self.assertEqual(kept.uses, 6)

    def test_read_once(self) -> None:
        """What a message like others asks that memory does not know is handed on; it means what a full look reads."""
        self.taken(self.wire)
        other = query_wire("b.example", use_edns=0)
        self.client.send(other)
        self.client.send(self.wire)
        self.memory.forget(question().key)
        left, _ = self.front.repeats.answer(self.slots, self.slots.receive())
        for (_, asked, _), name in zip(left, ("b.example", "a.example"), strict=True):
            assert asked is not None
            self.assertEqual(asked.key, question(name).key)
        asked = left[0][1]
        assert asked is not None
        asked.client = ("192.0.2.1", 53)
        self.assertIsNone(self.front.take_new(asked, False, print))
        self.assertEqual([(asked.wire, asked.client) for asked in self.source.queries], [(other, ("192.0.2.1", 53))])

    def test_ages(self) -> None:
        """The TTL sinks with the seconds until the answer is no more, and nothing else changes; then the long way."""
        first = self.taken(self.wire) or b""
        for second in range(60):
            (reply,), _, _ = self.ask(self.wire)
            self.assertEqual((reply[:-21], reply[-17:]), (first[:-21], first[-17:]))
            # The TTL stands before the size and the address; an OPT of 11 bytes follows.
            self.assertEqual(int.from_bytes(reply[-21:-17], "big"), 60 - second)
            self.clock.advance(1)
        self.assertEqual(self.ask(self.wire), ([], [0], []))

    def test_ages_alike(self) -> None:
        """A message that never came the long way keeps all of its reply, its header too, when seconds pass.

        Nobody judges its client here.
        """
        self.front = Front([], self.memory, [], self.source, self.clock)
        self.taken(query_wire("b.example", use_edns=0))
        for second in range(3):
            for _ in range(3):
                (reply,), _, _ = self.ask(self.wire)
                told = dns.message.from_wire(reply)
                self.assertEqual((told.id, told.answer[0].ttl), (int.from_bytes(self.wire[:2], "big"), 60 - second))
            self.clock.advance(1)

    def test_other_kinds(self) -> None:
        """That a name does not exist is counted as such."""
        wire = query_wire("no.example")
        self.memory.put(question("no.example"), negative(), 0.0)
        self.taken(wire)
        self.ask(wire)
        self.assertEqual(self.front.answers.counts, {("memory", "nxdomain"): 2})

    def test_forgotten_and_doubted(self) -> None:
        """What memory has forgotten or must not give is not given here either."""
        self.taken(self.wire)
        self.memory.sure_until = self.clock.seconds()
        self.assertEqual(self.ask(self.wire)[1], [0])
        self.memory.sure_until = 100.0
        self.assertEqual(len(self.ask(self.wire)[0]), 1)
        self.memory.forget(question().key)
        self.assertEqual(self.ask(self.wire)[1], [0])

    def test_gates(self) -> None:
        """A gate that counts judges each: its answer is given under the right id, its silence is kept."""
        self.taken(self.wire)
        self.gate.verdict = make(question(), REFUSED, "local")
        (reply,), _, _ = self.ask(b"\0\7" + self.wire[2:])
        self.assertEqual((reply[:2], reply[3] & 15), (b"\0\7", REFUSED))
        self.gate.verdict = DROP
        self.assertEqual(self.ask(self.wire), ([], [], [0]))
        self.assertEqual(self.gate.judged, 3)

    def test_broken_gate(self) -> None:
        """A gate that breaks over one message costs the others of the batch nothing; that one goes the long way."""
        self.taken(self.wire)
        judge, broken = self.gate.judge, b"\0\7" + self.wire[2:]

        def judging(query: query.Query) -> object:
            if query.wire[:2] == broken[:2]:
                raise ZeroDivisionError
            return judge(query)

        self.patch(self.gate, "judge", judging)
        self.front = Front([self.gate], self.memory, [], self.source, self.clock)
        self.taken(self.wire)
        replies, left, silent = self.ask(self.wire, broken, self.wire)
        self.assertEqual(([reply[:2] for reply in replies], left, silent), ([self.wire[:2]] * 2, [1], []))

    def test_address_gates(self) -> None:
        """A gate that looks at the address alone is asked once a host; one that may not ask is refused each time."""
        for networks, replies in ((["127.0.0.0/8"], 0), (["192.0.2.0/24"], REFUSED)):
            acl = Acl(networks)
            self.front = Front([acl], self.memory, [], self.source, self.clock)
            self.front.take(self.wire, ("192.0.2.1", 53), False, print)
            self.front.take(self.wire, ("127.0.0.2", 53), False, print)
            for _ in range(2):
                (reply,), _, _ = self.ask(self.wire)
                self.assertEqual(reply[3] & 15, replies)
        self.assertEqual(acl.tallies[0].total(), 3)  # type: ignore[union-attr]

    def test_limit(self) -> None:
        """The rate limit counts each message of a batch."""
        self.front = Front([Limit(self.clock, 1.0, 10.0)], self.memory, [], self.source, self.clock)
        self.taken(self.wire)
        replies, left, silent = self.ask(*[self.wire] * 20)
        self.assertEqual((len(replies), left, len(silent)), (9, [], 11))

    def test_bounded(self) -> None:
        """However many hosts ask and messages come, what is remembered of them is bounded, in bytes."""
        self.patch(repeats, "MOST_BYTES", 5000)
        self.patch(passing, "MOST_HOSTS", 2)
        for number in range(20):
            self.memory.put(question(f"n{number}.example"), positive(f"n{number}.example"), 0.0)
            for _ in range(3):
                self.taken(query_wire(f"n{number}.example"))
            self.assertLessEqual(self.front.repeats._bytes, 5000)
            self.assertLessEqual(len(self.front.repeats._repeats), 6)
        self.assertIsNotNone(self.front.repeats.get(query_wire("n19.example")))
        for number in range(1, 9):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.bind((f"127.0.0.{number}", 0))
                client.sendto(query_wire("n19.example"), self.udp.getsockname())
                self.front.repeats.answer(self.slots, self.slots.receive())
        self.assertLessEqual(len(self.front.repeats._passing._hosts), 2)

    def test_counted_bytes(self) -> None:
        """What is counted is what is there, whatever comes, ages and leaves; all of it is gone with other rules."""
        self.patch(repeats, "MOST_BYTES", 20_000)
        known = self.front.repeats
        for number in range(60):
            name = f"n{number % 15}.{'x' * (number % 40 + 1)}.example"
            self.memory.put(question(name), positive(name), self.clock.seconds())
            for _ in range(3):
                self.ask(query_wire(name))
                self.taken(query_wire(name, use_edns=0, payload=1232 + number))
            self.clock.advance(0.7)
            sizes = [2 * len(rest) + repeat.size for rest, repeat in known._repeats.items()]
            self.assertEqual(known._bytes, sum(sizes))
        self.assertGreater(known.used, known._bytes)
        known.lead([self.gate], 1232)
        self.assertEqual((known.used, len(known._repeats)), (0, 0))

    def test_long_messages(self) -> None:
        """A message that is padded to many bytes is answered as any other, and not remembered."""
        padding = dns.edns.GenericOption(dns.edns.OptionType.PADDING, bytes(3000))
        wire = query_wire("a.example", use_edns=0, request_payload=4096, options=[padding])
        for _ in range(3):
            self.taken(wire)
        self.assertEqual(len(self.ask(*[wire] * 3)[0]), 3)
        self.assertEqual(len(self.front.repeats._repeats), 0)

    def test_bytes_are_real(self) -> None:
        """What is counted is what the process grows by, within a quarter: for messages, and for shapes."""
        for what in ("messages", "shapes"):
            run = subprocess.run(
                [sys.executable, "-c", GROWN, what],
                capture_output=True,
                text=True,
                check=True,
                env={**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
            self.assertTrue(0.75 < float(run.stdout) < 1.25, (what, run.stdout))


class First(Case):
    """A message that never came before, like one that did but for its name."""

    def setUp(self) -> None:
        super().setUp()
        for name in ("a.example", "b.example"):
            self.memory.put(question(name), positive(name), 0.0)
        self.taken(query_wire("a.example", use_edns=0))

    def test_answered(self) -> None:
        """It is answered as by the long way, and so is counted, timed and judged."""
        wire = query_wire("B.Example", use_edns=0)
        (reply,), _, _ = self.ask(wire)
        self.assertEqual(self.front.queries.counts, {("udp",): 2})
        self.assertEqual(self.front.answers.counts, {("memory", "noerror"): 2})
        self.assertEqual(sum(self.front._times.buckets), 2)
        self.assertEqual(self.gate.judged, 2)
        self.assertEqual(reply, self.taken(wire))

    def test_unknown(self) -> None:
        """What memory does not know is left to the long way, and no gate has judged it so far."""
        self.assertEqual(self.ask(query_wire("c.example", use_edns=0)), ([], [0], []))
        self.assertEqual(self.gate.judged, 1)

    def test_remembered(self) -> None:
        """It is remembered when it comes for the second time in a second."""
        for times in (0, 1):
            self.ask(query_wire("b.example", use_edns=0))
            self.assertEqual(len(self.front.repeats._repeats), times)

    def test_other_rules(self) -> None:
        """When what comes in is led another way, nothing is taken for known that was read before."""
        self.front.repeats.lead([self.gate], 512)
        self.assertEqual(self.ask(query_wire("b.example", use_edns=0)), ([], [0], []))


def option(code: int, data: bytes) -> bytes:
    """Return an option as it stands on the wire."""
    return code.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data


COOKIES = st.binary(min_size=0, max_size=41).map(lambda data: option(10, data))
PADDINGS = st.integers(0, 700).map(lambda size: option(12, bytes(size)))
SUBNETS = st.sampled_from(
    [option(8, data) for data in (b"\0\1\x18\0\xc0\0\2", b"\0\0\0\0", b"\0\1\x18\0\xc0\0", b"\0\2\x08\0\x20", b"\0")]
)
OTHERS = st.tuples(st.sampled_from((3, 9, 11, 15, 65001)), st.binary(max_size=5)).map(lambda one: option(*one))
OPTIONS = st.lists(st.one_of(COOKIES, COOKIES, PADDINGS, SUBNETS, OTHERS), max_size=4).map(b"".join)
"""The options of a message, as clients send them, and as they must not."""


class Options(Case):
    """Messages with options, against the long way."""

    def message(self, data: st.DataObject) -> bytes:
        """Return a message, perhaps with a few bytes that are wrong."""
        name = data.draw(st.sampled_from(("a.example", "B.example", "unknown.example")))
        size = data.draw(st.sampled_from((512, 1232, 4096)))
        do = data.draw(st.sampled_from((0, 0x80)))
        options = data.draw(OPTIONS)
        opt = b"\0\0\x29" + size.to_bytes(2, "big") + bytes((0, 0, do, 0)) + len(options).to_bytes(2, "big") + options
        head = bytes((0, 7, 1, data.draw(st.sampled_from((0, 0x10))), 0, 1, 0, 0, 0, 0, 0, 1))
        wire = bytearray(head + query_wire(name)[12:] + opt)
        for at in data.draw(st.lists(st.integers(2, len(wire) - 1), max_size=2)):
            wire[at] = data.draw(st.sampled_from((0, 1, 8, 10, 12, wire[at] ^ 1, 255)))
        cut = data.draw(st.sampled_from((0, 0, 0, 1, 5)))
        more = data.draw(st.sampled_from((b"", b"", b"", b"\0", opt)))
        return bytes(wire[: len(wire) - cut]) + more

    @settings(max_examples=250, deadline=None)
    @given(st.data())
    def test_same(self, data: st.DataObject) -> None:
        """Whatever options come, well-formed or not, both ways give the same bytes: an answer, a refusal or nothing."""
        self.setUp()
        subnets = data.draw(st.booleans())
        self.front = Front([self.gate], self.memory, [], self.source, self.clock, client_subnet=subnets)
        for name in ("a.example", "b.example"):
            self.memory.put(question(name), positive(name), 0.0)
            self.memory.put(query.make(question(name).name, 1, do=True), positive(name, data="192.0.2.9"), 0.0)
        for _ in range(data.draw(st.integers(1, 12))):
            wire = self.message(data)
            plain = Front([], self.memory, [], Source(), self.clock, client_subnet=subnets)
            wanted = plain.take(wire, self.client.getsockname(), False, lambda *_: None)
            replies, left, silent = self.ask(wire)
            self.assertEqual(silent, [])
            self.assertEqual(replies[0] if replies else self.taken(wire), wanted)
            self.assertEqual(bool(left), not replies)

    def test_many_clients(self) -> None:
        """Of 1,500 clients with a cookie each, and names that memory has, every message but the first is met here."""
        for number in range(100):
            self.memory.put(question(f"n{number}.example"), positive(f"n{number}.example"), 0.0)
        self.taken(query_wire("n0.example", use_edns=0, options=[dns.edns.CookieOption(b"client00", b"")]))
        for number in range(1500):
            cookie = dns.edns.CookieOption(number.to_bytes(8, "big"), b"")
            replies, left, _ = self.ask(query_wire(f"n{number % 100}.example", use_edns=0, options=[cookie]))
            self.assertEqual((len(replies), left), (1, []))


class Alike(Case):
    """Against the long way, which is simple."""

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("ask"), st.integers(0, 5)),
                st.tuples(st.just("wait"), st.integers(0, 40)),
                st.tuples(st.just("put"), st.integers(0, 2)),
                st.tuples(st.just("forget"), st.integers(0, 2)),
            ),
            max_size=40,
        ),
        st.booleans(),
    )
    @example(steps=[("put", 0), ("ask", 0), ("ask", 0), ("wait", 15), ("ask", 0), ("ask", 1)], guarded=False)
    def test_same(self, steps: list[Step], guarded: bool) -> None:
        """Whatever is asked, learnt and forgotten in whatever order, both ways give the same bytes."""
        self.setUp()
        if not guarded:
            self.front = Front([], self.memory, [], self.source, self.clock)
        plain = Front([], self.memory, [], self.source, self.clock)
        wires = [query_wire(name, use_edns=edns) for name in NAMES for edns in (0, None)]
        for number, (step, value) in enumerate(steps):
            if step == "wait":
                self.clock.advance(value / 10)
            elif step == "put":
                data = f"192.0.2.{number}"
                self.memory.put(question(NAMES[value]), positive(NAMES[value], ttl=7, data=data), self.clock.seconds())
            elif step == "forget":
                self.memory.forget(question(NAMES[value]).key)
            else:
                wire = number.to_bytes(2, "big") + wires[value][2:]
                wanted = plain.take(wire, self.client.getsockname(), False, lambda *_: None)
                plain.repeats._repeats.clear()
                replies, left, _ = self.ask(wire)
                self.assertEqual(replies[0] if replies else self.taken(wire), wanted)
                self.assertEqual(bool(left), not replies)
