"""The clock of the tests: it passes while nobody has anything to do, and at no other time."""

from __future__ import annotations

import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.threads import deferToThread

from tests.rediscase import RedisCase, pause, until
from tests.virtual_time import BEGIN, CLOCK, VirtualCase

HOUR = 3600.0


class Passing(VirtualCase):
    """When it passes, and how far."""

    async def test_at_once(self) -> None:
        """An hour passes at once, with every timer at its very moment, in order, and those that they set as well."""
        began, came = CLOCK.seconds(), []

        def again(left: int) -> None:
            came.append(CLOCK.seconds() - began)
            if left:
                CLOCK.callLater(HOUR / 4, again, left - 1)

        CLOCK.callLater(HOUR / 8, again, 3)
        await pause(HOUR)
        self.assertEqual(came, [HOUR * part / 8 for part in (1, 3, 5, 7)])
        self.assertEqual(CLOCK.seconds() - began, HOUR)
        self.assertGreaterEqual(began, BEGIN)

    async def test_busy(self) -> None:
        """It stands still while this process works, and while a thread does."""
        began = CLOCK.seconds()
        CLOCK.callLater(0.001, lambda: None)
        time.sleep(0.05)
        await deferToThread(time.sleep, 0.05)
        self.assertEqual(CLOCK.seconds(), began)
        await pause(0.001)

    async def test_on_the_way(self) -> None:
        """A datagram that is under way comes before the next timer, however soon that is."""
        came: Deferred[float] = Deferred()

        class Hearer(DatagramProtocol):
            def datagramReceived(self, datagram: bytes, addr: Any) -> None:
                came.callback(CLOCK.seconds())

        hearer = CLOCK.listenUDP(0, Hearer(), interface="127.0.0.1")
        self.addCleanup(hearer.stopListening)
        began = CLOCK.seconds()
        soon: Deferred[None] = pause(1e-6)
        hearer.write(b"!", ("127.0.0.1", hearer.getHost().port))
        self.assertEqual(await came, began)
        await soon

    async def test_leap(self) -> None:
        """A leap brings no timer nearer."""
        began = CLOCK.seconds()
        waiting: Deferred[None] = pause(1.0)
        CLOCK.leap(HOUR)
        self.assertEqual(CLOCK.seconds(), began + HOUR)
        await waiting
        self.assertEqual(CLOCK.seconds(), began + HOUR + 1.0)

    async def test_left(self) -> None:
        """A timer that is left behind fails the test."""
        call = CLOCK.callLater(HOUR, lambda: None)
        with self.assertRaisesRegex(AssertionError, "timers are left"):
            await CLOCK.stop()
        self.assertEqual(CLOCK.getDelayedCalls(), [])
        self.assertTrue(call.active())
        CLOCK.start()

    async def test_failing(self) -> None:
        """A timer that fails is logged, and keeps nothing from the others."""
        CLOCK.callLater(1.0, lambda: 1 // 0)
        await pause(1.0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_until(self) -> None:
        """A state that comes is waited for, and the time that it took is told."""
        began = CLOCK.seconds()
        self.assertAlmostEqual(await until(lambda: CLOCK.seconds() >= began + 0.1), 0.1)


class AtRedis(RedisCase):
    """With a real Redis."""

    async def test_asked(self) -> None:
        """It stands still until Redis has answered, and passes while Redis hangs."""
        server = self.server()
        link = self.linked(server.url)
        await until(lambda: link.up)
        began = CLOCK.seconds()
        for number in range(100):
            await link.run("SET", "k", number)
        self.assertEqual(CLOCK.seconds(), began)
        server.pause()
        waiting = link.run("GET", "k")
        await pause(1.0)
        self.assertNoResult(waiting)
        server.resume()
        self.assertEqual(await waiting, b"99")

    async def test_keys(self) -> None:
        """Keys live by it: as long as it says, and no longer."""
        server = self.server()
        await pause(0.001)  # from here on it is known how old keys are
        for key, life in (("short", 500), ("long", 60_000)):
            server.command("SET", key, "v", "PX", life)
        await pause(0.4)
        self.assertEqual(server.command("EXISTS", "short", "long"), 2)
        await pause(0.2)
        self.assertEqual(server.command("EXISTS", "short", "long"), 1)
        CLOCK.leap(60)
        self.assertEqual(server.command("EXISTS", "long"), 0)

    async def test_clock(self) -> None:
        """Redis tells this time, to links that were made at different moments as well."""
        server = self.server()
        links = []
        for _ in range(2):
            links.append(self.linked(server.url))
            await until(lambda: links[-1].up and links[-1].now() is not None)
            CLOCK.leap(1000)
        for link in links:
            self.assertAlmostEqual(link.now() or 0.0, CLOCK.wall(), 2)
