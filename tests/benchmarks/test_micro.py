"""The steps that every query takes have not become more work; how long they take is for ``make bench ARGS=micro``."""

from __future__ import annotations

from unittest import mock

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from benchmarks.micro import baseline, clock
from benchmarks.micro.clock import least, loop, operations
from benchmarks.micro.steps import steps
from benchmarks.micro.whole import bytes_an_answer

MOST = 1.5
"""Times what was written down: versions of Python differ by less."""
MOST_BYTES = 1.4


class Steps(SynchronousTestCase):
    """Counted in operations of the interpreter, as written down."""

    def test_work(self) -> None:
        """No step takes half as many operations again as it took."""
        kept = baseline.load()["steps"]
        found = {step.name: baseline.counted(step) for step in steps()}
        self.assertEqual({name: count for name, count in found.items() if count > MOST * kept[name]["operations"]}, {})
        self.assertEqual({name for name, count in found.items() if count < 1}, set(), "nothing was counted")

    def test_kept(self) -> None:
        """Exactly the steps that there are have been written down."""
        self.assertEqual({step.name for step in steps()}, set(baseline.load()["steps"]))

    def test_memory(self) -> None:
        """An answer in memory takes no more bytes than it did."""
        self.assertLess(bytes_an_answer(50_000), MOST_BYTES * baseline.load()["bytes"])

    def test_slower(self) -> None:
        """A step that takes longer beside the loop is found, and one that nobody wrote down."""
        kept = {"a": {"ratio": 2.0}}
        self.assertEqual(baseline.slower({"a": {"ratio": 5.9}}, kept, 3.0), [])
        self.assertEqual(len(baseline.slower({"a": {"ratio": 6.1}, "b": {"ratio": 1.0}}, kept, 3.0)), 2)

    def test_least(self) -> None:
        """What a call takes is what it took in the quickest of some repeats, each of as many calls as fill the time."""
        time, calls = Clock(), 0
        self.patch(clock, "time", mock.Mock(perf_counter=time.seconds))

        def call() -> None:
            nonlocal calls
            calls += 1
            time.advance(2 / 1024 if calls > 50 else 1 / 1024)

        self.assertEqual(least(call, 3, 20 / 1024), 1 / 1024)
        self.assertEqual(calls, 1 + 10 + 3 * 20)

    def test_operations(self) -> None:
        """What does a thing twice takes twice as many operations, and some to call it; and always the same."""

        def twice() -> None:
            loop()
            loop()

        once = operations(loop)
        self.assertGreater(once, 1000)
        self.assertEqual((operations(loop), (operations(twice) - 2 * once) < 20), (once, True))
