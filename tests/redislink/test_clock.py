"""The time on the clock of Redis."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from heimdall.redislink.clock import DRIFT, Time


class Reckoning(SynchronousTestCase):
    """What is known of it between two readings."""

    def test_now(self) -> None:
        """It goes on as our clock does, from the middle of what the reading took."""
        self.assertEqual(Time.of(1000.0, sent=5.0, heard=7.0).now(10.0), 1004.0)

    def test_doubt(self) -> None:
        """It was read at some moment between asking and hearing, and two clocks drift apart."""
        self.assertAlmostEqual(Time.of(1000.0, sent=5.0, heard=7.0).doubt(17.0), 1.0 + 10 * DRIFT)
