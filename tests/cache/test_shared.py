"""The shared cache over a real Redis: whatever happens to that, every question is answered."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, gatherResults
from zope.interface import implementer

from heimdall.cache.redis import Shared
from heimdall.interfaces import ISource, NoAnswer
from heimdall.message import answer
from heimdall.message.answer import Answer
from heimdall.message.edns import OTHER, ExtendedError
from heimdall.message.query import Query
from heimdall.redislink import Startable
from heimdall.tally import Count
from tests.cache.questions import question
from tests.rediscase import RedisCase, pause, reactor, until
from tests.redisserver import RedisServer


@implementer(ISource)
class Upstream:
    """Knows every name after 5 ms, unless it is stopped."""

    def __init__(self) -> None:
        self.asked = 0
        self.stopped = False

    def ask(self, query: Query) -> Deferred[Answer]:
        """Answer with an address that the name's length tells, so that a mix-up would show."""
        self.asked += 1
        if self.stopped:
            return fail(NoAnswer("stopped", ExtendedError(OTHER)))
        rows = [(query.name, 1, 300, query.name.ljust(4)[1:5])]
        waiting: Deferred[Answer] = Deferred(lambda _: call.cancel())
        known = answer.local(query, 0, rows, origin="upstream").replace(keep=True)
        call = reactor.callLater(0.005, waiting.callback, known)
        return waiting


NAMES = [f"{number:04}.example" for number in range(300)]


class Case(RedisCase):
    """A node, and the means to ask it."""

    def node(self, link: Startable, **settings: Any) -> tuple[Shared, Upstream]:
        """Return a node's shared cache and its upstream; a budget that a busy machine keeps."""
        upstream = Upstream()
        return Shared(link, upstream, reactor, **({"budget": 0.2} | settings)), upstream

    async def ask(self, shared: Shared, names: list[str] = NAMES) -> list[str]:
        """Ask for all names; check that each answer is right; return their origins."""
        answers = await gatherResults([shared.ask(question(name)) for name in names])
        for name, one in zip(names, answers, strict=True):
            self.assertEqual(one.body[-4:], name[:4].encode())
        return sorted({one.origin for one in answers})

    def count(self, shared: Shared, what: str, *values: str) -> int:
        """Read one of a node's counters."""
        [count] = [t for t in shared.tallies if isinstance(t, Count) and t.name == f"heimdall_cache_redis_{what}_total"]
        return count.total(*values)

    async def filled(self, server: RedisServer, **settings: Any) -> tuple[Startable, Shared, Upstream]:
        """Return a node that has asked for all names, and whose answers lie in Redis."""
        link = self.linked(server.url)
        await until(lambda: link.up)
        shared, upstream = self.node(link, **settings)
        self.assertEqual(await self.ask(shared), ["upstream"])
        await until(lambda: self.count(shared, "writes", "stored") == len(NAMES))
        return link, shared, upstream


class Sharing(Case):
    """What one node has learnt the others know."""

    async def test_second_node(self) -> None:
        """A second node answers from Redis what the first has asked, with its upstream stopped."""
        server = self.server()
        await self.filled(server)
        link = self.linked(server.url)
        await until(lambda: link.up)
        second, upstream = self.node(link)
        upstream.stopped = True
        self.assertEqual(await self.ask(second), ["redis"])
        self.assertEqual((upstream.asked, self.count(second, "lookups", "hit")), (0, len(NAMES)))
        for name in NAMES[:3]:
            key = b"heimdall:c1:" + question(name).key
            self.assertTrue(86_690_000 < server.command("PTTL", key) <= 86_700_000)

    async def test_flushed(self) -> None:
        """When Redis is emptied everything is learnt anew."""
        server = self.server()
        _, shared, _ = await self.filled(server)
        server.command("FLUSHALL")
        self.assertEqual(await self.ask(shared), ["upstream"])
        await until(lambda: self.count(shared, "writes", "stored") == 2 * len(NAMES))
        self.assertEqual(await self.ask(shared), ["redis"])


class Surviving(Case):
    """No answer is lost, and none is wrong."""

    async def test_killed_and_restarted(self) -> None:
        """Redis killed and restarted under load: every question is answered, before, during and after."""
        server = self.server()
        link, shared, _ = await self.filled(server)
        server.kill()
        for _ in range(5):
            self.assertEqual(await self.ask(shared), ["upstream"])
        server.start()
        await until(lambda: link.up)
        await self.ask(shared)
        await until(lambda: not server.command("DBSIZE") < len(NAMES))
        self.assertEqual(await self.ask(shared), ["redis"])

    async def test_hung(self) -> None:
        """Redis hung: the answers come from upstream after the budget, then at once; after that from Redis again."""
        server = self.server()
        link, shared, _ = await self.filled(server)
        server.pause()
        began = reactor.seconds()
        self.assertEqual(await self.ask(shared), ["upstream"])
        self.assertAlmostEqual(reactor.seconds() - began, 0.2 + 0.005)
        await until(lambda: not link.up)
        for _ in range(5):
            self.assertEqual(await self.ask(shared), ["upstream"])
        server.resume()
        await until(lambda: link.up)
        self.assertEqual(await self.ask(shared), ["redis"])
        self.assertGreaterEqual(self.count(shared, "lookups", "late"), len(NAMES))

    async def test_client_pause(self) -> None:
        """Redis paused by CLIENT PAUSE costs no more than its budget."""
        server = self.server()
        link, shared, _ = await self.filled(server)
        server.hold()
        held = link.run("SET", "k", "what waits, and all behind it")
        self.assertEqual(await self.ask(shared), ["upstream"])
        server.release()
        self.assertEqual(await held, b"OK")
        await until(lambda: link.up)
        self.assertEqual(await self.ask(shared), ["redis"])

    async def test_full(self) -> None:
        """A full Redis takes no more, and still tells what it holds."""
        server = self.server(maxmemory_policy="noeviction")
        link, shared, _ = await self.filled(server)
        server.command("CONFIG", "SET", "maxmemory", "1")
        more = [f"{number:04}.example" for number in range(1000, 1100)]
        self.assertEqual(await self.ask(shared, more), ["upstream"])
        await until(lambda: self.count(shared, "write_errors", "oom") == 100)
        self.assertEqual(await self.ask(shared), ["redis"])
        self.assertTrue(link.up)
        (told,) = self.events[1:]
        self.assertTrue(told.startswith(f"Redis at {server.url}/0 refuses commands: OOM, "), told)

    async def test_read_only(self) -> None:
        """A replica is read, though it takes no writes; so is a Redis that lacks its replicas."""
        for setting, reason in (
            (("REPLICAOF", "127.0.0.1", "1"), "readonly"),
            (("CONFIG", "SET", "min-replicas-to-write", "1"), "noreplicas"),
        ):
            server = self.server()
            link, shared, _ = await self.filled(server)
            server.command(*setting)
            self.assertEqual(await self.ask(shared, ["new0.example"]), ["upstream"])
            await until(lambda shared=shared, reason=reason: self.count(shared, "write_errors", reason) == 1)  # type: ignore[misc]
            await pause(0)  # it is left a turn of the reactor later
            await until(lambda link=link: link.up)  # type: ignore[misc]  # a read-only one is looked for anew
            self.assertEqual(await self.ask(shared), ["redis"])

    async def test_rubbish(self) -> None:
        """Rubbish in Redis, of every kind, is a miss, and is replaced by what is right."""
        server = self.server()
        _, shared, upstream = await self.filled(server)
        keys = [b"heimdall:c1:" + question(name).key for name in NAMES]
        for number, key in enumerate(keys):
            value = server.command("GET", key)
            match number % 6:
                case 0:
                    server.command("SET", key, b"")
                case 1:
                    server.command("SET", key, value[: number % len(value)])
                case 2:
                    server.command("SET", key, value[:-1] + bytes((value[-1] ^ 1,)))
                case 3:
                    server.command("DEL", key)
                    server.command("LPUSH", key, value)
                case 4:
                    server.command("SET", key, b"\xff" * 1000)
                case 5:
                    server.command("SET", key, server.command("GET", keys[0]) or keys[0])
        self.assertEqual(await self.ask(shared), ["upstream"])
        self.assertEqual(upstream.asked, 2 * len(NAMES))
        await until(lambda: self.count(shared, "writes", "stored") >= 2 * len(NAMES))
        await pause(0.05)
        self.assertEqual(await self.ask(shared), ["redis"])

    async def test_swapped(self) -> None:
        """Values swapped between keys: not one wrong answer."""
        server = self.server()
        _, shared, _ = await self.filled(server)
        keys = [b"heimdall:c1:" + question(name).key for name in NAMES]
        values = [server.command("GET", key) for key in keys]
        for key, value in zip(keys, values[1:] + values[:1], strict=True):
            server.command("SET", key, value)
        self.assertEqual(await self.ask(shared), ["upstream"])
        self.assertEqual(self.count(shared, "rubbish", "damaged"), len(NAMES))

    async def test_upstream_stopped(self) -> None:
        """Past their TTL the values are served stale when the upstream is gone, and no longer than the window."""
        server = self.server()
        link, _, _ = await self.filled(server)
        ahead = link.now
        shared, upstream = self.node(link, budget=1.0)
        upstream.stopped = True
        link.now = lambda: (ahead() or 0) + 400  # type: ignore[method-assign]
        self.assertEqual(await self.ask(shared), ["stale"])
        link.now = lambda: (ahead() or 0) + 87_000  # type: ignore[method-assign]
        await self.assertFailure(shared.ask(question(NAMES[0])), NoAnswer)
