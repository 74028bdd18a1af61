"""What both tiers hold for a name, as it is shown."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from heimdall.cache import inspect
from heimdall.cache.entry import NODES, to_bytes
from heimdall.cache.inspect import Inspection, named
from heimdall.cache.memory import Memory
from heimdall.cache.ranks import number as number_of
from heimdall.cache.seal import Seal
from heimdall.cache.shown import MOST_DATA, MOST_RECORDS, MOST_TEXT, Held, contents, shown
from heimdall.interfaces import LinkDown
from heimdall.message.answer import Answer
from heimdall.message.query import NXDOMAIN
from heimdall.message.wire import from_text
from tests.busy import Busy
from tests.cache.questions import negative, positive, question
from tests.fakelink import FakeLink
from tests.rediscase import RedisCase, reactor, until

TEXT = "www.a.example"
NAME = from_text(TEXT)
HEAD = b"heimdall:c1:"

MANY = 20 * inspect.IN_A_SLICE
"""Answers that are not looked through in one go."""


class Shown(SynchronousTestCase):
    """A key and an answer in words."""

    def test_key(self) -> None:
        """A key tells the type, whether signatures are wanted and not checked, and whom it is for."""
        key = NAME + b"\0\x1c\0\1"
        for part, flags, subnet in (
            (b"\0", [], None),
            (b"\1", ["DO"], None),
            (b"\3", ["DO", "CD"], None),
            (b"\0\1\x18\xc0\0\2", [], "192.0.2.0/24"),
            (b"\0\2\x38\x20\1\x0d\xb8\0\0\0", [], "2001:db8::/56"),
        ):
            told = shown(key + part, "fresh")
            self.assertEqual((told["type"], told["flags"], told["subnet"]), ("AAAA", flags, subnet), part)

    def test_rubbish(self) -> None:
        """Any key can be told of."""
        for key in (b"", b"\3", b"\3www", NAME, NAME + b"\0", NAME + b"\0\1\0\1\0\7\7", b"\xff" * 40, NAME + bytes(40)):
            self.assertEqual(shown(key, "rubbish")["state"], "rubbish", key)

    def test_long_data(self) -> None:
        """Data is shown in words up to a number of bytes, the rest as bytes: no answer takes long to tell."""
        text = b"\xff" + bytes(255)
        body = b"".join(b"\xc0\x0c\0\x10\0\1\0\0\0\x3c\1\0" + text for _ in range(40))
        answer = positive(TEXT).replace(question=NAME + b"\0\x10\0\1", counts=(40, 0, 0), body=body)
        records = contents(answer, body)["records"]
        in_words = [record for record in records if ' TXT "' in record]
        self.assertEqual((len(records), len(in_words)), (40, MOST_DATA // 256))
        self.assertIn(" TXT \\# 256 ff00", records[-1])
        self.assertLessEqual(max(map(len, records)), MOST_TEXT)

    def test_records(self) -> None:
        """Records are told as in a zone file, not too many; data that cannot be read are none."""
        answer = positive(TEXT, ttl=60, data="192.0.2.1")
        told = contents(answer, answer.body)
        self.assertEqual(
            (told["records"], told["rcode"], told["count"]), ([f"{TEXT}. 60 IN A 192.0.2.1"], "NOERROR", 1)
        )
        many = answer.replace(counts=(200, 0, 0), body=b"".join(
            answer.body[:-1] + bytes((number,)) for number in range(200)
        ))  # fmt: skip
        self.assertEqual(len(contents(many, many.body)["records"]), MOST_RECORDS)
        short = answer.replace(body=answer.body[:-5] + b"\3" + answer.body[-4:-1])
        self.assertEqual(contents(short, short.body)["records"], [])


class InMemory(SynchronousTestCase):
    """What memory holds."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.memory = Memory(1_000_000, stale_window=100)
        self.inspection = Inspection(self.memory, self.clock)

    def hold(self, name: str = TEXT, qtype: int = 1) -> None:
        """Hold an answer."""
        self.memory.put(question(name, qtype), positive(name), self.clock.seconds())

    def look(self, qtype: int = 0, every: bool = False) -> list[Any]:
        """Return what is found: all that is looked for."""
        found = self.successResultOf(self.inspection.memory(NAME, qtype, every))
        self.assertTrue(found.complete)
        return list(found.held)

    def test_times(self) -> None:
        """Age and what is left of the TTL are told, of records too; stale answers as such, and where each is from."""
        self.hold()
        self.memory.get(question(TEXT), 0.0)
        self.clock.advance(20.5)
        [held] = self.look(1)
        self.assertEqual((held["state"], held["age"], held["ttl"], held["uses"]), ("fresh", 20.5, 39.5, 1))
        self.assertEqual((held["origin"], held["records"]), ("upstream", [f"{TEXT}. 40 IN A 192.0.2.1"]))
        self.clock.advance(50)
        [held] = self.look()
        self.assertEqual((held["state"], held["ttl"]), ("stale", -10.5))
        self.clock.advance(100)
        self.assertEqual(self.look(), [])

    def test_stale_again(self) -> None:
        """An answer given past its TTL is as old as it is in truth, however often it is held anew, and from where."""
        self.hold()
        for late, twice in ((10.0, False), (45.0, True)):
            self.clock.advance(70.0 if not twice else 35.0)
            known, expires, _ = self.held()
            self.memory.put(question(TEXT), known.stale(self.clock.seconds() - expires), self.clock.seconds())
            [held] = self.look(1)
            self.assertEqual((held["state"], held["age"], held["ttl"]), ("stale", late + 60, -late))
            self.assertEqual((held["origin"], held["records"]), ("upstream", [f"{TEXT}. 30 IN A 192.0.2.1"]))

    def test_stale_from_redis(self) -> None:
        """So is one that Redis had, and it is from there."""
        self.hold()
        known = positive(TEXT).replace(origin="redis")
        self.memory.put(question(TEXT), known.stale(100.0, 400.0), self.clock.seconds())
        self.clock.advance(31)
        [held] = self.look(1)
        self.assertEqual((held["state"], held["age"], held["ttl"], held["origin"]), ("stale", 431.0, -131.0, "redis"))

    def held(self) -> tuple[Answer, float, float]:
        """Return what memory holds."""
        held = self.memory.held(question(TEXT), self.clock.seconds())
        assert held is not None
        return held

    def test_which(self) -> None:
        """One type, or the common ones; every type, and answers for a subnet, are found by a search."""
        for qtype in (1, 28, 999):
            self.hold(qtype=qtype)
        self.hold("www.a.example.com")
        self.hold("x.www.a.example")
        types = [[held["type"] for held in self.look(*asked)] for asked in (
            (1, False), (0, False), (0, True), (999, False), (999, True), (15, True),
        )]  # fmt: skip
        self.assertEqual(types, [["A"], ["A", "AAAA"], ["A", "AAAA", "TYPE999"], ["TYPE999"], ["TYPE999"], []])

    def test_no_such_name(self) -> None:
        """That a name does not exist is told whatever type is asked for."""
        self.memory.put(question(TEXT), negative(TEXT, NXDOMAIN), 0.0)
        for qtype in (0, 1, 28):
            for every in (False, True):
                [held] = self.look(qtype, every)
                self.assertEqual((held["type"], held["rcode"]), ("any", "NXDOMAIN"))

    def test_no_redis(self) -> None:
        """Where there is no Redis, that is said."""
        self.failureResultOf(self.inspection.redis(NAME), LinkDown)


class Much(SynchronousTestCase):
    """A memory that holds much: whoever looks into it, queries have their turn."""

    def setUp(self) -> None:
        self.clock = Busy()
        self.memory = Memory(100_000_000)
        for number in range(MANY):
            name = question(f"n{number}.example")
            self.memory.put(name, positive(), 0.0)
        for number in range(30):
            self.memory.put(question(TEXT, 1000 + number), positive(TEXT), 0.0)
        self.inspection = Inspection(self.memory, self.clock)
        self.clock.takes = 0.0005

    def test_search(self) -> None:
        """A search looks at some hundred keys between two looks at the clock, and queries have their turn again."""
        self.patch(self.memory, "keys", self.counted(self.memory.keys))
        searching = self.inspection.memory(NAME, 0, True)
        self.assertGreater(self.clock.turns(searching), MANY // inspect.IN_A_SLICE // 4)
        self.assertLessEqual(max(self.sizes), inspect.IN_A_SLICE)
        found = self.successResultOf(searching)
        self.assertEqual((len(found.held), found.complete), (30, True))

    def counted(self, keys: Any) -> Any:
        """Note how many keys are looked at in each step."""
        self.sizes: list[int] = []

        def counting(size: int) -> Any:
            for some in keys(size):
                self.sizes.append(len(some))
                yield some

        return counting

    def test_search_ends(self) -> None:
        """A search that takes too long ends where it is, and says so."""
        self.clock.takes = 0.02
        searching = self.inspection.memory(NAME, 0, True)
        self.clock.turns(searching)
        self.assertFalse(self.successResultOf(searching).complete)

    def test_one_search(self) -> None:
        """While one searches, another one finds what is common, and says that this is not all."""
        self.memory.put(question(TEXT), positive(TEXT), 0.0)
        first, second = (self.inspection.memory(NAME, 0, True) for _ in range(2))
        self.clock.turns(second)
        found = self.successResultOf(second)
        self.assertEqual(([held["type"] for held in found.held], found.complete), (["A"], False))
        self.assertTrue(self.successResultOf(first).complete)
        third = self.inspection.memory(NAME, 0, True)
        self.clock.turns(third)
        self.assertTrue(self.successResultOf(third).complete)

    def test_many_wait(self) -> None:
        """Of many looks at once each waits for its turn; past a number of them one is told that nothing was found."""
        looking = [self.inspection.memory(NAME, 0, True) for _ in range(inspect.MOST_WAITING + 2)]
        found = self.successResultOf(looking.pop())
        self.assertEqual((list(found.held), found.complete), ([], False))
        for one in looking:
            self.clock.turns(one)
            self.successResultOf(one)

    def test_given_up(self) -> None:
        """Who gives a search up ends it, and it keeps no other from its turn."""
        searching = self.inspection.memory(NAME, 0, True)
        searching.cancel()
        self.failureResultOf(searching, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        again = self.inspection.memory(NAME, 0, True)
        self.clock.turns(again)
        self.assertTrue(self.successResultOf(again).complete)

    def test_short_looks(self) -> None:
        """Many short looks in a row have no more of our time than a long one."""
        self.memory.put(question(TEXT), positive(TEXT), 0.0)
        waits = 0
        for _ in range(20):
            looking = self.inspection.memory(NAME, 1)
            waits += self.clock.turns(looking)
            self.successResultOf(looking)
        self.assertGreater(waits, 5)

    def test_many_answers(self) -> None:
        """However much is held for a name, so much is shown and no more."""
        for number in range(2 * inspect.MOST_HELD):
            self.memory.put(question(TEXT, 2000 + number), positive(TEXT), 0.0)
        searching = self.inspection.memory(NAME, 0, True)
        self.clock.turns(searching)
        found = self.successResultOf(searching)
        self.assertEqual((len(found.held), found.complete), (inspect.MOST_HELD, False))


class InRedis(SynchronousTestCase):
    """What Redis holds."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.link = FakeLink(self.clock)
        self.flushed = False
        self.inspection = Inspection(
            Memory(1_000_000), self.clock, self.link, Seal(b"secret of sixteen"), lambda _name, _asked: self.flushed
        )

    def store(self, seal: bytes = b"secret of sixteen") -> bytes:
        """Store an answer, as a node did whose upstream took half a second."""
        key, now = question(TEXT).key, self.link.now() or 0.0
        self.link.values[HEAD + key] = to_bytes(
            positive(TEXT, ttl=60), key, now, Seal(seal), now - 0.5, number_of("one")
        )
        return HEAD + key

    def look(self, qtype: int = 0) -> list[Any]:
        """Return what is found."""
        found = self.successResultOf(self.inspection.redis(NAME, qtype))
        self.assertTrue(found.complete)
        return list(found.held)

    def test_states(self) -> None:
        """A value is fresh, stale, flushed, rubbish for a reason, or somebody asks at this moment."""
        key = self.store()
        self.clock.advance(1)
        [held] = self.look(1)
        self.assertEqual((held["state"], held["age"], held["ttl"]), ("fresh", 1.0, 59.0))
        self.assertEqual((held["stored"], held["size"]), (1_767_225_600.0, len(self.link.values[key])))
        self.assertEqual((held["origin"], held["asked"]), ("upstream", 1_767_225_599.5))
        self.assertEqual(held["node"], number_of("one") % NODES)
        self.assertEqual(held["records"], [f"{TEXT}. 59 IN A 192.0.2.1"])
        self.flushed = True
        self.assertEqual(self.look()[0]["state"], "flushed")
        self.flushed = False
        self.clock.advance(60)
        self.assertEqual([(held["state"], held["ttl"]) for held in self.look()], [("stale", -1.0)])
        self.store(b"another secret of sixteen")
        self.assertEqual([(held["state"], held["reason"]) for held in self.look()], [("rubbish", "forged")])
        self.link.values[key] = b"\0leadertk"
        self.assertEqual([held["state"] for held in self.look()], ["asked"])
        self.assertEqual(self.look(28), [])

    def test_named(self) -> None:
        """Nodes are told by name where they can be known; of two that go by one number, either may have been it."""
        held: list[Held] = [{"node": number_of("one") % NODES}, {"node": 0}, {"state": "asked"}]
        told = named(held, ["one", "two"])
        self.assertEqual(told, [{"node": "one"}, {"node": None}, {"state": "asked"}])
        twins: dict[int, str] = {}
        for count in range(100_000):
            other = twins.setdefault(number_of(f"n{count}") % NODES, f"n{count}")
            if other != f"n{count}":
                break
        told = named([{"node": number_of(other) % NODES}], [other, f"n{count}"])
        self.assertEqual(told, [{"node": " or ".join(sorted([other, f"n{count}"]))}])

    def test_trouble(self) -> None:
        """A Redis that is away or talks rubbish is a LinkDown, whatever is asked for."""
        self.store()
        self.link.refusal = {"MGET": "WRONGTYPE"}
        self.failureResultOf(self.inspection.redis(NAME), LinkDown)
        self.link.refusal = {}
        self.failureResultOf(self.inspection.redis(NAME, 0, True), LinkDown)  # this one knows no SCAN
        run = self.link.run
        for reply in (None, [], b"x", [b"0"], [b"0", b"x"]):
            answer: Deferred[object] = Deferred()
            answer.callback(reply)
            self.link.run = lambda *_, answer=answer: answer  # type: ignore[method-assign]
            self.failureResultOf(self.inspection.redis(NAME), LinkDown)
            self.failureResultOf(self.inspection.redis(NAME, 0, True), LinkDown)
        self.link.run = run  # type: ignore[method-assign]

    def test_one_search(self) -> None:
        """One search through all of Redis at a time."""
        self.link.holding = True
        searching = self.inspection.redis(NAME, 0, True)
        self.failureResultOf(self.inspection.redis(NAME, 0, True), LinkDown)
        self.link.release()
        self.failureResultOf(searching, LinkDown)
        self.link.holding = True
        again = self.inspection.redis(NAME, 0, True)
        self.link.break_down("away")
        self.failureResultOf(again, LinkDown)


class Searching(RedisCase):
    """A search through all keys of a real Redis."""

    async def start(self) -> Inspection:
        """Connect."""
        self.redis = self.server()
        link = self.linked(self.redis.url)
        await until(lambda: link.up)
        return Inspection(Memory(1_000_000), reactor, link)

    async def test_every(self) -> None:
        """Uncommon types, and answers for a subnet, are found by a search; no other name is."""
        inspection = await self.start()
        keys = [question(TEXT, qtype).key for qtype in (1, 28, 999)] + [question(TEXT).key + b"\1\x18\xc0\0\2"]
        others = [question(f"x.{TEXT}").key, question(f"{TEXT}.com").key, question("*.a.example").key]
        for key in keys + others:
            self.redis.command("SET", HEAD + key, b"rubbish of some length, so that it is one")
        self.redis.command("SET", HEAD + NAME, b"a key that is too short")
        found = [(await inspection.redis(NAME, *asked)).held for asked in ((0, False), (0, True), (999, True))]
        self.assertEqual([len(held) for held in found], [2, 4, 1])
        self.assertEqual({held["subnet"] for held in found[1]}, {None, "192.0.2.0/24"})
        self.assertEqual(len((await inspection.redis(from_text("*.a.example"), 0, True)).held), 1)

    async def test_bounded(self) -> None:
        """A search ends in time, and when it has found enough; then it says that there is more."""
        inspection = await self.start()
        for number in range(inspect.MOST_HELD + 50):
            key = NAME + (1000 + number).to_bytes(2, "big") + b"\0\1\0"
            self.redis.command("SET", HEAD + key, b"rubbish of some length, so that it is one")
        found = await inspection.redis(NAME, 0, True)
        self.assertEqual((len(found.held), found.complete), (inspect.MOST_HELD, False))
        self.patch(inspect, "SEARCH", 0.0)
        found = await inspection.redis(NAME, 0, True)
        self.assertEqual((len(found.held), found.complete), (0, False))
