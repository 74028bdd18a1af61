"""The log says which clients are refused, when that begins and when it is over."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from heimdall.admit.acl import Acl
from heimdall.admit.limit import Limit
from heimdall.admit.refusals import Refusals
from heimdall.episodes import EVERY
from heimdall.interfaces import IGate
from tests.admit.asking import asking


class Told(SynchronousTestCase):
    """Gates that refuse clients."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.refusals = Refusals(self.clock)
        self.events: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            self.events.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def ask(self, gate: IGate, client: str, times: int = 1) -> None:
        """Ask so many times as a client."""
        for _ in range(times):
            gate.judge(asking("www.example", client=client))

    def over(self) -> None:
        """Let so much time pass that it is over."""
        self.clock.advance(EVERY)
        self.clock.advance(EVERY)

    def test_denied(self) -> None:
        """A client that may not ask is told with its address, and how many of its queries were refused."""
        gate = Acl(["192.0.2.0/24"], self.refusals.denied)
        self.ask(gate, "198.51.100.7", 3)
        self.ask(gate, "2001:db8::7")
        self.ask(gate, "192.0.2.7", 3)
        self.assertEqual(self.events, [
            "Not among admit.allow: 198.51.100.7; it is answered REFUSED",
            "Not among admit.allow: 2001:db8::7; it is answered REFUSED",
        ])  # fmt: skip
        self.over()
        self.assertEqual(self.events[2:], [
            "Not among admit.allow: 198.51.100.7, which asks no more; 3 queries were refused",
            "Not among admit.allow: 2001:db8::7, which asks no more; 1 queries were refused",
        ])  # fmt: skip

    def test_limited(self) -> None:
        """Who asks too much is told as a network, whichever of its clients it is."""
        gate = Limit(self.clock, rate=1, burst=2, refusals=self.refusals.limited)
        for client in ("198.51.100.7", "198.51.100.8", "::ffff:198.51.100.9", "2001:db8:0:aa::1", "2001:db8:0:bb::1"):
            self.ask(gate, client, 3)
        self.assertEqual(self.events, [
            f"Over the rate limit (admit.rate): {network}; what is too much gets no answer, over TCP REFUSED"
            for network in ("198.51.100.0/24", "2001:db8::/56")
        ])  # fmt: skip
        self.over()
        self.assertEqual(self.events[2:], [
            "No longer over the rate limit: 198.51.100.0/24; 7 queries were too much",
            "No longer over the rate limit: 2001:db8::/56; 4 queries were too much",
        ])  # fmt: skip

    def test_no_address(self) -> None:
        """What is no address is told as it is."""
        self.ask(Limit(self.clock, rate=1, burst=1, refusals=self.refusals.limited), "somewhere", 2)
        self.assertIn(": somewhere;", self.events[0])

    def test_stop(self) -> None:
        """Once it is stopped no timer is left."""
        self.ask(Acl([], self.refusals.denied), "198.51.100.7")
        self.ask(Limit(self.clock, rate=1, burst=1, refusals=self.refusals.limited), "198.51.100.7", 2)
        self.assertEqual(len(self.clock.getDelayedCalls()), 2)
        self.refusals.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
