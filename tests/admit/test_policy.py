"""A policy of a user's own: what it says that it depends on, what it is shown, and what its words mean."""

from __future__ import annotations

import sys
from math import inf
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from heimdall.accept.engine import Faults
from heimdall.admit.policy import ClientPolicy, NamePolicy, policy
from heimdall.admit.unasked import Unasked
from heimdall.interfaces import DROP, IAddressGate, IClientGate, IGate, IPolicy, Pass
from heimdall.message.answer import make
from heimdall.message.edns import Subnet
from heimdall.message.passed import Changes
from heimdall.message.query import CD, REFUSED, Client, Query, read
from heimdall.message.wire import from_text
from tests.admit.asking import logged
from tests.cache.questions import question
from tests.message.messages import query_wire

CLIENT = ("192.0.2.7", 5353)


@implementer(IPolicy)
class Says:
    """Says what the test wants, and keeps what it is shown."""

    def __init__(self, verdict: Any = None) -> None:
        self.verdict = verdict
        self.shown: list[Query] = []

    def judge(self, query: Query) -> Any:
        self.shown.append(query)
        return self.verdict


class ByName(Says):
    """Says that it judges by the name."""

    depends = ("name",)


class ByClient(Says):
    """Says that it judges by the client as well."""

    depends = frozenset(("name", "client"))


class Looks(Says):
    """Looks at who asks, as its code shows, and says nothing of that."""

    def judge(self, query: Query) -> Any:
        return make(query, REFUSED, "local") if query.client[0].startswith("10.") else None


class LooksWithin(Says):
    """Looks at it in a function of its own."""

    def judge(self, query: Query) -> Any:
        return any(prefix in query.client for prefix in ("10.",))


class LooksAtTransport(Says):
    """Looks at how it is asked."""

    depends = frozenset(("name",))

    def judge(self, query: Query) -> Any:
        return DROP if query.name and not query.stream else None


class LooksElsewhere(Says):
    """Looks at who asks where no code of its judge shows that, and has a client of its own."""

    client = "somebody else's"

    def judge(self, query: Query) -> Any:
        return None if self.client == "somebody else's" and not self.inner(query) else DROP

    def inner(self, query: Query) -> bool:
        return query.client[0] == "192.0.2.7"


@implementer(IClientGate)
class Admits(Says):
    """Admits clients by the batch."""

    def admit(self, client: Client, count: int) -> bool:
        return count < 3


class Case(SynchronousTestCase):
    """Policies on a clock."""

    def setUp(self) -> None:
        self.clock, self.changes = Clock(), Changes()
        self.clock.advance(1000)

    def gate(self, own: Any) -> NamePolicy | ClientPolicy:
        """Return the gate for a policy."""
        return policy("house.Policy", own, self.clock, self.changes)


class Depends(Case):
    """What a policy says that its verdict depends on."""

    def test_places(self) -> None:
        """By the name alone where it says so or says nothing; by the client where it says so or admits clients."""
        for own, kind in ((Says(), NamePolicy), (ByName(), NamePolicy), (ByClient(), ClientPolicy)):
            gate = self.gate(own)
            self.assertIsInstance(gate, kind)
            verifyObject(IGate, gate)
        gate = self.gate(Admits())
        assert isinstance(gate, ClientPolicy)
        self.assertTrue(verifyObject(IClientGate, gate) and not IAddressGate.providedBy(gate))
        self.assertEqual([gate.admit(CLIENT, count) for count in (2, 3)], [True, False])

    def test_looks_at_the_client(self) -> None:
        """One that looks at who asks, or how, without saying so is refused, by its name and with both ways out."""
        for own, what in ((Looks(), "client"), (LooksWithin(), "client"), (LooksAtTransport(), "stream")):
            error = str(self.assertRaises(ValueError, self.gate, own))
            for part in ("house.Policy", f"query.{what}", 'depends = {"name", "client"}', "by the name alone"):
                self.assertIn(part, error)

    def test_wrong_words(self) -> None:
        """A word that means nothing, none at all, and a contradiction are refused."""
        for depends, said in (
            ({"name", "weather"}, "on 'weather'"),
            (7, "on 7"),
            ((), "on nothing"),
            ([["name"]], r"on \['name'\]"),
        ):
            own = Says()
            own.depends = depends  # type: ignore[attr-defined]
            self.assertRaisesRegex(ValueError, f"house.Policy depends {said}", self.gate, own)
        own = Admits()
        own.depends = "name"  # type: ignore[attr-defined]
        self.assertRaisesRegex(ValueError, "admits clients", self.gate, own)
        self.assertRaisesRegex(ValueError, "no judge", self.gate, object())

    def test_one_word(self) -> None:
        """A word alone is one word, not its letters."""
        own = Says()
        own.depends = "client"  # type: ignore[attr-defined]
        self.assertIsInstance(self.gate(own), ClientPolicy)


class Shown(Case):
    """The query that a policy is shown."""

    def asked(self, **options: Any) -> Query:
        """Return a query as a client asks it."""
        read_ = read(query_wire("WwW.Example", **options), CLIENT, stream=False)
        assert isinstance(read_, Query)
        return read_

    def test_by_name(self) -> None:
        """One that judges by the name is shown the same for all who ask: a client in its words, or nobody at all."""
        own = ByName()
        gate = self.gate(own)
        one, two = self.asked(), self.asked(want_dnssec=False, payload=4096)
        two.stream, two.client, two.subnet = True, ("2001:db8::1", 7, 0, 0), Subnet.from_option(b"\0\1\x18\0\xc0\0\2")
        for query in (one, two, question("www.example")):
            gate.judge(query)
        first, *others = [
            (shown.wire, shown.flags, shown.question, shown.name, shown.qtype, shown.key, shown.do, shown.size,
             shown.stream, shown.edns, shown.subnet, repr(shown.client))
            for shown in own.shown
        ]  # fmt: skip
        self.assertEqual(others, [first, first])
        self.assertEqual((own.shown[0].name, own.shown[0].qtype), (b"\3www\7example\0", 1))

    def test_what_the_key_tells(self) -> None:
        """DO and CD are part of the question: answers are kept for them apart."""
        own = Says()
        query = self.asked(want_dnssec=True)
        query.key = query.key[:-1] + b"\3"
        self.gate(own).judge(query)
        self.assertEqual((own.shown[0].do, own.shown[0].flags & CD, own.shown[0].key), (True, CD, query.key))

    def test_answers_fit(self) -> None:
        """An answer made for the query that is shown is one to the query that was asked."""
        own = Says()
        query = self.asked()
        self.gate(own).judge(query)
        self.assertEqual(make(own.shown[0], REFUSED, "local").question, make(query, REFUSED, "local").question)

    def test_client_is_not_there(self) -> None:
        """What stands in the place of a client's address cannot be looked at in any way, and says why."""
        error = self.assertRaises(RuntimeError, self.gate(LooksElsewhere()).judge, self.asked())
        self.assertIn('depends = {"name", "client"}', str(error))
        own = Says()
        self.gate(own).judge(self.asked())
        client: Any = own.shown[0].client
        for look in (
            lambda: client[0], lambda: client[:1], lambda: [*client], lambda: len(client), lambda: bool(client),
            lambda: client == CLIENT, lambda: client != CLIENT, lambda: hash(client), lambda: "192" in client,
            lambda: (*client,), lambda: client < CLIENT, lambda: {client: 1}, lambda: client.index(""),
        ):  # fmt: skip
            self.assertRaises(RuntimeError, look)
        self.assertEqual(str(client), "<not shown>")

    def test_by_client(self) -> None:
        """One that judges by the client is shown the query as it came."""
        own = ByClient()
        query = self.asked()
        self.gate(own).judge(query)
        (shown,) = own.shown
        self.assertEqual((shown.client, shown.wire, shown.stream), (CLIENT, query.wire, False))

    def test_may_be_kept(self) -> None:
        """What a policy is shown is its own: what becomes of the query later is not seen in it."""
        for own in (Says(), ByClient()):
            query = self.asked()
            self.gate(own).judge(query)
            query.name, query.client, query.key = b"\5other\0", ("198.51.100.1", 1), b"\5other\0\0\1\0\1\0"
            self.assertEqual(own.shown[0].name, b"\3www\7example\0")
            self.assertNotIn("198", repr(own.shown[0].client))


class Verdicts(Case):
    """What the words of a policy mean."""

    def test_ends(self) -> None:
        """An answer and silence end a query, at either place."""
        answer = make(question(), REFUSED, "local")
        for own in (Says(), ByClient()):
            gate = self.gate(own)
            for verdict in (answer, DROP):
                own.verdict = verdict
                self.assertIs(gate.judge(question()), verdict)

    def test_no_verdict(self) -> None:
        """Anything else is an error that names the policy and what it returned."""
        for own in (Says("yes"), ByClient(True), Says(Pass(float("nan")))):
            error = str(self.assertRaises(TypeError, self.gate(own).judge, question()))
            self.assertIn("house.Policy returned", error)
            self.assertIn("which is no verdict", error)

    def test_passes(self) -> None:
        """A pass lets a query go on, and says until when: the shortest of all that are given."""
        query = question()
        for verdict, until in ((None, inf), (Pass(), inf), (Pass(50), 1050.0), (Pass(70), 1050.0), (Pass(-1), 1000.0)):
            self.assertIsNone(self.gate(Says(verdict)).judge(query))
            assert query.passed is not None
            self.assertEqual(query.passed.until, until)

    def test_clients_pass(self) -> None:
        """Where each query is judged before memory, a pass says nothing of what memory may keep."""
        query = question()
        self.assertIsNone(self.gate(ByClient(Pass(50))).judge(query))
        self.assertIsNone(query.passed)

    def test_changed_mind(self) -> None:
        """What a policy said holds until a policy says that it has changed its mind, even while it judges."""
        query = question()
        self.gate(Says()).judge(query)
        assert query.passed is not None
        self.assertTrue(query.passed.holds(query.name, 1e9))
        self.changes.add([from_text("b.example")])
        self.assertTrue(query.passed.holds(query.name, 0.0))
        self.changes.add([from_text("example")])
        self.assertFalse(query.passed.holds(query.name, 0.0))

        class Hasty(Says):
            def judge(own, query: Query) -> Any:
                self.changes.add(None)

        query = question()
        self.gate(Hasty()).judge(query)
        assert query.passed is not None
        self.assertFalse(query.passed.holds(query.name, 0.0))


class Breaks(SynchronousTestCase):
    """A policy that raises."""

    def test_named(self) -> None:
        """The log names the policy, once: also one that raises the same exception again and again."""
        lines = logged(self)
        error = KeyError("no such list")

        def judge(_: Query) -> None:
            raise error

        for kind in (ByName, ByClient):
            own = kind()
            self.patch(own, "judge", judge)
            clock = Clock()
            gate = policy(f"school.{kind.__name__}", own, clock, Changes())
            for _ in range(3):
                self.assertRaises(KeyError, gate.judge, question("a.example"))
            faults = Faults(clock)
            faults.refuse(query_wire("a.example"), error)
            self.assertIsNone(Unasked([gate], clock).passes(question("a.example")))
            for line in lines[-2:]:
                self.assertEqual(line.count(f"it arose in the policy school.{kind.__name__}"), 1, line)
        self.assertEqual((len(lines), len(self.flushLoggedErrors(KeyError))), (4, 4))

    def test_exit(self) -> None:
        """One that calls sys.exit breaks as any other: nothing ends, and the log names it."""

        def judge(_: Query) -> None:
            sys.exit(1)

        for kind in (ByName, ByClient):
            own = kind()
            self.patch(own, "judge", judge)
            gate = policy("school.Exits", own, Clock(), Changes())
            error = self.assertRaises(RuntimeError, gate.judge, question("a.example"))
            self.assertEqual(error.__notes__, ["it arose in the policy school.Exits"])
