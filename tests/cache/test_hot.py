"""What is hot: counted on every node without a query noticing, added up in a real Redis, told to operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from heapq import nlargest
from random import Random
from typing import Any

import dns.edns
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from benchmarks.micro.clock import operations
from heimdall.cache import heavy_hitters, hot, ranks, top
from heimdall.cache.eviction import Eviction
from heimdall.cache.frequent import Frequent
from heimdall.cache.memory import Memory
from heimdall.cache.ranks import EXACT, UNKNOWN, Asked, Row, worth
from heimdall.cache.ranks import number as number_of
from heimdall.cache.table import Table
from heimdall.cache.top import Members, Shared, Top
from heimdall.interfaces import NO_CLOCK, ILink, LinkDown, Member
from heimdall.message import query
from heimdall.message.answer import make
from heimdall.message.query import SERVFAIL, Query
from tests.cache.cluster import Nodes, One, Upstream
from tests.cache.questions import negative, positive, question, scoped
from tests.cache.test_eviction import add
from tests.fakelink import FakeLink
from tests.message.messages import query_wire
from tests.rediscase import pause, reactor, until


class Misses(SynchronousTestCase):
    """What memory did not know."""

    def test_by_origin(self) -> None:
        """Askers are counted by who knew, with the TTL that an upstream told."""
        frequent = Frequent()
        for origin, ttl, askers in (("upstream", 60, 2), ("redis", 33, 3), ("stale", 30, 4)):
            frequent.landed(question(), positive().with_ttls(ttl, origin), askers)
        self.assertEqual(frequent.take(9), [Asked(question().key, 0, 3, 2, 60 | EXACT)])
        self.assertEqual((frequent.take(9), len(frequent)), ([], 0))
        frequent.landed(question(), make(question(), SERVFAIL, "upstream"), 1)
        self.assertEqual(frequent.take(9), [Asked(question().key, 0, 0, 1, UNKNOWN)])

    def test_most_first(self) -> None:
        """What was asked most is taken first; the rest waits."""
        frequent = Frequent()
        names = [question(f"n{number}.example") for number in range(10)]
        for number, name in enumerate(names):
            frequent.landed(name, positive().with_ttls(1, "redis"), number + 1)
        self.assertEqual([asked.key for asked in frequent.take(2)], [names[9].key, names[8].key])
        self.assertEqual(len(frequent), 8)

    def test_flood(self) -> None:
        """A flood of names that nobody asks twice takes no more room, and does not hide what is asked often."""
        frequent = Frequent(100)
        for number in range(20_000):
            frequent.landed(question(f"random{number}.example"), positive(), 1)
            if number % 20 == 0:
                frequent.landed(question("often.example"), positive(), 1)
            self.assertLessEqual(len(frequent), 100)
        [first] = frequent.take(1)
        self.assertEqual((first.key, first.upstream), (question("often.example").key, 1000))


class Growth(SynchronousTestCase):
    """What memory did know."""

    def test_noted_once(self) -> None:
        """Uses are told once, those of answers used no more than once not at all."""
        memory = Memory(1_000_000)
        for number in range(5):
            memory.put(question(f"n{number}.example"), positive(f"n{number}.example"), 0.0)
            for _ in range(number):
                memory.get(question(f"n{number}.example"), 1.0)
        grown = [uses for slice in memory.growth(2) for uses, _ in slice]
        self.assertEqual(grown, [2, 3, 4])
        noted = memory.note(question("n4.example").key)
        assert noted is not None
        self.assertEqual((noted[0].question, noted[1]), (question("n4.example").question, 4))
        self.assertEqual(sorted(uses for slice in memory.growth(2) for uses, _ in slice), [2, 3])
        self.assertIsNone(memory.note(b"gone"))

    def test_coming_and_going(self) -> None:
        """Answers may come and go while they are walked through."""
        memory = Memory(1_000_000)
        names = [f"n{number}.example" for number in range(100)]
        for name in names:
            memory.put(question(name), positive(name), 0.0)
        for _ in memory.growth(100):
            memory.forget(question(names.pop()).key)
            memory.put(question(f"new{len(names)}.example"), positive(f"new{len(names)}.example"), 0.0)

    @given(st.lists(st.integers(0, 9), max_size=200))
    def test_eviction_loses_none(self, used: list[int]) -> None:
        """However often the eviction counts anew, the uses that were noted are those that were made."""
        table = Table()
        order = Eviction(table, 100)
        places = {number: add(table, b"%d" % number) for number in range(10)}
        made: Counter[int] = Counter()
        noted: Counter[int] = Counter()
        for place in places.values():
            order.enter(place, 10)
        for step, number in enumerate(used):
            place = places[number]
            if place < 0:  # it was evicted: what was not noted is lost with it
                made[number] = noted[number]
                places[number] = place = add(table, b"%d" % number)
                order.enter(place, 10)
            table.uses[place] += 1
            made[number] += 1
            order.resize(place, 10 + step % 9)
            for victim in order.victims(0.0, 20):
                places[int(table.keys[victim])] = -1
                table.clear(victim)
            if step % 3 == 0 and places[number] >= 0:
                noted[number] += table.uses[place] - table.noted[place]
                table.noted[place] = table.uses[place]
                self.assertEqual(noted[number], made[number])


class Cluster(Nodes):
    """Several nodes and one list."""

    async def hottest(self, node: One) -> dict[bytes, float]:
        """Return what a node learns to be hot, with the asks so far."""
        for _ in range(hot.READ_EVERY):
            await node.sharing.hot.look()
        return {key: rate * worth(0.0) for key, rate in node.sharing.hot.names.items()}

    async def test_added_up(self) -> None:
        """What is asked on all nodes is hot on all nodes, those that never heard of it as well."""
        server, upstream = self.server(), Upstream()
        nodes = await self.nodes(server, upstream, 3)
        for node in nodes[:2]:
            await node.ask("www.example", "other.example")
            node.use(question("www.example"), 5)
            await node.sharing.hot.look()
        names = await self.hottest(nodes[2])
        self.assertEqual(list(names), [question("www.example").key, question("other.example").key])
        self.assertAlmostEqual(names[question("www.example").key], 12, 1)
        self.assertEqual(nodes[0].count("heimdall_cache_hot_told_total", "told"), 2)

    async def test_zipf(self) -> None:
        """Under a Zipf load on three nodes the top names are right, and their counts less what waits for its turn."""
        server, upstream = self.server(), Upstream()
        nodes = await self.nodes(server, upstream, 3, hot_names=2000)
        rng = Random(3)
        names = [question(f"n{number}.example") for number in range(3000)]
        weights = [1 / (number + 1) for number in range(3000)]
        true: Counter[bytes] = Counter()
        known = positive()
        for node in nodes:
            for name in names:
                node.memory.put(name, known.replace(question=name.key[:-1]), reactor.seconds())
            await pause(0.01)
        await until(lambda: all(node.sure for node in nodes))
        for _ in range(6):
            for node in nodes:
                for name in rng.choices(names, weights, k=3000):
                    node.memory.get(name, reactor.seconds())
                    true[name.key] += 1
                await node.sharing.hot.look()
        told = await self.hottest(nodes[0])
        best = [key for key, _ in true.most_common(200)]
        self.assertGreaterEqual(len(set(best) & set(list(told)[:220])), 195)
        for key in best[:100]:
            self.assertLess(abs(told[key] - true[key]), 0.02 * true[key] + 15, key)
        self.assertTrue(hot.KEPT <= len(told) <= 2 * hot.KEPT)

    async def test_only_what_it_should(self) -> None:
        """Answers for a client's subnet are left out, that a name does not exist is told under its question."""
        server, upstream = self.server(), Upstream()
        [node] = await self.nodes(server, upstream)
        network = query.read(
            query_wire("net.example", use_edns=0, options=[dns.edns.ECSOption("192.0.2.1", 24)]), subnets=True
        )
        assert isinstance(network, Query)
        node.memory.put(network, scoped(positive("net.example"), 24), reactor.seconds())
        node.memory.put(question("no.example"), negative(), reactor.seconds())
        for asked in (network, question("no.example")):
            node.use(asked, 3)
        node.sharing.hot.hitters.missed.landed(network, positive("net.example"), 5)
        self.assertEqual(list(await self.hottest(node)), [question("no.example").key])

    async def test_at_once(self) -> None:
        """What is asked for here becomes hot at the first look, however full the list is; what was asked once does not.

        It stays so when the list is read, as long as it is asked for; the list is not known to be wrong otherwise.
        """
        [node] = await self.nodes(self.server(), Upstream())
        learning = node.sharing.hot
        full = [Row(question(f"n{number}.example").key, 10_000.0 - number, None) for number in range(hot.KEPT)]
        learning.learn(full, 900.0)
        learning._looks = 1  # so that the next one reads no list
        await node.ask("www.example", "once.example")
        node.use(question("www.example"), 300)
        await learning.look()
        self.assertEqual(next(iter(learning.names.items())), (question("www.example").key, 30.1))
        self.assertEqual(list(learning.names)[1], full[0].key)
        self.assertNotIn(question("once.example").key, learning.names)
        learning.learn(full, 900.0)
        self.assertIn(question("www.example").key, learning.names)
        await node.ask("other.example", "other.example")
        node.use(question("other.example"), 3)
        await learning.look()
        learning.learn(full, 900.0)
        self.assertEqual((len(learning.names), question("other.example").key in learning.names), (hot.KEPT + 1, True))
        self.assertNotIn(question("www.example").key, learning.names)

    async def test_bounded(self) -> None:
        """A node keeps so many names that it told, the latest, and no more."""
        [node] = await self.nodes(self.server(), Upstream())
        self.patch(hot, "KEPT", 5)
        learning = node.sharing.hot
        learning._looks = 1
        for turn in range(3):
            names = [f"n{turn}{number}.example" for number in range(3)]
            await node.ask(*names)
            for name in names:
                node.use(question(name), 3)
            await learning.look()
        told = [question(f"n{turn}{number}.example").key for turn in (1, 2) for number in range(3)]
        self.assertEqual(len(learning.names), 5)
        self.assertLess(set(learning.names), set(told))

    async def test_redis_away(self) -> None:
        """What was used while Redis was away is told when it is back; nothing fails meanwhile."""
        server, upstream = self.server(), Upstream()
        [node] = await self.nodes(server, upstream)
        await node.ask("www.example")
        server.kill()
        await until(lambda: not node.sharing.link.up)
        node.use(question("www.example"), 4)
        await node.sharing.hot.look()
        server.start()
        await until(lambda: node.sharing.link.up)
        self.assertEqual(list(await self.hottest(node)), [question("www.example").key])
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_something_else_there(self) -> None:
        """Something else under our keys is told once, counted, and taken away; what was to be told is told then."""
        server, upstream = self.server(), Upstream()
        [node] = await self.nodes(server, upstream)
        server.command("SET", node.sharing.ranks.keys[0], "x")
        server.command("HSET", node.sharing.ranks.keys[1], b"", b"\0" * 24)
        await node.ask("www.example")
        await node.sharing.hot.look()
        self.assertEqual(node.count("heimdall_cache_hot_errors_total", "wrongtype"), 1)
        self.assertIn("Redis refuses to count what is hot: WRONGTYPE; done without", self.events)
        names = await self.hottest(node)
        self.assertEqual([(key, round(asked)) for key, asked in names.items()], [(question("www.example").key, 1)])

    async def test_reader(self) -> None:
        """A node that only reads learns what is hot, and tells nothing."""
        server, upstream = self.server(), Upstream()
        nodes = await self.nodes(server, upstream, 2)
        await nodes[0].ask("www.example")
        await nodes[0].sharing.hot.look()
        reader = hot.Hot(nodes[1].sharing.link, nodes[1].memory, nodes[1].sharing.ranks, reactor, reader=True)
        reader.hitters.missed.landed(question("other.example"), positive(), 3)
        await reader.look()
        self.assertEqual(list(reader.names), [question("www.example").key])

    async def test_timer(self) -> None:
        """A node looks by itself, until it is stopped, also in the middle of a look."""
        server, upstream = self.server(), Upstream()
        self.patch(hot, "EVERY", 0.05)
        [node] = await self.nodes(server, upstream)
        await node.ask("www.example")
        await until(lambda: node.sharing.hot.names)
        node.sharing.hot.look()
        node.sharing.hot.stop()
        self.assertIsNone(node.sharing.hot._work)

    async def test_bug(self) -> None:
        """A bug of ours is logged, and the next look takes place."""
        server, upstream = self.server(), Upstream()
        [node] = await self.nodes(server, upstream)
        node.sharing.hot.node = "one"  # type: ignore[assignment]
        self.patch(node.sharing.hot.hitters, "_memory", None)
        await node.sharing.hot.look()
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)

    async def test_cost(self) -> None:
        """A look goes through memory a thousand answers a turn, with no more than 60 operations of Python for each."""
        [node] = await self.nodes(self.server(), Upstream())
        known = positive()
        for number in range(10_000):
            name = question(f"n{number}.example")
            node.memory.put(name, known.replace(question=name.key[:-1]), 0.0)
            node.memory.get(name, 1.0)
            node.memory.get(name, 1.0)
        turns: list[int] = []
        slices = node.memory.growth(heavy_hitters.SLICE)
        most: list[tuple[int, bytes]] = []

        def turn() -> None:
            nonlocal most
            if (grown := next(slices, None)) is not None:
                most = nlargest(heavy_hitters.USED, most + grown)
                turns.append(len(grown))

        spent = [operations(turn) for _ in range(5)]  # which takes two turns each: one to get warm
        self.assertEqual((len(turns), max(turns)), (10, 1000))
        self.assertLessEqual(max(spent), 60 * heavy_hitters.SLICE)


class Operators(Nodes):
    """What `GET /api/v1/top` tells."""

    def top(self, node: One, *members: Member) -> Top:
        """Return the lists of a node, in a cluster of these members."""

        def listed() -> Deferred[Sequence[Member]]:
            return succeed(members)

        return self.top_at(node, node.sharing.link, listed)

    def top_at(self, node: One, link: ILink, listed: Members) -> Top:
        """Return the lists of a node that has this link to Redis."""
        hitters = node.sharing.hot.hitters

        async def counted() -> tuple[float, list[Row]]:
            await hitters.collect()
            return hitters.since, hitters.top(number_of("own"))

        def own() -> Deferred[tuple[float, list[Row]]]:
            return Deferred.fromCoroutine(counted())

        alone = Member("own", "own", "", 0.0, "healthy", {"queries": 4.0, "memory": 3.0, "upstream": 1.0})
        return Top(reactor, own, lambda: alone, Shared(link, node.sharing.ranks, listed))

    async def test_lists(self) -> None:
        """Top names with who knew them, what one node alone asks, what has too short a TTL, and each node's shares."""
        server, upstream = self.server(), Upstream()
        nodes = await self.nodes(server, upstream, 2)
        members = []
        for node, name, counts in zip(nodes, "ab", ((8, 0, 2), (0, 0, 0)), strict=True):
            stats = dict(zip(("memory", "redis", "upstream"), counts, strict=True)) | {"queries": sum(counts)}
            members.append(Member(name, name, "", 0.0, "healthy", stats))
            node.sharing.hot.node = number_of(name)
        await nodes[0].ask("www.example", "mine.example")
        upstream.ttl = 0
        await nodes[0].ask("short.example", "short.example", "short.example")
        await nodes[0].stored(2)
        self.assertEqual(await nodes[1].ask("www.example"), ["redis"])
        nodes[1].sharing.hot.hitters.missed.landed(
            query.make(question("www.example").name, 1, do=True), positive(ttl=300), 1
        )
        nodes[0].use(question("www.example"), 4)
        for node in nodes:
            await node.sharing.hot.look()
        self.assertEqual((await self.top(nodes[0]).top())["single"], [], "another node may not have told yet")
        self.patch(ranks, "SETTLED", -1.0)  # the clock may stand still
        told = await self.top(nodes[0], *members).top()
        www, *_ = told["names"]
        self.assertEqual(
            www,
            {
                "name": "www.example", "type": "A", "asked": 7.0, "nodes": 2,
                "memory": 4.0, "redis": 1.0, "upstream": 2.0, "ttl": 60,
            },
        )  # fmt: skip
        self.assertEqual(
            {name["name"]: name["node"] for name in told["single"]}, {"mine.example": "a", "short.example": "a"}
        )
        self.assertEqual(
            [(name["name"], name["upstream"], name["ttl"]) for name in told["short"]], [("short.example", 3.0, 0)]
        )
        self.assertEqual((told["shared"], told["reason"]), (True, ""))
        shares = told["shares"]
        self.assertEqual(shares["nodes"]["a"], {"queries": 10, "memory": 0.8, "redis": 0, "upstream": 0.2, "stale": 0})
        self.assertEqual((shares["cluster"]["memory"], shares["nodes"]["b"]["memory"]), (0.8, 0))
        self.assertLess(abs(told["since"] - (nodes[0].sharing.link.now() or 0)), 5)

    async def test_again(self) -> None:
        """Whoever asks every moment gets the same lists for two seconds: Redis is not asked each time."""
        [node] = await self.nodes(self.server(), Upstream())
        listing = self.top(node)
        assert listing._shared is not None
        reads: list[object] = []
        ranked = listing._shared.ranks
        read = ranked.top

        def noted(*which: Any, **more: Any) -> Any:
            reads.append(which)
            return read(*which, **more)

        self.patch(ranked, "top", noted)
        given_up, *waiting = [listing.top() for _ in range(5)]
        given_up.cancel()
        given_up.addErrback(lambda failure: None)
        first, *others = [await one for one in waiting]
        self.assertTrue(all(other is first for other in others))
        self.assertIs(await listing.top(), first)
        self.assertEqual(len(reads), 1)
        self.assertEqual((first["names"], first["single"], first["short"]), ([], [], []))

    async def test_pages(self) -> None:
        """All hot names are looked through, and what is no name of ours is left out."""
        server = self.server()
        [node] = await self.nodes(server, Upstream())
        now = node.sharing.link.now() or 0.0
        for first in (0, 100, 200):
            names = [question(f"n{number}.example").key for number in range(first, first + 100)]
            rows = [Asked(key, 1, 0, 0, 3 if first == 200 else 99) for key in names]
            await node.sharing.ranks.add(rows, 7, now - 2 * ranks.SETTLED)
        server.command("ZADD", node.sharing.ranks.keys[0], "1e3", "rubbish")
        told = await self.top(node).top()
        self.assertEqual((len(told["names"]), len(told["single"]), len(told["short"])), (50, 50, 50))
        self.assertIsNone(told["single"][0]["node"])

    async def test_away(self) -> None:
        """While Redis cannot tell, the lists are those of this node alone, and say why."""
        [node] = await self.nodes(self.server(), Upstream())
        await node.ask("www.example")
        node.use(question("www.example"), 3)
        unknown, hangs = FakeLink(reactor), FakeLink(reactor)
        self.patch(unknown, "now", lambda: None)
        self.patch(top, "PATIENCE", 0.1)

        def down() -> Deferred[Sequence[Member]]:
            return fail(LinkDown("it hung up"))

        def hung() -> Deferred[Sequence[Member]]:
            return Deferred()

        for link, listed, reason in (
            (unknown, down, NO_CLOCK), (hangs, down, "it hung up"), (hangs, hung, "no answer in time"),
        ):  # fmt: skip
            told = await self.top_at(node, link, listed).top()
            self.assertEqual((told["shared"], told["reason"]), (False, reason))
            [www] = told["names"]
            self.assertEqual((www["name"], www["asked"], www["memory"], www["upstream"]), ("www.example", 4, 3, 1))
            self.assertEqual([(name["name"], name["node"]) for name in told["single"]], [("www.example", "own")])
            self.assertEqual(told["shares"]["nodes"], {"own": told["shares"]["cluster"]})
