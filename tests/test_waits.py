"""Waits of many on one timer."""

from __future__ import annotations

from attrs import define
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from heimdall.waits import Waits

PAUSE = 0.05


@define(eq=False)
class One:
    """Something that waits."""

    due: float


class Waiting(SynchronousTestCase):
    """Things that wait, and what is said of each when its time is over."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.left: list[One] = []
        self.told: list[tuple[One, float]] = []
        self.looks = 0
        self.waits = Waits(self.clock, self._look, self.late, PAUSE)

    def _look(self) -> list[One]:
        self.looks += 1
        return self.left

    def late(self, one: One) -> None:
        """Take note of it."""
        self.left.remove(one)
        self.told.append((one, self.clock.seconds()))

    def wait(self, seconds: float) -> One:
        """Have something wait."""
        now = self.clock.seconds()
        one = One(now + seconds)
        self.left.append(one)
        self.waits.wait(one.due, now)
        return one

    def test_first(self) -> None:
        """The first is told when its time has come, though one that waits for longer came before."""
        later, sooner = self.wait(2), self.wait(1)
        self.clock.advance(0.9)
        self.assertEqual(self.told, [])
        self.clock.advance(0.1)
        self.assertEqual(self.told, [(sooner, 1.0)])
        self.clock.advance(1)
        self.assertEqual(self.told, [(sooner, 1.0), (later, 2.0)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    @given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 500)), max_size=60))
    def test_in_time(self, waits: list[tuple[int, int]]) -> None:
        """None is told too soon, none later than the pause allows, and there are no more looks than that makes."""
        self.setUp()
        for step in range(700):
            for came, seconds in waits:
                if came == step:
                    self.wait(seconds / 100)
            self.clock.advance(0.01)
        self.assertEqual(len(self.told), len(waits))
        for one, when in self.told:
            self.assertTrue(one.due - 1e-5 <= when <= one.due + PAUSE + 0.011, (one.due, when))
        self.assertLessEqual(self.looks, 7 / PAUSE)

    def test_ended_early(self) -> None:
        """What ended early is not told, and wakes nobody a second time."""
        self.wait(1)
        self.left.clear()
        self.clock.advance(10)
        self.assertEqual((self.told, self.looks, self.clock.getDelayedCalls()), ([], 1, []))

    def test_on(self) -> None:
        """What was told may wait on."""

        def late(one: One) -> None:
            self.told.append((one, self.clock.seconds()))
            one.due += 1
            self.waits.wait(one.due, self.clock.seconds())

        self.waits = Waits(self.clock, self._look, late, PAUSE)
        self.wait(1)
        for _ in range(3):
            self.clock.advance(1)
        self.assertEqual([when for _, when in self.told], [1, 2, 3])

    def test_bug(self) -> None:
        """A bug in what follows one wait is logged, and the others are told."""

        def late(one: One) -> None:
            self.late(one)
            if len(self.told) == 1:
                raise ValueError("a bug")

        self.waits = Waits(self.clock, self._look, late, PAUSE)
        for _ in range(2):
            self.wait(1)
        self.clock.advance(1)
        self.assertEqual((len(self.told), len(self.flushLoggedErrors(ValueError))), (2, 1))

    def test_close(self) -> None:
        """Once closed nobody is told; what waits after that is."""
        self.wait(1)
        self.waits.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.wait(2)
        self.clock.advance(2)
        self.assertEqual(len(self.told), 2)
