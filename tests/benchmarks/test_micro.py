"""The steps that every query takes have not become slow, on any machine."""

from __future__ import annotations

import sys

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.micro import baseline
from benchmarks.micro.clock import least, loop
from benchmarks.micro.steps import steps
from benchmarks.micro.whole import bytes_an_answer

MOST = 3.0
"""Times what was written down: nobody becomes that slow because a machine has other work, or is another one."""
MOST_BYTES = 1.4


class Steps(SynchronousTestCase):
    """Beside a fixed loop, as written down; ``make bench ARGS=micro`` is the exact way to look."""

    def test_slow(self) -> None:
        """No step takes several times what it took; what looks slow is measured again, since others run meanwhile."""
        # What measures coverage would be measured as well.
        self.addCleanup(sys.settrace, sys.gettrace())
        sys.settrace(None)
        kept = baseline.load()["steps"]
        wrong = list(steps())
        lines: list[str] = []
        for _ in range(5):
            found = baseline.measure(wrong, 5, 0.003)
            lines = baseline.slower(found, kept, MOST)
            wrong = [step for step in wrong if baseline.slower({step.name: found[step.name]}, kept, MOST)]
            if not wrong:
                break
        self.assertEqual(lines, [])

    def test_kept(self) -> None:
        """Exactly the steps that there are have been written down."""
        self.assertEqual({step.name for step in steps()}, set(baseline.load()["steps"]))

    def test_memory(self) -> None:
        """An answer in memory takes no more bytes than it did."""
        self.assertLess(bytes_an_answer(50_000), MOST_BYTES * baseline.load()["bytes"])

    def test_slower(self) -> None:
        """A step that takes longer beside the loop is found, and one that nobody wrote down."""
        kept = {"a": {"ratio": 2.0}}
        self.assertEqual(baseline.slower({"a": {"ratio": 5.9}}, kept, MOST), [])
        self.assertEqual(len(baseline.slower({"a": {"ratio": 6.1}, "b": {"ratio": 1.0}}, kept, MOST)), 2)

    def test_least(self) -> None:
        """What does a thing twice takes longer than what does it once."""

        def twice() -> None:
            loop()
            loop()

        self.assertGreater(least(twice, 20, 0.003), 1.3 * least(loop, 20, 0.003))
