"""All nodes are asked at once, and nothing that one of them replies does harm."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from heimdall.interfaces import LinkDown, Member
from heimdall.message.wire import from_text
from heimdall.peers import inspect
from heimdall.peers.inspect import ASK, LEAST, NO_FLUSH, REPLY, WAIT, Inquiries, Round, Told
from heimdall.peers.notices import Notices
from heimdall.tally import Count
from tests.fakelink import FakeLink

NAME = from_text("www.a.example")
FLUSH = b"flush..1"
HELD = {
    "type": "A", "flags": ["DO"], "subnet": "192.0.2.0/24", "state": "fresh", "rcode": "NOERROR", "ad": True,
    "bytes": 16, "count": 1, "records": ["www.a.example. 60 IN A 192.0.2.1"], "origin": "redis",
    "age": 1.5, "ttl": 58.5, "uses": 3,
}  # fmt: skip


class Node:
    """A node that can be asked."""

    def __init__(self, clock: Clock, name: str, beside: Node | None = None) -> None:
        self.name, self.clock = name, clock
        self.link: FakeLink = FakeLink(clock, beside.link if beside else None)
        self.notices = Notices(self.link, clock)
        self.held: list[dict[str, Any]] = [HELD]
        self.asked: list[tuple[bytes, int, bool]] = []
        self.everyone: list[str] = beside.everyone if beside else []
        self.everyone.append(name)
        self.members: Deferred[list[Member]] | None = None
        self.inquiries = Inquiries(self.notices, clock, node=name, held=self.look, members=self.listed)

    def look(self, name: bytes, qtype: int, every: bool, flush: bytes) -> Deferred[Told]:
        """Note what is asked for."""
        self.asked.append((name, qtype, every))
        return succeed(Told(self.name, flush == FLUSH, self.held))

    def listed(self) -> Any:
        """Return all nodes there are."""
        return self.members or succeed([Member(name, "", "", 0.0, "healthy", {}) for name in self.everyone])

    def count(self, what: str, result: str) -> int:
        """Read a counter."""
        name = f"heimdall_peers_inspect_{what}_total"
        [found] = [each for each in self.inquiries.tallies if isinstance(each, Count) and each.name == name]
        return found.total(result)


class Case(SynchronousTestCase):
    """Three nodes."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(100)
        self.one = Node(self.clock, "one")
        self.two, self.three = (Node(self.clock, name, self.one) for name in ("two", "three"))

    def ask(self, seconds: float = LEAST, **settings: Any) -> Round:
        """Ask from the first node, and let time pass."""
        asking = self.one.inquiries.ask(NAME, **settings)
        self.clock.advance(seconds)
        return self.successResultOf(asking)


class Asking(Case):
    """Nodes that say what they hold."""

    def test_all(self) -> None:
        """Every other node replies with all it holds; nobody is waited for any longer once all have."""
        found = self.ask(qtype=1, every=True)
        self.assertEqual([(told.node, told.held, told.whole) for told in found.told], [
            ("three", [HELD], True), ("two", [HELD], True),
        ])  # fmt: skip
        self.assertEqual((found.silent, found.reason), ([], ""))
        self.assertEqual((self.one.asked, self.two.asked), ([], [(NAME, 1, True)]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_flush(self) -> None:
        """They say whether they know of a flush."""
        for flush, known in ((FLUSH, True), (b"flush..2", False), (NO_FLUSH, False)):
            self.assertEqual({told.flushed for told in self.ask(flush=flush).told}, {known})

    def test_silent(self) -> None:
        """A member that does not reply in time is named."""
        self.two.link.become(hearing=False)
        asking = self.one.inquiries.ask(NAME)
        self.clock.advance(WAIT - 0.01)
        self.assertNoResult(asking)
        self.clock.advance(0.01)
        found = self.successResultOf(asking)
        self.assertEqual(([told.node for told in found.told], list(found.silent)), (["three"], ["two"]))

    def test_no_member(self) -> None:
        """A node that is no member yet is heard as well."""
        self.one.everyone.remove("two")
        self.assertEqual([told.node for told in self.ask().told], ["three", "two"])

    def test_registry_away(self) -> None:
        """Without the list of members who replied is told all the same, and why others may be missing."""
        self.one.members = fail(LinkDown("away"))
        found = self.ask(WAIT)
        self.assertEqual((len(found.told), found.silent, found.reason), (2, [], "away"))
        self.one.members = Deferred()
        found = self.ask(WAIT)
        self.assertEqual((len(found.told), found.reason), (2, "the list of members took too long"))
        self.one.members.callback([])

    def test_cannot(self) -> None:
        """While nothing can be heard, nobody is asked; nor are too many questions."""
        self.one.link.become(hearing=False)
        self.failureResultOf(self.one.inquiries.ask(NAME), LinkDown)
        self.one.link.become(hearing=True)
        asking = [self.one.inquiries.ask(NAME) for _ in range(inspect.MOST_ASKING)]
        self.failureResultOf(self.one.inquiries.ask(NAME), LinkDown)
        self.clock.advance(WAIT)
        for each in asking:
            self.successResultOf(each)

    def test_given_up(self) -> None:
        """Who does not want to know any more leaves nothing behind."""
        asking = self.one.inquiries.ask(NAME)
        asking.addErrback(lambda _: None)
        asking.cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.one.inquiries._asking, {})

    def test_large(self) -> None:
        """What does not fit a reply is left out, and the reply says so."""
        self.two.held = [{**HELD, "records": ["x" * 400] * 40} for _ in range(20)]
        [told] = [told for told in self.ask().told if told.node == "two"]
        self.assertFalse(told.whole)
        self.assertTrue(0 < len(told.held) < 20)


class Hostile(Case):
    """Nodes, or who pretends to be one, that send what they like."""

    def reply(self, reply: bytes) -> Round:
        """Ask, and have somebody reply this."""
        self.two.link.become(hearing=False)
        self.three.link.become(hearing=False)
        asking = self.one.inquiries.ask(NAME)
        [identity] = self.one.inquiries._asking
        self.two.notices.tell(REPLY, identity + reply, self.one.notices.token)
        self.clock.advance(WAIT)
        return self.successResultOf(asking)

    def test_replies(self) -> None:
        """A reply that is none is counted, and its node is silent."""
        good = {"node": "two", "flushed": False, "held": [], "whole": True}
        wrong: list[dict[str, Any]] = [
            {"node": 1}, {"node": ""}, {"node": "x" * 600}, {"node": "\x1b[2J"}, {"held": {}}, {"held": None},
        ]  # fmt: skip
        replies = [
            *(b"", b"\xff", b"[]", b"{}", b"[" * 30_000, b"1" * 10_000),
            *(json.dumps({**good, **each}).encode() for each in wrong),
            json.dumps(good).encode() + b" " * inspect.MOST_BYTES,
        ]
        for reply in replies:
            found = self.reply(reply)
            self.assertEqual((found.told, sorted(found.silent)), ([], ["three", "two"]), reply[:40])
        self.assertEqual(self.one.count("replies", "malformed"), len(replies))
        self.assertEqual(len(self.reply(json.dumps(good).encode()).told), 1)

    def test_fields(self) -> None:
        """Of what a node says it holds only known fields are taken, and only what they may be."""
        held = {
            "type": "A\x1b", "state": ["x"], "age": float("nan"), "ttl": True, "uses": 1e300, "bytes": "1", "ad": 1,
            "records": ["fine", 5, "\n", "x" * 501] + ["more"] * 100, "flags": "DO", "other": {"a": 1},
        }  # fmt: skip
        found = self.reply(json.dumps({"node": "two", "flushed": 1, "held": [held, 5], "whole": 1}).encode())
        [told] = found.told
        [known] = told.held
        self.assertEqual((told.flushed, told.whole), (False, False))
        self.assertEqual(known["records"], ["fine"] + ["more"] * 49)
        self.assertEqual({**known, "records": []}, {"subnet": None, "ad": False, "records": []})

    @given(
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["node", "held", "type", "ttl", "records", "whole", "flushed"]), inner
                )
            ),
            max_leaves=12,
        )
    )
    def test_any_json(self, value: object) -> None:
        """Whatever JSON is replied, the asking ends, and what it tells can be told on."""
        self.setUp()
        found = self.reply(json.dumps(value).encode())
        json.dumps([dict(held) for told in found.told for held in told.held], allow_nan=False)

    def test_many_replies(self) -> None:
        """The replies to one question are bounded, in number and in bytes."""
        for size, most in (
            (0, inspect.MOST_REPLIES),
            (inspect.MOST_BYTES - 100, inspect.MOST_BYTES_IN_ALL // (inspect.MOST_BYTES - 200)),
        ):
            asking = self.one.inquiries.ask(NAME)
            [identity] = self.one.inquiries._asking
            told = {"node": "x", "flushed": False, "held": [], "whole": True}
            reply = identity + json.dumps(told).encode()
            for number in range(inspect.MOST_REPLIES + 10):
                self.one.inquiries._take(number.to_bytes(8, "big"), reply + b" " * (size - len(reply)))
            self.clock.advance(WAIT)
            self.assertIn(len(self.successResultOf(asking).told), range(1, most + 3))  # the two others as well

    def test_late(self) -> None:
        """A reply to no question of ours is counted, and nothing else."""
        self.two.notices.tell(REPLY, b"12345678{}", self.one.notices.token)
        self.two.notices.tell(REPLY, b"", self.one.notices.token)
        self.assertEqual(self.one.count("replies", "late"), 2)

    def test_questions(self) -> None:
        """A question that is none is not replied to."""
        head = b"identity" + NO_FLUSH + b"\0\1\0"
        for question in (b"", head, head + b"\3www", head + NAME + b"x", head + b"\xc0\x0c", b"x" * 5000):
            self.two.notices.tell(ASK, question)
        self.assertEqual((self.one.asked, self.one.count("asked", "malformed")), ([], 6))
        self.two.notices.tell(ASK, head + NAME.upper())
        self.assertEqual(self.one.asked, [(NAME, 1, False)])

    def test_flood(self) -> None:
        """Of many questions in a second only so many are replied to; in the next one there are replies again."""
        question = b"identity" + NO_FLUSH + b"\0\1\0" + NAME
        for _ in range(inspect.MOST_A_SECOND + 20):
            self.two.notices.tell(ASK, question)
        self.assertEqual((len(self.one.asked), self.one.count("asked", "many")), (inspect.MOST_A_SECOND, 20))
        self.clock.advance(1)
        self.two.notices.tell(ASK, question)
        self.assertEqual(len(self.one.asked), inspect.MOST_A_SECOND + 1)
