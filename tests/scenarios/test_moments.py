"""Tests of the stopwatch, which notices that this process was kept from running."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.scenarios.moments import STOOD_STILL, TICK, Watch


class Noticing(SynchronousTestCase):
    """With a clock of our own."""

    def test_steady(self) -> None:
        """A process that looks at the clock all the time did not stand still."""
        clock = Clock()
        with Watch(clock) as watch:
            clock.pump([TICK] * 1000)
        self.assertFalse(watch.longest > STOOD_STILL)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_stood_still(self) -> None:
        """One that did not for a while stood still, whether it was noticed meanwhile or at the end."""
        for after in (0, 5):
            clock = Clock()
            with Watch(clock) as watch:
                clock.rightNow += 2 * STOOD_STILL
                clock.pump([TICK] * after)
            self.assertTrue(watch.longest > STOOD_STILL)
