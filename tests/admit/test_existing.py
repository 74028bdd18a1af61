"""Names that exist because one below them is answered or routed here."""

from __future__ import annotations

from typing import Any, ClassVar

import dns.message
import dns.rcode
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from heimdall.admit.existing import Existing, above
from heimdall.config.settings import Admit, Cache, Fetch, Redis, Settings
from heimdall.interfaces import IGate, ISource
from heimdall.message.answer import SOA, Answer, local
from heimdall.message.edns import BLOCKED
from heimdall.message.query import NXDOMAIN, Query
from heimdall.message.wire import from_text
from heimdall.pipeline import Path, lay
from tests.admit.asking import extended_errors
from tests.cache.questions import question
from tests.message.messages import query_wire

CLIENT = ("127.0.0.1", 5353)
SOA_DATA = b"\0\0" + b"".join(number.to_bytes(4, "big") for number in (1, 2, 3, 4, 300))


@implementer(ISource)
class Nobody:
    """An upstream that knows no name, but for those of the test."""

    one: ClassVar[Nobody]

    def __init__(self) -> None:
        Nobody.one = self
        self.asked: list[bytes] = []
        self.known: set[bytes] = set()

    def ask(self, query: Query) -> Deferred[Answer]:
        """Answer."""
        self.asked.append(query.name)
        if query.name in self.known:
            return succeed(local(query, 0, [(query.name, 1, 60, b"\xc0\0\2\1")], origin="upstream").replace(keep=True))
        none = local(query, NXDOMAIN, [(from_text("."), SOA, 300, SOA_DATA)], origin="upstream")
        return succeed(none.replace(keep=True, negative=True))


class Above(SynchronousTestCase):
    """The names above a name."""

    def test_above(self) -> None:
        """All of them, to the root, whichever comes first; not the name itself."""
        names: set[bytes] = set()
        for text in ("a.b.c.example", "x.c.example", "b.c.example"):
            above(from_text(text), names)
        self.assertEqual(names, set(map(from_text, ("b.c.example", "c.example", "example", "."))))

    def test_gate(self) -> None:
        """The gate ends no question."""
        gate = Existing({from_text("b.example")})
        verifyObject(IGate, gate)
        for text, passed in (("b.example", True), ("a.b.example", False), ("example", False)):
            query = question(text)
            self.assertIsNone(gate.judge(query))
            self.assertEqual(query.passed is not None and query.passed.exists, passed)


class Answers(SynchronousTestCase):
    """What is told of names above those that we answer, where the upstream knows none of them."""

    def setUp(self) -> None:
        self.clock = Clock()

    def lay(self, former: Path | None = None, routes: tuple[str, ...] = (), **admit: Any) -> Path:
        """Lay a path."""
        source = ("import:tests.admit.test_existing.Nobody",)
        fetch = Fetch(upstreams=source, routes=dict.fromkeys(routes, source))
        settings = Settings(redis=Redis(enabled=False), fetch=fetch, admit=Admit(**admit), cache=Cache())
        self.path = lay(settings, self.clock, former)
        self.addCleanup(self.path.close)
        return self.path

    def ask(self, name: str, qtype: str = "A", **options: Any) -> dns.message.Message:
        """Ask as a client."""
        later: list[bytes] = []
        wire = query_wire(name, qtype, **options)
        reply = self.path.server.front.take(wire, CLIENT, False, lambda reply, _: later.append(reply))
        return dns.message.from_wire(reply or later[0])

    def codes(self, *names: str) -> list[str]:
        """Ask for names; return the response codes, twice each: as asked, and as known."""
        return [dns.rcode.to_text(self.ask(name).rcode()) for name in names for _ in range(2)]

    def test_records(self) -> None:
        """Names above a record of our own have no data; those beside it and below it do not exist."""
        self.lay(records=("a.b.corp.example A 10.0.0.1", "_ldap._tcp.corp.example SRV 0 0 389 a.b.corp.example"))
        self.assertEqual(set(self.codes("b.corp.example", "_tcp.corp.example", "corp.example", "example")), {"NOERROR"})
        self.assertEqual(set(self.codes("c.corp.example", "x.a.b.corp.example", "x.b.corp.example")), {"NXDOMAIN"})
        self.assertEqual(self.ask("a.b.corp.example").answer[0].to_text(), "a.b.corp.example. 60 IN A 10.0.0.1")

    def test_every_type(self) -> None:
        """That holds for each type: no answer to another one says that the name does not exist."""
        self.lay(records=("a.b.corp.example A 10.0.0.1",))
        for qtype in ("A", "AAAA", "MX", "NS", "DS", "TXT", "SOA", "HTTPS"):
            for _ in range(2):
                reply = self.ask("b.corp.example", qtype, want_dnssec=True)
                self.assertEqual((reply.rcode(), reply.answer, len(reply.authority)), (0, [], 1), qtype)

    def test_of_the_parent(self) -> None:
        """What the upstream says of DS at a name of ours, which is for the parent to say, hides no record of ours."""
        self.lay(records=("a.corp.example A 10.0.0.1",))
        self.assertEqual(self.ask("a.corp.example", "DS").rcode(), NXDOMAIN)
        self.assertEqual(len(self.ask("a.corp.example").answer), 1)

    def test_kept(self) -> None:
        """The upstream is asked once in a while, no more than for any other name."""
        self.lay(records=("a.b.corp.example A 10.0.0.1",))
        for _ in range(3):
            self.ask("b.corp.example")
        self.assertEqual(len(Nobody.one.asked), 1)
        self.clock.advance(60)
        self.ask("b.corp.example")
        self.assertEqual(len(Nobody.one.asked), 2)

    def test_upstream_knows(self) -> None:
        """What the upstream knows of a name above one of ours is told."""
        self.lay(records=("a.b.corp.example A 10.0.0.1",))
        Nobody.one.known.add(from_text("corp.example"))
        self.assertEqual(self.ask("corp.example").answer[0].to_text(), "corp.example. 60 IN A 192.0.2.1")

    def test_hosts(self) -> None:
        """Names above those of a hosts file, the reverse ones too, also where private zones are answered here."""
        file = self.mktemp()
        with open(file, "w") as hosts:
            hosts.write("192.168.7.5 nas.floor.test\n203.0.114.9 out.side.example\n2001:db9::1 six.example\n")
        self.lay(hosts=(file,))
        names = (
            "floor.test", "7.168.192.in-addr.arpa", "168.192.in-addr.arpa", "side.example", "114.0.203.in-addr.arpa",
            "203.in-addr.arpa", "0.0.0.0.9.b.d.0.1.0.0.2.ip6.arpa",
        )  # fmt: skip
        self.assertEqual(set(self.codes(*names)), {"NOERROR"})
        self.assertEqual(set(self.codes("wall.test", "8.168.192.in-addr.arpa", "115.0.203.in-addr.arpa")), {"NXDOMAIN"})

    def test_special(self) -> None:
        """Names above the private zones that are answered here exist, and so do those zones whatever is asked first."""
        self.lay()
        self.assertEqual(set(self.codes("f.ip6.arpa", "e.f.ip6.arpa", "100.in-addr.arpa")), {"NOERROR"})
        self.assertEqual(self.ask("d.f.ip6.arpa", "DS").rcode(), NXDOMAIN)
        self.assertEqual(len(self.ask("d.f.ip6.arpa", "SOA").answer), 1)

    def test_routes(self) -> None:
        """Names above one that is routed exist: somebody who asks label by label gets to it."""
        self.lay(routes=("corp.lan",))
        self.assertEqual(set(self.codes("lan")), {"NOERROR"})
        self.assertEqual(set(self.codes("x.corp.lan", "other.lan")), {"NXDOMAIN"})

    def test_blocked(self) -> None:
        """A name that is blocked above one of ours has no data, and it is said that it is blocked."""
        self.lay(records=("a.b.ads.example A 10.0.0.1",), block=("ads.example",))
        reply = self.ask("b.ads.example")
        self.assertEqual((reply.rcode(), [int(option.code) for option in reply.options]), (0, []))
        reply = self.ask("b.ads.example", use_edns=0)
        self.assertEqual((reply.rcode(), extended_errors(reply)), (0, [BLOCKED]))
        self.assertEqual(self.codes("c.ads.example", "ads.example"), ["NXDOMAIN"] * 2 + ["NOERROR"] * 2)

    def test_inside(self) -> None:
        """A program is told the same as a client, and who follows a question as well."""
        self.lay(records=("a.b.corp.example A 10.0.0.1",))
        for _ in range(2):
            self.assertEqual(self.successResultOf(self.path.inside.ask(question("b.corp.example"))).rcode, 0)
        for name, gates in (("corp.example", ["Existing", "Local", "Special"]), ("x.example", ["Local", "Special"])):
            followed = self.successResultOf(self.path.follow.ask(question(name)))
            self.assertEqual(followed.answer and followed.answer.rcode, 0 if name == "corp.example" else NXDOMAIN)
            notes = [note["gate"] for note in followed.trace.notes if note["station"] == "gate"]
            self.assertEqual(notes, ["Acl", *gates])

    def test_reload(self) -> None:
        """A record that is new makes the names above it exist at once, whatever memory holds of them."""
        former = self.lay()
        self.assertEqual(set(self.codes("b.corp.example", "c.example")), {"NXDOMAIN"})
        path = self.lay(former, records=("a.b.corp.example A 10.0.0.1",))
        former.rest()
        path.lead()
        path.judge()
        self.assertEqual(self.codes("b.corp.example", "c.example"), ["NOERROR"] * 2 + ["NXDOMAIN"] * 2)
        self.assertEqual(len(Nobody.one.asked), 1)
