"""Tests of reading what an upstream says: how long it may be kept, and all that can be wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from struct import unpack_from

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from heimdall.message import query, response
from heimdall.message.answer import FIELDS, TC, Answer
from heimdall.message.edns import ExtendedError
from heimdall.message.query import AD, NXDOMAIN
from heimdall.message.reply import fit
from heimdall.message.spots import aged
from heimdall.message.wire import Malformed
from tests.message.messages import SOA, option, replies, reply_wire, ttls, usual_replies


class Reading(SynchronousTestCase):
    """From the reply of an upstream to an answer."""

    @given(replies())
    def test_image_is_the_message(self, reply: dns.message.Message) -> None:
        """The image of an answer, sent on, holds the very records the upstream sent; only the OPT is another."""
        wire = reply.to_wire()
        read = response.read(wire)
        asked = query.read(
            dns.message.make_query(reply.question[0].name, reply.question[0].rdtype).to_wire(), stream=True
        )
        assert isinstance(asked, query.Query)
        again = dns.message.from_wire(fit(asked, read, read.body))
        original = dns.message.from_wire(wire)
        for section in ("answer", "authority", "additional"):
            self.assertEqual(getattr(again, section), getattr(original, section))
        self.assertEqual(again.edns, -1)

    @given(replies(), st.data())
    def test_mutated(self, reply: dns.message.Message, data: st.DataObject) -> None:
        """A damaged reply is Malformed, or an answer that can be aged and fitted; nothing else is raised."""
        damaged = bytearray(reply.to_wire())
        for _ in range(data.draw(st.integers(1, 6))):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        try:
            read = response.read(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))
        except Malformed:
            return
        asked = query.make(b"\1a\0", 1)
        asked.stream = False
        fit(asked, read, aged(read.body, read.spots, 5))

    @given(usual_replies())
    def test_the_short_way(self, wire: bytes) -> None:
        """What is read in a short way, as nearly all replies are, says what it says read record by record."""

        def said(read: Callable[[], Answer]) -> list[object]:
            try:
                known = read()
            except Malformed as malformed:
                return [str(malformed)]
            return [getattr(known, name) for name in FIELDS]

        try:
            question, at = query.question_of(wire)
        except Malformed:
            return
        whole = partial(response.whole, wire, at, unpack_from("!HHH", wire, 6), question)
        if wire[2] & 0x80:
            self.assertEqual(said(partial(response.read, wire)), said(whole))

    def test_least_ttl_counts(self) -> None:
        """An answer lives as long as the shortest of its records."""
        read = response.read(
            reply_wire("www.example.", "A", "www.example. 300 CNAME a.example.", "a.example. 60 A 192.0.2.1")
        )
        self.assertEqual((read.ttl, read.keep, ttls(read)), (60, True, [300, 60]))

    def test_one_ttl_per_rrset(self) -> None:
        """Records of one RRset get the least of their TTLs (RFC 2181, 5.2)."""
        read = response.read(reply_wire("a.example.", "A", "a.example. 60 A 192.0.2.1"))
        second = b"\xc0\x0c\0\1\0\1\0\0\0\x1e\0\4\xc0\0\2\2"
        wire = reply_wire("a.example.", "A", "a.example. 60 A 192.0.2.1")
        both = response.read(wire[:7] + b"\2" + wire[8:] + second)
        self.assertEqual((ttls(read), ttls(both), both.ttl), ([60], [30, 30], 30))

    def test_top_bit_of_ttl(self) -> None:
        """A TTL with the top bit set counts as 0 (RFC 2181, 8)."""
        wire = bytearray(reply_wire("a.example.", "A", "a.example. 60 A 192.0.2.1"))
        wire[-10] = 0x80
        self.assertEqual(ttls(response.read(bytes(wire))), [0])

    def test_negative(self) -> None:
        """A no lives as long as its SOA, and that no longer than its minimum (RFC 2308, 5)."""
        for rcode in (0, NXDOMAIN):
            read = response.read(reply_wire("no.example.", "A", rcode=rcode, authority=(SOA,)))
            self.assertEqual((read.rcode, read.ttl, read.keep, read.negative), (rcode, 300, True, True))
            self.assertEqual(ttls(read), [300])

    def test_negative_without_soa(self) -> None:
        """A no without a SOA is not kept: nothing says for how long."""
        for rcode in (0, NXDOMAIN):
            self.assertFalse(response.read(reply_wire("no.example.", "A", rcode=rcode)).keep)
        referral = response.read(reply_wire("a.example.", "A", authority=("example. 60 NS ns.example.",)))
        self.assertFalse(referral.keep)

    def test_chain_to_nothing(self) -> None:
        """An alias whose target has no such record is a no: it is kept by the SOA."""
        alias = "www.example. 600 CNAME a.example."
        self.assertEqual(response.read(reply_wire("www.example.", "AAAA", alias, authority=(SOA,))).ttl, 300)
        self.assertFalse(response.read(reply_wire("www.example.", "AAAA", alias)).keep)
        self.assertTrue(response.read(reply_wire("www.example.", "CNAME", alias)).keep)

    def test_failures_are_not_kept(self) -> None:
        """SERVFAIL, REFUSED and a truncated answer are no knowledge."""
        for rcode in (2, 5):
            self.assertFalse(
                response.read(reply_wire("a.example.", "A", "a.example. 60 A 192.0.2.1", rcode=rcode)).keep
            )
        wire = bytearray(reply_wire("a.example.", "A", "a.example. 60 A 192.0.2.1"))
        wire[2] |= 2
        read = response.read(bytes(wire))
        self.assertEqual((read.flags & TC, read.keep), (TC, False))

    def test_opt_is_taken_out(self) -> None:
        """Extended errors, the upper bits of the response code and the subnet's scope are read; AA is not kept."""
        reply = dns.message.make_response(dns.message.make_query("a.example.", "A", use_edns=0))
        ecs = dns.edns.ECSOption("192.0.2.0", 24, 16)
        reply.use_edns(0, 0, 1232, options=[dns.edns.EDEOption(dns.edns.EDECode.NO_REACHABLE_AUTHORITY, "gone"), ecs])
        reply.set_rcode(dns.rcode.BADVERS)
        reply.flags |= dns.flags.AA | dns.flags.AD
        read = response.read(reply.to_wire())
        self.assertEqual((read.rcode, read.scope, read.errors), (16, 16, (ExtendedError(22, "gone"),)))
        self.assertEqual((read.counts, read.flags), ((0, 0, 0), AD))

    def test_what_follows_the_opt_is_left_out(self) -> None:
        """A record behind the OPT is a signature of the transport: it is not kept, and the image stays whole."""
        reply = dns.message.make_response(dns.message.make_query("a.example.", "A", use_edns=0))
        reply.answer.append(dns.rrset.from_text("a.example.", 60, "IN", "A", "192.0.2.1"))
        wire = reply.to_wire()
        tsig = b"\1k\0\0\xfa\0\xff\0\0\0\0\0\0"
        read = response.read(wire[:11] + b"\2" + wire[12:] + tsig)
        self.assertEqual((read.counts, len(read.spots)), ((1, 0, 0), 1))

    def test_malformed(self) -> None:
        """A query, two OPTs, an OPT among the answers, or a crowd of records is no reply."""
        wire = reply_wire("a.example.", "A", "a.example. 60 A 192.0.2.1")
        opt = b"\0\0\x29\4\xd0\0\0\0\0\0\0"
        for bad in (
            wire[:2] + b"\0" + wire[3:],
            wire[:11] + b"\2" + wire[12:] + opt + opt,
            wire[:7] + b"\2" + wire[8:] + opt,
            wire[:6] + b"\xff\xff" + wire[8:],
            wire[:11] + b"\1" + wire[12:] + opt[:-2] + b"\0\3\0\1\0",
        ):
            with self.assertRaises(Malformed):
                response.read(bad)

    def test_as_many_as_fit(self) -> None:
        """As many records as fit a message are read: a large RRset is no attack."""
        wire = reply_wire("a.example.", "A", "a.example. 60 A 192.0.2.1")
        record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\1"
        read = response.read(wire[:6] + (4001).to_bytes(2, "big") + wire[8:] + record * 4000)
        self.assertEqual(read.counts[0], 4001)

    def test_short_soa(self) -> None:
        """A SOA too short to have a minimum is none."""
        wire = reply_wire("a.example.", "A")
        soa = b"\0\0\6\0\1\0\0\0\x3c\0\2\0\0"
        self.assertFalse(response.read(wire[:9] + b"\1" + wire[10:] + soa).keep)

    def test_impossible_scope(self) -> None:
        """A scope of more bits than any address has is taken as the longest."""
        reply = dns.message.make_response(dns.message.make_query("a.example.", "A", use_edns=0))
        reply.use_edns(0, 0, 1232, options=[option(8, bytes((0, 1, 24, 200, 192, 0, 2)))])
        self.assertEqual(response.read(reply.to_wire()).scope, 128)

    def test_other_options(self) -> None:
        """Options of the upstream that mean nothing to us are left out."""
        reply = dns.message.make_response(dns.message.make_query("a.example.", "A", use_edns=0))
        reply.use_edns(0, 0, 1232, options=[option(10, b"cookie"), option(8, b"abc")])
        read = response.read(reply.to_wire())
        self.assertEqual((read.errors, read.scope), ((), None))
