"""What many ask for at once is done once."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from heimdall.single_flight import SingleFlight


class Asking(SynchronousTestCase):
    """Those who ask."""

    def setUp(self) -> None:
        self.done: list[Deferred[str]] = []
        self.flight = SingleFlight(self.work)

    async def work(self) -> str:
        """Do what the test says, when it says so."""
        self.done.append(Deferred())
        return await self.done[-1]

    def test_together(self) -> None:
        """All who ask while it is under way get the same, the next one something new."""
        asking = [self.flight.ask() for _ in range(3)]
        self.done[0].callback("one")
        self.assertEqual([self.successResultOf(one) for one in asking], ["one"] * 3)
        again = self.flight.ask()
        self.done[1].callback("two")
        self.assertEqual((self.successResultOf(again), len(self.done)), ("two", 2))

    def test_fails(self) -> None:
        """Where it fails, it fails for each of them."""
        asking = [self.flight.ask() for _ in range(2)]
        self.done[0].errback(ValueError())
        for one in asking:
            self.failureResultOf(one, ValueError)

    def test_given_up(self) -> None:
        """Who gives up is told so; it goes on for the others, and ends when nobody is left as well."""
        first, second = self.flight.ask(), self.flight.ask()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.done[0].callback("one")
        self.assertEqual(self.successResultOf(second), "one")
        self.flight.ask().addErrback(lambda _: None).cancel()
        self.done[1].callback("two")
        self.assertEqual(len(self.flight._waiting), 0)
