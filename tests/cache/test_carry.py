"""Carrying answers out of memory and Redis, and in again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from heimdall.admit.rules import Blocked
from heimdall.admit.unasked import Unasked
from heimdall.cache.carry import AT_ONCE, PIECE, Carry
from heimdall.cache.entry import to_bytes
from heimdall.cache.memory import Memory
from heimdall.cache.seal import Seal
from heimdall.interfaces import LinkDown
from heimdall.message.bundle import Record
from heimdall.message.query import NXDOMAIN
from tests.busy import Busy
from tests.cache.questions import failure, negative, positive, question, ttls
from tests.fakelink import FakeLink
from tests.rediscase import RedisCase, reactor, until
from tests.redisserver import RedisServer

NOW = 1_700_000_000.0
SECRET = b"0123456789abcdef"


class One:
    """A node without Redis: its memory, and what carries."""

    def __init__(self, began: float = NOW, *, secret: bytes = SECRET, most: int = 10_000_000, **settings: Any) -> None:
        self.clock = Busy()
        self.began = began
        self.memory = Memory(10_000_000, stale_window=100)
        self.carry = Carry(
            self.memory, self.clock, Seal(secret), most=most, window=100,
            wall=lambda: self.began + self.clock.seconds(), **settings,
        )  # fmt: skip

    def now(self) -> float:
        return self.clock.seconds()


class Memories(SynchronousTestCase):
    """From one memory into another."""

    def done(self, node: One, work: Any) -> Any:
        """Return what comes of some work, in as many turns as it takes."""
        working = Deferred.fromCoroutine(work)
        self.turns = node.clock.turns(working)
        return self.successResultOf(working)

    def out(self, node: One) -> list[Record]:
        """Return all that a node carries out of its memory."""

        async def all_of_it() -> list[Record]:
            return [record async for records in node.carry.out("memory") for record in records]

        found: list[Record] = self.done(node, all_of_it())
        return found

    def into(self, node: One, records: Sequence[Record]) -> dict[str, int]:
        """Have a node take some into its memory."""
        found: dict[str, int] = self.done(node, node.carry.into("memory", records))
        return found

    def test_there(self) -> None:
        """Positive and negative answers arrive as they were, for DO and CD apart, and are given as memory's own."""
        one, two = One(), One()
        one.memory.put(question("a.example"), positive("a.example"), 0.0)
        one.memory.put(question("b.example"), negative("b.example", 0), 0.0)
        one.memory.put(question("no.example"), negative("no.example", NXDOMAIN), 0.0)
        self.assertEqual(self.into(two, self.out(one)), {"loaded": 3})
        for asked in (question("a.example"), question("b.example"), question("no.example", 15)):
            there, here = one.memory.get(asked, 0.0), two.memory.get(asked, 0.0)
            assert there is not None and here is not None
            self.assertEqual(
                (there[1], there[0].rcode, there[0].counts, there[0].origin),
                (here[1], here[0].rcode, here[0].counts, here[0].origin),
            )
        [kept] = two.memory.inspect([question("a.example").key], 0.0)
        self.assertEqual(kept.origin, "file")

    def test_time(self) -> None:
        """Time passes on the way, and in the first memory before: of 60 s, 20 there and 30 outside, 10 are left."""
        one, two = One(), One(NOW + 50)
        one.memory.put(question(), positive(ttl=60), 0.0)
        one.clock.advance(20)
        self.assertEqual(self.into(two, self.out(one)), {"loaded": 1})
        known = two.memory.get(question(), 0.5)
        assert known is not None
        self.assertEqual(ttls(known[1], known[0]), [10])
        self.assertIsNone(two.memory.get(question(), 10.5))

    def test_stale(self) -> None:
        """What is past its TTL is held as stale, for what is left of the window; beyond that it is left out."""
        records = self.out(one := One())
        one.memory.put(question(), positive(ttl=60), 0.0)
        records = self.out(one)
        two = One(NOW + 100)
        self.assertEqual(self.into(two, records), {"loaded": 1})
        self.assertIsNone(two.memory.get(question(), 0.0))
        held = two.memory.held(question(), 0.0)
        assert held is not None
        self.assertEqual((held[1], held[2]), (-40.0, 60.0))
        self.assertEqual(self.into(One(NOW + 161), records), {"expired": 1})

    def test_stale_already(self) -> None:
        """What was given past its TTL in the first memory is no fresher in the second."""
        one, two = One(), One(NOW + 50)
        one.memory.put(question(), positive(ttl=60).stale(20.0, 80.0), 0.0, 80.0)
        one.clock.advance(10)
        self.assertEqual(self.into(two, self.out(one)), {"loaded": 1})
        held = two.memory.held(question(), 0.0)
        assert held is not None
        self.assertIsNone(two.memory.get(question(), 0.0))
        self.assertEqual(held[1], -70.0)
        self.assertEqual(self.into(One(NOW + 81), self.out(one)), {"expired": 1})

    def test_left_behind(self) -> None:
        """Failures, and answers for a client's subnet, are not carried."""
        one = One()
        one.memory.put(question(), failure().replace(ttl=5), 0.0, 5.0)
        asked = question("b.example")
        one.memory.put(asked, positive("b.example"), 0.0)
        [entry] = one.memory.inspect([question("b.example").key], 0.0)
        self.assertEqual([key for key, _ in self.out(one)], [entry.key])
        subnet = entry.key + b"\1\x18\xc0\0\2"
        value = to_bytes(positive("b.example"), subnet, NOW, Seal(SECRET))
        self.assertEqual(self.into(One(), [(subnet, value)]), {"foreign": 1})

    def test_held(self) -> None:
        """What is there and fresh stays; what is fresh takes the place of what is stale."""
        one, two = One(), One()
        one.memory.put(question(), positive(ttl=600, data="192.0.2.1"), 0.0)
        two.memory.put(question(), positive(ttl=60, data="192.0.2.2"), 0.0)
        records = self.out(one)
        self.assertEqual(self.into(two, records), {"held": 1})
        two.clock.advance(61)
        self.assertEqual(self.into(two, records), {"loaded": 1})
        known = two.memory.get(question(), 61.0)
        assert known is not None
        self.assertTrue(known[1].endswith(b"\xc0\0\2\1"))

    def test_seal(self) -> None:
        """What was not sealed with the secret, was changed, or lies under another key, is refused, and why told."""
        one = One()
        one.memory.put(question(), positive(), 0.0)
        [(key, value)] = self.out(one)
        two = One()
        other = question("b.example").key
        changed = value[:-20] + bytes((value[-20] ^ 1,)) + value[-19:]
        for record in ((key, changed), (other, value), (key, value[:-1])):
            self.assertEqual(self.into(two, [record]), {"forged": 1})
        self.assertEqual(self.into(One(secret=b"fedcba9876543210"), [(key, value)]), {"forged": 1})
        self.assertEqual(self.into(One(secret=b""), [(key, value)]), {"damaged": 1})
        self.assertEqual(self.into(two, [(key, b"x"), (key, b"\0" * 60), (b"", value), (b"\xff" * 300, value)]), {
            "short": 1, "version": 1, "foreign": 2,
        })  # fmt: skip
        self.assertEqual(self.into(One(NOW - 60), [(key, value)]), {"future": 1})
        self.assertEqual(len(two.memory), 0)

    def test_flushed(self) -> None:
        """What was flushed since its upstream was asked does not come back."""
        one = One()
        one.memory.put(question(), positive(), 0.0)
        two = One(covers=lambda name, asked: name == question().name and asked < NOW + 1)
        self.assertEqual(self.into(two, self.out(one)), {"flushed": 1})

    def test_rules(self) -> None:
        """A name that a rule of this node answers is not put in front of the rule."""
        one, two = One(), One()
        one.memory.put(question("ads.example"), positive("ads.example"), 0.0)
        two.carry.passes = Unasked([Blocked(["ads.example"], [], "nxdomain")], Clock()).passes
        self.assertEqual(self.into(two, self.out(one)), {"refused": 1})

    def test_bounds(self) -> None:
        """A TTL above this node's ceiling is cut, and no more is taken than memory holds."""
        one = One()
        for number in range(20):
            one.memory.put(question(f"n{number}.example"), positive(f"n{number}.example", ttl=6000), 0.0)
        records = self.out(one)
        two = One(ceilings=(60, 60), most=4000)
        results = self.into(two, records)
        self.assertEqual(sorted(results), ["full", "loaded"])
        self.assertLess(two.memory.used, 5000)
        known = two.memory.get(question("n0.example"), 0.0)
        assert known is not None
        self.assertEqual(ttls(known[1], known[0]), [60])

    def test_turns(self) -> None:
        """Many are carried in many turns: queries are answered in between."""
        one, two = One(), One()
        many = 3 * AT_ONCE
        for number in range(many):
            one.memory.put(question(f"n{number}.example"), positive(f"n{number}.example"), 0.0)
        one.clock.takes = two.clock.takes = 0.0002
        records = self.out(one)
        self.assertGreater(self.turns, many // 10)
        self.assertEqual(self.into(two, records), {"loaded": many})
        self.assertGreater(self.turns, many // 10)

    def test_pieces(self) -> None:
        """What is carried together is bounded in bytes as well."""
        one = One(most=100_000_000)
        long = positive("a.example")
        for number in range(100):
            name = question(f"n{number}.example")
            body = long.body * 1000
            spots = tuple(6 + at * len(long.body) for at in range(1000))
            answer = long.replace(question=name.key[:-1], body=body, counts=(1000, 0, 0), spots=spots)
            one.memory.put(name, answer, 0.0)

        async def pieces() -> list[int]:
            return [sum(len(value) for _, value in records) async for records in one.carry.out("memory")]

        sizes = self.done(one, pieces())
        self.assertGreater(sum(sizes), 1_000_000)
        self.assertLess(max(sizes), PIECE + 20_000)

    def test_no_redis(self) -> None:
        """Without Redis nothing is carried there, or from there."""
        node = One()
        for work in (node.carry.into("redis", [(b"k", b"v")]), node.carry.expected("redis")):
            self.failureResultOf(Deferred.fromCoroutine(work), LinkDown)


class Saying(FakeLink):
    """Answers each command with what the test says, in turn."""

    def __init__(self, **replies: list[object]) -> None:
        super().__init__(Clock())
        self.replies = replies

    def run(self, *command: bytes | str | int) -> Deferred[object]:
        reply = self.replies[str(command[0])].pop(0)
        return fail(reply) if isinstance(reply, Exception) else succeed(reply)


class Strange(SynchronousTestCase):
    """A Redis that answers otherwise than Redis does."""

    def carry(self, **replies: list[object]) -> Carry:
        """Return what carries out of and into such a Redis."""
        self.clock = Clock()
        return Carry(
            Memory(1_000_000), self.clock, Seal(SECRET), most=1_000_000, window=100, link=Saying(**replies),
            wall=lambda: NOW,
        )  # fmt: skip

    def out(self, **replies: list[object]) -> Deferred[list[Record]]:
        """Return what is carried out of it."""
        carry = self.carry(**replies)

        async def all_of_it() -> list[Record]:
            return [record async for records in carry.out("redis") for record in records]

        return Deferred.fromCoroutine(all_of_it())

    def test_rubbish(self) -> None:
        """What is no reply to a search or a look-up ends it as if Redis were away."""
        searches: list[list[object]] = [[b"x"], [[b"0"]], [[b"0", b"x"]], [[7, []]]]
        for replies in searches:
            self.failureResultOf(self.out(SCAN=replies), LinkDown)
        looks: list[object] = [b"x", [], [b"1", b"2"]]
        for look in looks:
            self.failureResultOf(self.out(SCAN=[[b"0", [b"heimdall:c1:k"]]], MGET=[look]), LinkDown)

    def test_no_keys(self) -> None:
        """A search goes on until Redis says that it is over; what is no key is left out."""
        self.assertEqual(self.successResultOf(self.out(SCAN=[[b"5", []], [b"0", [7]]])), [])

    def test_size(self) -> None:
        """A size that is no number is none."""
        for said, size in ((b"x", 0), (7, 7)):
            found = Deferred.fromCoroutine(self.carry(DBSIZE=[said]).expected("redis"))
            self.assertEqual(self.successResultOf(found), size)

    def test_refused(self) -> None:
        """A write that Redis refuses is told as such."""
        asked = question("a.example")
        carry = self.carry(SET=[LinkDown("READONLY")])
        value = to_bytes(positive("a.example"), asked.key, carry.now(), Seal(SECRET))
        working = Deferred.fromCoroutine(carry.into("redis", [(asked.key, value)]))
        self.clock.pump([0] * 10)
        self.failureResultOf(working, LinkDown)


class InRedis(RedisCase):
    """From and into a real Redis."""

    async def node(self, server: RedisServer) -> Carry:
        """Return what carries, at a Redis."""
        link = self.linked(server.url)
        await until(lambda: link.up)
        self.memory = Memory(10_000_000, stale_window=100)
        return Carry(self.memory, reactor, Seal(SECRET), most=10_000_000, window=100, link=link)

    async def test_there_and_back(self) -> None:
        """What is put into Redis lies there as a node stores it, for its TTL and the window; and comes out."""
        server = self.server()
        carry = await self.node(server)
        for number in range(300):
            self.memory.put(question(f"n{number}.example"), positive(f"n{number}.example", ttl=60), reactor.seconds())
        records = [record async for some in carry.out("memory") for record in some]
        self.assertEqual(await carry.into("redis", records), {"loaded": 300})
        self.assertEqual(await carry.into("redis", records), {"held": 300})
        server.command("SET", b"heimdall:c1:" + question("lease.example").key, b"\0lease")
        server.command("SET", b"heimdall:c1:" + question("rubbish.example").key, b"\2rubbish")
        server.command("SET", "heimdall:other", "x")
        found = [record async for some in carry.out("redis") for record in some]
        self.assertEqual(sorted(found), sorted(records))
        self.assertGreaterEqual(await carry.expected("redis"), 300)
        left = server.command("PTTL", b"heimdall:c1:" + records[0][0])
        self.assertTrue(150_000 < left <= 160_000, left)

    async def test_away(self) -> None:
        """A Redis that is gone ends it with why; the answers are neither there nor here."""
        server = self.server()
        carry = await self.node(server)
        self.memory.put(question(), positive(), reactor.seconds())
        records = [record async for some in carry.out("memory") for record in some]
        server.kill()
        await self.assertFailure(Deferred.fromCoroutine(carry.into("redis", records)), LinkDown)

        async def out() -> None:
            async for _ in carry.out("redis"):
                pass

        await self.assertFailure(Deferred.fromCoroutine(out()), LinkDown)
