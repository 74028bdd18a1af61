"""On what terms a question passes, and what becomes of its answer by these."""

from __future__ import annotations

import dns.message
from twisted.trial.unittest import SynchronousTestCase

from heimdall.message import response
from heimdall.message.answer import Answer, Stale
from heimdall.message.edns import STALE_ANSWER
from heimdall.message.passed import MOST_CHANGED, NO_TTL, Changes, Passed, asked, terms
from heimdall.message.query import AD, NXDOMAIN, Query
from heimdall.message.reply import fit
from heimdall.message.wire import from_text
from tests.cache.questions import SOA, negative, positive, question, ttls
from tests.message.messages import reply_wire

PROOF = (
    SOA,
    "example. 900 RRSIG SOA 8 1 900 20300101000000 20200101000000 1 example. AAAA",
    "a.example. 300 NSEC z.example. A",
    "a.example. 300 RRSIG NSEC 8 2 300 20300101000000 20200101000000 1 example. AAAA",
)


class Ends(SynchronousTestCase):
    """How long an answer is good."""

    def test_longest(self) -> None:
        """No TTL is longer than the verdict, and none gets longer by it."""
        passed = Passed()
        passed.until = 1030.9
        mixed = response.read(
            reply_wire("a.example.", "A", "a.example. 300 CNAME b.example.", "b.example. 20 A 192.0.2.1")
        )
        for answer, told in ((positive(ttl=60), [30]), (positive(ttl=10), [10]), (mixed, [30, 20])):
            applied = passed.applied(question(), answer, 1000.0)
            self.assertEqual((ttls(applied.body, applied), applied.ttl), (told, min(told)))
        self.assertEqual(passed.applied(question(), positive(), 1031.0).ttl, 0)

    def test_for_ever(self) -> None:
        """Where no policy says, the answer stays as it is."""
        answer = positive()
        self.assertIs(terms(question()).applied(question(), answer, 1000.0), answer)


class Changed(SynchronousTestCase):
    """Which names policies judge otherwise."""

    def test_names(self) -> None:
        """Those that were named and all below them, from then on; all of them where none was."""
        changes = Changes()
        changes.add([from_text("b.example"), from_text("other")])
        changes.add([from_text("b.example")])
        for name, number, concerned in (
            ("b.example", 0, True), ("a.b.example", 1, True), ("b.example", 2, False), ("example", 0, False),
            ("x.other", 0, True), ("x.other", 1, False), ("c.example", 0, False),
        ):  # fmt: skip
            self.assertEqual(changes.concern(from_text(name), number), concerned, name)
        changes.add(None)
        self.assertEqual([changes.concern(from_text("c.example"), number) for number in (2, 3)], [True, False])

    def test_bounded(self) -> None:
        """Of many names it is as if all were meant: none that was is left out."""
        changes = Changes()
        for number in range(3 * MOST_CHANGED):
            changes.add([from_text(f"n{number}.example")])
            self.assertLessEqual(len(changes._names), MOST_CHANGED)
        for number in range(3 * MOST_CHANGED):
            self.assertTrue(changes.concern(from_text(f"n{number}.example"), number))


class Exists(SynchronousTestCase):
    """A name that exists, whatever an upstream says."""

    def applied(self, answer: Answer) -> tuple[Answer, dns.message.Message]:
        """Return an answer as it is told, and the reply that it becomes."""
        query = question("a.example")
        terms(query).exists = True
        assert query.passed is not None
        told = query.passed.applied(query, answer, 1000.0)
        return told, dns.message.from_wire(fit(query, told, told.body))

    def test_no_data(self) -> None:
        """That there is no such name becomes that it has nothing of the type, with a SOA that says for how long."""
        for wire, ttl in (
            (reply_wire("a.example.", "A", rcode=3, authority=(SOA,)), NO_TTL),
            (reply_wire("a.example.", "A", rcode=3, authority=(SOA.replace("900", "7"),)), 7),
            (reply_wire("a.example.", "A", rcode=3, authority=PROOF), NO_TTL),
            (reply_wire("a.example.", "A", rcode=3), 0),
        ):
            answer = response.read(wire)
            told, reply = self.applied(answer.replace(flags=AD))
            self.assertEqual((reply.rcode(), reply.answer, told.flags, told.negative), (0, [], 0, True))
            self.assertEqual([(rrset.name.to_text(), rrset.ttl) for rrset in reply.authority], [("a.example.", ttl)])
            self.assertEqual((told.ttl, told.keep), (ttl, answer.keep))

    def test_others(self) -> None:
        """What an upstream knows of it, and what is said of the target of an alias, stays as it is."""
        alias = response.read(
            reply_wire("a.example.", "A", "a.example. 60 CNAME b.example.", rcode=3, authority=(SOA,))
        )
        self.assertEqual(alias.rcode, NXDOMAIN)
        for answer in (positive(), negative("a.example", rcode=0), alias):
            self.assertIs(self.applied(answer)[0], answer)

    def test_stale(self) -> None:
        """A stale one is told as a stale answer (RFC 8914, 4.4), not as one that there is no such name."""
        told, reply = self.applied(negative("a.example").stale(5.0))
        self.assertIsInstance(told, Stale)
        self.assertEqual(([error.code for error in told.errors], reply.rcode()), ([STALE_ANSWER], 0))


class Asked(SynchronousTestCase):
    """The question of a key."""

    def test_read_back(self) -> None:
        """It is the question that the key is made of."""
        for query in (question(), question("b.example", 28), question("x.y.example", 255)):
            again = asked(query.key, ("", 0))
            self.assertEqual(
                (again.key, again.name, again.qtype, again.do), (query.key, query.name, query.qtype, query.do)
            )
            self.assertIsInstance(Query.keys(again), list)

    def test_every_type(self) -> None:
        """One for every type is asked for addresses, one for a client's subnet by nobody."""
        key = question().key
        self.assertEqual(asked(key[:-5] + b"\0\0" + key[-3:], ("", 0)).key, key)
        self.assertEqual(asked(key + b"\1\x18\xc0\0\2", ("", 0)).key, key)
