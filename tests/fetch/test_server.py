"""Tests of one server over both its transports, on real sockets."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import dns.edns
import dns.message
import dns.rcode
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from heimdall.fetch import server
from heimdall.fetch.edns_support import FORGET, NAMES
from heimdall.fetch.judgement import judge
from heimdall.fetch.ledger import Ledger
from heimdall.fetch.server import Server, parse, reach
from heimdall.interfaces import IExchange, ITransport, NoAnswer, Ongoing
from heimdall.message import query as queries
from heimdall.message.answer import TC
from heimdall.message.query import FORMERR, NOTIMP, Query, make
from heimdall.message.wire import from_text
from heimdall.testing import Scripted
from tests.fetch.outcomes import exchange
from tests.message.messages import option
from tests.rediscase import until
from tests.virtual_time import CLOCK as reactor
from tests.virtual_time import VirtualCase

Steps = Generator[Deferred[Any], Any, None]


def ask(text: str = "www.example", qtype: int = 1, **more: Any) -> Query:
    """Return a question."""
    return make(from_text(text), qtype, **more)


class Case(VirtualCase):
    """An upstream and a server."""

    def setUp(self) -> None:
        super().setUp()
        self.upstream = Scripted(reactor).start()
        self.addCleanup(self.upstream.stop)
        self.upstream.when("*", say=["192.0.2.1"])
        self.ledger = Ledger()
        self.server = self.reach()

    def reach(self, scheme: str = "", **more: Any) -> Server:
        way = reach(IReactorTime(reactor), scheme + self.upstream.text, self.ledger, **more)
        self.addCleanup(way.close)
        return way

    def query(self, at: int = -1) -> dns.message.Message:
        """Return one query that came in."""
        return dns.message.from_wire(self.upstream.asked[at].wire)


class Transports(Case):
    """UDP first, TCP where it is needed."""

    @inlineCallbacks
    def test_udp(self) -> Steps:
        """A question goes over UDP, once."""
        self.assertTrue(verifyObject(IExchange, self.server))
        yield exchange(self.server, ask(), 5)
        self.assertEqual([asked.over for asked in self.upstream.asked], ["udp"])

    @inlineCallbacks
    def test_truncated(self) -> Steps:
        """A truncated reply is asked for again over TCP, and the whole answer is the result."""
        self.upstream.when("big.example", "TXT", say=[f'"{"b" * 200}{at}"' for at in range(50)], truncate=True)
        answer = yield exchange(self.server, ask("big.example", 16), 5)
        self.assertEqual((answer.counts[0], answer.flags & TC), (50, 0))
        self.assertEqual([asked.over for asked in self.upstream.asked], ["udp", "tcp"])
        self.assertEqual(self.ledger.truncated.counts, {("tcp",): 1})

    @inlineCallbacks
    def test_truncated_without_tcp(self) -> Steps:
        """Where TCP fails the truncated answer is the result, and may not be kept."""
        self.upstream.when("big.example", say=["192.0.2.1"], truncate=True, hang_up=True)
        answer = yield exchange(self.server, ask("big.example"), 5)
        self.assertTrue(answer.flags & TC)
        self.assertFalse(answer.keep)
        self.assertEqual(self.ledger.truncated.counts, {("kept",): 1})

    @inlineCallbacks
    def test_truncated_with_dumb_tcp(self) -> Steps:
        """Where TCP is dumb the truncated answer is the result well before the deadline."""
        self.patch(server, "WHOLE", 0.05)
        self.upstream.when("big.example", say=["192.0.2.1"], truncate=True)
        self.upstream.when("big.example", over="tcp", drop=True)
        answer = yield exchange(self.server, ask("big.example"), 5)
        self.assertTrue(answer.flags & TC)

    @inlineCallbacks
    def test_tcp_only(self) -> Steps:
        """A server given with tcp:// is asked over TCP at once."""
        way = self.reach("tcp://")
        yield exchange(way, ask(), 5)
        self.assertEqual([asked.over for asked in self.upstream.asked], ["tcp"])
        way.close()
        yield self.assertFailure(exchange(way, ask(), 5), NoAnswer)

    @inlineCallbacks
    def test_cancel(self) -> Steps:
        """Cancelling while TCP is under way stops that as well."""
        self.upstream.when("big.example", truncate=True)
        self.upstream.when("big.example", over="tcp", drop=True)
        deferred = exchange(self.server, ask("big.example"), 5)
        while not self.upstream.count(over="tcp"):
            yield exchange(self.server, ask(), 5)
        deferred.cancel()
        self.failureResultOf(deferred)
        self.assertEqual(self.ledger.truncated.counts, {})


class Questions(Case):
    """What a server is told."""

    @inlineCallbacks
    def test_flags(self) -> Steps:
        """RD is set, CD and DO are the client's, and EDNS tells that 1232 bytes are taken."""
        yield exchange(self.server, ask(do=True, cd=True), 5)
        query = self.query()
        self.assertEqual(dns.flags.to_text(query.flags), "RD CD")
        self.assertEqual((query.edns, query.payload, query.ednsflags), (0, 1232, dns.flags.DO))
        yield exchange(self.server, ask(), 5)
        self.assertEqual((dns.flags.to_text(self.query().flags), self.query().ednsflags), ("RD", 0))

    @inlineCallbacks
    def test_ad(self) -> Steps:
        """A trusted server is told that the AD bit is wanted (RFC 6840, 5.7)."""
        yield exchange(self.reach(ad=True), ask(), 5)
        self.assertEqual(dns.flags.to_text(self.query().flags), "RD AD")

    @inlineCallbacks
    def test_subnet(self) -> Steps:
        """The client's subnet is passed on where that is wanted, and only there."""
        asked = bytes.fromhex("0008 0007 0001 1800 c63364".replace(" ", ""))
        wire = bytes.fromhex("000001000001000000000001") + from_text("www.example") + b"\0\1\0\1"
        opt = b"\0\0\x29\4\xd0\0\0\0\0" + len(asked).to_bytes(2, "big") + asked
        query = queries.read(wire + opt, subnets=True)
        assert isinstance(query, Query)
        yield exchange(self.server, query, 5)
        self.assertEqual(self.query().options, ())
        yield exchange(self.reach(subnet=True), query, 5)
        self.assertEqual(self.query().options[0].to_text(), "ECS 198.51.100.0/24 scope/0")


class Plain(Case):
    """Servers that do not know EDNS (RFC 6891, 7)."""

    @inlineCallbacks
    def test_refused(self) -> Steps:
        """A name whose question with EDNS is refused is asked without; another name is asked with it all the same."""
        self.upstream.when("odd.example", say=["192.0.2.1"], edns="formerr")
        for _ in range(NAMES + 1):
            answer = yield exchange(self.server, ask("odd.example"), 5)
            self.assertEqual(answer.rcode, 0)
        yield exchange(self.server, ask(), 5)
        self.assertEqual([self.query(at).edns for at in range(-3, 0)], [0, -1, 0])
        self.assertFalse(self.server.edns.lacking)

    @inlineCallbacks
    def test_refused_for_all(self) -> Steps:
        """A server that refuses EDNS for many names is asked without it, with one line in the log."""
        self.upstream.when("*", say=["192.0.2.1"], edns="formerr")
        with capturedLogs() as logs:
            for number in range(NAMES + 3):
                yield exchange(self.server, ask(f"n{number}.example"), 5)
        self.assertEqual(self.upstream.count(), 2 * NAMES + 3)
        self.assertEqual(self.query().edns, -1)
        told = [formatEvent(event) for event in logs if "EDNS" in formatEvent(event)]
        self.assertEqual(len(told), 1, told)
        self.assertIn("does not understand EDNS", told[0])
        self.assertEqual(self.ledger.plain.total(), NAMES)

    @inlineCallbacks
    def test_formerr_with_opt(self) -> Steps:
        """FORMERR with an OPT says nothing about EDNS (RFC 6891, 7): it is the answer for that name."""
        self.upstream.when("odd.example", rcode=FORMERR)
        answer = yield exchange(self.server, ask("odd.example"), 5)
        self.assertEqual((answer.rcode, self.upstream.count()), (FORMERR, 1))

    @inlineCallbacks
    def test_never_kept_for_do(self) -> Steps:
        """What comes without an OPT has no signatures: it is told, and not kept, where DO was set."""
        for edns in ("formerr", "ignore"):
            self.upstream.when("*", say=["192.0.2.1"], edns=edns)
            for do in (False, True):
                answer = yield exchange(self.server, ask(f"{edns}.example", do=do), 5)
                self.assertEqual((answer.counts[0], answer.keep), (1, not do))

    @inlineCallbacks
    def test_refused_at_once(self) -> Steps:
        """Of many questions that were on their way when it turned out, each is asked again without."""
        self.upstream.when("*", say=["192.0.2.1"], edns="formerr")
        answers = yield gatherResults([exchange(self.server, ask(f"n{number}.example"), 5) for number in range(20)])
        self.assertEqual([answer.rcode for answer in answers], [0] * 20)
        self.assertEqual(self.upstream.count(), 40)

    @inlineCallbacks
    def test_refused_over_tcp(self) -> Steps:
        """The same holds over TCP."""
        self.upstream.when("*", say=["192.0.2.1"], edns="formerr")
        answer = yield exchange(self.reach("tcp://"), ask(), 5)
        self.assertEqual(answer.rcode, 0)

    @inlineCallbacks
    def test_ignored(self) -> Steps:
        """A server that ignores EDNS is fine as it is."""
        self.upstream.when("*", say=["192.0.2.1"], edns="ignore")
        answer = yield exchange(self.server, ask(), 5)
        self.assertEqual((answer.rcode, len(self.upstream.asked)), (0, 1))

    @inlineCallbacks
    def test_other_reason(self) -> Steps:
        """A server that cannot answer one question with or without EDNS goes on being asked with it."""
        for rcode in (FORMERR, NOTIMP):
            self.upstream.when("odd.example", rcode=rcode, edns="ignore")
            answer = yield exchange(self.server, ask("odd.example"), 5)
            self.assertEqual(answer.rcode, rcode)
            yield exchange(self.server, ask(), 5)
            self.assertEqual(self.query().edns, 0)
        self.assertEqual(self.upstream.count("odd.example"), 4)
        self.assertEqual(self.ledger.plain.total(), 0)

    @inlineCallbacks
    def test_silent_without(self) -> Steps:
        """A server that refuses EDNS and is silent without it has refused: that is the answer."""
        self.upstream.when("odd.example", drop=True)
        self.upstream.when("odd.example", rcode=NOTIMP, edns="ignore", times=1)
        answer = yield exchange(self.server, ask("odd.example"), 0.2)
        self.assertEqual(answer.rcode, NOTIMP)

    @inlineCallbacks
    def test_truncated_without(self) -> Steps:
        """Without EDNS an answer is truncated sooner; TCP follows."""
        self.upstream.when("big.example", say=["192.0.2.1"], truncate=True, edns="formerr")
        answer = yield exchange(self.server, ask("big.example"), 5)
        self.assertEqual((answer.flags & TC, answer.counts[0]), (0, 1))


class Subnets(Case):
    """The client's subnet on its way to a server (RFC 7871)."""

    def with_subnet(self, text: str = "www.example", network: str = "198.51.100.0", bits: int = 24) -> Query:
        """Return a question whose client gave a subnet."""
        wire = dns.message.make_query(text, "A", use_edns=0, options=[dns.edns.ECSOption(network, bits)]).to_wire()
        query = queries.read(wire, subnets=True)
        assert isinstance(query, Query)
        return query

    @inlineCallbacks
    def test_refused(self) -> Steps:
        """REFUSED for the sake of the subnet is asked again without it (RFC 7871, 7.1.3)."""

        def refuse(query: dns.message.Message) -> dns.message.Message:
            reply = dns.message.make_response(query)
            reply.set_rcode(dns.rcode.REFUSED if query.options else dns.rcode.NOERROR)
            return reply

        self.upstream.when("*", make=refuse)
        way = self.reach(subnet=True)
        answer = yield exchange(way, self.with_subnet(), 5)
        self.assertEqual((answer.rcode, self.upstream.count()), (0, 2))
        self.assertEqual([len(self.query(at).options) for at in range(2)], [1, 0])

    @inlineCallbacks
    def test_other_network(self) -> Steps:
        """A reply for another family, prefix or address is dropped, and the right one counts (RFC 7871, 7.3)."""
        wrong = [
            dns.edns.ECSOption("198.51.101.0", 24, 24),
            dns.edns.ECSOption("198.51.96.0", 20, 20),
            dns.edns.ECSOption("2001:db8::", 24, 24),
            option(8, b"\0\1"),
        ]
        sent = iter(wrong)

        def reply(query: dns.message.Message) -> bytes:
            made = dns.message.make_response(query)
            made.use_edns(0, 0, 1232, options=[next(sent, dns.edns.ECSOption("198.51.100.0", 24, 16))])
            return made.to_wire()

        way = self.reach(subnet=True)
        for number in range(len(wrong)):
            self.upstream.when("www.example", make=reply)
            waiting = exchange(way, self.with_subnet(), 60)
            yield Deferred.fromCoroutine(
                until(lambda number=number: self.ledger.mismatched.total("subnet") == number + 1)  # type: ignore[misc]
            )
            self.assertNoResult(waiting)
            waiting.cancel()
            waiting.addErrback(lambda _: None)
        answer = yield exchange(way, self.with_subnet(), 60)
        self.assertEqual(answer.scope, 16)

    @inlineCallbacks
    def test_not_asked_for(self) -> Steps:
        """An option that answers no question of ours is ignored."""

        def reply(query: dns.message.Message) -> bytes:
            made = dns.message.make_response(query)
            made.use_edns(0, 0, 1232, options=[dns.edns.ECSOption("198.51.101.0", 24, 24)])
            return made.to_wire()

        self.upstream.when("*", make=reply)
        answer = yield exchange(self.reach(subnet=True), ask(), 60)
        self.assertIsNone(answer.scope)

    @inlineCallbacks
    def test_none(self) -> Steps:
        """A prefix of 0 bits is passed on: tell nobody the network."""
        yield exchange(self.reach(subnet=True), self.with_subnet(bits=0), 5)
        self.assertEqual(self.query().options[0].to_text(), "ECS 0.0.0.0/0 scope/0")


@implementer(ITransport)
class Written:
    """A transport that keeps what it would send, and answers at once."""

    def __init__(self, write: Any, rcodes: list[int], clock: Clock, takes: float = 0) -> None:
        self.write, self.rcodes, self.clock, self.takes = write, rcodes, clock, takes
        self.sent: list[bytes] = []

    def exchange(self, query: Query, form: int, timeout: float, on_reply: Any) -> Ongoing:
        self.sent.append(self.write(query, 0, form))
        self.clock.advance(self.takes)
        head = bytes(2) + (0x8180 | self.rcodes.pop(0)).to_bytes(2, "big") + b"\0\1" + bytes(6)
        return succeed(judge(head + query.key[:-1], query, form)).addBoth(on_reply)

    def close(self) -> None:
        """Nothing is open."""


class Memory(SynchronousTestCase):
    """How long it is remembered that a server knows no EDNS."""

    def server(self, rcodes: list[int], takes: float = 0) -> Server:
        self.clock = Clock()

        def datagram(write: Any) -> Written:
            self.written = Written(write, rcodes, self.clock, takes)
            return self.written

        def stream(write: Any) -> Written:
            return Written(write, [], self.clock)

        return Server("192.0.2.1:53", self.clock, Ledger(), datagram=datagram, stream=stream)

    def test_forgotten(self) -> None:
        """After a minute EDNS is tried again; a server that understands it by then is told of, once."""
        way = self.server([FORMERR, 0] * NAMES + [0, 0, 0])
        for number in range(NAMES):
            self.successResultOf(exchange(way, ask(f"n{number}.example"), 5))
        self.clock.advance(FORGET - 1)
        self.successResultOf(exchange(way, ask(), 5))
        self.clock.advance(1)
        with capturedLogs() as logs:
            self.successResultOf(exchange(way, ask(), 5))
            self.successResultOf(exchange(way, ask(), 5))
        plain = len(ask().key) - 1 + 12
        self.assertEqual([len(wire) == plain for wire in self.written.sent[-3:]], [True, False, False])
        self.assertEqual([formatEvent(event) for event in logs], ["upstream 192.0.2.1:53 understands EDNS again"])

    def test_between(self) -> None:
        """An answer to a question with EDNS wipes out what other names made one suspect."""
        way = self.server([FORMERR, 0] * (NAMES - 1) + [0] + [FORMERR, 0] * (NAMES - 1) + [0])
        for number in range(2 * NAMES):
            self.successResultOf(exchange(way, ask(f"n{number}.example"), 5))
        self.assertGreaterEqual(self.clock.seconds(), way.edns.plain_until)

    def test_no_time_left(self) -> None:
        """When the time is over the answer is what came, whatever else might be tried."""
        way = self.server([FORMERR], takes=5)
        self.assertEqual(self.successResultOf(exchange(way, ask(), 5)).rcode, FORMERR)

    def test_told_once(self) -> None:
        """Who asks is told once, and to cancel behind that changes nothing."""
        told: list[object] = []
        asked = self.server([0]).tell(ask(), 5, told.append)
        asked.cancel()
        self.assertEqual(len(told), 1)


class Addresses(SynchronousTestCase):
    """How a server is written."""

    def test_good(self) -> None:
        """HOST, HOST:PORT, IPv6 in brackets, a zone, tcp:// in front."""
        for text, parsed in {
            "192.0.2.1": (False, "192.0.2.1", 53),
            "192.0.2.1:5353": (False, "192.0.2.1", 5353),
            "[2001:db8::1]": (False, "2001:db8::1", 53),
            "[fe80::1%eth0]:54": (False, "fe80::1%eth0", 54),
            "tcp://192.0.2.1": (True, "192.0.2.1", 53),
            "tcp://[::1]:1": (True, "::1", 1),
        }.items():
            self.assertEqual(parse(text), parsed)

    def test_bad(self) -> None:
        """Whatever else is an error that shows the text."""
        for text in ("", "dns.example", "192.0.2.1:0", "192.0.2.1:65536", "2001:db8::1", "[192.0.2.1]", "192.0.2.1:x",
                     "udp://192.0.2.1", "192.0.2.300", "[::1"):  # fmt: skip
            error = self.assertRaises(ValueError, parse, text)
            self.assertIn(repr(text), str(error))
