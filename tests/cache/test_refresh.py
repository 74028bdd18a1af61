"""One refresh for the cluster: over a real Redis with several nodes, and what a node makes of what it hears."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from heimdall.cache import hot, refresh
from heimdall.cache.memory import Memory
from heimdall.cache.ranks import AT_ONCE, Asked, Row, worth
from heimdall.cache.refresh import KIND, Refresh
from heimdall.cache.seal import Seal
from heimdall.cache.worth import Worth
from heimdall.message.query import Query
from heimdall.message.wire import to_text
from heimdall.peers.notices import Notices
from tests.cache.cluster import Nodes, One, Upstream
from tests.cache.questions import negative, positive, question
from tests.fakelink import FakeLink
from tests.rediscase import pause, reactor, until

WWW = question("www.example")


class Cluster(Nodes):
    """Several nodes."""

    async def holding(self, upstream: Upstream, size: int = 3, asks: int = 200, **settings: Any) -> list[One]:
        """Return nodes that all hold a name that they think is hot, used once at most on each of them."""
        nodes = await self.nodes(self.server(), upstream, size, **settings)
        for node in nodes:
            node.sharing.hot.learn([Row(WWW.key, asks * worth(900.0) / upstream.ttl / 50, None)], 900.0)
        await nodes[0].ask("www.example")
        await nodes[0].stored()
        for node in nodes[1:]:
            self.assertEqual(await node.ask("www.example"), ["redis"])
        self.assertEqual(len(upstream.asked), 1)
        return nodes

    def knows(self, nodes: list[One], number: int) -> bool:
        """Say whether all nodes know this answer of the upstream, and no later one."""
        return all(node.known(WWW) == number.to_bytes(4, "big") for node in nodes)

    async def test_one_question_for_all(self) -> None:
        """A hot name is asked upstream once for all nodes before it ends, and no node needs a query to know."""
        for asked in (2, 3):
            upstream = Upstream(ttl=3)
            nodes = await self.holding(upstream, 4)
            for number in range(2, asked + 1):
                await until(partial(self.knows, nodes, number))
            await pause(0.2)
            self.assertTrue(self.knows(nodes, asked))
            self.assertEqual(len(upstream.asked), asked)

    async def test_at_the_same_moment(self) -> None:
        """Nodes that refresh at the same moment ask once, and all get the fresh answer, though notices are not told."""
        upstream = Upstream(ttl=3)
        nodes = await self.holding(upstream)
        for node in nodes:
            node.sharing.source.learnt.stored = None
        await pause(1.6)
        for node in nodes:
            node.memory.renew(WWW, reactor.seconds())
        await until(lambda: all(node.known(WWW) == b"\0\0\0\2" for node in nodes))
        self.assertEqual(len(upstream.asked), 2)

    async def test_not_hot(self) -> None:
        """What is not asked for enough is not refreshed: it is let go."""
        upstream = Upstream(ttl=2)
        nodes = await self.holding(upstream, 2, asks=99)
        await pause(2.2)
        self.assertEqual((len(upstream.asked), [node.known(WWW) for node in nodes]), (1, [None, None]))

    async def test_off(self) -> None:
        """Where refreshing is off, hot names are not refreshed either."""
        upstream = Upstream(ttl=2)
        nodes = await self.holding(upstream, 2, refresh_share=0.0)
        await pause(2.2)
        self.assertEqual((len(upstream.asked), nodes[0].known(WWW)), (1, None))

    async def test_first_one_fails(self) -> None:
        """When the node whose moment comes first has gone, another one refreshes in its place."""
        upstream = Upstream(ttl=3)
        nodes = await self.holding(upstream, 3)
        for node in nodes[:2]:
            node.sharing.refresh.stop()
            await node.sharing.close()
        await until(lambda: nodes[2].known(WWW) == b"\0\0\0\2")

    async def test_without_redis(self) -> None:
        """Without Redis each node refreshes for itself."""
        server, upstream = self.server(), Upstream(ttl=3)
        nodes = await self.nodes(server, upstream, 2)
        for node in nodes:
            node.sharing.hot.learn([Row(WWW.key, 10_000, None)], 900.0)
            await node.ask("www.example")
        await nodes[0].stored()
        server.kill()
        await until(lambda: all(node.known(WWW) not in (b"\0\0\0\1", None) for node in nodes))
        self.assertLessEqual(len(upstream.asked), 3)

    async def test_hot_by_what_is_told(self) -> None:
        """A name that three nodes are asked for now and then is refreshed, with nobody telling them but the list."""
        upstream = Upstream(ttl=4)
        nodes = await self.nodes(self.server(), upstream, 3)
        for node in nodes:
            await node.ask("www.example")
            await nodes[0].stored()
            now = node.sharing.link.now() or 0.0
            await node.sharing.ranks.add([Asked(WWW.key, 200, 0, 0, 4)], node.sharing.hot.node, now)
        for node in nodes:
            await node.sharing.hot.look()
        await until(lambda: len(upstream.asked) == 2)
        await until(lambda: all(node.known(WWW) == b"\0\0\0\2" for node in nodes))

    async def test_before_its_first_end(self) -> None:
        """A name that becomes hot on one node is refreshed for all before it ends first, though the list is full."""
        upstream = Upstream(ttl=6)
        self.patch(hot, "EVERY", 1.0)
        nodes = await self.nodes(self.server(), upstream, 2)
        now = nodes[0].sharing.link.now() or 0.0
        names = [question(f"n{number}.example").key for number in range(hot.KEPT)]
        for at in range(0, hot.KEPT, AT_ONCE):
            some = [Asked(key, 1_000_000, 0, 0, 60) for key in names[at : at + AT_ONCE]]
            await nodes[0].sharing.ranks.add(some, 7, now)
        for node in nodes:
            await node.sharing.hot.look()
            self.assertEqual(len(node.sharing.hot.names), hot.KEPT)
            await node.ask("www.example")
            await nodes[0].stored()
        nodes[0].use(WWW, 20)
        await until(lambda: all(node.known(WWW) == b"\0\0\0\2" for node in nodes))
        self.assertEqual(len(upstream.asked), 2)

    async def test_flushed_meanwhile(self) -> None:
        """What was flushed is not brought back by a refresh that was told before."""
        upstream = Upstream(ttl=60)
        nodes = await self.holding(upstream, 2)
        told: list[bytes] = []
        nodes[0].sharing.notices.on(KIND, lambda sender, payload: told.append(payload))
        nodes[1].sharing.notices.on(KIND, lambda sender, payload: told.append(payload))
        nodes[0].once.refresh(WWW, 60.0)
        await until(lambda: told)
        await nodes[0].sharing.flushes.flush(WWW.name, False)
        await until(lambda: nodes[1].known(WWW) is None)
        await nodes[1].once.ask(WWW)
        known = nodes[1].known(WWW)
        nodes[0].sharing.notices.tell(KIND, told[0])
        await until(lambda: nodes[1].count("heimdall_cache_refresh_heard_total", "flushed") == 1)
        self.assertEqual(nodes[1].known(WWW), known)


class Case(SynchronousTestCase):
    """A node on a clock of the test."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.link = FakeLink(self.clock)
        self.memory = Memory(1_000_000, stale_window=100.0, refresh_share=0.1)
        self.refreshed: list[tuple[bytes, float, float]] = []
        self.memory.refresh = lambda query, left: self.refreshed.append((query.name, left, self.clock.seconds()))
        self.flushed = False
        self.worth = Worth(Seal(b"a secret of the test"), lambda name, asked: self.flushed, 100, (86400, 3600))
        self.names = {WWW.key: 1000.0}
        self.notices = Notices(self.link, self.clock)
        self.refresh = Refresh(
            self.link, self.notices, self.memory, self.clock, names=lambda: self.names, judge=self.worth.judge
        )
        self.addCleanup(self.refresh.stop)

    def pass_time(self, seconds: float) -> None:
        """Let time pass in small steps."""
        for _ in range(int(seconds * 10)):
            self.clock.advance(0.1)


class Timer(Case):
    """When a node refreshes by itself."""

    def setUp(self) -> None:
        super().setUp()
        self.refresh.start()

    def test_in_the_first_half(self) -> None:
        """A hot name is refreshed once, in the first half of the time in which it may be."""
        self.memory.put(WWW, positive("www.example", 100), 1000.0)
        self.pass_time(100)
        [(name, left, at)] = self.refreshed
        self.assertEqual(name, WWW.name)
        self.assertTrue(1090 <= at <= 1095.2, at)
        self.assertAlmostEqual(left, 1100 - at)

    def test_no_such_name(self) -> None:
        """A name that does not exist is refreshed too, though it is held for every type."""
        none = question("no.example")
        self.names[none.key] = 1000.0
        self.memory.put(none, negative(), 1000.0)
        self.pass_time(300)
        self.assertEqual([name for name, _, _ in self.refreshed], [none.name])

    def test_moments_differ(self) -> None:
        """Two nodes have moments of their own for a name, and a node has different ones for different names."""
        names = [question(f"n{number}.example") for number in range(60)]
        other = Refresh(
            self.link, Notices(self.link, self.clock), self.memory, self.clock, names=dict, judge=self.worth.judge
        )
        self.assertNotEqual(other._seed, self.refresh._seed)
        for name in names:
            self.names[name.key] = 1000.0
            self.memory.put(name, positive(ttl=100), 1000.0)
        self.pass_time(100)
        moments = sorted(at for _, _, at in self.refreshed)
        self.assertEqual(len(moments), 60)
        self.assertGreater(moments[-1] - moments[0], 3)

    def test_asked_meanwhile(self) -> None:
        """What was refreshed because somebody asked is not refreshed once more, nor what was forgotten."""
        gone = question("gone.example")
        self.names[gone.key] = 1000.0
        for name in (WWW, gone):
            self.memory.put(name, positive(ttl=100), 1000.0)
        self.pass_time(89.9)
        self.clock.advance(0.11)
        self.memory.get(WWW, self.clock.seconds())
        self.memory.get(WWW, self.clock.seconds())
        self.memory.forget(gone.key)
        self.pass_time(10)
        self.assertEqual([name for name, _, _ in self.refreshed], [WWW.name])

    def test_rubbish(self) -> None:
        """A key that is no question is never asked, be it held or not."""
        self.names[b"rubbish"] = 1e9
        self.names[WWW.key[:-1] + b"\7"] = 1e9
        entry = question("www.example")
        entry.key = entry.key[:-1] + b"\7"
        self.memory.put(entry, positive("www.example", 100), 1000.0)
        self.pass_time(100)
        self.assertEqual(self.refreshed, [])

    def test_most(self) -> None:
        """No more than a hundred wait for their moment at once, the hottest first."""
        self.names.clear()
        for number in range(300):
            name = question(f"n{number}.example")
            self.names[name.key] = 1000.0
            self.memory.put(name, positive(ttl=10), self.clock.seconds())
        self.pass_time(20)
        self.assertLessEqual(len(self.refreshed), 200)
        self.assertGreaterEqual(len(self.refreshed), 100)

    def test_stop(self) -> None:
        """A node that is stopped leaves no timer behind."""
        self.memory.put(WWW, positive("www.example", 10), 1000.0)
        self.pass_time(9)
        self.refresh.stop()
        self.refresh.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Telling(Case):
    """What the others are told."""

    def told(self) -> list[bytes]:
        """Return what went to the channel of all."""
        return [bytes(command[2])[9:] for command in self.link.commands if command[0] == "PUBLISH"]  # type: ignore[arg-type]

    def test_refreshes_of_hot_names(self) -> None:
        """A refresh of a hot name is told, with key and value; nothing else is."""
        for asked in (WWW, WWW.again(5.0), question("cold.example").again(5.0)):
            self.refresh.stored(asked, asked.key, b"value")
        self.assertEqual(self.told(), [len(WWW.key).to_bytes(2, "big") + WWW.key + b"value"])

    def test_bounded(self) -> None:
        """No more than a hundred are told in a second."""
        self.refresh.start()
        for _ in range(3 * refresh.MOST):
            self.refresh.stored(WWW.again(5.0), WWW.key, b"value")
        self.assertEqual(len(self.told()), refresh.MOST)
        self.pass_time(1.1)
        self.refresh.stored(WWW.again(5.0), WWW.key, b"value")
        self.assertEqual(len(self.told()), refresh.MOST + 1)


class Hearing(Case):
    """What a node makes of what it is told."""

    def setUp(self) -> None:
        super().setUp()
        self.other = Notices(FakeLink(self.clock, self.link), self.clock)
        self.results = self.refresh.tallies[2]

    def value(self, asked: Query = WWW, ttl: int = 100, secret: bytes = b"a secret of the test") -> bytes:
        """Return a value as another node stores it now."""
        worth = Worth(Seal(secret), lambda name, asked: False, 100, (86400, 3600))
        known = positive(to_text(asked.name), ttl, "192.0.2.9")
        stored = worth.value(asked, known, self.link.now(), 0.0)
        assert stored is not None
        return stored[1]

    def tell(self, value: bytes, key: bytes = WWW.key) -> str:
        """Have another node tell a value; return what came of it."""
        before = dict(self.results.counts)  # type: ignore[union-attr]
        self.other.tell(KIND, len(key).to_bytes(2, "big") + key + value)
        [(result,)] = [k for k, n in self.results.counts.items() if n != before.get(k, 0)]  # type: ignore[union-attr]
        return str(result)

    def known(self) -> bytes:
        """Return the address that memory gives."""
        found = self.memory.get(WWW, self.clock.seconds())
        assert found is not None
        return found[1][-4:]

    def test_taken(self) -> None:
        """A fresh answer takes the place of the old one; its TTL counts from when it was stored."""
        self.memory.put(WWW, positive("www.example", 20), 1000.0)
        self.clock.advance(15.0)
        value = self.value()
        self.clock.advance(2.0)
        self.assertEqual((self.tell(value), self.known()), ("taken", bytes((192, 0, 2, 9))))
        held = self.memory.held(WWW, self.clock.seconds())
        assert held is not None
        self.assertAlmostEqual(held[1], 1115.0, 1)

    def test_stale_again_is_replaced(self) -> None:
        """So is what was put there anew to be given past its TTL, after the fresh one was stored."""
        self.memory.put(WWW, positive("www.example", 20), 1000.0)
        self.clock.advance(25.0)
        value = self.value()
        self.clock.advance(1.0)
        self.memory.put(WWW, positive("www.example", 20).stale(6.0), self.clock.seconds())
        self.assertEqual((self.tell(value), self.known()), ("taken", bytes((192, 0, 2, 9))))

    def test_shorter(self) -> None:
        """A fresh answer takes the place of one that would live longer: it is news."""
        self.memory.put(WWW, positive("www.example", 3000), 1000.0)
        self.clock.advance(15.0)
        self.assertEqual((self.tell(self.value(ttl=60)), self.known()), ("taken", bytes((192, 0, 2, 9))))

    def test_stale_is_replaced(self) -> None:
        """What is held past its TTL is replaced as well."""
        self.memory.put(WWW, positive("www.example", 20), 1000.0)
        self.clock.advance(30.0)
        self.assertEqual((self.tell(self.value()), self.known()), ("taken", bytes((192, 0, 2, 9))))

    def test_unwanted(self) -> None:
        """What this node does not hold it does not take."""
        self.assertEqual((self.tell(self.value()), len(self.memory)), ("unwanted", 0))

    def test_judged(self) -> None:
        """What policies refuse is not taken, and what is held is forgotten; it stays where they cannot tell."""
        for verdict, told, held in ((True, "taken", 1), (None, "refused", 1), (False, "refused", 0)):
            self.memory.put(WWW, positive("www.example", 20), self.clock.seconds())
            self.clock.advance(15.0)
            asked: list[bytes] = []

            def passes(query: Query, verdict: bool | None = verdict, asked: list[bytes] = asked) -> bool | None:
                asked.append(query.key)
                return verdict

            self.refresh.passes = passes
            self.assertEqual((self.tell(self.value()), asked, len(self.memory)), (told, [WWW.key], held))

    def test_judged_no_such_name(self) -> None:
        """So is that the name does not exist, which is held for every type."""
        self.memory.put(WWW, negative("www.example"), 1000.0)
        self.clock.advance(15.0)
        self.refresh.passes = lambda query: False
        self.assertEqual((self.tell(self.value()), len(self.memory)), ("refused", 0))

    def test_not_taken(self) -> None:
        """Older, forged, damaged, flushed and expired answers, and those of other questions, change nothing."""
        old = self.value()
        self.clock.advance(10.0)
        self.memory.put(WWW, positive("www.example", 200, "192.0.2.1"), self.clock.seconds())
        self.clock.advance(10.0)
        good = self.value()
        for value, result in (
            (old, "old"),
            (self.value(secret=b"the secret of another"), "rubbish"),
            (good[:-1] + bytes((good[-1] ^ 1,)), "rubbish"),
            (self.value(question("abc.example")), "rubbish"),
            (b"", "rubbish"),
        ):
            self.assertEqual(self.tell(value), result)
        self.flushed = True
        self.assertEqual(self.tell(good), "flushed")
        self.flushed = False
        self.clock.advance(150.0)
        self.assertEqual(self.tell(good), "stale")
        self.assertEqual(self.known(), bytes((192, 0, 2, 1)))

    def test_no_question(self) -> None:
        """A notice cut short, or for a key that is none, changes nothing."""
        self.memory.put(WWW, positive("www.example", 20), 1000.0)
        entry = question("www.example")
        entry.key = entry.key[:-1] + b"\7"
        self.memory.put(entry, positive("www.example", 20), 1000.0)
        self.assertEqual(self.tell(self.value(), entry.key), "rubbish")
        for payload in (b"", b"\0", b"\xff\xff" + WWW.key):
            self.other.tell(KIND, payload)
        self.patch(self.link, "now", lambda: None)
        self.assertEqual(self.tell(b"\2" * 60), "rubbish")

    def test_flood(self) -> None:
        """No more than a thousand are looked at in a second."""
        self.memory.put(WWW, positive("www.example", 20), 1000.0)
        self.clock.advance(1.0)
        for _ in range(refresh.MOST_HEARD):
            self.tell(b"\2" * 60)
        self.assertEqual(self.tell(self.value()), "many")
        self.refresh.start()
        self.clock.advance(1.0)
        self.assertEqual(self.tell(self.value()), "taken")
