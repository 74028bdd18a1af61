"""Forgetting what was flushed: at once, and in a flood of flushes without keeping queries from their turn."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from heimdall.cache.flushed import Flush, Several
from heimdall.cache.forget import LONGEST, Forgetting
from heimdall.message.wire import from_text
from tests.cache.questions import question


def flush(number: int) -> Flush:
    """Return one of many."""
    return Flush(b"id%06d" % number, 1.0, from_text(f"n{number}.example"), False)


class Floods(SynchronousTestCase):
    """Many flushes."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.forgetting = Forgetting(self.clock)
        self.takes = 0.0
        self.looks: list[Flush | Several] = []
        self.forgetting.hearers.append(self.look)

    def look(self, what: Flush | Several) -> None:
        """Look through memory, as long as that takes."""
        self.clock.rightNow += self.takes
        self.looks.append(what)

    def test_at_once(self) -> None:
        """What memory is small enough for is forgotten at once, each by itself."""
        for number in range(9):
            self.forgetting.forget([flush(number)])
        self.assertEqual(self.looks, [flush(number) for number in range(9)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_flood(self) -> None:
        """A flood takes a fifth of the time at most, and each flush of it is forgotten, and said to be so only then."""
        self.takes = 0.02
        for number in range(200):
            self.forgetting.forget([flush(number)])
            waits = self.forgetting.waits(flush(number).id)
            self.assertEqual(waits, self.looks[-1] != flush(number))
            self.clock.advance(0.005)
        self.clock.pump([0.01] * 20)
        self.assertFalse(any(self.forgetting.waits(flush(number).id) for number in range(200)))
        for number in range(200):
            self.assertTrue(any(look.matches(question(f"n{number}.example").key) for look in self.looks), number)
        self.assertLess(len(self.looks), 17)

    def test_soon(self) -> None:
        """However long a look takes, the next one comes within half a second; none is left when it is stopped."""
        self.takes = 3.0
        for number in range(3):
            self.forgetting.forget([flush(number)])
        self.clock.advance(LONGEST)
        self.assertEqual(len(self.looks), 2)
        self.forgetting.stop()
        self.forgetting.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
