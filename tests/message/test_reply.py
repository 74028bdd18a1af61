"""The reply that one client gets."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from heimdall.message import query, response
from heimdall.message.answer import Answer
from heimdall.message.edns import ExtendedError
from heimdall.message.query import AD, Query
from heimdall.message.reply import fit
from tests.message.messages import PLAIN_NAMES, image, option, query_wire, replies, reply_wire


def asked(wire: bytes, stream: bool = False) -> Query:
    """A good query as it is read."""
    read = query.read(wire, stream=stream, subnets=True)
    assert isinstance(read, Query)
    return read


class Fitting(SynchronousTestCase):
    """Id, spelling, flags, size and OPT."""

    known = response.read(reply_wire("www.example.", "A", "www.example. 60 A 192.0.2.1"))

    def reply(self, wire: bytes, known: Answer | None = None) -> dns.message.Message:
        """What a client gets, as dnspython reads it."""
        known = known or self.known
        return dns.message.from_wire(fit(asked(wire), known, known.body))

    def test_id_and_spelling(self) -> None:
        """A client gets back its id and its own spelling of the name, in the records as well (RFC 4343, 4.1)."""
        wire = query_wire("WwW.eXample.")
        reply = self.reply(wire)
        self.assertEqual(reply.id, int.from_bytes(wire[:2], "big"))
        self.assertEqual(reply.question[0].to_text(), "WwW.eXample. IN A")
        self.assertEqual(reply.answer[0].to_text(), "WwW.eXample. 60 IN A 192.0.2.1")

    @given(st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.booleans())
    def test_flags(self, rd: bool, cd: bool, ad: bool, do: bool, validated: bool) -> None:
        """RD and CD are copied, RA is set, AD is told only to who asked by AD or DO (RFC 6840, 5.8)."""
        message = dns.message.make_query("www.example.", "A", use_edns=0, want_dnssec=do)
        message.flags = (rd and dns.flags.RD) | (cd and dns.flags.CD) | (ad and dns.flags.AD)
        known = Answer(self.known.question, 0, AD if validated else 0)
        reply = self.reply(message.to_wire(), known)
        expected = dns.flags.QR | dns.flags.RA | message.flags & ~dns.flags.AD
        if validated and (ad or do):
            expected |= dns.flags.AD
        self.assertEqual(reply.flags, expected)
        self.assertEqual(bool(reply.ednsflags & dns.flags.DO), do)

    def test_opt_only_to_who_sent_one(self) -> None:
        """A client without OPT gets none (RFC 6891, 6.1.1)."""
        self.assertEqual(self.reply(query_wire("www.example.")).edns, -1)
        self.assertEqual(self.reply(query_wire("www.example.", use_edns=0)).payload, 1232)

    @given(replies(), st.integers(512, 1500), st.booleans())
    def test_size(self, message: dns.message.Message, size: int, edns: bool) -> None:
        """Over UDP no reply is longer than the client takes or than 1232, and each is whole records or fewer."""
        known = image(message)
        question = message.question[0]
        wire = dns.message.make_query(
            question.name, question.rdtype, use_edns=0 if edns else False, payload=size
        ).to_wire()
        reply = fit(asked(wire), known, known.body)
        self.assertLessEqual(len(reply), min(size, 1232) if edns else 512)
        read = dns.message.from_wire(reply)
        missing = sum(map(len, message.answer)) + sum(map(len, message.authority)) > sum(map(len, read.answer)) + sum(
            map(len, read.authority)
        )
        self.assertEqual(bool(read.flags & dns.flags.TC), missing)
        whole = dns.message.from_wire(fit(asked(wire, stream=True), known, known.body))
        self.assertEqual(whole.answer, message.answer)

    @given(PLAIN_NAMES, st.integers(1, 200), st.integers(512, 4096))
    def test_cut_at_a_record(self, name: dns.name.Name, count: int, size: int) -> None:
        """A long answer is cut behind a record, with TC set, and as much as fits is sent."""
        text = name.to_text()
        known = response.read(reply_wire(text, "A", *(f"{text} 60 A 192.0.2.{n}" for n in range(count))))
        reply = self.reply(query_wire(text, use_edns=0, payload=size), known)
        kept = sum(map(len, reply.answer))
        self.assertEqual(bool(reply.flags & dns.flags.TC), kept < count)
        if kept < count:
            self.assertGreater(len(reply.to_wire()) + 16, min(size, 1232) - 16)

    def test_additional_records_go_first(self) -> None:
        """Additional records are left out without TC: nobody misses them (RFC 2181, 9)."""
        message = dns.message.make_response(dns.message.make_query("a.example.", "A"))
        message.answer.append(dns.rrset.from_text("a.example.", 60, "IN", "A", "192.0.2.1"))
        message.additional.append(
            dns.rrset.from_text("a.example.", 60, "IN", "TXT", *("x" * 200 + str(n) for n in range(5)))
        )
        reply = self.reply(query_wire("a.example."), response.read(message.to_wire()))
        self.assertEqual((len(reply.answer), reply.additional, reply.flags & dns.flags.TC), (1, [], 0))

    def test_errors_go_before_anything_else(self) -> None:
        """Extended errors that do not fit are left out with TC, so that a reply never outgrows its limit."""
        name = ".".join(["a" * 63] * 3 + ["b" * 61])
        errors = (ExtendedError(22, "x" * 64),) * 4
        asked_for = query_wire(name, use_edns=0, payload=512)
        for body, counts in ((b"", (0, 0, 0)), (self.known.body, (1, 0, 0))):
            known = self.known.replace(errors=errors, counts=counts, body=body)
            reply = fit(asked(asked_for), known, known.body)
            self.assertLessEqual(len(reply), 512)
            read = dns.message.from_wire(reply)
            self.assertEqual((len(read.answer), len(read.options)), (counts[0], 0))
            self.assertTrue(read.flags & dns.flags.TC)

    def test_long_code_without_opt(self) -> None:
        """A response code that needs an OPT is SERVFAIL to who sent none, not its lower half."""
        known = Answer(self.known.question, 16)
        self.assertEqual(self.reply(query_wire("www.example."), known).rcode(), dns.rcode.SERVFAIL)
        self.assertEqual(self.reply(query_wire("www.example.", use_edns=0), known).rcode(), dns.rcode.BADVERS)

    def test_subnet(self) -> None:
        """Who gave a subnet gets it back as it was, with the bits of it that the answer is for (RFC 7871, 7.2.1)."""
        wire = query_wire("www.example.", use_edns=0, options=[dns.edns.ECSOption("192.0.2.9", 32)])
        for scope, told in ((None, 0), (16, 16), (128, 32)):
            (option,) = self.reply(wire, self.known.replace(scope=scope)).options
            self.assertEqual(option.to_text(), f"ECS 192.0.2.9/32 scope/{told}")

    def test_no_subnet(self) -> None:
        """Who asks that nobody be told its network, of whatever family, gets that back (RFC 7871, 7.1.2)."""
        for family in (0, 1, 2):
            data = bytes((0, family, 0, 0))
            wire = query_wire("www.example.", use_edns=0, options=[option(8, data)])
            known = self.known.replace(scope=0)
            self.assertTrue(fit(asked(wire), known, known.body).endswith(b"\0\x08\0\4" + data))
