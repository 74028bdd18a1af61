"""Reading what clients send, and what bad messages are told."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rdatatype
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from heimdall.message import query
from heimdall.message.query import BADVERS, FORMERR, NOTIMP, REFUSED, Query
from heimdall.message.wire import Malformed
from tests.message.messages import PLAIN_NAMES, folded, option, query_wire


class Good(SynchronousTestCase):
    """Queries that can be answered."""

    def read(self, wire: bytes) -> Query:
        """Read a query that must be good."""
        read = query.read(wire, ("192.0.2.1", 53), subnets=True)
        assert isinstance(read, Query), read
        return read

    @given(PLAIN_NAMES, st.sampled_from(["A", "AAAA", "HTTPS", "TXT", "TYPE65400"]), st.booleans(), st.booleans())
    def test_key(self, name: dns.name.Name, qtype: str, do: bool, cd: bool) -> None:
        """The key is the folded name, the type and class to the letter, and the bits DO and CD."""
        message = dns.message.make_query(name, qtype, use_edns=True, want_dnssec=do)
        if cd:
            message.flags |= dns.flags.CD
        read = self.read(message.to_wire())
        kind = int(dns.rdatatype.from_text(qtype))
        self.assertEqual(read.key, folded(name) + kind.to_bytes(2, "big") + b"\0\1" + bytes((do | cd << 1,)))
        self.assertEqual((read.name, read.qtype, read.do, read.edns), (folded(name), kind, do, True))
        self.assertEqual(read.question[: len(read.name)], name.to_wire())

    def test_types_do_not_fold(self) -> None:
        """HTTPS is type 65, an 'A' in ASCII: folding the name must not make type 97 of it."""
        self.assertNotEqual(
            self.read(query_wire("a.example", "HTTPS")).key, self.read(query_wire("a.example", "TYPE97")).key
        )

    def test_size(self) -> None:
        """Without OPT a client takes 512 bytes; with one, what it says, but never less (RFC 6891, 6.2.3)."""
        self.assertEqual(self.read(query_wire("a.example")).size, 512)
        self.assertEqual(self.read(query_wire("a.example", use_edns=0, payload=4096)).size, 4096)
        self.assertEqual(self.read(query_wire("a.example", use_edns=0, payload=100)).size, 512)

    def test_unknown_options_are_ignored(self) -> None:
        """An option nobody knows changes nothing (RFC 6891, 6.1.2)."""
        plain = self.read(query_wire("a.example", use_edns=0))
        with_option = self.read(query_wire("a.example", use_edns=0, options=[option(65001, b"x")]))
        self.assertEqual(plain.key, with_option.key)

    def test_subnet(self) -> None:
        """A client subnet is cut to a network and gives the keys an answer may be held under, the closest first."""
        read = self.read(query_wire("a.example", use_edns=0, options=[dns.edns.ECSOption("192.0.2.77", 32)]))
        assert read.subnet is not None
        self.assertEqual((read.subnet.length, read.subnet.address), (24, bytes((192, 0, 2, 0))))
        self.assertEqual(len(read.keys()), 4)
        self.assertEqual(read.key_for(24), read.keys()[0])
        self.assertEqual(read.key_for(20), read.keys()[0])
        self.assertEqual(read.key_for(16), read.keys()[1])
        self.assertEqual(read.key_for(0), read.keys()[3])
        six = self.read(query_wire("a.example", use_edns=0, options=[dns.edns.ECSOption("2001:db8::1", 48)]))
        self.assertEqual(len(six.keys()), 3)
        self.assertEqual(six.key_for(64), six.keys()[0])

    def test_without_subnet_one_key(self) -> None:
        """Without a client subnet there is one key, whatever scope the answer claims."""
        read = self.read(query_wire("a.example"))
        self.assertEqual((read.keys(), read.key_for(24)), ([read.key], read.key))

    def test_made_and_asked_again(self) -> None:
        """A question of our own reads like a client's; asked again it wants an answer that lives longer."""
        made = query.make(b"\1a\0", 28, do=True, cd=True)
        self.assertEqual((made.qtype, made.do, made.least), (28, True, 0))
        again = made.again(7.5)
        self.assertEqual((again.key, again.least, made.least), (made.key, 7.5, 0))
        with self.assertRaises(ValueError):
            query.make(b"\1a\0", 252)

    @given(PLAIN_NAMES, st.booleans(), st.booleans(), st.integers(0, 65535))
    def test_written_for_an_upstream(self, name: dns.name.Name, do: bool, cd: bool, identity: int) -> None:
        """An upstream is asked the same question with RD, the client's CD and DO, and 1232 bytes of room."""
        message = dns.message.make_query(name, "MX", use_edns=True, want_dnssec=do)
        message.flags = dns.flags.CD if cd else 0
        asked = dns.message.from_wire(query.write(self.read(message.to_wire()), identity))
        self.assertEqual(asked.id, identity)
        self.assertEqual(asked.question[0].name, name)
        self.assertEqual(asked.flags, dns.flags.RD | (dns.flags.CD if cd else 0))
        self.assertEqual((asked.payload, bool(asked.ednsflags & dns.flags.DO)), (1232, do))

    def test_written_without_opt_or_with_subnet(self) -> None:
        """A server that refuses EDNS is asked without; a subnet is passed on only when that is wanted."""
        read = self.read(query_wire("a.example", use_edns=0, options=[dns.edns.ECSOption("192.0.2.77", 32)]))
        self.assertEqual(dns.message.from_wire(query.write(read, 1, query.PLAIN)).edns, -1)
        self.assertEqual(dns.message.from_wire(query.write(read, 1, ad=True)).options, ())
        (option,) = dns.message.from_wire(query.write(read, 1, query.WITH_SUBNET)).options
        self.assertEqual(option.to_text(), "ECS 192.0.2.0/24 scope/0")


class Bad(SynchronousTestCase):
    """Messages that cannot be answered, each with what RFC 8906 wants it told."""

    def told(self, wire: bytes) -> dns.message.Message:
        """What a bad message is told."""
        reply = query.read(wire, subnets=True)
        assert isinstance(reply, bytes)
        message = dns.message.from_wire(reply)
        self.assertEqual(message.id, int.from_bytes(wire[:2], "big"))
        self.assertTrue(message.flags & dns.flags.QR)
        return message

    def test_silence(self) -> None:
        """A reply is never answered, nor is what has no header: two servers could go on for ever."""
        self.assertIsNone(query.read(b"\0" * 11))
        self.assertIsNone(query.read(b"\0\0\x80" + query_wire("a.example")[3:]))

    def test_opcodes(self) -> None:
        """Every opcode but QUERY is not implemented, and is said back."""
        for opcode in range(1, 16):
            wire = bytearray(query_wire("a.example"))
            wire[2] = wire[2] & 0x87 | opcode << 3
            told = query.read(bytes(wire))
            assert isinstance(told, bytes)
            self.assertEqual((told[2] >> 3 & 15, told[3] & 15, len(told)), (opcode, NOTIMP, 12))

    def test_flags_of_no_query(self) -> None:
        """What is no query has no query's flags: nothing but QR, the opcode and the id is repeated or set."""
        for opcode in range(1, 16):
            wire = query_wire("a.example", use_edns=0)
            told = query.read(wire[:2] + bytes((opcode << 3 | 7, 0x7F)) + wire[4:])
            self.assertEqual(told, wire[:2] + bytes((0x80 | opcode << 3, NOTIMP)) + bytes(8))

    def test_number_of_questions(self) -> None:
        """No question, or more than one, is a format error (RFC 9619)."""
        wire = query_wire("a.example")
        for count in (0, 2, 3, 65535):
            self.assertEqual(self.told(wire[:4] + count.to_bytes(2, "big") + wire[6:]).rcode(), FORMERR)

    def test_malformed(self) -> None:
        """A cut or compressed question, bytes behind the end, and a missing record are format errors."""
        wire = query_wire("a.example", use_edns=0)
        for bad in (wire[:20], wire[:12] + b"\xc0\x0c\0\1\0\1", wire + b"x", wire[:-1], wire[:11] + b"\2" + wire[12:]):
            self.assertEqual(self.told(bad).rcode(), FORMERR)

    def test_opt_out_of_place(self) -> None:
        """Two OPTs, one whose owner is not the root, or one among the answers, are format errors."""
        wire = query_wire("a.example")
        opt = query_wire("a.example", use_edns=0)[len(wire) :]
        two = wire[:10] + b"\0\2" + wire[12:] + opt + opt
        named = wire[:10] + b"\0\1" + wire[12:] + b"\1a" + opt
        answer = wire[:6] + b"\0\1" + wire[8:] + opt
        for bad in (two, named, answer):
            self.assertEqual(self.told(bad).rcode(), FORMERR)

    def test_refused_with_opt(self) -> None:
        """Who sent a good OPT gets one back, whatever else is wrong (RFC 6891, 7); and his question."""
        wire = query_wire("a.example")[:10] + b"\0\1" + query_wire("a.example")[12:]
        told = self.told(wire + b"\0\0\x29\x04\xd0\0\0\x80\0\0\4\0\1\0\5")
        self.assertEqual((told.rcode(), told.edns, bool(told.ednsflags & 0x8000)), (FORMERR, 0, True))
        self.assertEqual(len(told.question), 1)

    def test_bad_options(self) -> None:
        """An option that runs past the OPT's end, or a senseless client subnet, is a format error."""
        wire = query_wire("a.example")[:10] + b"\0\1" + query_wire("a.example")[12:]
        for data in (
            b"\0\1\0", b"\0\1\0\5abc", b"\0\x08\0\2\0\1", b"\0\x08\0\5\0\3\x08\0a", b"\0\x08\0\5\0\0\x08\0a",
            b"\0\x08\0\4\0\1\x18\0", b"\0\x08\0\x09\0\1\x28\0abcde", b"\0\x08\0\7\0\1\x18\x10abc",
            b"\0\x08\0\5\0\1\0\0a", b"\0\x08\0\7\0\1\x17\0abc",
        ):  # fmt: skip
            opt = b"\0\0\x29\x04\xd0\0\0\0\0" + len(data).to_bytes(2, "big") + data
            self.assertEqual(self.told(wire + opt).rcode(), FORMERR, data)

    def test_subnets_not_heeded(self) -> None:
        """Where client subnets are not heeded the option is ignored, whatever stands in it (RFC 6891, 6.1.2)."""
        wire = query_wire("a.example")[:10] + b"\0\1" + query_wire("a.example")[12:]
        for data in (b"\0\0\0\0", b"\0\1\x18\0abc", b"\0\3\0\0", b"x", b""):
            option = b"\0\x08" + len(data).to_bytes(2, "big") + data
            opt = b"\0\0\x29\x04\xd0\0\0\0\0" + len(option).to_bytes(2, "big") + option
            read = query.read(wire + opt)
            assert isinstance(read, Query)
            self.assertEqual((read.subnet, read.key), (None, b"\1a\7example\0\0\1\0\1\0"))

    def test_edns_version(self) -> None:
        """A version after 0 is BADVERS, told in an OPT of version 0 (RFC 6891, 6.1.3)."""
        told = self.told(query_wire("a.example", use_edns=1))
        self.assertEqual((told.rcode(), told.edns), (BADVERS, 0))

    def test_records_besides_opt_are_ignored(self) -> None:
        """A query may carry records, as IXFR does; those of a plain query change nothing."""
        message = dns.message.make_query("a.example", "A")
        message.additional.append(dns.rrset.from_text("b.example.", 1, "IN", "A", "192.0.2.1"))
        self.assertIsInstance(query.read(message.to_wire()), Query)

    def test_classes(self) -> None:
        """Another class than IN is refused: CH is never looked up as IN."""
        for rdclass in ("CH", "HS", "ANY", "NONE"):
            told = self.told(dns.message.make_query("version.bind", "TXT", rdclass).to_wire())
            self.assertEqual(told.rcode(), REFUSED)

    def test_meta_types(self) -> None:
        """Types that no record can have are not implemented or a format error; ANY and unknown types are asked."""
        for qtype, rcode in {249: NOTIMP, 250: NOTIMP, 251: NOTIMP, 252: NOTIMP, 253: NOTIMP, 254: NOTIMP,
                             200: NOTIMP, 0: FORMERR, 41: FORMERR, 128: FORMERR}.items():  # fmt: skip
            wire = bytearray(query_wire("a.example", use_edns=0))
            wire[23:25] = qtype.to_bytes(2, "big")
            self.assertEqual(self.told(bytes(wire)).rcode(), rcode, qtype)
        for qtype in (255, 256, 257, 1000, 65280, 65535):
            wire = bytearray(query_wire("a.example"))
            wire[23:25] = qtype.to_bytes(2, "big")
            self.assertIsInstance(query.read(bytes(wire)), Query)

    @given(st.binary(max_size=120))
    def test_any_bytes(self, wire: bytes) -> None:
        """Whatever comes, it is a query, a reply with the same id, or silence."""
        read = query.read(wire)
        if isinstance(read, bytes):
            self.assertEqual(read[:2], wire[:2])

    @given(PLAIN_NAMES, st.data())
    def test_mutated(self, name: dns.name.Name, data: st.DataObject) -> None:
        """A damaged query raises nothing."""
        wire = bytearray(dns.message.make_query(name, "A", use_edns=True, want_dnssec=True).to_wire())
        for _ in range(data.draw(st.integers(1, 5))):
            wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
        query.read(bytes(wire))

    def test_question_of(self) -> None:
        """The question of a message is read folded; a message without exactly one has none."""
        wire = query_wire("A.Example")
        self.assertEqual(query.question_of(wire), (b"\1a\7example\0\0\1\0\1", 27))
        for bad in (b"", wire[:5] + b"\0" + wire[6:], wire[:5] + b"\2" + wire[6:]):
            with self.assertRaises(Malformed):
                query.question_of(bad)
