"""Blocked names."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from heimdall.admit.rules import Blocked
from heimdall.interfaces import IGate
from heimdall.message.answer import Answer
from heimdall.tally import Gauge
from tests.admit.asking import asking, extended_errors, owner_of_soa, rcode, rows, told

BLOCKED = 15


class Rules(SynchronousTestCase):
    """Which names are blocked."""

    def test_is_a_gate(self) -> None:
        """Blocked is an IGate."""
        verifyObject(IGate, Blocked())

    def test_name_and_all_below(self) -> None:
        """A blocked name is blocked with all below it, in any case; its neighbours and what is above it pass."""
        gate = Blocked(["ads.example", "*.Track.example"])
        for name in ("ads.example", "ADS.example", "a.b.ads.example", "track.example", "x.track.example"):
            self.assertIsNotNone(gate.judge(asking(name)), name)
        for name in ("example", "www.example", "myads.example", "ads.example.com", "."):
            self.assertIsNone(gate.judge(asking(name)), name)

    def test_files(self) -> None:
        """The names of all files and of the configuration are blocked together, each counted once."""
        paths = []
        for content in ("0.0.0.0 a.example\n0.0.0.0 b.example\n??", "||c.example^\na.example\n"):
            path = Path(self.mktemp())
            path.write_text(content)
            paths.append(str(path))
        gate = Blocked(["d.example", "a.example"], paths)
        for name in "abcd":
            self.assertIsNotNone(gate.judge(asking(f"{name}.example")))
        self.assertEqual(gate._skipped.total(), 1)
        names, size = (tally.read() for tally in gate.tallies if isinstance(tally, Gauge))
        self.assertEqual((names, size), (4, 4 * 8 + 3 * 4))

    def test_counted(self) -> None:
        """Queries for blocked names are counted, and no others."""
        gate = Blocked(["ads.example"])
        for name in ("ads.example", "x.ads.example", "www.example"):
            gate.judge(asking(name))
        self.assertEqual(gate._blocked.total(), 2)

    def test_errors(self) -> None:
        """A bad name, an unknown answer and a missing file are errors at start."""
        self.assertIn("'a b'", str(self.assertRaises(ValueError, Blocked, ["a b"])))
        self.assertIn("'drop'", str(self.assertRaises(ValueError, Blocked, [], [], "drop")))
        self.assertRaises(OSError, Blocked, [], ["/nonexistent/list"])


class Answers(SynchronousTestCase):
    """What a blocked name is answered."""

    def test_nxdomain(self) -> None:
        """NXDOMAIN comes with a SOA at the blocked name, so that the client may remember it for a minute."""
        gate = Blocked(["ads.example"], answer="nxdomain")
        for name in ("ads.example", "a.b.ads.example"):
            for kind in ("A", "AAAA", "TXT", "SOA", "ANY"):
                reply = told(gate, asking(name, kind))
                self.assertEqual((rcode(reply), reply.answer, extended_errors(reply)), ("NXDOMAIN", [], [BLOCKED]))
                self.assertEqual(owner_of_soa(reply), "ads.example")
                soa = reply.authority[0]
                self.assertEqual((soa.ttl, soa[0].to_text().split()[-1]), (60, "60"))

    def test_null(self) -> None:
        """The null answer is an address that leads nowhere, and no data for other types."""
        gate = Blocked(["ads.example"], answer="null")
        for kind, address in (("A", "0.0.0.0"), ("AAAA", "::")):
            reply = told(gate, asking("www.ads.example", kind))
            self.assertEqual(rows(reply), [f"www.ads.example. 60 IN {kind} {address}"])
            self.assertEqual((reply.authority, extended_errors(reply)), ([], [BLOCKED]))
        for kind in ("HTTPS", "SOA"):
            reply = told(gate, asking("www.ads.example", kind))
            self.assertEqual((rcode(reply), reply.answer), ("NOERROR", []))
            self.assertEqual((owner_of_soa(reply), extended_errors(reply)), ("ads.example", [BLOCKED]))

    def test_refused(self) -> None:
        """REFUSED comes without records."""
        reply = told(Blocked(["ads.example"], answer="refused"), asking("ads.example"))
        self.assertEqual((rcode(reply), reply.answer, reply.authority), ("REFUSED", [], []))
        self.assertEqual(extended_errors(reply), [BLOCKED])

    def test_root(self) -> None:
        """The SOA of a deep name is found where the blocked part begins, also when that is its last label."""
        name = "a." * 120 + "example"
        self.assertEqual(owner_of_soa(told(Blocked(["example"]), asking(name))), "example")

    def test_times_and_origin(self) -> None:
        """The TTLs of the answer are where it says they are, and it is told as blocked."""
        for choice in ("nxdomain", "null"):
            answer = Blocked(["ads.example"], answer=choice).judge(asking("x.ads.example"))
            assert isinstance(answer, Answer)
            self.assertEqual((answer.origin, answer.ttl), ("blocked", 60))
            self.assertEqual([int.from_bytes(answer.body[at : at + 4], "big") for at in answer.spots], [60])
