"""The list of what is hot, in a real Redis."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from heimdall.cache.ranks import (
    AT_ONCE,
    EXACT,
    HALF,
    KEPT,
    MOST_NODES,
    UNKNOWN,
    Asked,
    Facts,
    Ranks,
    number,
    question,
    worth,
)
from heimdall.interfaces import LinkDown
from heimdall.message import query
from heimdall.message.edns import Subnet
from heimdall.message.wire import from_text
from tests.cache.questions import question as asked_for
from tests.fakelink import FakeLink
from tests.rediscase import RedisCase, until
from tests.redisserver import RedisServer, need

NOW = 1_790_000_000.0
DAY = 86400.0


def key(number: int) -> bytes:
    """The key of a question."""
    return asked_for(f"n{number}.example").key


class Case(RedisCase):
    """A list in a Redis of our own."""

    async def ranks(self, most: int = 100) -> tuple[Ranks, RedisServer]:
        """Return both."""
        server = self.server()
        link = self.linked(server.url)
        await until(lambda: link.up)
        return Ranks(link, most=most), server

    async def add(self, ranks: Ranks, counts: dict[int, int], now: float = NOW, node: int = 1, ttl: int = 60) -> None:
        """Count some answers from memory."""
        rows = [Asked(key(name), count, 0, 0, ttl) for name, count in counts.items()]
        for at in range(0, len(rows), AT_ONCE):
            await ranks.add(rows[at : at + AT_ONCE], node, now)

    async def counts(self, ranks: Ranks, now: float = NOW) -> dict[int, float]:
        """Return what is listed, in order."""
        _, rows = await ranks.top(0, 999, now)
        return {int(row.key[2 : row.key[0] + 1]): round(row.asked, 2) for row in rows}

    async def facts(self, ranks: Ranks, now: float = NOW) -> Facts:
        """Return what is known of the first name."""
        _, [row] = await ranks.top(0, 0, now, facts=True)
        assert row.facts is not None
        return row.facts


class Counting(Case):
    """What is asked counts, less as time passes."""

    async def test_added_up(self) -> None:
        """What nodes tell is added up, and listed from the most to the least."""
        ranks, _ = await self.ranks()
        await self.add(ranks, {1: 5, 2: 9, 3: 1})
        await self.add(ranks, {1: 6, 4: 2}, node=2)
        begun, _ = await ranks.top(0, 0, NOW)
        self.assertEqual((await self.counts(ranks), begun), ({1: 11, 2: 9, 4: 2, 3: 1}, NOW))
        _, rows = await ranks.top(1, 2, NOW)
        self.assertEqual([row.key for row in rows], [key(2), key(4)])

    async def test_nothing(self) -> None:
        """Where nobody has counted there is nothing to list."""
        ranks, _ = await self.ranks()
        self.assertEqual(await ranks.top(0, 9, NOW), (NOW, []))

    async def test_fading(self) -> None:
        """An ask counts half after ten minutes, whether anybody asks meanwhile or not."""
        ranks, _ = await self.ranks()
        await self.add(ranks, {1: 80, 2: 30})
        await self.add(ranks, {2: 30}, NOW + HALF)
        self.assertEqual(await self.counts(ranks, NOW + HALF), {2: 45, 1: 40})
        self.assertEqual(await self.counts(ranks, NOW + 3 * HALF), {2: 11.25, 1: 10})
        facts = await self.facts(ranks, NOW + 3 * HALF)
        self.assertAlmostEqual(facts.memory, 11.25, 3)

    def test_worth(self) -> None:
        """What a name amounts to tells how often it is asked for in a second, once it has been for a minute."""
        for age in (60, 600, 6000):
            asked = sum(0.5 ** (second / HALF) for second in range(age))
            self.assertAlmostEqual(asked / worth(age), 1.0, 2)
        self.assertEqual(worth(1), worth(60))

    async def test_landmark(self) -> None:
        """After days the weights are moved, and the order stays; so it does when Redis's clock goes back a day."""
        for later in (5 * DAY, -DAY, 365 * DAY):
            ranks, _ = await self.ranks()
            await self.add(ranks, {1: 1000, 2: 100, 3: 10})
            await self.add(ranks, {4: 1}, NOW + later)
            listed = await self.counts(ranks, NOW + later)
            order = sorted(listed, key=lambda name: -listed[name])
            self.assertEqual(sorted(order), [1, 2, 3, 4])
            self.assertEqual([name for name in order if name != 4], [1, 2, 3])
            self.assertEqual(listed[4], 1.0)
            self.assertLessEqual(listed[1], 1000.0)

    async def test_by_tier_and_ttl(self) -> None:
        """Of each name it is known who answered, and its TTL: what an upstream told, or what was left of it."""
        ranks, _ = await self.ranks()
        for memory, redis, upstream, ttl, known in (
            (3, 0, 0, UNKNOWN, None),
            (0, 1, 0, 44, 44),
            (0, 0, 1, 60 | EXACT, 60),
            (9, 0, 0, 17, 60),
            (0, 0, 1, 0 | EXACT, 0),
        ):
            await ranks.add([Asked(key(1), memory, redis, upstream, ttl)], 1, NOW)
            self.assertEqual((await self.facts(ranks)).ttl, known)
        facts = await self.facts(ranks)
        self.assertEqual((facts.memory, facts.redis, facts.upstream), (12, 1, 2))

    async def test_nodes(self) -> None:
        """The nodes that asked within the hour are known, the last 15 of them."""
        ranks, _ = await self.ranks()
        await self.add(ranks, {1: 1}, node=7)
        await self.add(ranks, {1: 1}, NOW + 3000, node=8)
        self.assertEqual((await self.facts(ranks, NOW + 3000)).nodes, (7, 8))
        self.assertEqual((await self.facts(ranks, NOW + 4000)).nodes, (8,))
        await self.add(ranks, {1: 1}, NOW + 4000, node=9)
        self.assertEqual((await self.facts(ranks, NOW + 4000)).nodes, (8, 9))
        for node in (*range(100, 120), 110):
            await self.add(ranks, {1: 1}, NOW + 4000, node=node)
        nodes = (await self.facts(ranks, NOW + 4000)).nodes
        self.assertEqual((len(nodes), nodes[-2:]), (MOST_NODES, (119, 110)))

    async def test_settled(self) -> None:
        """Who asks for a name is settled when it was told once more, or everybody had time to; its TTL stays known."""
        ranks, _ = await self.ranks()
        for later, again, settled in ((0.0, (), False), (11.9, (), False), (12.0, (), True), (10.0, (10.0,), True)):
            for ttl in (60, UNKNOWN, 60 | EXACT):
                await ranks.clear()
                for told in (0.0, 1.0, *again):
                    await self.add(ranks, {0: 3}, NOW - 1.0 + told, ttl=ttl)
                facts = await self.facts(ranks, NOW + later)
                self.assertEqual((facts.settled, facts.ttl), (settled, None if ttl == UNKNOWN else 60), (later, ttl))

    async def test_number_of_a_node(self) -> None:
        """A node has the same number wherever it is reckoned, and another one than its neighbour."""
        self.assertEqual(number("a"), 0xE8B7BE43)
        self.assertNotEqual(number("heimdall-0"), number("heimdall-1"))


class Bounds(Case):
    """It stays small, and does not live for ever."""

    async def test_most(self) -> None:
        """The coldest names leave when there are too many, with all that is known of them."""
        ranks, server = await self.ranks(most=50)
        await self.add(ranks, {name: name + 1 for name in range(250)})
        self.assertEqual(list(await self.counts(ranks)), list(range(249, 199, -1)))
        self.assertEqual([server.command("HLEN", ranks.keys[1]), server.command("ZCARD", ranks.keys[0])], [51, 50])

    async def test_expiry(self) -> None:
        """Both keys go when nobody counts for days."""
        ranks, server = await self.ranks()
        await self.add(ranks, {1: 1})
        for name in ranks.keys:
            self.assertTrue(KEPT - 10 < server.command("TTL", name) <= KEPT)
        await self.add(ranks, {1: 1}, NOW + 5 * DAY)
        for name in ranks.keys:
            self.assertTrue(KEPT - 10 < server.command("TTL", name) <= KEPT)

    async def test_bytes(self) -> None:
        """5000 names of common length that 15 nodes ask take no more than 400 bytes each in Redis."""
        ranks, server = await self.ranks(most=5000)
        names = [asked_for(f"n{name}.some.zone{name % 97}.example").key for name in range(5200)]
        for node in range(16):
            for at in range(0, len(names), AT_ONCE):
                await ranks.add([Asked(name, 3, 1, 1, 60) for name in names[at : at + AT_ONCE]], node, NOW)
        taken = sum(server.command("MEMORY", "USAGE", name, "SAMPLES", 0) for name in ranks.keys)
        self.assertLess(taken, 400 * 5000)

    def test_one_place(self) -> None:
        """In a Redis Cluster both keys live in one slot: their names have the same part in braces."""
        keys = Ranks(FakeLink(Clock()), prefix="p").keys
        self.assertEqual(keys, [b"p:hot:{names}", b"p:hot:{names}:facts"])


class Rubbish(Case):
    """Whoever can write to Redis can write anything."""

    async def test_facts(self) -> None:
        """Facts that are none are left out, and written anew at the next ask."""
        ranks, server = await self.ranks()
        nan = bytes.fromhex("7ff8000000000000")
        for written in (b"", b"x" * 5, b"\xff" * 24, nan + b"\0" * 16, b"\0" * 8 + b"\x7f\x80\0\0" * 3 + b"\0" * 4):
            await self.add(ranks, {1: 1})
            server.command("HSET", ranks.keys[1], key(1), written)
            _, [row] = await ranks.top(0, 0, NOW, facts=True)
            self.assertTrue(row.facts is None or row.facts.memory >= 0)
            await self.add(ranks, {1: 1})
            facts = await self.facts(ranks)
            self.assertTrue(1 <= facts.memory < 1e15, facts)

    async def test_head(self) -> None:
        """A landmark that is none costs the list, no more."""
        ranks, server = await self.ranks()
        for head in (b"", b"x", b"\xff" * 24, b"\x7f\xef" + b"\xff" * 6 + b"\0" * 16):
            server.command("HSET", ranks.keys[1], b"", head)
            await ranks.top(0, 9, NOW)
            await self.add(ranks, {1: 1})
            self.assertEqual((await self.counts(ranks))[1], 1)

    async def test_members(self) -> None:
        """Names that are none are listed as they are, and are no questions; scores that are none are left out."""
        ranks, server = await self.ranks()
        await self.add(ranks, {1: 5})
        server.command("ZADD", ranks.keys[0], "inf", "endless", 4, b"\xff" * 300)
        _, rows = await ranks.top(0, 9, NOW)
        self.assertEqual([question(row.key) is not None for row in rows], [True, False])

    async def test_other_type(self) -> None:
        """Another type under our keys fails, and ends with clear."""
        ranks, server = await self.ranks()
        await self.add(ranks, {1: 1})
        server.command("SET", ranks.keys[0], "x")
        with self.assertRaises(LinkDown):
            await self.add(ranks, {1: 1})
        await ranks.clear()
        await self.add(ranks, {1: 1})

    async def test_replies(self) -> None:
        """Replies that are none are an empty list."""
        ranks, _ = await self.ranks()
        for rows in (b"\0", b"\0\5abc", b"\xff\xff", b"\0\1a\0\0\0\0", 7, None):
            ranks._link = Saying([b"1.0", rows])
            self.assertEqual((await ranks.top(0, 9, NOW))[1], [])
        ranks._link = Saying(b"OK")
        self.assertEqual((await ranks.top(0, 9, NOW))[1], [])


class Saying(FakeLink):
    """A Redis that always says the same."""

    def __init__(self, reply: object) -> None:
        super().__init__(Clock())
        self._reply = reply

    def _result(self, command: object) -> Deferred[object]:
        return succeed(self._reply)


class Keys(SynchronousTestCase):
    """From keys back to questions."""

    @given(st.sampled_from(["example", "a.b.example", "."]), st.sampled_from([1, 28, 65]), st.booleans(), st.booleans())
    def test_there_and_back(self, text: str, qtype: int, do: bool, cd: bool) -> None:
        """The key of a question leads to the same question."""
        asked = query.make(from_text(text), qtype, do=do, cd=cd)
        again = question(asked.key)
        assert again is not None
        self.assertEqual((again.key, again.name, again.qtype, again.do), (asked.key, asked.name, qtype, do))

    @given(st.binary(max_size=300))
    def test_anything(self, made: bytes) -> None:
        """What is no key leads nowhere, and never raises."""
        for name in (made, b"\1a\0" + made, made + b"\0\0\1\0\1\0"):
            found = question(name)
            self.assertTrue(found is None or found.key == name)

    def test_none_of_ours(self) -> None:
        """Keys with a client's subnet, of other classes, types that cannot be asked for and long names are left out."""
        good = asked_for().key
        subnet = Subnet.from_option(bytes.fromhex("00011800c00002"))
        for wrong in (
            b"", good[:-1], good[:-1] + b"\4", good + subnet.key(24), good[:-2] + b"\3\0", good[:-5] + b"\0\0\0\1\0",
            good.upper(), b"\xc0\x00" + good[-5:], b"\1a" * 130 + good,
        ):  # fmt: skip
            self.assertIsNone(question(wrong), wrong)


class Reading(RedisCase):
    """Who may not write."""

    async def test_reader(self) -> None:
        """A node that only reads learns what the others ask for; it cannot add to it."""
        need(7)
        server = self.server()
        full, reader = self.linked(server.url), self.linked(server.url, reads_only=True)
        await until(lambda: full.up and reader.up)
        now = full.now() or 0.0
        wanted = key(1)
        await Ranks(full).add([Asked(wanted, 3, 2, 1, 60)], 7, now)
        _, rows = await Ranks(reader).top(0, 9, now)
        self.assertEqual([row.key for row in rows], [wanted])
        await self.assertFailure(Ranks(reader).add([Asked(wanted, 1, 0, 0, 60)], 8, now), LinkDown)
