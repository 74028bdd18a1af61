"""Walking messages as bytes."""

from __future__ import annotations

from struct import unpack_from

import dns.exception
import dns.message
import dns.name
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from heimdall.message import wire
from heimdall.message.wire import Malformed
from tests.message.messages import NAMES, PLAIN_NAMES, folded, replies


def name_at(message: bytes, at: int) -> bytes:
    """Return the folded name at an offset, with its pointers followed."""
    return wire.expand_name(message, at, {})[0].lower()


def _walk(message: bytes) -> list[tuple[bytes, int, int]]:
    """Every record of a message as its owner, type and TTL."""
    answers, authorities, additionals = unpack_from("!HHH", message, 6)
    return [
        (name_at(message, owner), kind, int.from_bytes(message[fixed + 4 : fixed + 8], "big"))
        for owner, fixed, kind, _, _ in wire.records(
            message, wire.question_end(message), answers + authorities + additionals
        )
    ]


class Names(SynchronousTestCase):
    """Names on the wire and as text."""

    @given(NAMES)
    def test_read_as_dnspython_writes(self, name: dns.name.Name) -> None:
        """A name is read folded, to its end and no further."""
        data = b"\0" * 12 + (name.to_wire() or b"") + b"rest"
        self.assertEqual(name_at(data, 12), folded(name))
        self.assertEqual(wire.skip_name(data, 12), len(data) - 4)

    @given(PLAIN_NAMES)
    def test_text_there_and_back(self, name: dns.name.Name) -> None:
        """A plain name in text becomes the wire name that dnspython makes of it, and text again."""
        self.assertEqual(wire.from_text(name.to_text()), folded(name))
        self.assertEqual(wire.to_text(wire.from_text(name.to_text())), name.to_text(omit_final_dot=True).lower())

    @given(NAMES)
    def test_any_bytes_survive_as_text(self, name: dns.name.Name) -> None:
        """Whatever bytes a label holds, its text leads back to them."""
        self.assertEqual(wire.from_text(wire.to_text(folded(name))), folded(name))

    def test_text_that_is_no_name(self) -> None:
        """A text that is no domain name is refused, and named in the error."""
        for text in ("a..b", "a" * 64 + ".example", ".".join(["a" * 60] * 5), ""):
            if text:
                with self.assertRaisesRegex(ValueError, "is not a domain name"):
                    wire.from_text(text)
        self.assertEqual(wire.from_text("."), b"\0")
        self.assertEqual(wire.to_text(b"\0"), ".")

    def test_unicode_name(self) -> None:
        """A name outside ASCII is encoded by IDNA."""
        self.assertEqual(wire.from_text("bücher.example"), b"\x0dxn--bcher-kva\x07example\0")

    def test_pointers_lead_back(self) -> None:
        """A pointer to itself, ahead, or into the header is refused, so a walk always ends."""
        for target in (0, 11, 16, 17, 40):
            data = b"\0" * 16 + bytes((0xC0, target)) + b"\0" * 30
            with self.assertRaises(Malformed):
                name_at(data, 16)
            with self.assertRaises(Malformed):
                wire.skip_name(data, 16)

    def test_pointers_to_pointers(self) -> None:
        """Pointers that lead from one to the next are followed once each, and too many of them are refused."""
        data = bytearray(12) + b"\1a\0\0"
        for at in range(14, 14 + 2 * wire.MOST_POINTERS, 2):
            data += (0xC000 | (12 if at == 14 else at)).to_bytes(2, "big")
        known: dict[int, bytes] = {}
        last = len(data) - 2
        self.assertEqual(wire.expand_name(bytes(data), last, known), (b"\1a\0", len(data)))
        self.assertEqual(len(known), wire.MOST_POINTERS)
        longer = bytes(data) + (0xC000 | last).to_bytes(2, "big")
        self.assertEqual(wire.expand_name(longer, len(data), known)[0], b"\1a\0")
        with self.assertRaises(Malformed):
            wire.expand_name(longer, len(data), {})

    @given(NAMES)
    def test_spelling(self, name: dns.name.Name) -> None:
        """A name keeps its spelling where it is expanded."""
        data = b"\0" * 12 + (name.to_wire() or b"")
        self.assertEqual(wire.expand_name(data, 12, {}), (name.to_wire(), len(data)))

    def test_name_too_long(self) -> None:
        """A name of more than 255 bytes is refused, in one piece or through pointers."""
        label = b"\x3f" + b"a" * 63
        data = b"\0" * 12 + label * 4 + b"\0"
        for read in (name_at, wire.skip_name):
            with self.assertRaises(Malformed):
                read(data, 12)
        pieces = b"\0" * 12 + label * 3 + b"\0" + label + b"\xc0\x0c"
        with self.assertRaises(Malformed):
            name_at(pieces, 12 + 193)

    def test_unknown_label_kinds(self) -> None:
        """The label kinds 01 and 10 were never used; they are refused."""
        for first in (0x40, 0x80):
            for read in (name_at, wire.skip_name):
                with self.assertRaises(Malformed):
                    read(b"\0" * 12 + bytes((first, 0)), 12)

    def test_cut_short(self) -> None:
        """A name that runs past the end is refused."""
        for data in (b"\x03ab", b"\x03abc", b"\xc0", b""):
            for read in (name_at, wire.skip_name):
                with self.assertRaises(Malformed):
                    read(b"\0" * 12 + data, 12)

    def test_suffixes(self) -> None:
        """The suffixes of a name are itself, its parents and the root."""
        self.assertEqual(list(wire.suffixes(b"\1a\2bc\3def\0")), [b"\1a\2bc\3def\0", b"\2bc\3def\0", b"\3def\0", b"\0"])


class Messages(SynchronousTestCase):
    """Whole messages, held against dnspython."""

    @given(replies())
    def test_same_records_as_dnspython(self, reply: dns.message.Message) -> None:
        """Owner, type and TTL of every record are those that dnspython wrote."""
        expected = [
            (folded(rrset.name), int(rrset.rdtype), rrset.ttl)
            for section in (reply.answer, reply.authority, reply.additional)
            for rrset in section
            for _ in rrset
        ]
        found = [row for row in _walk(reply.to_wire()) if row[1] != 41]
        self.assertEqual(sorted(found), sorted(expected))

    @given(replies(), st.data())
    def test_mutated_messages(self, reply: dns.message.Message, data: st.DataObject) -> None:
        """A damaged message is Malformed or walked as dnspython walks it; nothing else is raised."""
        damaged = bytearray(reply.to_wire())
        for _ in range(data.draw(st.integers(1, 4))):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        message = bytes(damaged[: data.draw(st.integers(12, len(damaged)))])
        try:
            found = _walk(message)
        except Malformed:
            return
        try:
            second = dns.message.from_wire(message, one_rr_per_rrset=True, ignore_trailing=True)
        except (dns.exception.DNSException, ValueError):
            return
        owners = {folded(rrset.name) for rrset in (*second.answer, *second.authority, *second.additional)}
        if len(second.question) == 1:
            self.assertLessEqual(owners, {row[0] for row in found} | {b"\0"})

    def test_question_must_be_whole(self) -> None:
        """A question that is compressed, cut short or too long is refused."""
        for data in (
            b"\xc0\x0c\0\1\0\1",
            b"\x03abc\0\0\1\0",
            b"\x03ab",
            b"",
            (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1",
        ):
            with self.assertRaises(Malformed):
                wire.question_end(b"\0" * 12 + data)

    def test_record_must_be_whole(self) -> None:
        """A record whose fixed part or data runs past the end is refused."""
        for data in (b"\0\0\1\0\1\0\0\0\0", b"\0\0\1\0\1\0\0\0\0\0\4abc"):
            with self.assertRaises(Malformed):
                list(wire.records(b"\0" * 12 + data, 12, 1))
