"""A part of the faults, each for a moment only: ``make chaos`` plays all of them, and for longer."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.chaos.faults import FAULTS
from tests.chaos.play import play
from tests.chaos.verdict import Row
from tests.redisserver import binary


class Chaos(SynchronousTestCase):
    """Three nodes under a steady load, a real Redis, and something that happens to one of them."""

    def setUp(self) -> None:
        binary()  # skips where there is none

    def play(self, text: str, seconds: float) -> Row:
        """Play a fault for so long; no query may be lost, fail or be answered wrongly, and no log tell of a bug."""
        (fault,) = (fault for fault in FAULTS if fault.text == text)
        row = play(fault, seconds=seconds, before=0.7, after=2.0)
        bad = (row.lost, row.failed, row.wrong, row.old, row.trouble)
        self.assertEqual(bad, (0, 0, 0, 0, 0), row.evidence)
        self.assertGreater(row.asked, 1000)
        return row

    def test_hung(self) -> None:
        """A Redis that hangs costs nobody an answer, nor a second of waiting."""
        self.assertEqual(self.play("Redis hung (SIGSTOP)", 1.5).retried, 0)

    def test_swapped(self) -> None:
        """Values that are swapped between keys reach no client, and Redis is of use again behind them."""
        row = self.play("values swapped between keys", 1.0)
        self.assertEqual(row.retried, 0)
        self.assertIsNotNone(row.full)

    def test_forged(self) -> None:
        """Who can write to Redis, and does not have the secret, puts words into nobody's mouth."""
        self.assertEqual(self.play("with a secret: forged values", 1.0).retried, 0)

    def test_missed_flush(self) -> None:
        """A node that was frozen and cut off during a flush gives nothing old when it is back."""
        self.play("flushed while a node is frozen and cut off", 1.0)

    def test_lossy(self) -> None:
        """A way to Redis that loses every other packet costs nobody an answer, nor a second of waiting."""
        self.assertEqual(self.play("half the packets lost", 1.5).retried, 0)

    def test_node_killed(self) -> None:
        """A node that is killed costs its clients the way to the next one, and serves again when it is back."""
        row = self.play("a node killed", 1.0)
        self.assertGreater(row.retried, 0)
        self.assertIsNotNone(row.full)
