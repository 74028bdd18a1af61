"""The pages that carry answers, asked over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater

from heimdall.interfaces import LinkDown
from heimdall.message.bundle import Record, end, head, record
from heimdall.watch.admin import Admin
from heimdall.watch.carried import MOST_TAKING, Carried
from heimdall.watch.flow import PATIENCE
from heimdall.watch.site import MOST_BODY
from heimdall.watch.trust import Trust
from tests.watch.served import OWN, Served, reactor

RECORDS = [[(b"one", b"1"), (b"two", b"2")], [], [(b"three", b"3" * 100)]]
SOME = b"".join(record(key, value) for some in RECORDS for key, value in some)


class Pages(Served):
    """What can be carried, and what cannot."""

    def setUp(self) -> None:
        super().setUp()
        self.held: list[list[Record]] = RECORDS
        self.taken: list[tuple[str, list[Record]]] = []
        self.wait: Deferred[None] | None = None
        self.counting: Deferred[None] | None = None
        self.broken: Exception | None = None
        self.given = 0
        self.carried = Carried(self, Trust(), self.clock)
        self.admin = Admin(
            clock=self.clock, tallies=[], ready=lambda: (True, []), own=lambda: OWN, carried=self.carried
        )
        self.serve(self.admin)

    def now(self) -> float:
        return 1000.0

    async def expected(self, tier: str) -> int:
        if self.counting is not None:
            await self.counting
        if self.broken is not None:
            raise self.broken
        return 3

    async def out(self, tier: str) -> AsyncIterator[list[Record]]:
        for some in self.held:
            self.given += 1
            yield some
        if self.wait is not None:
            await self.wait

    async def into(self, tier: str, records: Sequence[Record]) -> dict[str, int]:
        if self.broken is not None:
            raise self.broken
        self.taken.append((tier, list(records)))
        if self.wait is not None:
            await self.wait
        return {"loaded": len(records)}

    async def post(self, body: bytes, path: str = "/api/v1/import", more: bytes = b"") -> bytes:
        """Send a body, and return all that comes back."""
        begin = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n".encode()
        return await self.say(begin + more + b"\r\n", body[:10], body[10:])

    async def test_export(self) -> None:
        """An export is a file of answers: its head, them, its end."""
        reply = await self.ask("/api/v1/export")
        self.assertEqual((reply.status, reply.headers["content-type"]), (200, "application/octet-stream"))
        self.assertEqual(reply.body, head(3, 1000.0) + SOME + end(3))
        self.assertEqual((await self.ask("/api/v1/export", "HEAD")).status, 200)

    async def test_export_one(self) -> None:
        """One export is made at a time; when it is over, or its client has left, the next one may begin."""
        self.wait = Deferred()
        talker = await self.talk()
        talker.transport.write(b"GET /api/v1/export HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        while not talker.heard:
            await deferLater(reactor, 0.005)
        self.assertEqual((await self.ask("/api/v1/export")).status, 503)
        talker.transport.loseConnection()
        await self.until(0)
        self.wait = None
        self.assertEqual((await self.ask("/api/v1/export")).status, 200)

    async def test_export_one_at_once(self) -> None:
        """Of two that are asked for at the same moment, before the first begins, one is made."""
        self.counting = Deferred()
        first = Deferred.fromCoroutine(self.ask("/api/v1/export"))
        second = Deferred.fromCoroutine(self.ask("/api/v1/export"))
        done: Any = await DeferredList([first, second], fireOnOneCallback=True)
        self.assertEqual(done[0].status, 503)
        self.counting.callback(None)
        self.assertEqual((await (second if done[1] == 0 else first)).status, 200)

    async def test_export_places(self) -> None:
        """However an export ends, before it begins or in the middle, the next one may begin."""
        request = b"GET /api/v1/export HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        for wait in ("counting", "wait"):
            setattr(self, wait, Deferred())
            talker = await self.talk()
            talker.transport.write(request)
            while not self.carried._exporting:
                await deferLater(reactor, 0.005)
            talker.transport.loseConnection()
            await self.until(0)
            self.assertFalse(self.carried._exporting, wait)
            setattr(self, wait, None)
        self.broken = LinkDown("away")
        self.assertEqual((await self.ask("/api/v1/export")).status, 503)
        self.broken = None
        self.assertEqual((await self.ask("/api/v1/export")).status, 200)

    async def test_export_broken(self) -> None:
        """An export that breaks off is cut, so that nobody takes it for whole; Redis away at its begin is told."""
        self.wait = Deferred()
        talker = await self.talk()
        talker.transport.write(b"GET /api/v1/export?from=redis HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        while not talker.heard:
            await deferLater(reactor, 0.005)
        self.wait.errback(LinkDown("Redis is away"))
        heard = await talker.gone
        self.assertNotIn(b"\r\n0\r\n\r\n", heard)
        self.broken = LinkDown("Redis is away")
        reply = await self.ask("/api/v1/export?from=redis")
        self.assertEqual((reply.status, reply.value["error"]), (503, "Redis cannot be asked: Redis is away"))

    async def test_export_unread(self) -> None:
        """What nobody reads is not made, and after some time its client is left."""
        self.held = [[(b"k", b"v" * 60_000)]] * 1000
        talker = await self.talk()
        talker.transport.pauseProducing()
        talker.transport.write(b"GET /api/v1/export HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        seen = -1
        while not self.given or seen != self.given:
            seen = self.given
            await deferLater(reactor, 0.2)
        self.assertLess(self.given, 1000)
        self.clock.advance(PATIENCE)
        await self.until(0)
        talker.transport.resumeProducing()
        talker.transport.abortConnection()

    async def test_import(self) -> None:
        """A part of a file is taken into the tier that is named, and what came of it is told."""
        for path, tier in (("/api/v1/import", "memory"), ("/api/v1/import?into=redis", "redis")):
            heard = await self.post(SOME, path)
            self.assertTrue(heard.startswith(b"HTTP/1.1 200 "), heard)
            self.assertIn(b'"loaded": 3', heard)
            self.assertEqual(self.taken.pop(), (tier, [pair for some in RECORDS for pair in some]))

    async def test_import_not(self) -> None:
        """What is no part of a file, too long, not allowed, or to be put nowhere, is refused, and nothing is taken."""
        for body, path, status in (
            (SOME[:-1], "/api/v1/import", b"400"),
            (b"\0", "/api/v1/import", b"400"),
            (SOME, "/api/v1/import?into=nowhere", b"400"),
            (bytes(MOST_BODY + 1), "/api/v1/import", b"413"),
            (SOME, "/api/v1/export", b"413"),
            (SOME, "/api/v1/imports", b"413"),
        ):
            heard = await self.post(body, path)
            self.assertEqual(heard[9:12], status, path)
        heard = await self.post(SOME, more=b"X-Forwarded-For: 192.0.2.1\r\n")
        self.assertEqual(heard[9:12], b"403")
        chunked = b"POST /api/v1/import HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        self.assertEqual((await self.say(chunked))[9:12], b"413")
        self.assertEqual((await self.ask("/api/v1/export?from=nowhere")).status, 400)
        reply = await self.ask("/api/v1/import")
        self.assertEqual((reply.status, reply.headers["allow"]), (405, "POST"))
        self.assertEqual(self.taken, [])

    async def test_import_slow(self) -> None:
        """Who begins to send a body and does not go on is closed after the time of a request."""
        talker = await self.talk()
        talker.transport.write(b"POST /api/v1/import HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 50\r\n\r\nabc")
        await self.until(1)
        self.clock.advance(PATIENCE)
        self.assertEqual(await talker.gone, b"")

    async def test_import_many(self) -> None:
        """Few parts are taken at once; who has one more is told to come back."""
        self.wait = Deferred()
        waiting = [Deferred.fromCoroutine(self.post(SOME)) for _ in range(MOST_TAKING)]
        while len(self.taken) < MOST_TAKING:
            await deferLater(reactor, 0.005)
        self.assertEqual((await self.post(SOME))[9:12], b"503")
        wait, self.wait = self.wait, None
        wait.callback(None)
        heard: list[Any] = [await each for each in waiting]
        self.assertEqual([each[9:12] for each in heard], [b"200"] * MOST_TAKING)

    async def test_import_away(self) -> None:
        """Where Redis is away that is told."""
        self.broken = LinkDown("Redis is away")
        heard = await self.post(SOME, "/api/v1/import?into=redis")
        self.assertEqual(heard[9:12], b"503")
        self.assertIn(b"Redis is away", heard)
