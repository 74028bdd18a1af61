"""Tests of asking a source and being called back."""

from __future__ import annotations

import gc

from twisted.internet.defer import CancelledError, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from heimdall.asking import deferred, teller
from heimdall.cache.bounds import Bounds
from heimdall.cache.memory import Memory
from heimdall.cache.once import Once
from heimdall.cache.redis import Shared
from heimdall.cache.shelf import Shelf
from heimdall.interfaces import NoAnswer, Ongoing, Told
from heimdall.message.answer import Answer
from heimdall.message.edns import ExtendedError
from heimdall.message.query import Query
from tests.accept.test_front import Source
from tests.cache.questions import positive, question
from tests.fakelink import FakeLink


class Telling(SynchronousTestCase):
    """Sources that are asked to call back."""

    def setUp(self) -> None:
        self.outcomes: list[Answer | Failure] = []
        self.source = Source()

    def test_answer(self) -> None:
        """Who speaks in Deferreds is heard as well."""
        teller(self.source)(question(), self.outcomes.append)
        answer = positive()
        self.source.asked[0].callback(answer)
        self.assertEqual(self.outcomes, [answer])

    def test_failure(self) -> None:
        """What fails is told as such."""
        teller(self.source)(question(), self.outcomes.append)
        self.source.asked[0].errback(NoAnswer("no", ExtendedError(0)))
        [failure] = self.outcomes
        assert isinstance(failure, Failure)
        self.assertIsNotNone(failure.check(NoAnswer))

    def test_cancel(self) -> None:
        """To cancel ends the work, and is told once, whoever is asked."""
        once = Once(Memory(1_000_000), self.source, Clock())
        for tell in (teller(self.source), once.tell):
            self.outcomes.clear()
            ongoing = tell(question(), self.outcomes.append)
            ongoing.cancel()
            ongoing.cancel()
            [failure] = self.outcomes
            assert isinstance(failure, Failure)
            self.assertIsNotNone(failure.check(CancelledError))

    def test_itself(self) -> None:
        """Who calls back by himself is asked without a Deferred."""
        once = Once(Memory(1_000_000), self.source, Clock())
        self.assertEqual(teller(once), once.tell)


class Waiting(SynchronousTestCase):
    """Deferreds of who calls back."""

    def setUp(self) -> None:
        self.source = Source()

    def test_outcomes(self) -> None:
        """They fire with what was told, at once or later."""
        for outcome in (positive(), Failure(ValueError())):
            for at_once in (True, False):
                waiting: list[Told] = []

                def tell(query: Query, told: Told, *, waiting: list[Told] = waiting) -> Ongoing:
                    waiting.append(told)
                    return succeed(None)

                def tell_now(query: Query, told: Told, *, outcome: Answer | Failure = outcome) -> Ongoing:
                    told(outcome)
                    return succeed(None)

                asked = deferred(tell_now if at_once else tell, question())
                if not at_once:
                    self.assertNoResult(asked)
                    waiting[0](outcome)
                if isinstance(outcome, Failure):
                    self.failureResultOf(asked, ValueError)
                else:
                    self.assertIs(self.successResultOf(asked), outcome)

    def test_cancelled(self) -> None:
        """To cancel one ends the work."""
        asked = deferred(teller(self.source), question())
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertTrue(self.source.asked[0].called)

    def test_freed(self) -> None:
        """A question that was answered, at once or later, leaves nothing to the garbage collector."""
        clock = Clock()
        link = FakeLink(clock)
        paths = []
        for _ in range(2):
            memory, shared = Memory(1_000_000), Shared(link, Bounds(self.source), clock)
            paths.append(Shelf(shared, memory, Once(memory, shared, clock)))
        wanted = positive("n.example")

        def ask(name: str) -> None:
            # The first path asks upstream, the second one finds in Redis what that stored.
            for path in paths:
                for asked in (path.ask(question(name)), path.ask(question(name))):
                    clock.pump([0.0] * 3)
                    while self.source.asked:
                        self.source.asked.pop().callback(wanted.replace(question=question(name).key[:-1]))
                    clock.pump([0.0] * 3)
                    self.assertEqual(self.successResultOf(asked).rcode, 0)

        ask("first.example")
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        for number in range(10):
            ask(f"n{number}.example")
        self.assertEqual(gc.collect(), 0)
