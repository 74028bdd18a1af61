"""Verdicts that change, or that are about a client, on the whole path: from a message to its reply."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import dns.message
import dns.rcode
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from heimdall.config.settings import Admit, Cache, Fetch, Redis, Settings
from heimdall.interfaces import DROP, IPolicy, ISource, Pass
from heimdall.message.answer import Answer, local, make
from heimdall.message.edns import BLOCKED, ExtendedError
from heimdall.message.query import NXDOMAIN, Client, Query
from heimdall.message.wire import from_text, suffixes
from heimdall.pipeline import JUDGE, Path, lay
from heimdall.station import Station
from tests.cache.questions import question
from tests.message.messages import query_wire

TTL = 12
CLIENT = ("192.168.0.7", 5353)
GAMES = from_text("games.example")


@implementer(ISource)
class Upstream:
    """Knows an address for every name, and answers at once unless the test keeps its answers."""

    one: ClassVar[Upstream]

    def __init__(self) -> None:
        Upstream.one = self
        self.asked: list[bytes] = []
        self.kept: list[tuple[Deferred[Answer], Query]] | None = None
        self.nothing: set[bytes] = set()

    def ask(self, query: Query) -> Deferred[Answer]:
        """Answer."""
        self.asked.append(query.name)
        if self.kept is None:
            return succeed(self.answer(query))
        waiting: Deferred[Answer] = Deferred()
        self.kept.append((waiting, query))
        return waiting

    def answer(self, query: Query) -> Answer:
        """Return the answer: that a name is another one for some, an address for all others."""
        if query.name.startswith(b"\5alias"):
            target = from_text("secret.example") if b"secret" in query.name else from_text("www.games.example")
            alias = local(query, 0, [(query.name, 5, TTL, target)], origin="upstream", alias=target)
            return alias.replace(keep=True)
        return local(query, 0, [(query.name, 1, TTL, b"\xc0\0\2\1")], origin="upstream").replace(keep=True)

    def give(self) -> None:
        """Give what was kept."""
        kept, self.kept = self.kept or [], None
        for waiting, query in kept:
            waiting.callback(self.answer(query))


@implementer(IPolicy)
class School:
    """No games while it is open, as the page about policies has it; ``ends`` says when it opens or closes next."""

    one: ClassVar[School]

    def __init__(self) -> None:
        School.one = self
        self.open = self.broken = False
        self.ends: float | None = None
        self.host: Any = None
        self.instead: Callable[[Query], Answer | None] | None = None

    def start(self, host: Any) -> None:
        self.host = host

    def judge(self, query: Query) -> Answer | Pass | None:
        if self.broken:
            raise ZeroDivisionError
        if self.instead is not None:
            return self.instead(query)
        if self.open and GAMES in suffixes(query.name):
            return make(query, NXDOMAIN, "blocked", ExtendedError(BLOCKED, "after school"))
        return None if self.ends is None else Pass(self.ends - self.host.reactor.seconds())


@implementer(IPolicy)
class Inner:
    """What the inner network may know, nobody else may; and it is told something of its own."""

    depends = frozenset(("name", "client"))

    def judge(self, query: Query) -> Any:
        if query.name.startswith(b"\6secret"):
            return None if query.client[0].startswith("10.") else DROP
        if query.client[0].startswith("10.") and query.name.startswith(b"\5inner"):
            return local(query, 0, [(query.name, 1, 300, b"\x0a\0\0\1")])
        return None


class Case(SynchronousTestCase):
    """A path on a clock."""

    gates: tuple[str, ...] = ("tests.test_verdicts.School",)
    redis = Redis(enabled=False)

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.path = self.lay()
        self.upstream = Upstream.one
        self.later: list[bytes] = []

    def lay(self, former: Path | None = None, **admit: Any) -> Path:
        """Lay a path, and start its policies."""
        settings = Settings(
            redis=self.redis,
            fetch=Fetch(upstreams=("import:tests.test_verdicts.Upstream",)),
            admit=Admit(gates=self.gates, **admit),
            cache=Cache(stale=True),
        )
        path = lay(settings, self.clock, former)
        self.addCleanup(path.close)
        self.successResultOf(path.policies.start())
        return path

    def ask(self, name: str = "www.games.example", qtype: str = "A", client: Client = CLIENT, tcp: bool = False) -> str:
        """Ask as a client; return the response code, the TTL and the data that come at once; nothing for silence."""
        self.later.clear()
        wire, later = query_wire(name, qtype), lambda reply, _: self.later.append(reply)
        if tcp:
            reply = self.path.server.front.take(wire, client, True, later)
        else:
            reply = self.path.datagrams.answer(wire, client, later)
        return said(reply or (self.later[0] if self.later else b""))

    def twice_a_second(self, seconds: float) -> list[str]:
        """Ask twice a second; return the response codes."""
        codes = []
        for _ in range(int(seconds * 2)):
            codes.append(self.ask().split()[0])
            self.clock.advance(0.5)
        return codes


def said(reply: bytes) -> str:
    """Return what a reply says, in words."""
    if not reply:
        return ""
    message = dns.message.from_wire(reply)
    records = [f"{each.ttl} {each[0]}" for each in message.answer]
    return " ".join([dns.rcode.to_text(message.rcode()), *records])


class Changing(Case):
    """A policy that judges otherwise from some moment on."""

    def test_hot(self) -> None:
        """A name that is asked for twice a second obeys within its TTL: it is not refreshed past the verdict."""
        self.assertEqual(set(self.twice_a_second(5 * TTL)), {"NOERROR"})
        self.assertGreater(len(self.upstream.asked), 3)
        School.one.open = True
        asked = len(self.upstream.asked)
        codes = self.twice_a_second(2 * TTL)
        self.assertLess(codes.count("NOERROR"), 2 * TTL + 1)
        self.assertEqual(set(codes[2 * TTL :]), {"NXDOMAIN"})
        self.assertEqual(len(self.upstream.asked), asked)

    def test_hot_by_itself(self) -> None:
        """Nor is it where a timer, not a query, would refresh it."""
        self.twice_a_second(0.9 * TTL)
        asked = len(self.upstream.asked)
        School.one.open = True
        self.clock.advance(0.5)
        self.assertFalse(self.path.memory.renew(question("www.games.example"), self.clock.seconds()))
        self.assertEqual((self.ask(), len(self.upstream.asked)), ("NXDOMAIN", asked))

    def test_until(self) -> None:
        """A verdict that says how long it holds is obeyed to the second: TTL, memory and stale answers end with it."""
        School.one.ends = self.clock.seconds() + 5
        self.assertEqual(self.ask(), "NOERROR 5 192.0.2.1")
        self.clock.advance(2)
        self.assertEqual(self.ask(), "NOERROR 3 192.0.2.1")
        self.clock.advance(2.5)
        self.assertEqual(self.ask("other.example"), "NOERROR 0 192.0.2.1")
        self.clock.advance(0.5)
        School.one.open, School.one.ends = True, None
        self.assertIsNone(self.path.memory.held(question("www.games.example"), self.clock.seconds()))
        self.assertEqual(self.ask(), "NXDOMAIN")
        School.one.open = False
        self.assertEqual(self.ask(), f"NOERROR {TTL} 192.0.2.1")
        self.assertEqual(len(self.upstream.asked), 3)

    def test_until_hot(self) -> None:
        """What ends with a verdict is not refreshed again and again towards its end."""
        School.one.ends = self.clock.seconds() + 4
        self.twice_a_second(4)
        self.assertEqual(len(self.upstream.asked), 1)

    def test_said(self) -> None:
        """One that says that it has changed its mind is obeyed by the next query, however long the TTL; only once."""
        self.ask()
        self.ask("other.example")
        School.one.open = True
        for names in (["games.example"], None):
            School.one.host.changed(names)
            self.assertEqual(self.ask(), "NXDOMAIN")
            self.assertEqual(self.path.memory.held(question("www.games.example"), self.clock.seconds()), None)
        self.assertEqual(self.ask("other.example")[:7], "NOERROR")
        self.assertEqual(len(self.upstream.asked), 2)

    def test_under_way(self) -> None:
        """What is being asked when a policy changes its mind is neither told nor kept."""
        for names in (["games.example"], None):
            School.one.open = False
            self.upstream.kept = []
            self.assertEqual(self.ask(), "")
            School.one.open = True
            School.one.host.changed(names)
            self.upstream.give()
            self.assertEqual([said(reply) for reply in self.later], ["NXDOMAIN"])
            self.assertEqual(len(self.path.memory), 0)

    def test_others_under_way(self) -> None:
        """What is being asked of other names than those that are judged otherwise is kept."""
        self.upstream.kept = []
        self.ask("other.example")
        School.one.host.changed(["games.example"])
        self.upstream.give()
        self.assertEqual((len(self.path.memory), self.ask("other.example")[:7]), (1, "NOERROR"))

    def test_others_change_under_way(self) -> None:
        """So it is where another worker or another node says so."""
        for names in ([GAMES], None):
            School.one.open = False
            self.upstream.kept = []
            self.assertEqual(self.ask(), "")
            School.one.open = True
            Station(self.path, self.clock, (), "one").judge(names)
            self.upstream.give()
            self.assertEqual([said(reply) for reply in self.later], ["NXDOMAIN"])
            self.assertEqual(len(self.path.memory), 0)

    def test_alias_meanwhile(self) -> None:
        """Where it says an alias by then, what that leads to is told as well."""
        self.upstream.kept = []
        self.assertEqual(self.ask(), "")
        target = from_text("outside.example")

        def judge(query: Query) -> Answer | None:
            if GAMES not in suffixes(query.name):
                return None
            return local(query, 0, [(query.name, 5, TTL, target)], alias=target)

        School.one.instead = judge
        School.one.host.changed(None)
        self.upstream.give()
        (reply,) = self.later
        records = [rrset.to_text().split(" IN ")[1] for rrset in dns.message.from_wire(reply).answer]
        self.assertEqual(records, ["CNAME outside.example.", "A 192.0.2.1"])
        self.assertEqual(self.path.server.front._pending, 0)

    def test_over_meanwhile(self) -> None:
        """So is what comes when the verdict that let it pass is over."""
        School.one.ends = self.clock.seconds() + 1
        self.upstream.kept = []
        self.ask()
        self.clock.advance(1.5)
        School.one.open = True
        self.upstream.give()
        self.assertEqual([said(reply) for reply in self.later], ["NXDOMAIN"])
        self.assertEqual(len(self.path.memory), 0)

    def test_every_type(self) -> None:
        """That a name does not exist is told of the type alone that the policy let pass."""
        self.patch(
            Upstream, "answer", lambda _, query: local(query, NXDOMAIN, [(query.name, 6, 60, b"\0\0" + bytes(20))])
            .replace(keep=True, negative=True)
        )  # fmt: skip
        for qtype in ("A", "AAAA", "A"):
            self.assertEqual(self.ask(qtype=qtype), "NXDOMAIN")
        self.assertEqual(len(self.upstream.asked), 2)

    def test_broken(self) -> None:
        """A policy that breaks costs who asks a SERVFAIL; what is held is given for its TTL, and not refreshed."""
        self.twice_a_second(0.8 * TTL)
        School.one.broken = True
        codes = self.twice_a_second(TTL)
        self.assertEqual(codes, sorted(codes))
        self.assertEqual(
            (codes[0], codes[4], codes[-1], len(self.upstream.asked)), ("NOERROR", "NOERROR", "SERVFAIL", 1)
        )
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_reload(self) -> None:
        """After a reload the next query meets the new policies, though memory knows; so does what was being asked."""
        self.ask()
        self.upstream.kept = []
        self.ask("b.games.example")
        former, self.path = self.path, self.lay(self.path)
        School.one.open = True
        former.rest()
        self.path.lead()
        self.path.judge()
        self.assertEqual(self.ask(), "NXDOMAIN")
        self.upstream.give()
        self.assertEqual(self.ask("b.games.example"), "NXDOMAIN")
        self.assertEqual(len(self.path.memory), 0)

    def test_one_type(self) -> None:
        """After a reload that a name does not exist hides no record that a policy answers for one type of it."""
        asked = question("www.games.example")
        gone = local(asked, NXDOMAIN, [(asked.name, 6, 60, b"\0\0" + bytes(20))], origin="upstream")
        self.path.memory.put(asked, gone.replace(keep=True, negative=True), self.clock.seconds())

        def judge(query: Query) -> Answer | None:
            return local(query, 0, [(query.name, 16, 60, b"\2ok")]) if query.qtype == 16 else None

        former, self.path = self.path, self.lay(self.path)
        School.one.instead = judge
        former.rest()
        self.path.lead()
        self.path.judge()
        self.assertEqual(self.ask(qtype="TXT"), 'NOERROR 60 "ok"')

    def test_alias(self) -> None:
        """What an alias leads to meets them under its own name, and an answer of theirs is kept for no other name."""
        for School.one.open, code in ((True, "NXDOMAIN"), (False, "NOERROR"), (True, "NOERROR")):
            self.assertEqual(self.ask("alias.example").split()[0], code)
        self.clock.advance(TTL)
        self.assertEqual(self.ask("alias.example").split()[0], "NXDOMAIN")

    def test_alias_until(self) -> None:
        """How long they let the target pass is how long an answer lives that ends there."""
        School.one.ends = self.clock.seconds() + 5
        self.assertEqual(self.ask("alias.example"), "NOERROR 5 www.games.example. 5 192.0.2.1")

    def test_inside(self) -> None:
        """The questions of a program, and those that an operator follows, meet the same."""
        School.one.ends = self.clock.seconds() + 5
        query = question("www.games.example")
        answer = self.successResultOf(self.path.inside.ask(query))
        followed = self.successResultOf(self.path.follow.ask(question("a.games.example"))).answer
        assert followed is not None
        self.assertEqual((answer.ttl, followed.ttl), (5, 5))
        School.one.open, School.one.ends = True, None
        School.one.host.changed()
        self.assertEqual(self.successResultOf(self.path.inside.ask(query)).rcode, NXDOMAIN)
        followed = self.successResultOf(self.path.follow.ask(query)).answer
        self.assertEqual(followed and followed.rcode, NXDOMAIN)
        School.one.open = False
        School.one.host.changed()
        self.assertEqual(self.successResultOf(self.path.inside.ask(query)).ttl, TTL)


class Clients(Case):
    """A policy that judges by the client."""

    gates = ("tests.test_verdicts.Inner",)

    def test_before_memory(self) -> None:
        """Each network is told its own, asked in turns, over UDP and TCP, and nothing of the verdicts is kept."""
        for _ in range(3):
            for tcp in (False, True):
                for client, own, secret in (
                    (("10.0.0.7", 5353), "NOERROR 300 10.0.0.1", f"NOERROR {TTL} 192.0.2.1"),
                    (CLIENT, f"NOERROR {TTL} 192.0.2.1", ""),
                ):
                    self.assertEqual(self.ask("inner.example", client=client, tcp=tcp), own)
                    self.assertEqual(self.ask("secret.example", client=client, tcp=tcp), secret)
        self.assertEqual(len(self.upstream.asked), 2)

    def test_alias(self) -> None:
        """What an alias leads to is kept for all, so no verdict on one client is part of that."""
        for client in (CLIENT, ("10.0.0.7", 5353)):
            self.assertEqual(self.ask("alias.secret.example", client=client)[:7], "NOERROR")

    def test_inside(self) -> None:
        """A question that no client asks meets it too, before memory."""
        self.ask("secret.example", client=("10.0.0.7", 5353))
        self.assertIn("drops", str(self.failureResultOf(self.path.inside.ask(question("secret.example"))).value))
        followed = self.successResultOf(self.path.follow.ask(question("secret.example")))
        self.assertIsNone(followed.answer)
        self.assertEqual(followed.trace.notes[-1]["gate"], "Inner")


class Shared(Case):
    """What comes from other nodes: nothing is connected here, their words are put into our ears."""

    redis = Redis(url="redis://127.0.0.1:1")

    def setUp(self) -> None:
        super().setUp()
        assert self.path.sharing is not None
        self.sharing = self.path.sharing
        self.asked = question("www.games.example")

    def put(self) -> None:
        """Hold an answer."""
        self.path.memory.put(self.asked, self.upstream.answer(self.asked), self.clock.seconds())

    def test_each_way_in(self) -> None:
        """Whatever brings an answer in without a client asks the policies of the path."""
        for passes in (self.path.once.passes, self.sharing.warm.passes, self.sharing.carry.passes):
            assert passes is not None
            for School.one.open in (False, True):
                self.assertIs(passes(question("www.games.example")), not School.one.open)

    def test_notices(self) -> None:
        """A fresh answer of another node is judged by the path that leads; another one takes and forgets nothing."""
        passes = self.sharing.refresh.passes
        assert passes is not None
        for School.one.open in (False, True):
            self.assertIs(passes(self.asked), not School.one.open)
        former, self.path = self.path, self.lay(self.path)
        assert self.path.sharing is not None and self.path.sharing.refresh.passes is not None
        self.assertIsNone(self.path.sharing.refresh.passes(self.asked))
        former.rest()
        self.path.lead()
        self.assertIsNone(passes(self.asked))
        self.assertTrue(self.path.sharing.refresh.passes(self.asked))

    def test_others_change(self) -> None:
        """Where policies of another node judge otherwise, ours judge all that is held."""
        for School.one.open, held in ((False, 1), (True, 0)):
            self.put()
            self.sharing.notices._take(JUDGE + b"a  token")
            self.assertEqual(len(self.path.memory), held)
        self.put()
        self.path.rest()
        self.sharing.notices._take(JUDGE + b"a  token")
        self.assertEqual(len(self.path.memory), 1)
