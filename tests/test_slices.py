"""Long work in slices: queries have four fifths of the time."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from heimdall.slices import AT_ONCE, LONGEST, REST, SLICE, Slices, let_go
from tests.busy import Busy


class Working(SynchronousTestCase):
    """Steps of some work, by a clock that passes whenever somebody looks at it."""

    def setUp(self) -> None:
        self.clock = Busy()
        self.steps = 0
        self.slices = Slices(self.clock)

    async def work(self, steps: int) -> None:
        """Take some steps."""
        self.slices.begin()
        for _ in range(steps):
            self.steps += 1
            await self.slices.pause()

    def begin(self, steps: int) -> Deferred[None]:
        """Begin to take some steps."""
        return Deferred.fromCoroutine(self.work(steps))

    def test_short(self) -> None:
        """Work that is done in a moment is done at once."""
        self.successResultOf(self.begin(1000))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_share(self) -> None:
        """Behind each slice comes a rest four times as long as the work was."""
        self.clock.takes = SLICE / 5
        working = self.begin(100)
        (call,) = self.clock.getDelayedCalls()
        rest = call.getTime() - self.clock.rightNow
        self.assertTrue(REST * SLICE <= rest < REST * 2 * SLICE, rest)
        self.assertLess(self.steps, 10)
        self.assertGreater(self.clock.turns(working), 10)

    def test_pieces(self) -> None:
        """Many pieces of work that are short each have no more of the time than a long one."""
        self.clock.takes = SLICE / 5
        turns = sum(self.clock.turns(self.begin(1)) for _ in range(100))
        self.assertGreater(turns, 10)

    def test_between(self) -> None:
        """The time between two pieces of work is nobody's work."""
        for _ in range(10):
            self.clock.advance(60)
            self.successResultOf(self.begin(1))

    def test_stood_still(self) -> None:
        """Where a slice took very long, as in a process that was frozen, the rest is short all the same."""
        self.clock.takes = 5.0
        self.begin(1)
        (call,) = self.clock.getDelayedCalls()
        self.assertLessEqual(call.getTime() - self.clock.rightNow, LONGEST + 5.0)

    def test_let_go(self) -> None:
        """Of a large dictionary that nobody uses any more some entries are freed in each turn."""
        things = {number: object() for number in range(20 * AT_ONCE)}
        self.clock.takes = SLICE
        let_go(things, self.clock)
        turns = 0
        while self.clock.getDelayedCalls():
            before = len(things)
            self.clock.turn()
            turns += 1
            self.assertLessEqual(before - len(things), 2 * AT_ONCE)
        self.assertEqual(things, {})
        self.assertGreater(turns, 5)
