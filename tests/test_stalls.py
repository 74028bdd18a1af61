"""Tests of what notices that a process stood still."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.stalls import STOOD_STILL, TICK, Stalls


class Noticing(SynchronousTestCase):
    """With a clock of our own."""

    def test_steady(self) -> None:
        """A process that looks at the clock all the time did not stand still."""
        clock = Clock()
        stalls = Stalls(clock)
        clock.pump([TICK] * 1000)
        self.assertFalse(stalls.end())
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_stood_still(self) -> None:
        """One that did not for a while stood still, whether it was noticed meanwhile or at the end."""
        for after in (0, 5):
            clock = Clock()
            stalls = Stalls(clock)
            clock.rightNow += STOOD_STILL + 2 * TICK
            clock.pump([TICK] * after)
            self.assertTrue(stalls.end())
