"""A rush: what is known is answered at once, whatever else comes."""

from __future__ import annotations

import socket

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from heimdall.accept import rush
from heimdall.accept.datagram import Datagrams
from heimdall.accept.engine import Faults
from heimdall.accept.front import Front
from heimdall.accept.reader import BATCH
from heimdall.accept.rush import FLOOD, LATELY, LEAP, MIXED, MOST, STEP, Rush
from heimdall.accept.sockets import bind
from heimdall.cache.memory import Memory
from heimdall.message.answer import Answer, make
from heimdall.message.query import REFUSED, Query
from tests.accept.echo import NO_BATCHES
from tests.accept.test_datagram import Waiting
from tests.accept.test_front import CLIENT, Gate, Source
from tests.cache.questions import positive, question
from tests.message.messages import query_wire


class Turns(Clock):
    """A clock with turns like those of a reactor: what is called for in one is done in the next."""

    def turn(self, after: float = 0.0) -> None:
        """Begin the next turn, after so many seconds."""
        self.rightNow += after
        due, self.calls = [call for call in self.calls if call.getTime() <= self.rightNow], []
        for call in due:
            call.func(*call.args, **call.kw)


class Holding(SynchronousTestCase):
    """Questions that wait."""

    def setUp(self) -> None:
        self.clock = Turns()
        self.gone: list[bytes] = []
        self.rush = Rush(self.clock, lambda held: self.gone.extend(query.name for query, _, _ in held))

    def hold(self, count: int, together: int = 1) -> list[bytes]:
        """Let so many questions wait, some of them together; return their names."""
        asked = [question(f"n{number}.example") for number in range(count)]
        for at in range(0, count, together):
            self.rush.hold([(one, 0.0, lambda *_: None) for one in asked[at : at + together]])
        return [one.name for one in asked]

    def test_leap(self) -> None:
        """Where many ask for what is known, many others go on together: so each of them costs least."""
        self.rush.on = True
        self.rush.read(60, 40)
        names = self.hold(LEAP)
        self.rush.catch_up()
        self.assertEqual((self.gone, self.rush.on, self.clock.getDelayedCalls()), (names, False, []))

    def test_steps(self) -> None:
        """In a flood a few go on at each turn of the reactor, in the order in which they came, until none is left."""
        self.rush.on = True
        self.rush.read(1, FLOOD + 1)
        names = self.hold(2 * STEP + 1)
        self.rush.catch_up()
        self.rush.catch_up()
        self.assertEqual((self.gone, self.rush.on), (names[:STEP], True))
        self.clock.turn()
        self.assertEqual(self.gone, names[: 2 * STEP])
        self.clock.turn()
        self.assertEqual((self.gone, self.rush.on, self.clock.getDelayedCalls()), (names, False, []))

    def test_flood(self) -> None:
        """It is one while some ask for what is known, and far more for what is not; what was long ago counts little."""
        self.rush.read(0, 1000)
        self.assertFalse(self.rush.flood)
        self.rush.read(1, 0)
        self.assertTrue(self.rush.flood)
        self.rush.read(1000 // FLOOD, 0)
        self.assertFalse(self.rush.flood)
        for _ in range(2):
            self.rush.read(0, LATELY)
        self.assertTrue(self.rush.flood)

    def test_leaps(self) -> None:
        """More go on together while nobody asks for what is known, or has not for a while."""
        names = self.hold(4 * LEAP)
        self.rush.catch_up()
        self.assertEqual(self.gone, names[:LEAP])
        self.rush.read(1, LEAP)
        self.clock.turn(MIXED / 2)
        self.assertEqual(self.gone, names[: LEAP + STEP])
        self.clock.rightNow += MIXED / 2
        self.rush.read(0, 1)
        self.clock.turn()
        self.assertEqual(self.gone, names[: 2 * LEAP + STEP])

    def test_bounded(self) -> None:
        """Too many cost the oldest, and one line in the log until all is well again."""
        with capturedLogs() as logs:
            names = self.hold(MOST + 10, together=67)
            self.rush.catch_up()
            while self.clock.getDelayedCalls():
                self.clock.advance(0)
        self.assertEqual(self.gone, names[10:])
        self.assertEqual(self.rush._dropped.total(), 10)
        self.assertEqual([event["log_level"].name for event in logs], ["warn", "info"])

    def test_close(self) -> None:
        """At the end all that wait go on at once."""
        names = self.hold(2 * LEAP)
        self.rush.catch_up()
        self.rush.close()
        self.assertEqual((self.gone, self.clock.getDelayedCalls()), (names, []))


class Broken(Gate):
    """A policy with a bug."""

    def judge(self, query: Query) -> Answer | None:
        raise KeyError("bug")


class Serving(SynchronousTestCase):
    """A front in a rush."""

    def setUp(self) -> None:
        self.clock, self.memory, self.source, self.names = Clock(), Memory(1_000_000), Source(), Gate()
        self.front = Front([], self.memory, [self.names], self.source, self.clock)
        self.later: list[bytes] = []

    def take(self, text: str, stream: bool = False) -> bytes | None:
        """Send a message down the path."""
        return self.front.take(query_wire(text), CLIENT, stream, lambda reply, client: self.later.append(reply))

    def test_what_waits(self) -> None:
        """In a rush a question that memory does not know waits; one that it knows, or over a stream, does not."""
        self.memory.put(question(), positive(), 0.0)
        self.front.rush.on = True
        self.assertIsNotNone(self.take("a.example"))
        self.assertIsNone(self.take("b.example"))
        self.assertEqual(len(self.source.asked), 0)
        self.assertIsNone(self.take("c.example", stream=True))
        self.assertEqual(len(self.source.asked), 1)
        self.front.rush.catch_up()
        self.assertEqual(len(self.source.asked), 2)
        self.source.asked[1].callback(positive("b.example"))
        self.assertEqual(len(self.later), 1)

    def test_judged_later(self) -> None:
        """Gates for names judge once it goes on, and what they say is sent; a bug of theirs is SERVFAIL."""
        self.front.rush.on = True
        self.take("b.example")
        self.names.verdict = positive("b.example")
        self.front.rush.catch_up()
        self.front.lead([], [Broken()], self.source, client_subnet=False, udp_size=1232, query_log=False)
        self.front.rush.on = True
        self.take("c.example")
        self.front.rush.catch_up()
        self.assertEqual([reply[3] & 15 for reply in self.later], [0, 2])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_finish(self) -> None:
        """A front that ends asks what waits before it says that all is answered."""
        self.front.rush.on = True
        self.take("b.example")
        done = self.front.finish()
        self.assertNoResult(done)
        self.source.asked[0].callback(positive("b.example"))
        self.successResultOf(done)


class Flood(SynchronousTestCase):
    """A real socket, full of questions that nobody knows."""

    skip = NO_BATCHES

    def serve(self, *gates: Gate) -> None:
        """Serve behind these gates for clients, and have somebody send three batches of new names, and a known one."""
        self.clock, memory, self.source = Clock(), Memory(1_000_000), Source()
        self.front = Front(gates, memory, [], self.source, self.clock)
        datagrams = Datagrams(self.front, self.clock, Faults(self.clock), self.front.repeats, self.front.rush)
        self.addCleanup(datagrams.close)
        waiting = Waiting()
        (bound,) = bind(["127.0.0.1:0"], True)
        bound.tcp.close()
        datagrams.listen(bound.udp, waiting)
        memory.put(question(), positive(), 0.0)
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.client.close)
        self.client.connect(("127.0.0.1", bound.port))
        self.client.settimeout(60)
        self.sent = [query_wire(f"n{number}.example") for number in range(3 * BATCH)]
        for wire in (*self.sent, query_wire("a.example")):
            self.client.send(wire)
        (self.reader,) = waiting.readers

    def test_known_first(self) -> None:
        """Behind a flood of new names a known one is answered in the same turn, before most of them are asked."""
        self.serve()
        self.reader.doRead()
        self.assertEqual(self.client.recv(4096)[3] & 15, 0)
        self.assertEqual(len(self.source.asked), rush.STEP)
        for _ in range(5):
            self.clock.advance(0)
        self.assertEqual(len(self.source.asked), 3 * BATCH)
        self.client.send(query_wire("z.example"))
        self.reader.doRead()
        self.assertEqual(len(self.source.asked), 3 * BATCH + 1)
        self.assertEqual(self.front.queries.total("udp"), 3 * BATCH + 2)

    def test_told_later(self) -> None:
        """Who had to wait with others, read as alike to those before them, is sent his own reply."""
        self.serve()
        number, asked_by_other = 2 * BATCH, query_wire("other.example")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.connect(self.client.getpeername())
            other.settimeout(60)
            other.send(asked_by_other)
            self.reader.doRead()
            self.client.recv(4096)
            for _ in range(5):
                self.clock.advance(0)
            self.source.asked[number].callback(positive(f"n{number}.example"))
            self.source.asked[-1].callback(positive("other.example"))
            self.clock.advance(0)
            for client, asked in ((self.client, self.sent[number]), (other, asked_by_other)):
                reply = client.recv(4096)
                self.assertEqual((reply[:2], reply[3] & 15), (asked[:2], 0))
                self.assertEqual(reply[12 : len(asked)], asked[12:])

    def test_judged(self) -> None:
        """A gate that has to see each message sees each, and what it lets pass alone is asked."""
        gate = Gate()
        self.serve(gate)
        self.reader.doRead()
        gate.verdict = make(question(), REFUSED, "local")
        self.client.send(query_wire("y.example"))
        self.reader.doRead()
        for _ in range(5):
            self.clock.advance(0)
        self.assertEqual((gate.judged, len(self.source.asked)), (3 * BATCH + 2, 3 * BATCH))
