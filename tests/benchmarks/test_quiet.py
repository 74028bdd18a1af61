"""The machine is waited for while others slow it down, and never for long."""

from __future__ import annotations

import os

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from benchmarks.beside.quiet import ALTOGETHER, MOST, PATIENCE, Quiet, pace


class Waiting(SynchronousTestCase):
    """Cores whose pace the test sets."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.slow_until = {0: 0.0, 1: 0.0}
        self.quiet = Quiet(self.slow_until, self.now, self.clock.seconds, self.clock.advance)

    def now(self, core: int) -> float:
        """Return twice the pace while a core is slow."""
        return 2.0 if self.clock.seconds() < self.slow_until[core] else 1.0

    def test_quick(self) -> None:
        """A machine that is as quick as at best is not waited for."""
        self.assertEqual((self.quiet.wait(), self.quiet.waited), (1.0, 0.0))

    def test_slow(self) -> None:
        """Whichever core is slow, it is waited for until it is quick again."""
        self.quiet.wait()
        for core in (0, 1):
            self.slow_until[core] = self.clock.seconds() + 3
            self.assertEqual(self.quiet.wait(), 1.0)
            self.assertGreaterEqual(self.clock.seconds(), self.slow_until[core])
            self.assertLess(self.clock.seconds(), self.slow_until[core] + 1)

    def test_slow_for_good(self) -> None:
        """One that stays slow is given up, and how slow it is is told; in all no more than so long is waited."""
        self.quiet.wait()
        self.slow_until[1] = float("inf")
        self.assertGreater(self.quiet.wait(), MOST)
        self.assertLess(self.clock.seconds(), PATIENCE + 1)
        for _ in range(100):
            self.quiet.wait()
        self.assertLess(self.quiet.waited, ALTOGETHER + 1)
        self.assertAlmostEqual(self.quiet.waited, self.clock.seconds())

    def test_found_quicker(self) -> None:
        """What was slow from the start is measured by what it proved to be at best."""
        self.slow_until[0] = 1.0
        self.assertEqual(self.quiet.wait(), 1.0)
        self.clock.advance(1)
        self.quiet.wait()
        self.slow_until[0] = self.clock.seconds() + 1
        self.assertEqual(self.quiet.wait(), 1.0)
        self.assertGreater(self.quiet.waited, 0.9)

    def test_pace(self) -> None:
        """A datagram takes some microseconds on a real core, and to ask for it moves nobody."""
        before = os.sched_getaffinity(0)
        self.assertTrue(1e-7 < pace(min(before)) < 1e-3)
        self.assertEqual(os.sched_getaffinity(0), before)
