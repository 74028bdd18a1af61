"""The benchmarks of the cluster: their loads, what they conclude, and the page that shows it."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.cluster.loads import NODES, Zipf, distinct, loads, solve
from benchmarks.cluster.meters import ideal, tell
from benchmarks.cluster.tables import Mark
from benchmarks.page import PAGE, written
from tests.load import GOOD, Ask, Told


class Loads(SynchronousTestCase):
    """Loads of names."""

    def test_solved(self) -> None:
        """A node alone, with its part of the queries, knows the share that was asked for."""
        for load, share in zip(loads(10_000), (0.6, 0.8, 0.6), strict=True):
            asks = load.asks(10_000, 500.0)
            new = sum(len({ask.text for ask in asks if ask.node == node}) for node in range(NODES))
            self.assertLess(abs(1 - new / len(asks) - share), 0.02, load.text)

    def test_record(self) -> None:
        """The load that is nearly even has the shares of the record: 15 % of the queries are distinct questions."""
        even = loads(10_000)[-1]
        self.assertAlmostEqual(distinct(even.names, even.skew, 10_000) / 10_000, 0.15, places=3)

    def test_impossible(self) -> None:
        """What no skew gives is refused."""
        self.assertRaises(ValueError, solve, 100, 0.1, 10_000)

    def test_same(self) -> None:
        """The same seed gives the same queries, in order of time, at the rate asked for."""
        load = Zipf("some", 100, 1.0)
        asks = load.asks(5000, 500.0)
        self.assertEqual(asks, load.asks(5000, 500.0))
        self.assertEqual(asks, sorted(asks, key=lambda ask: ask.at))
        self.assertLess(abs(asks[-1].at - 10.0), 1.0)

    def test_places(self) -> None:
        """Where an answer was to be had follows from who was asked before, and when."""
        order = [(0.0, 0, 0.075), (0.03, 1, 0.045), (0.03, 0, 0.045), (0.2, 0, 0.001), (0.2, 2, 0.001), (0.3, 2, 0.001)]
        told = [Told(Ask(at, node, "n", ""), at, took, GOOD, 300, 0) for at, node, took in order]
        found = {where: [(one.sent, one.ask.node) for one in some] for where, some in tell(told).items()}
        self.assertEqual(found["upstream"], [(0.0, 0)])
        self.assertEqual(found["flight"], [(0.03, 1), (0.03, 0)])
        self.assertEqual(found["redis"], [(0.2, 2)])
        self.assertEqual(found["memory"], [(0.2, 0), (0.3, 2)])
        self.assertAlmostEqual(ideal(told, 75.0, 1.0), (75 + 45 + 45 + 1 + 1 + 1) / 6)


class Pages(SynchronousTestCase):
    """What is shown."""

    def test_page(self) -> None:
        """The tables of the page are those of the numbers that are kept."""
        page = PAGE.read_text()
        self.assertEqual(written(page), page)

    def test_marks(self) -> None:
        """A mark that was missed says so."""
        self.assertIn("MISSED", str(Mark("a", 1.1, 1.0)))
        self.assertIn("reached", str(Mark("a", 1.0, 1.0)))

    def test_listed(self) -> None:
        """``python -m benchmarks`` lists the benchmarks; one that is not there is an error."""
        listed = subprocess.run(
            [sys.executable, "-m", "benchmarks"], cwd=PAGE.parent.parent, capture_output=True, text=True
        )
        self.assertIn("  cluster ", listed.stdout)
        self.assertEqual(listed.returncode, 0)
        wrong = subprocess.run([sys.executable, "-m", "benchmarks", "no"], cwd=PAGE.parent.parent, capture_output=True)
        self.assertEqual(wrong.returncode, 1)
