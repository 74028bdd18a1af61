"""The data of records, checked and written out as dnspython does it."""

from __future__ import annotations

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.wire
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from heimdall.message import rdata
from heimdall.message.wire import Malformed

SAMPLES = {
    "A": "192.0.2.1",
    "NS": "ns.example.com.",
    "CNAME": "www.example.com.",
    "SOA": "ns.example.com. admin.example.com. 1 2 3 4 5",
    "PTR": "host.example.com.",
    "HINFO": '"cpu" "os"',
    "MX": "10 mail.example.com.",
    "TXT": '"one" "two"',
    "RP": "admin.example.com. text.example.com.",
    "AFSDB": "1 host.example.com.",
    "AAAA": "2001:db8::1",
    "SRV": "1 2 443 host.example.com.",
    "NAPTR": '1 2 "U" "E2U+sip" "!^.*$!sip:a@example.com!" .',
    "KX": "1 host.example.com.",
    "CERT": "1 2 3 AAAA",
    "DNAME": "other.example.com.",
    "DS": "1 13 2 " + "00" * 32,
    "SSHFP": "1 1 " + "00" * 20,
    "RRSIG": "A 13 2 60 20300101000000 20200101000000 1 example.com. AAAA",
    "NSEC": "next.example.com. A RRSIG NSEC TYPE1000",
    "DNSKEY": "257 3 13 AAAA",
    "NSEC3": "1 0 0 ab 2vptu5timamqttgl4luu9kg21e0aor3s A RRSIG",
    "NSEC3PARAM": "1 0 0 ab",
    "TLSA": "3 1 1 " + "00" * 32,
    "CDS": "1 13 2 " + "00" * 32,
    "CSYNC": "1 3 A NS AAAA",
    "ZONEMD": "1 1 1 " + "00" * 48,
    "SVCB": "1 svc.example.com. alpn=h2 port=443",
    "HTTPS": "1 . alpn=h2,h3 ipv4hint=192.0.2.1",
    "EUI48": "00-00-5e-00-53-2a",
    "URI": '1 2 "https://example.com/"',
    "CAA": '0 issue "ca.example.com"',
    "TYPE65400": "\\# 3 010203",
}
"""Data of every type whose form we know, and of one that nobody knows."""

PARTS = [dns.name.from_text(text) for text in ("www.example.com.", "example.com.", "com.")]


def compressed(text: str, kind: str) -> tuple[bytes, int]:
    """Return a message that ends with data whose names point back where they can, and where that begins."""
    made = dns.rdata.from_text("IN", kind, text)
    head = bytes(12) + (PARTS[0].to_wire() or b"")
    places = {part: 12 + len(head) - 12 - len(part.to_wire() or b"") for part in PARTS}
    wire = made.to_wire()
    assert wire is not None
    for part, place in places.items():
        wire = wire.replace(part.to_wire() or b"?", (0xC000 | place).to_bytes(2, "big"))
    return head + wire, len(head)


class Data(SynchronousTestCase):
    """Data of each type."""

    def test_every_type(self) -> None:
        """Data comes out as it is without compression, and is the very data that dnspython reads."""
        for kind, text in SAMPLES.items():
            made = dns.rdata.from_text("IN", kind, text)
            message, at = compressed(text, kind)
            self.assertEqual(rdata.read(int(made.rdtype), message, at, len(message), {}), made.to_wire(), kind)

    def test_every_length(self) -> None:
        """One byte less or more than the form of a type has is Malformed, wherever its form says where it ends."""
        open_end = {"CERT", "DS", "SSHFP", "RRSIG", "DNSKEY", "TLSA", "CDS", "ZONEMD", "URI", "CAA", "TYPE65400"}
        for kind, text in SAMPLES.items():
            made = dns.rdata.from_text("IN", kind, text)
            message = bytes(12) + (made.to_wire() or b"")
            for wrong in (message[:-1], message + b"\xff"):
                if kind in open_end:
                    continue
                with self.assertRaises(Malformed, msg=kind):
                    rdata.read(int(made.rdtype), wrong, 12, len(wrong), {})

    @given(st.sampled_from(sorted(SAMPLES)), st.data())
    def test_damaged(self, kind: str, data: st.DataObject) -> None:
        """Damaged data is Malformed, or has names that dnspython reads the same."""
        text = SAMPLES[kind]
        message, at = compressed(text, kind)
        damaged = bytearray(message)
        for _ in range(data.draw(st.integers(1, 3))):
            damaged[data.draw(st.integers(at, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        number = dns.rdatatype.from_text(kind)
        try:
            read = rdata.read(int(number), bytes(damaged), at, len(damaged), {})
        except Malformed:
            return
        try:
            theirs = dns.rdata.from_wire_parser(dns.rdataclass.IN, number, dns.wire.Parser(bytes(damaged), at))
        except (dns.exception.DNSException, ValueError, AssertionError):
            return  # it looks into fields that mean nothing to a cache
        self.assertEqual(read, theirs.to_wire())
