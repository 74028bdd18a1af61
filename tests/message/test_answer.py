"""Tests of what becomes of an answer that is kept, and of answers of our own."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
from twisted.trial.unittest import SynchronousTestCase

from heimdall.message import answer, query, response
from heimdall.message.edns import ExtendedError
from heimdall.message.query import NXDOMAIN, REFUSED
from heimdall.message.reply import fit
from heimdall.message.spots import aged
from heimdall.message.wire import from_text
from tests.message.messages import SOA, reply_wire, ttls


class Changing(SynchronousTestCase):
    """Ageing and bounds."""

    wire = reply_wire("a.example.", "A", "a.example. 60 CNAME b.example.", "b.example. 900 A 192.0.2.1")

    def test_every_ttl_ages(self) -> None:
        """Each TTL sinks by the age, none below 0."""
        read = response.read(self.wire)
        self.assertEqual(ttls(read.older(100, "redis")), [0, 800])
        self.assertEqual((read.older(59, "redis").ttl, read.older(61, "redis").ttl), (1, 0))
        self.assertEqual(read.older(1, "redis").origin, "redis")
        self.assertEqual(aged(read.body, read.spots, 0), read.body)

    def test_bounds(self) -> None:
        """Floor and ceiling hold for every record; a no has a ceiling of its own, and it wins over the floor."""
        read = response.read(self.wire)
        bounded = read.bounded(90, 600, 10)
        self.assertEqual((ttls(bounded), bounded.ttl), ([90, 600], 90))
        self.assertIs(read.bounded(0, 900, 10), read)
        no = response.read(reply_wire("no.example.", "A", rcode=NXDOMAIN, authority=(SOA,)))
        self.assertEqual(no.bounded(90, 600, 10).ttl, 10)
        alias = "www.example. 600 CNAME a.example."
        behind = response.read(reply_wire("www.example.", "AAAA", alias, authority=(SOA,)))
        self.assertEqual(behind.bounded(0, 600, 10).ttl, 10)

    def test_bounds_do_not_keep_a_failure(self) -> None:
        """What must not be kept is not made to be kept by a floor."""
        failed = response.read(reply_wire("a.example.", "A", "a.example. 0 A 192.0.2.1", rcode=2))
        self.assertIs(failed.bounded(60, 600, 60), failed)

    def test_set_ttls(self) -> None:
        """A stale answer has one TTL throughout."""
        self.assertEqual(ttls(response.read(self.wire).with_ttls(30, "stale")), [30, 30])


class Own(SynchronousTestCase):
    """Answers made here."""

    def test_without_records(self) -> None:
        """A bare response code with its reason."""
        asked = query.make(from_text("a.example"), 1)
        made = answer.make(asked, REFUSED, "local", ExtendedError(18, "not you"))
        message = dns.message.from_wire(fit(asked, made, made.body))
        self.assertEqual((message.rcode(), message.options[0].to_text()), (5, "EDE 18 (Prohibited): not you"))

    def test_records(self) -> None:
        """Records of our own are authoritative; a SOA goes to the authority section."""
        asked = query.make(from_text("a.example"), 1)
        soa = b"\0\0" + bytes(20)
        made = answer.local(
            asked,
            0,
            [(asked.name, 1, 60, b"\xc0\0\2\1"), (from_text("b.example"), 1, 50, b"\xc0\0\2\2"), (b"\0", 6, 9, soa)],
        )
        message = dns.message.from_wire(fit(asked, made, made.body))
        self.assertTrue(message.flags & dns.flags.AA)
        self.assertEqual([rrset.to_text() for rrset in message.answer],
                         ["a.example. 60 IN A 192.0.2.1", "b.example. 50 IN A 192.0.2.2"])  # fmt: skip
        self.assertEqual((message.authority[0].ttl, made.ttl), (9, 9))

    def test_too_much(self) -> None:
        """Records that do not fit a message are an error at once."""
        asked = query.make(from_text("a.example"), 16)
        with self.assertRaises(ValueError):
            answer.local(asked, 0, [(asked.name, 16, 60, b"\xff" + b"a" * 255)] * 300)
