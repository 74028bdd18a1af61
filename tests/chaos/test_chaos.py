"""A part of the faults, each for some queries: ``make chaos`` plays all of them, and tells how long things take."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.trial.unittest import SynchronousTestCase

from tests.chaos.faults import FAULTS
from tests.chaos.play import QUERIES, play_counted
from tests.chaos.stage import LAST, Stage
from tests.chaos.verdict import Row
from tests.redisserver import binary
from tests.running import Running


def redis_helps(stage: Stage) -> Callable[[], object]:
    """Return what says whether each node has had answers of Redis since now."""
    return grows(stage.nodes, origin="redis")


def victim_serves(stage: Stage) -> Callable[[], object]:
    """Return what says whether the node in trouble has answered since now."""
    return grows(stage.nodes[LAST:])


def grows(nodes: Sequence[Running], **labels: str) -> Callable[[], object]:
    """Return what says whether each of these nodes has given more answers than by now."""

    def given() -> list[float]:
        return [node.metric("heimdall_accept_answers_total", **labels) for node in nodes]

    before = given()
    return lambda: all(new > old for new, old in zip(given(), before, strict=True))


class Chaos(SynchronousTestCase):
    """Three nodes under a steady load, a real Redis, and something that happens to one of them."""

    def setUp(self) -> None:
        binary()  # skips where there is none

    def play(self, text: str, well: Callable[[Stage], Callable[[], object]]) -> Row:
        """Play a fault; no query may be lost, fail or be answered wrongly, and no log tell of a bug."""
        (fault,) = (fault for fault in FAULTS if fault.text == text)
        row = play_counted(fault, well)
        bad = (row.lost, row.failed, row.wrong, row.old, row.trouble)
        self.assertEqual(bad, (0, 0, 0, 0, 0), row.evidence)
        self.assertGreaterEqual(row.asked, sum(QUERIES))
        return row

    def test_hung(self) -> None:
        """A Redis that hangs costs nobody an answer, and helps again when it goes on."""
        self.assertEqual(self.play("Redis hung (SIGSTOP)", redis_helps).retried, 0)

    def test_swapped(self) -> None:
        """Values that are swapped between keys reach no client, and Redis helps again behind them."""
        self.assertEqual(self.play("values swapped between keys", redis_helps).retried, 0)

    def test_forged(self) -> None:
        """Who can write to Redis, and does not have the secret, puts words into nobody's mouth."""
        self.assertEqual(self.play("with a secret: forged values", redis_helps).retried, 0)

    def test_missed_flush(self) -> None:
        """A node that was frozen and cut off during a flush gives nothing old when it is back."""
        self.play("flushed while a node is frozen and cut off", victim_serves)

    def test_lossy(self) -> None:
        """A way to Redis that loses every other packet costs nobody an answer."""
        self.assertEqual(self.play("half the packets lost", redis_helps).retried, 0)

    def test_node_killed(self) -> None:
        """A node that is killed costs its clients the way to the next one, and serves again when it is back."""
        self.assertGreater(self.play("a node killed", victim_serves).retried, 0)
