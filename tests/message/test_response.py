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
from heimdall.message.edns import ExtendedError, Subnet
from heimdall.message.query import AD, NXDOMAIN
from heimdall.message.reply import fit
from heimdall.message.response import MOST_LINKS, OtherSubnet, Referral
from heimdall.message.spots import aged
from heimdall.message.wire import Malformed
from tests.message.messages import SOA, option, replies, reply_wire, said, ttls, usual_replies


class Reading(SynchronousTestCase):
    """From the reply of an upstream to an answer."""

    @given(replies())
    def test_says_the_same(self, reply: dns.message.Message) -> None:
        """An answer, sent on, holds what the upstream said of the name and nothing else; a failure holds no records."""
        wire = reply.to_wire()
        original = dns.message.from_wire(wire)
        expected = said(original)
        try:
            read = response.read(wire)
        except Referral:
            self.assertEqual((original.rcode(), original.answer), (0, []))
            self.assertIn(dns.rdatatype.NS, [rrset.rdtype for rrset in original.authority])
            return
        except Malformed:
            self.assertIsNone(expected)
            return
        asked = query.read(
            dns.message.make_query(reply.question[0].name, reply.question[0].rdtype).to_wire(), stream=True
        )
        assert isinstance(asked, query.Query)
        again = dns.message.from_wire(fit(asked, read, read.body))
        failed = original.rcode() not in (0, NXDOMAIN)
        for section, whole in (
            ("answer", expected), ("authority", original.authority), ("additional", original.additional)
        ):  # fmt: skip
            self.assertEqual(getattr(again, section), [] if failed else whole)
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

        def told(read: Callable[[], Answer]) -> list[object]:
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
            self.assertEqual(told(partial(response.read, wire)), told(whole))

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

    def test_soa_of_another_zone(self) -> None:
        """The SOA of a zone that the name is not in says nothing of it: the no is not kept."""
        for zone in ("other.example.", "sub.no.example.", "ample."):
            soa = f"{zone} 900 SOA ns.example. admin.example. 1 2 3 4 300"
            for rcode in (0, NXDOMAIN):
                read = response.read(reply_wire("no.example.", "A", rcode=rcode, authority=(soa,)))
                self.assertEqual((read.rcode, read.keep), (rcode, False))
        alias = "no.example. 60 CNAME a.other.test."
        self.assertFalse(response.read(reply_wire("no.example.", "A", alias, rcode=NXDOMAIN, authority=(SOA,))).keep)

    def test_soa_with_odd_owner(self) -> None:
        """The owner of a SOA is a name that begins at a label: a pointer into the middle of one is another name."""
        wire = reply_wire("no.example.", "A", rcode=NXDOMAIN, authority=(SOA,))
        self.assertEqual(wire[28:30], b"\xc0\x0f")
        for place in (b"\xc0\x0d", b"\xc0\x10"):
            try:
                self.assertFalse(response.read(wire[:28] + place + wire[30:]).keep)
            except Malformed:
                continue

    def test_referral(self) -> None:
        """Name servers without an answer are a referral, no NODATA (RFC 2308, 2.2), unless AA is set."""
        wire = reply_wire("a.example.", "A", authority=("example. 60 NS ns.example.",))
        self.assertRaises(Referral, response.read, wire)
        self.assertRaises(Referral, response.read, reply_wire("a.example.", "A", authority=(". 60 NS ns.",)))
        own = response.read(wire[:2] + bytes((wire[2] | 4,)) + wire[3:])
        self.assertEqual((own.rcode, own.keep), (0, False))
        with_soa = response.read(reply_wire("a.example.", "A", authority=("example. 60 NS ns.example.", SOA)))
        self.assertTrue(with_soa.keep)
        chain = response.read(
            reply_wire("a.example.", "A", "a.example. 60 CNAME b.test.", authority=("test. 60 NS ns.test.",))
        )
        self.assertEqual(chain.alias, b"\1b\4test\0")

    def test_chain_to_nothing(self) -> None:
        """An alias whose target has no such record is a no: it is kept by the SOA."""
        alias = "www.example. 600 CNAME a.example."
        self.assertEqual(response.read(reply_wire("www.example.", "AAAA", alias, authority=(SOA,))).ttl, 300)
        alone = response.read(reply_wire("www.example.", "AAAA", alias))
        self.assertEqual((alone.alias, alone.negative), (b"\1a\7example\0", False))
        asked = response.read(reply_wire("www.example.", "CNAME", alias))
        self.assertEqual((asked.keep, asked.alias), (True, b""))

    def test_dname(self) -> None:
        """A DNAME above the name leads on as an alias does, with or without the CNAME made of it (RFC 6672)."""
        dname, made = "example. 60 DNAME sub.test.", "www.example. 60 CNAME www.sub.test."
        for records in ((dname, made), (made, dname), (dname,)):
            read = response.read(reply_wire("www.example.", "A", *records))
            self.assertEqual((read.alias, read.counts[0]), (b"\3www\3sub\4test\0", len(records)))

    def test_foreign_records(self) -> None:
        """Records that belong to no name on the way are left out; with nothing else there is no answer."""
        own, foreign = "a.example. 60 A 192.0.2.1", "b.example. 60 A 192.0.2.66"
        for records in ((own, foreign), (foreign, own)):
            read = response.read(reply_wire("a.example.", "A", *records))
            self.assertEqual((read.counts, read.body[-4:], read.keep), ((1, 0, 0), bytes((192, 0, 2, 1)), True))
        self.assertRaises(Malformed, response.read, reply_wire("a.example.", "A", foreign))

    def test_another_type(self) -> None:
        """Records of another type at the name are no answer: malformed alone, left out beside a no."""
        other = "a.example. 60 TXT x"
        self.assertRaises(Malformed, response.read, reply_wire("a.example.", "A", other))
        self.assertEqual(response.read(reply_wire("a.example.", "A", other, "a.example. 60 A 192.0.2.1")).counts[0], 2)
        nodata = response.read(reply_wire("a.example.", "A", other, authority=(SOA,)))
        self.assertEqual((nodata.counts, nodata.negative, nodata.ttl), ((0, 1, 0), True, 300))
        alias = response.read(reply_wire("b.example.", "A", "b.example. 60 CNAME a.example.", other))
        self.assertEqual((alias.counts, alias.alias), ((1, 0, 0), b"\1a\7example\0"))

    def test_no_such_name_with_data(self) -> None:
        """NXDOMAIN denies what stands in the answer section at the name: a client is not told both."""
        records = "b.example. 60 CNAME a.example.", "a.example. 60 A 192.0.2.1"
        for name, kept in (("a.example.", 0), ("b.example.", 1)):
            read = response.read(reply_wire(name, "A", *records[1 - kept :], rcode=NXDOMAIN, authority=(SOA,)))
            self.assertEqual((read.rcode, read.counts, read.negative), (NXDOMAIN, (kept, 1, 0), True))

    def test_alias_out_of_a_zone(self) -> None:
        """The SOA of the zone that an alias leaves denies nothing of its target, which is asked for."""
        alias = "a.example. 60 CNAME b.test."
        read = response.read(reply_wire("a.example.", "A", alias, authority=(SOA,)))
        self.assertEqual((read.alias, read.negative), (b"\1b\4test\0", False))

    def test_too_long(self) -> None:
        """YXDOMAIN is an answer: the DNAME that makes of the name one that is too long (RFC 6672, 2.2)."""
        dname = f"example. 60 DNAME {'y' * 60}.{'z' * 60}.{'w' * 60}.{'v' * 40}.test."
        name = f"{'q' * 60}.example."
        read = response.read(reply_wire(name, "A", dname, rcode=response.YXDOMAIN))
        self.assertEqual((read.rcode, read.counts[0], read.alias), (response.YXDOMAIN, 1, b""))
        self.assertRaises(Malformed, response.read, reply_wire(name, "A", dname))

    def test_loop(self) -> None:
        """Aliases that lead in a circle, or through too many names, are no answer."""
        circle = ("a.example. 60 CNAME b.example.", "b.example. 60 CNAME a.example.")
        self.assertRaises(Malformed, response.read, reply_wire("a.example.", "A", *circle))
        self.assertRaises(Malformed, response.read, reply_wire("a.example.", "A", "a.example. 60 CNAME a.example."))
        chain = [f"n{n}.example. 60 CNAME n{n + 1}.example." for n in range(MOST_LINKS + 1)]
        self.assertRaises(Malformed, response.read, reply_wire("n0.example.", "A", *chain))
        response.read(reply_wire("n0.example.", "A", *chain[:-1]))

    def test_duplicates(self) -> None:
        """A record that is there twice is told once (RFC 2181, 5), whatever stands beside it."""
        wire = reply_wire("a.example.", "A", "a.example. 60 A 192.0.2.1")
        record = wire[-16:]
        for count in (2, 3):
            read = response.read(wire[:7] + bytes((count,)) + wire[8:] + record * (count - 1))
            self.assertEqual((read.counts, read.body), ((1, 0, 0), record))
        other = record[:-1] + b"\2"
        read = response.read(wire[:7] + b"\3" + wire[8:] + other + record)
        self.assertEqual((read.counts, read.body), ((2, 0, 0), record + other))

    def test_impossible_data(self) -> None:
        """Data that its type cannot have, a name that leads nowhere, or another class make a whole reply malformed."""
        for kind, data in (
            (1, b"\1\2\3"), (1, b""), (1, b"\1\2\3\4\5"), (28, b"\1\2\3\4"), (5, b"\xc0\xff"), (5, b"\xc0\x1c"),
            (5, b"\1a"), (5, b"\1a\0x"), (15, b"\0\1"), (16, b""), (16, b"\5ab"), (6, b"\0\0" + bytes(19)),
            (33, bytes(6)), (2, b"\x41a\0"), (47, b"\0\0\0"), (65, b"\0\1\0\0\2\0\0\0\1\0\0"), (257, b"\0"),
        ):  # fmt: skip
            question = b"\1a\7example\0" + kind.to_bytes(2, "big") + b"\0\1"
            record = b"\xc0\x0c" + kind.to_bytes(2, "big") + b"\0\1\0\0\0\x3c" + len(data).to_bytes(2, "big") + data
            self.assertRaises(Malformed, response.read, b"\0\7\x81\x80\0\1\0\1\0\0\0\0" + question + record)
            self.assertRaises(Malformed, response.read, b"\0\7\x81\x80\0\1\0\0\0\0\0\1" + question + record)
        wire = reply_wire("a.example.", "A", "a.example. 60 A 192.0.2.1")
        self.assertRaises(Malformed, response.read, wire[:-12] + b"\0\3" + wire[-10:])

    def test_failure_has_no_records(self) -> None:
        """A failure comes without the data that came with it, however that looks."""
        wire = reply_wire("a.example.", "A", "a.example. 60 A 192.0.2.1", rcode=2, authority=(SOA,))
        for bad in (wire, wire[:-3], wire[:7] + b"\x09" + wire[8:]):
            read = response.read(bad)
            self.assertEqual((read.rcode, read.counts, read.body, read.keep), (2, (0, 0, 0), b"", False))

    def test_without_opt_for_do(self) -> None:
        """What came without an OPT has no signatures: where they were asked for it is not kept."""
        for wire in (
            reply_wire("a.example.", "A", "a.example. 60 A 192.0.2.1"),
            reply_wire("a.example.", "A", rcode=NXDOMAIN, authority=(SOA,)),
            reply_wire("a.example.", "A", "a.example. 60 CNAME b.example."),
            reply_wire("a.example.", "MX", "a.example. 60 MX 5 b.example.", "a.example. 60 MX 6 c.example."),
        ):
            opt = wire[:11] + b"\1" + wire[12:] + b"\0\0\x29\4\xd0\0\0\x80\0\0\0"
            for do in (False, True):
                self.assertEqual((response.read(wire, do=do).keep, response.read(opt, do=do).keep), (not do, True))

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
        subnet = Subnet(1, 24, bytes((192, 0, 2, 0)))
        read = response.read(reply.to_wire())
        self.assertEqual((read.rcode, read.scope, read.errors), (16, None, (ExtendedError(22, "gone"),)))
        self.assertEqual((read.counts, read.flags), ((0, 0, 0), 0))
        reply.set_rcode(dns.rcode.NOERROR)
        read = response.read(reply.to_wire(), subnet=subnet)
        self.assertEqual((read.scope, read.flags), (16, AD))

    def test_what_follows_the_opt_is_left_out(self) -> None:
        """A record behind the OPT is a signature of the transport: it is not kept, and the image stays whole."""
        reply = dns.message.make_response(dns.message.make_query("a.example.", "A", use_edns=0))
        reply.answer.append(dns.rrset.from_text("a.example.", 60, "IN", "A", "192.0.2.1"))
        wire = reply.to_wire()
        tsig = b"\1k\0\0\xfa\0\xff\0\0\0\0\0\0"
        read = response.read(wire[:11] + b"\2" + wire[12:] + tsig)
        self.assertEqual((read.counts, len(read.spots)), ((1, 0, 0), 1))

    def test_signature_in_front(self) -> None:
        """A signature in front of other records is taken out as well, and what follows it moves up."""
        record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\2"
        tsig = b"\1k\0\0\xfa\0\xff\0\0\0\0\0\0"
        wire = reply_wire("a.example.", "A", "a.example. 60 A 192.0.2.1")
        read = response.read(wire[:11] + b"\2" + wire[12:] + tsig + record)
        self.assertEqual((read.counts, read.body[-16:], ttls(read)), ((1, 0, 1), record, [60, 60]))
        self.assertEqual(len(read.body), 32)

    def test_names_written_out(self) -> None:
        """Names in data are compressed for no client where their type does not allow it (RFC 3597, 4)."""
        for kind, before in ((39, b""), (33, bytes(6)), (65, b"\0\1"), (17, b"\0"), (15, b"\0\1")):
            data = before + b"\1t\xc0\x0c"
            question = b"\1a\7example\0" + kind.to_bytes(2, "big") + b"\0\1"
            record = b"\xc0\x0c" + kind.to_bytes(2, "big") + b"\0\1\0\0\0\x3c" + len(data).to_bytes(2, "big") + data
            read = response.read(b"\0\7\x81\x80\0\1\0\1\0\0\0\0" + question + record)
            written = before + b"\1t" + question[:-4] if kind != 15 else data
            self.assertEqual(read.body, record[:10] + len(written).to_bytes(2, "big") + written)

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
        more = (b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0" + host.to_bytes(2, "big") for host in range(4000))
        read = response.read(wire[:6] + (4001).to_bytes(2, "big") + wire[8:] + b"".join(more))
        self.assertEqual(read.counts[0], 4000)  # one of them is there twice

    def test_impossible_scope(self) -> None:
        """A scope of more bits than an address of the family has is taken as all of them."""
        for family, address, bits in ((1, b"\xc0\0\2", 32), (2, b"\x20\1\x0d", 128)):
            reply = dns.message.make_response(dns.message.make_query("a.example.", "A", use_edns=0))
            reply.use_edns(0, 0, 1232, options=[option(8, bytes((0, family, 24, 200)) + address)])
            subnet = Subnet(family, 24, address.ljust(4 if family == 1 else 16, b"\0"))
            self.assertEqual(response.read(reply.to_wire(), subnet=subnet).scope, bits)

    def test_other_subnet(self) -> None:
        """A response whose family, prefix or address is not what was sent is for somebody else (RFC 7871, 7.3)."""
        for data in (
            b"\0\1\x18\0\xc0\0\3",
            b"\0\1\x17\0\xc0\0\2",
            b"\0\2\x18\0\xc0\0\2",
            b"\0\1\x18\0\xc0\0",
            b"",
            b"\0",
        ):
            reply = dns.message.make_response(dns.message.make_query("a.example.", "A", use_edns=0))
            reply.use_edns(0, 0, 1232, options=[option(8, data)])
            subnet = Subnet(1, 24, bytes((192, 0, 2, 0)))
            self.assertRaises(OtherSubnet, response.read, reply.to_wire(), subnet=subnet)
            response.read(reply.to_wire())

    def test_other_options(self) -> None:
        """Options of the upstream that mean nothing to us are left out."""
        reply = dns.message.make_response(dns.message.make_query("a.example.", "A", use_edns=0))
        reply.use_edns(0, 0, 1232, options=[option(10, b"cookie"), option(8, b"abc")])
        read = response.read(reply.to_wire())
        self.assertEqual((read.errors, read.scope), ((), None))
