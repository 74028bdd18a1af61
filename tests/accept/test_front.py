"""The front of the house: one message down the path and its reply back."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import classImplements, implementer

from heimdall.accept import repeats
from heimdall.accept.front import Front
from heimdall.asking import deferred
from heimdall.cache.memory import Memory
from heimdall.interfaces import DROP, Drop, IGate, ISource, ITeller, Ongoing, Told
from heimdall.message.answer import TC, Answer, make
from heimdall.message.query import REFUSED, Client, Query
from tests.cache.questions import positive, question
from tests.message.messages import query_wire

CLIENT = ("192.0.2.1", 5353)


@implementer(IGate)
class Gate:
    """A policy that says the same of every query."""

    verdict: Answer | Drop | None = None

    def __init__(self) -> None:
        self.judged = 0

    def judge(self, query: Query) -> Answer | Drop | None:
        """Count, and say it."""
        self.judged += 1
        return self.verdict


@implementer(ISource)
class Source:
    """An upstream at hand."""

    def __init__(self) -> None:
        self.asked: list[Deferred[Answer]] = []
        self.queries: list[Query] = []

    def ask(self, query: Query) -> Deferred[Answer]:
        """Note the question."""
        self.queries.append(query)
        self.asked.append(Deferred())
        return self.asked[-1]


class Case(SynchronousTestCase):
    """A front between gates, a memory and a source at hand."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clients, self.names, self.source = Gate(), Gate(), Source()
        self.memory = Memory(1_000_000)
        self.later: list[tuple[bytes, Client]] = []
        self.front = self.build()

    def build(self, query_log: bool = False) -> Front:
        """The front of a test."""
        return Front([self.clients], self.memory, [self.names], self.source, self.clock, query_log=query_log)

    def take(self, wire: bytes, stream: bool = False) -> dns.message.Message | None:
        """Send a message down the path; return what comes back at once."""
        reply = self.front.take(wire, CLIENT, stream, lambda reply, client: self.later.append((reply, client)))
        return dns.message.from_wire(reply) if reply else None

    def counted(self) -> dict[tuple[str, ...], int]:
        """The answers so far by origin and response code."""
        return self.front.answers.counts


class Path(Case):
    """The stations in their order."""

    def test_from_memory(self) -> None:
        """What memory knows is answered at once; gates for names and the source are not troubled."""
        self.memory.put(question(), positive(), 0.0)
        reply = self.take(query_wire("a.example"))
        assert reply is not None
        self.assertEqual(reply.answer[0].to_text(), "a.example. 60 IN A 192.0.2.1")
        self.assertEqual((self.clients.judged, self.names.judged, self.source.asked), (1, 0, []))
        self.assertEqual(self.counted(), {("memory", "noerror"): 1})

    def test_from_the_source(self) -> None:
        """What memory does not know is asked for, and the reply is sent when it is there."""
        self.assertIsNone(self.take(query_wire("a.example")))
        self.assertEqual(self.later, [])
        self.clock.advance(0.2)
        self.source.asked[0].callback(positive())
        ((reply, client),) = self.later
        self.assertEqual((len(dns.message.from_wire(reply).answer), client), (1, CLIENT))
        self.assertEqual(self.counted(), {("upstream", "noerror"): 1})
        self.assertAlmostEqual(self.front._times.sum, 0.2)

    def test_client_gate(self) -> None:
        """A client gate ends a query before memory is asked, with an answer or with silence."""
        self.memory.put(question(), positive(), 0.0)
        self.clients.verdict = make(question(), REFUSED, "local")
        reply = self.take(query_wire("a.example"))
        assert reply is not None
        self.assertEqual(reply.rcode(), REFUSED)
        self.clients.verdict = DROP
        self.assertIsNone(self.take(query_wire("a.example")))
        self.assertEqual(self.front._silent.counts, {("gate",): 1})
        self.assertEqual(self.counted(), {("local", "refused"): 1})

    def test_name_gate(self) -> None:
        """A name gate ends a query that memory does not know."""
        self.names.verdict = make(question(), 3, "blocked")
        reply = self.take(query_wire("a.example"))
        assert reply is not None
        self.assertEqual((reply.rcode(), self.source.asked), (3, []))
        self.assertEqual(self.counted(), {("blocked", "nxdomain"): 1})
        self.names.verdict = DROP
        self.assertIsNone(self.take(query_wire("a.example")))

    def test_without_recursion(self) -> None:
        """Without RD only memory is asked; what it does not know is refused, with the reason (RFC 8914, 4.21)."""
        message = dns.message.make_query("a.example", "A", use_edns=0)
        message.flags = 0
        reply = self.take(message.to_wire())
        assert reply is not None
        self.assertEqual((reply.rcode(), reply.flags & dns.flags.RD), (REFUSED, 0))
        self.assertIn("EDE 20", reply.options[0].to_text())
        self.memory.put(question(), positive(), 0.0)
        known = self.take(message.to_wire())
        assert known is not None
        self.assertEqual(known.rcode(), 0)

    def test_bad_messages(self) -> None:
        """Bad messages are told so, or met with silence, and counted."""
        self.assertIsNone(self.take(b"short"))
        for wire in (query_wire("a.example")[:-1], query_wire("a.example", use_edns=1)):
            self.assertIsNotNone(self.take(wire))
        self.assertEqual(self.counted(), {("local", "formerr"): 1, ("local", "badvers"): 1})
        self.assertEqual(self.front._silent.counts, {("no_query",): 1})
        self.assertEqual(self.clients.judged, 0)

    def test_our_own_bug(self) -> None:
        """A source that breaks costs this client a SERVFAIL and the log a traceback; nothing else."""
        self.take(query_wire("a.example"))
        self.source.asked[0].errback(ZeroDivisionError())
        self.assertEqual(dns.message.from_wire(self.later[0][0]).rcode(), 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_stream(self) -> None:
        """Over a stream a reply may be as long as it is."""
        many = positive()
        for _ in range(6):
            many = Answer(many.question, 0, 0, (many.counts[0] * 2, 0, 0), many.body * 2, ttl=60, keep=True)
        self.memory.put(question(), many, 0.0)
        short, whole = (
            self.take(query_wire("a.example")),
            self.front.take(query_wire("a.example"), CLIENT, True, print),
        )
        assert short is not None and whole is not None
        self.assertTrue(short.flags & dns.flags.TC)
        self.assertEqual(whole[6:8], b"\0\x40")
        self.assertEqual(self.front.queries.counts, {("udp",): 1, ("tcp",): 1})

    def test_finish(self) -> None:
        """At the end the queries under way are waited for."""
        self.assertIsNone(self.successResultOf(self.front.finish()))
        self.take(query_wire("a.example"))
        self.take(query_wire("b.example"))
        done = self.front.finish()
        self.source.asked[0].callback(positive())
        self.assertNoResult(done)
        self.source.asked[1].callback(positive())
        self.assertIsNone(self.successResultOf(done))

    def test_query_log(self) -> None:
        """Nothing is logged for a query unless a query log is asked for."""
        events: list[LogEvent] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            events.append(event)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        self.memory.put(question(), positive(), 0.0)
        self.take(query_wire("a.example"))
        self.assertEqual(events, [])
        self.front = self.build(query_log=True)
        self.take(query_wire("a.example"))
        self.assertEqual((events[0]["name"], events[0]["origin"]), ("a.example", "memory"))

    def test_subnets(self) -> None:
        """A client's subnet is heeded only where that is wanted; else its query is like any other."""
        self.memory.put(question(), positive(), 0.0)
        wire = query_wire("a.example", use_edns=0, options=[dns.edns.ECSOption("198.51.100.0", 24)])
        reply = self.take(wire)
        assert reply is not None
        self.assertEqual((len(reply.answer), reply.options), (1, ()))
        self.front = Front([], self.memory, [], self.source, self.clock, client_subnet=True)
        self.assertIsNone(self.take(wire))
        self.assertEqual(len(self.source.asked), 1)

    def test_half_an_answer(self) -> None:
        """Half an answer is told over UDP, with TC; over TCP it would say nothing, and is a failure."""
        for stream, rcode, truncated in ((False, 0, True), (True, 2, False)):
            self.source.asked.clear()
            self.take(query_wire("a.example"), stream)
            self.source.asked[0].callback(Answer(question().key[:-1], 0, TC))
            told = dns.message.from_wire(self.later[-1][0])
            self.assertEqual((told.rcode(), bool(told.flags & dns.flags.TC)), (rcode, truncated))


class Misbehaving:
    """A source that calls back as no source should: ``does`` says how."""

    def __init__(self) -> None:
        self.does: list[str] = []
        self.told: list[Told] = []

    def ask(self, query: Query) -> Deferred[Answer]:
        """Ask as everybody else does."""
        return deferred(self.tell, query)

    def tell(self, query: Query, told: Told) -> Ongoing:
        """Tell, and break."""
        self.told.append(told)
        for what in self.does:
            if what == "raise":
                raise ZeroDivisionError
            told(positive() if what == "answer" else Failure(ZeroDivisionError()))
        return Deferred()


classImplements(Misbehaving, ITeller)


class Counters(Case):
    """Whatever a source does, each query is counted as pending once, and gets one reply."""

    def setUp(self) -> None:
        super().setUp()
        self.bad = Misbehaving()
        self.front = Front([self.clients], self.memory, [self.names], self.bad, self.clock)

    def pending(self) -> int:
        """How many queries wait."""
        return self.front._pending

    def replies(self, wire: bytes) -> int:
        """How many replies one message gets."""
        before = len(self.later)
        try:
            reply = self.take(wire)
        except ZeroDivisionError:
            return 1  # the socket that it came by tells SERVFAIL
        return (reply is not None) + len(self.later) - before

    def test_ways(self) -> None:
        """Told and raised, told twice, raised and told: none leaves a query pending, or counts one too few."""
        for does in (
            ["raise"], ["answer"], ["fail"], ["answer", "raise"], ["fail", "raise"], ["answer", "answer"],
            ["answer", "fail"], ["fail", "fail", "raise"],
        ):  # fmt: skip
            self.bad.does = does
            self.assertEqual((self.replies(query_wire("a.example")), self.pending()), (1, 0), does)
            self.bad.told[-1](positive())  # and once more, later
            self.assertEqual(self.pending(), 0, does)
            self.successResultOf(self.front.finish())
        self.flushLoggedErrors(ZeroDivisionError)

    def test_many(self) -> None:
        """Through all of that others wait, are counted, and their replies end what waits for the last of them."""
        self.assertEqual(self.replies(query_wire("waits.example")), 0)
        waits = self.bad.told[-1]
        for does in (["answer", "raise"], ["raise"], ["answer", "answer"]):
            self.bad.does = does
            self.replies(query_wire("a.example"))
            self.assertEqual(self.pending(), 1)
        finished = self.front.finish()
        self.assertNoResult(finished)
        waits(positive())
        self.successResultOf(finished)
        self.flushLoggedErrors(ZeroDivisionError)

    def test_unsent(self) -> None:
        """A reply that cannot be sent is a bug, reported, and no query waits for it."""

        def broken(reply: bytes, client: Client) -> None:
            raise ZeroDivisionError

        self.front.take(query_wire("a.example"), CLIENT, False, broken)
        finished = self.front.finish()
        self.bad.told[-1](positive())
        self.successResultOf(finished)
        self.assertEqual((self.pending(), len(self.flushLoggedErrors(ZeroDivisionError))), (0, 1))


class Repeats(Case):
    """The same message again, but for its id."""

    wire = query_wire("A.eXample", use_edns=0)

    def again(self, identity: int, client: Client = CLIENT) -> dns.message.Message:
        """Send it under another id; it must be answered at once."""
        reply = self.front.take(identity.to_bytes(2, "big") + self.wire[2:], client, False, print)
        assert reply
        return dns.message.from_wire(reply)

    def test_same_reply(self) -> None:
        """Each gets its own id, and otherwise the same reply; all are counted, and timed."""
        self.memory.put(question(), positive(), 0.0)
        replies = [self.again(identity) for identity in (1, 2, 65535)]
        self.assertEqual([reply.id for reply in replies], [1, 2, 65535])
        self.assertEqual({reply.answer[0].to_text() for reply in replies}, {"A.eXample. 60 IN A 192.0.2.1"})
        self.assertEqual((self.counted(), sum(self.front._times.buckets)), ({("memory", "noerror"): 3}, 3))
        self.assertEqual(self.front.queries.counts, {("udp",): 3})

    def test_ages(self) -> None:
        """The TTL sinks with the seconds, and a new answer takes the place of the old at once."""
        self.memory.put(question(), positive(), 0.0)
        ttls = []
        for _ in range(3):
            ttls += [self.again(7).answer[0].ttl, self.again(8).answer[0].ttl]
            self.clock.advance(1)
        self.assertEqual(ttls, [60, 60, 59, 59, 58, 58])
        self.memory.put(question(), positive(data="192.0.2.9"), self.clock.seconds())
        self.assertIn("192.0.2.9", self.again(9).answer[0].to_text())

    def test_gates_judge_each(self) -> None:
        """What was answered a client before is refused when a gate says so, under the right id."""
        self.memory.put(question(), positive(), 0.0)
        self.again(1)
        self.clients.verdict = make(question(), REFUSED, "local")
        self.assertEqual((self.again(2).rcode(), self.again(3).id), (REFUSED, 3))
        self.assertEqual(self.clients.judged, 3)

    def test_forgotten(self) -> None:
        """Once memory has forgotten the answer each asker is told what the source says, under its own id."""
        self.memory.put(question(), positive(), 0.0)
        self.again(1)
        self.memory.forget(question().key)
        clients = [("192.0.2.7", 7), ("192.0.2.8", 8)]
        for identity, client in enumerate(clients):
            message = identity.to_bytes(2, "big") + self.wire[2:]
            self.assertIsNone(self.front.take(message, client, False, lambda *reply: self.later.append(reply)))
        for asked in self.source.asked:
            asked.callback(positive())
        self.assertEqual([(int.from_bytes(reply[:2], "big"), client) for reply, client in self.later],
                         [(0, clients[0]), (1, clients[1])])  # fmt: skip

    def test_bounded(self) -> None:
        """However many spellings of a name are asked, what is remembered of them is bounded."""
        self.memory.put(question("abcdefghijklmnop.example"), positive("abcdefghijklmnop.example"), 0.0)
        self.patch(repeats, "MOST_BYTES", 100_000)
        for number in range(200):
            name = "".join(
                letter.upper() if number >> at & 1 else letter for at, letter in enumerate("abcdefghijklmnop")
            )
            self.assertTrue(self.front.take(query_wire(f"{name}.example"), CLIENT, False, print))
        self.assertLessEqual(self.front.repeats._bytes, 100_000)
        self.assertLess(len(self.front.repeats._repeats), 150)

    def test_waits(self) -> None:
        """Of a long message that waits for its answer, no more is kept than its header and its question."""
        padding = dns.edns.GenericOption(dns.edns.OptionType.PADDING, bytes(3000))
        wire = query_wire("a.example", use_edns=0, request_payload=4096, options=[padding])
        for rush in (False, True):
            self.front.rush.on = rush
            self.assertIsNone(self.take(wire))
        self.front.rush.catch_up()
        self.assertEqual([asked.wire for asked in self.source.queries], [wire[:27]] * 2)
        for answer in self.source.asked:
            answer.callback(positive())
        self.assertEqual([reply[:2] for reply, _ in self.later], [wire[:2]] * 2)
