"""Tests of the scripted upstream, asked by an independent client."""

from __future__ import annotations

import re
import socket
from collections.abc import Generator
from typing import Any

import dns.exception
import dns.message
import dns.query
import dns.rcode
from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from heimdall.testing import Scripted
from tests.ports import NO_IPV6

Steps = Generator[Deferred[Any], Any, None]


class Upstream(TestCase):
    """What it can be told to do."""

    def setUp(self) -> None:
        self.upstream = Scripted(reactor).start()
        self.addCleanup(self.upstream.stop)

    def ask(self, name: str, qtype: str = "A", over: str = "udp", timeout: float = 30, **more: Any) -> Deferred[Any]:
        """Ask it through dnspython, in a thread."""
        query = dns.message.make_query(name, qtype, use_edns=True)
        ask: Any = dns.query.udp if over == "udp" else dns.query.tcp
        return deferToThread(ask, query, self.upstream.host, timeout, self.upstream.port, **more)

    @inlineCallbacks
    def came(self, count: int) -> Steps:
        """Wait until so many queries came in."""
        while self.upstream.count() < count:
            yield deferLater(reactor, 0.005)

    @inlineCallbacks
    def test_answers(self) -> Steps:
        """It answers over UDP and TCP with the records it was given, and writes down what was asked."""
        self.upstream.when("www.example", "A", say=["192.0.2.1", "192.0.2.2"], ttl=30, ad=True)
        for over in ("udp", "tcp"):
            reply = yield self.ask("WWW.example", over=over)
            self.assertEqual(sorted(rdata.address for rdata in reply.answer[0]), ["192.0.2.1", "192.0.2.2"])
            self.assertEqual((reply.answer[0].ttl, dns.flags.to_text(reply.flags)), (30, "QR RD RA AD"))
        self.assertEqual([(one.name, one.qtype, one.over) for one in self.upstream.asked],
                         [("www.example", "A", "udp"), ("www.example", "A", "tcp")])  # fmt: skip
        counts = self.upstream.count("www.example"), self.upstream.count(qtype="AAAA"), self.upstream.count(over="tcp")
        self.assertEqual(counts, (2, 0, 1))

    @inlineCallbacks
    def test_rules(self) -> Steps:
        """A rule is for a name, the names below one, or a pattern; the last one given goes first."""
        self.upstream.when("*", rcode=5)
        self.upstream.when("*.example", rcode=2)
        self.upstream.when(re.compile(r"n\d+\.example"), "AAAA", rcode=1)
        for name, qtype, rcode in (
            ("a.test", "A", 5),
            ("a.b.example", "A", 2),
            ("example", "A", 5),
            ("n7.example", "AAAA", 1),
        ):
            reply = yield self.ask(name, qtype)
            self.assertEqual(reply.rcode(), rcode)

    @inlineCallbacks
    def test_no_rule(self) -> Steps:
        """Without a rule a name does not exist; a rule without data means that the type does not."""
        reply = yield self.ask("www.example")
        self.assertEqual((reply.rcode(), len(reply.authority)), (3, 1))
        self.upstream.when("www.example", "A")
        reply = yield self.ask("www.example")
        self.assertEqual((reply.rcode(), len(reply.answer), len(reply.authority)), (0, 0, 1))

    @inlineCallbacks
    def test_chain(self) -> Steps:
        """Records of other names and types can be given in full."""
        self.upstream.when(
            "alias.example", records=["alias.example. 60 CNAME www.example.", "www.example. 30 A 192.0.2.1"]
        )
        reply = yield self.ask("alias.example")
        self.assertEqual([rrset.ttl for rrset in reply.answer], [60, 30])

    @inlineCallbacks
    def test_times(self) -> Steps:
        """A rule can be for the first few queries only."""
        self.upstream.when("www.example", rcode=2, times=2)
        rcodes = []
        for _ in range(3):
            reply = yield self.ask("www.example")
            rcodes.append(reply.rcode())
        self.assertEqual(rcodes, [2, 2, 3])

    @inlineCallbacks
    def test_delay(self) -> Steps:
        """A reply can be late, and a reply that is still to come dies with the server."""
        clock = Clock()
        self.patch(self.upstream, "_reactor", clock)
        for name in ("www.example", "never.example"):
            self.upstream.when(name, delay=5)
        asked = self.ask("www.example")
        yield self.came(1)
        clock.advance(4.9)
        self.assertNoResult(asked)
        clock.advance(0.1)
        yield asked
        yield self.assertFailure(self.ask("never.example", timeout=0.1), dns.exception.Timeout)
        yield self.came(2)
        self.assertEqual(len(clock.getDelayedCalls()), 1)
        yield self.upstream.stop()
        self.assertEqual(clock.getDelayedCalls(), [])

    @inlineCallbacks
    def test_silence(self) -> Steps:
        """It can drop some queries, or all; a query that is none is dropped too."""
        self.upstream.when("drop.example", drop=True)
        yield self.assertFailure(self.ask("drop.example", timeout=0.1), dns.exception.Timeout)
        self.upstream.silent = True
        yield self.assertFailure(self.ask("www.example", timeout=0.1), dns.exception.Timeout)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"rubbish", (self.upstream.host, self.upstream.port))
            sock.sendto(bytes(12), (self.upstream.host, self.upstream.port))
        self.upstream.silent = False
        yield self.ask("last.example")  # it is read behind all of them
        self.assertEqual([one.name for one in self.upstream.asked], ["drop.example", "www.example", "last.example"])

    @inlineCallbacks
    def test_lies(self) -> Steps:
        """Before the honest reply it can send a wrong id, a wrong question, a message cut short."""
        self.upstream.when("www.example", say=["192.0.2.1"], lies=["id", "question", "cut"])
        query = dns.message.make_query("www.example", "A")
        got = yield deferToThread(self._read, query.to_wire(), 4)
        self.assertNotEqual(got[0][:2], got[3][:2])
        self.assertEqual(got[0][2:], got[3][2:])
        self.assertNotEqual(got[1][12:25], got[3][12:25])
        self.assertEqual(got[2], got[3][:-1])
        self.assertTrue(query.is_response(dns.message.from_wire(got[3])))

    @inlineCallbacks
    def test_port(self) -> Steps:
        """It can send from a port that was not asked."""
        for host in ("127.0.0.1",) if NO_IPV6 else ("127.0.0.1", "::1"):
            upstream = Scripted(reactor, host).start()
            self.addCleanup(upstream.stop)
            upstream.when("*", lies=["port"])
            self.upstream = upstream
            yield self.assertFailure(self.ask("www.example"), dns.query.UnexpectedSource)
            self.assertEqual(upstream.text, f"[::1]:{upstream.port}" if host == "::1" else f"127.0.0.1:{upstream.port}")
        self.upstream.when("*", lies=["port"])
        reply = yield self.ask("www.example", over="tcp")
        self.assertEqual(reply.rcode(), 0)

    def _read(self, wire: bytes, count: int) -> list[bytes]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(30)
            sock.sendto(wire, (self.upstream.host, self.upstream.port))
            return [sock.recv(65535) for _ in range(count)]

    @inlineCallbacks
    def test_truncation(self) -> Steps:
        """Over UDP it can truncate what is whole over TCP, up to 64 kB."""
        self.upstream.when("big.example", "TXT", say=[f'"{"x" * 250}{at}"' for at in range(200)], truncate=True)
        reply = yield self.ask("big.example", "TXT")
        self.assertEqual((len(reply.answer), bool(reply.flags & dns.flags.TC)), (0, True))
        reply = yield self.ask("big.example", "TXT", over="tcp")
        self.assertEqual(len(reply.answer[0]), 200)

    @inlineCallbacks
    def test_bytes(self) -> Steps:
        """It can send any bytes: the same to all, or made for each query."""
        self.upstream.when("garbage.example", garbage=b"garbage")
        self.upstream.when("made.example", make=lambda query: query.to_wire()[:2] + b"made")
        self.upstream.when("whole.example", make=dns.message.make_response)
        query = dns.message.make_query("garbage.example", "A").to_wire()
        self.assertEqual((yield deferToThread(self._read, query, 1)), [b"garbage"])
        query = dns.message.make_query("made.example", "A").to_wire()
        self.assertEqual((yield deferToThread(self._read, query, 1)), [query[:2] + b"made"])
        reply = yield self.ask("whole.example")
        self.assertEqual(reply.rcode(), 0)

    @inlineCallbacks
    def test_edns(self) -> Steps:
        """It can be a server that ignores EDNS, or one that refuses it."""
        self.upstream.when("old.example", edns="ignore")
        self.upstream.when("older.example", edns="formerr")
        reply = yield self.ask("old.example")
        self.assertEqual(reply.edns, -1)
        query = dns.message.make_query("older.example", "A", use_edns=True).to_wire()
        self.assertEqual((yield deferToThread(self._read, query, 1)), [query[:2] + b"\x80\x01" + bytes(8)])
        plain = dns.message.make_query("older.example", "A").to_wire()
        (wire,) = yield deferToThread(self._read, plain, 1)
        self.assertEqual(dns.message.from_wire(wire).rcode(), 0)

    @inlineCallbacks
    def test_hang_up(self) -> Steps:
        """It can close a TCP connection instead of replying."""
        self.upstream.when("bye.example", hang_up=True)
        yield self.assertFailure(self.ask("bye.example", over="tcp"), EOFError)
        reply = yield self.ask("bye.example")
        self.assertEqual(reply.rcode(), 0)

    @inlineCallbacks
    def test_stop_and_start(self) -> Steps:
        """It comes back on the port it had, unless somebody else took that."""
        port = self.upstream.port
        yield self.upstream.stop()
        self.upstream.start()
        self.assertEqual(self.upstream.port, port)
        yield self.ask("www.example")
        yield self.upstream.stop()
        with socket.socket() as other:
            other.bind((self.upstream.host, port))
            other.listen()
            self.assertRaises(CannotListenError, self.upstream.start)
            self.upstream.port = 0
