"""Hostile clients of the operator's HTTP, over real sockets."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from heimdall.watch.site import MOST_CONNECTIONS, PATIENCE
from tests.watch.served import Served, reactor


class Hostile(Served):
    """No client can hold the site up, or make it say more than it should."""

    async def test_garbage(self) -> None:
        """What is no HTTP is 400 and counted."""
        for request in (
            b"\x16\x03\x01\x02\x00garbage\r\n\r\n",
            b"GET /live\r\n\r\n",
            b"GET /live HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET /live HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        ):
            self.assertTrue((await self.say(request)).startswith(b"HTTP/1.1 400 Bad Request\r\n"), request)
        self.assertEqual(self.admin.site.requests.total("400"), 4)

    async def test_long_lines(self) -> None:
        """A request line or header without end is cut off."""
        for request in (
            b"GET /" + b"a" * 100_000,
            b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000,
            b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 100 + b"\r\n",
            b"GET / HTTP/1.1\r\n" + (b"X: " + b"a" * 2000 + b"\r\n") * 6 + b"\r\n",
        ):
            self.assertEqual((await self.say(request))[:12], b"HTTP/1.1 400", request[:40])

    async def test_bodies(self) -> None:
        """A request with a body is refused before the body is read."""
        for headers in (
            b"Content-Length: 1\r\n",
            b"Content-Length: 99999999999\r\n",
            b"Transfer-Encoding: chunked\r\n",
        ):
            heard = await self.say(b"POST /live HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n" + b"z" * 50_000)
            self.assertEqual(heard.count(b"HTTP/1.1"), 1)
            self.assertTrue(heard.startswith(b"HTTP/1.1 413 "), heard)
        self.assertEqual(self.admin.site.requests.total("413"), 3)

    async def test_one_request(self) -> None:
        """A connection carries one request: what is piled up behind it is not answered."""
        heard = await self.say(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
        self.assertEqual(heard.count(b"HTTP/1.1 200"), 1)
        self.assertIn(b"Connection: close\r\n", heard)

    async def test_piled_up_behind_waiting(self) -> None:
        """What is sent behind a request that waits is thrown away, not held."""
        listed: Deferred[Any] = Deferred()
        self.listed = lambda: listed
        talker = await self.talk()
        talker.transport.write(b"GET /api/v1/members HTTP/1.1\r\nHost: x\r\n\r\n" + b"z" * 1_000_000)
        await self.listing()
        listed.callback([])
        heard = await talker.gone
        self.assertEqual(heard.count(b"HTTP/1.1 200"), 1)

    async def test_idle(self) -> None:
        """A client that sends nothing is closed after its time."""
        talker = await self.talk()
        await self.until(1)
        self.clock.advance(PATIENCE)
        self.assertEqual(await talker.gone, b"")
        self.assertEqual(self.admin.site.late.total(), 1)

    async def test_drip(self) -> None:
        """A byte now and then buys no time."""
        talker = await self.talk()
        await self.until(1)
        (channel,) = self.admin.site.channels
        for byte in b"GET /l":
            self.clock.advance(PATIENCE / 6)
            channel.dataReceived(bytes([byte]))
        self.assertEqual(await talker.gone, b"")

    async def test_never_reading(self) -> None:
        """A client that does not read its reply is closed after its time as well."""
        talker = await self.talk()
        talker.transport.pauseProducing()
        await self.until(1)
        (channel,) = self.admin.site.channels
        self.drops.labels = ("reason",)
        for number in range(1000):
            self.drops.add(f"{number:04}" + "x" * 10_000)
        talker.transport.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        while not self.admin.site.requests.total("200"):
            await deferLater(reactor, 0.005)
        self.clock.advance(PATIENCE - 1)
        self.assertIn(channel, self.admin.site.channels)
        self.clock.advance(1)
        await self.until(0)
        talker.transport.resumeProducing()
        self.assertLess(len(await talker.gone), 10_000_000)

    async def test_many(self) -> None:
        """One connection too many closes the oldest, and who asks at once is answered all the same."""
        oldest = await self.talk()
        await self.until(1)
        idle = [await self.talk() for _ in range(MOST_CONNECTIONS - 1)]
        await self.until(MOST_CONNECTIONS)
        self.assertEqual((await self.ask("/live")).status, 200)
        self.assertEqual(await oldest.gone, b"")
        self.assertEqual(self.admin.site.evicted.total(), 1)
        for talker in idle:
            talker.transport.loseConnection()
        await self.until(0)
