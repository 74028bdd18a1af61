"""Tests of the one judgement of what comes from an upstream: the table of docs/errors.md, row by row."""

from __future__ import annotations

from collections.abc import Callable

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from heimdall.fetch.judgement import FAILED, STRAY, TRUNCATED, Unusable, judge, unreachable
from heimdall.message.answer import TC, Answer
from heimdall.message.edns import NETWORK_ERROR, NO_REACHABLE_AUTHORITY, ExtendedError
from heimdall.message.query import (
    FORMERR,
    NOTIMP,
    NXDOMAIN,
    REFUSED,
    SERVFAIL,
    WITH_OPT,
    WITH_SUBNET,
    Query,
    make,
    read,
)
from heimdall.message.wire import from_text
from tests.message.messages import option, query_wire, reply_wire

ADDRESS = "a.example. 60 A 192.0.2.1"
OPT = b"\0\0\x29\4\xd0\0\0\0\0\0\0"

Change = Callable[[bytes], bytes]


def with_opt(wire: bytes) -> bytes:
    """Return a response with an OPT."""
    return wire[:11] + b"\1" + wire[12:] + OPT


def flags(wire: bytes, flags: int, rcode: int = 0) -> bytes:
    """Return a response with other flags and another code."""
    return wire[:2] + (flags | rcode).to_bytes(2, "big") + wire[4:]


class Judging(SynchronousTestCase):
    """What each kind of message leads to."""

    query = make(from_text("a.example"), 1)
    good = with_opt(reply_wire("a.example.", "A", ADDRESS))

    def judged(self, wire: bytes, query: Query | None = None, form: int = WITH_OPT) -> Unusable:
        """Judge what is no answer."""
        outcome = judge(wire, query or self.query, form)
        assert isinstance(outcome, Unusable), outcome
        return outcome

    def test_usable(self) -> None:
        """NOERROR and NXDOMAIN are answers, whatever RA says: an authoritative server has it off."""
        for wire in (self.good, flags(self.good, 0x8400), with_opt(reply_wire("a.example.", "A", rcode=NXDOMAIN))):
            self.assertIsInstance(judge(wire, self.query, WITH_OPT), Answer)

    def test_failures(self) -> None:
        """A failure leads to the next server, and counts against this one, but for FORMERR."""
        for rcode, reason in {SERVFAIL: "servfail", REFUSED: "refused", NOTIMP: "notimp", FORMERR: "formerr"}.items():
            judged = self.judged(flags(self.good, 0x8180, rcode))
            self.assertEqual((judged.kind, judged.reason, judged.answer.rcode), (FAILED, reason, rcode))
            self.assertEqual((judged.blamed, judged.plain, judged.said), (rcode != FORMERR, False, True))
            self.assertEqual(judged.answer.counts, (0, 0, 0))

    def test_without_edns(self) -> None:
        """FORMERR and NOTIMP without an OPT, and BADVERS, may be about EDNS (RFC 6891, 7); other failures are not."""
        bare = reply_wire("a.example.", "A")
        for rcode in (FORMERR, NOTIMP):
            self.assertTrue(self.judged(flags(bare, 0x8180, rcode)).plain)
            self.assertFalse(self.judged(flags(with_opt(bare), 0x8180, rcode)).plain)
            self.assertTrue(self.judged(bare[:2] + bytes((0x80, rcode)) + bytes(8)).plain)
        self.assertFalse(self.judged(flags(bare, 0x8180, SERVFAIL)).plain)
        badvers = bare[:11] + b"\1" + bare[12:] + OPT[:5] + b"\1" + OPT[6:]
        alone = badvers[:4] + bytes(7) + b"\1" + badvers[-11:]
        for wire in (badvers, alone):
            self.assertEqual((self.judged(wire).plain, self.judged(wire).reason), (True, "badvers"))

    def test_unknown_codes(self) -> None:
        """A code that we do not know leads to the next server, and means SERVFAIL to a client."""
        for rcode in (7, 9, 11, 15):
            judged = self.judged(flags(self.good, 0x8180, rcode))
            self.assertEqual((judged.kind, judged.answer.rcode), (FAILED, SERVFAIL))
            self.assertEqual(judged.text, f"response code {rcode}")

    def test_malformed(self) -> None:
        """What has our id and cannot be read, or says what cannot be, is a failure of its server."""
        changes: dict[str, Change] = {
            "less than a header": lambda wire: wire[:11],
            "the query itself": lambda wire: flags(wire, 0x0100),
            "another opcode": lambda wire: flags(wire, 0xA180),
            "no question": lambda wire: wire[:4] + bytes(8),
            "no question, no such name": lambda wire: flags(wire[:4] + bytes(8), 0x8180, NXDOMAIN),
            "two questions": lambda wire: wire[:5] + b"\2" + wire[6:],
            "a question cut short": lambda wire: wire[:16],
            "a record cut short": lambda wire: wire[:-15],
            "more records than there are": lambda wire: wire[:7] + b"\5" + wire[8:],
            "an address of three bytes": lambda wire: wire[:38] + b"\3" + wire[39:42] + wire[43:],
            "another class": lambda wire: wire[:32] + b"\3" + wire[33:],
            "another owner": lambda wire: wire[:28] + b"\0" + wire[30:],
        }
        self.assertEqual((self.good[27:29], self.good[37:39]), (b"\xc0\x0c", b"\0\4"))
        wires = {name: change(b"".join((self.good[:27], b"", self.good[27:]))) for name, change in changes.items()}
        wires["an address of three bytes"] = self.good[:38] + b"\3" + self.good[39:42] + self.good[43:]
        wires["another class"] = self.good[:32] + b"\3" + self.good[33:]
        wires["another owner"] = self.good[:27] + b"\0" + self.good[29:]
        for name, wire in wires.items():
            judged = self.judged(wire)
            self.assertEqual((judged.kind, judged.reason, judged.blamed), (FAILED, "malformed", True), name)
            self.assertEqual((judged.answer.rcode, judged.answer.counts), (SERVFAIL, (0, 0, 0)), name)

    def test_referral(self) -> None:
        """A server that names others does not recurse: the next one is asked, and it counts against this one."""
        judged = self.judged(reply_wire("a.example.", "A", authority=("example. 60 NS ns.example.",)))
        self.assertEqual((judged.kind, judged.reason, judged.blamed), (FAILED, "referral", True))

    def test_truncated(self) -> None:
        """TC leads to TCP, also where the records are cut in the middle, or the question is missing; it is no fault."""
        cut = flags(self.good, 0x8380)
        for wire in (cut, cut[:-20], cut[:30], cut[:4] + bytes(8)):
            judged = self.judged(wire)
            self.assertEqual((judged.kind, bool(judged.answer.flags & TC), judged.blamed), (TRUNCATED, True, False))
        self.assertEqual(self.judged(flags(self.good, 0x8380, SERVFAIL)).kind, FAILED)

    def test_strays(self) -> None:
        """Another question is waited past, and so is a response for another client's subnet."""
        self.assertEqual(self.judged(reply_wire("b.example.", "A", ADDRESS)).kind, STRAY)
        self.assertEqual(self.judged(reply_wire("a.example.", "AAAA")).kind, STRAY)
        wire = query_wire("a.example.", use_edns=0, options=[dns.edns.ECSOption("192.0.2.0", 24)])
        query = read(wire, subnets=True)
        assert isinstance(query, Query)
        reply = dns.message.make_response(dns.message.from_wire(wire))
        reply.use_edns(0, 0, 1232, options=[option(8, b"\0\1\x18\0\xc0\0\3")])
        self.assertEqual(self.judged(reply.to_wire(), query, WITH_SUBNET).reason, "subnet")
        self.assertIsInstance(judge(reply.to_wire(), query, WITH_OPT), Answer)

    def test_what_a_client_is_told(self) -> None:
        """The extended error names server and reason; what the upstream said stands in front of it."""
        bare = reply_wire("a.example.", "A", rcode=SERVFAIL)
        told = self.judged(bare).told_of("192.0.2.1:53")
        self.assertEqual(told.errors, (ExtendedError(NO_REACHABLE_AUTHORITY, "192.0.2.1:53: SERVFAIL"),))
        reply = dns.message.from_wire(bare)
        reply.use_edns(0, 0, 1232, options=[dns.edns.EDEOption(dns.edns.EDECode.DNSSEC_BOGUS, "why")])
        errors = self.judged(reply.to_wire()).told_of("192.0.2.1:53").errors
        self.assertEqual([(error.code, error.text) for error in errors], [(6, "why"), (22, "192.0.2.1:53: SERVFAIL")])
        (error,) = self.judged(self.good[:11]).told_of("192.0.2.1:53").errors
        self.assertEqual(error, ExtendedError(NETWORK_ERROR, "192.0.2.1:53: a response of 11 bytes"))
        (error,) = unreachable(self.query, "the port is closed").told_of("192.0.2.1:53").errors
        self.assertEqual(error, ExtendedError(NETWORK_ERROR, "192.0.2.1:53: the port is closed"))

    def test_ranks(self) -> None:
        """Half an answer says most, then SERVFAIL, REFUSED, NOTIMP and FORMERR, then what was not said at all."""
        wires = [flags(self.good, 0x8380), *(flags(self.good, 0x8180, rcode) for rcode in (2, 5, 4, 1, 9))]
        ranks = [self.judged(wire).rank for wire in wires]
        self.assertEqual(ranks, sorted(ranks))
        self.assertEqual(ranks[-1], unreachable(self.query, "gone").rank)

    @given(st.binary(min_size=2, max_size=200))
    def test_any_bytes(self, wire: bytes) -> None:
        """Whatever has our id is judged; nothing is raised."""
        judge(wire, self.query, WITH_OPT)

    @given(st.lists(st.tuples(st.integers(2, 200), st.integers(0, 255)), min_size=1, max_size=6), st.integers(0, 100))
    def test_mutated(self, changes: list[tuple[int, int]], cut: int) -> None:
        """A damaged response is judged, and its answer, if it has one, can be told."""
        wire = bytearray(self.good)
        for at, byte in changes:
            wire[at % (len(wire) - 2) + 2] = byte
        outcome = judge(bytes(wire[: max(2, len(wire) - cut)]), self.query, WITH_OPT)
        if isinstance(outcome, Unusable):
            outcome.told_of("192.0.2.1:53")
