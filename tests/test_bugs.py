"""Bugs of our own: each is counted, and logged once a minute."""

from __future__ import annotations

import gc
from weakref import ref

from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from heimdall.bugs import MOST_PLACES, QUIET, BugReporter, reporter
from heimdall.tally import Count


class Reporting(SynchronousTestCase):
    """What is told of a bug."""

    log = Logger()

    def setUp(self) -> None:
        self.clock = Clock()
        self.bugs = BugReporter(self.clock)

    def meet(self, kind: type[Exception] = ValueError, *, elsewhere: bool = False, failure: bool = False) -> None:
        """Meet a bug."""
        try:
            if elsewhere:
                raise kind("a bug")
            raise kind("a bug")
        except Exception as error:
            self.bugs.report(self.log, "met by {whom}", Failure(error) if failure else error, whom="a test")

    def met(self) -> int:
        """How many bugs were counted."""
        (count,) = self.bugs.tallies
        assert isinstance(count, Count)
        return count.total()

    def test_once_a_minute(self) -> None:
        """A bug is logged once a minute however often it is met, and counted each time."""
        for _ in range(1000):
            self.meet()
            self.meet(failure=True)
        (told,) = self.flushLoggedErrors(ValueError)
        self.assertIn("test_bugs", told.getTraceback())
        self.clock.advance(QUIET)
        self.meet()
        self.assertEqual((len(self.flushLoggedErrors(ValueError)), self.met()), (1, 2001))

    def test_apart(self) -> None:
        """An exception of another kind, or from another place, is another bug."""
        for _ in range(3):
            self.meet()
            self.meet(KeyError)
            self.meet(elsewhere=True)
        self.assertEqual(len(self.flushLoggedErrors(ValueError, KeyError)), 3)

    def test_cleaned(self) -> None:
        """A failure that has lost its traceback, as they do in Deferreds, is told apart all the same."""
        for _ in range(3):
            try:
                raise ValueError("a bug")
            except ValueError:
                failure = Failure()
            failure.cleanFailure()
            self.bugs.report(self.log, "met", failure)
        self.bugs.report(self.log, "met", ValueError("never raised"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)

    def test_bounded(self) -> None:
        """However many kinds of bugs there are, what is remembered of them is bounded; the oldest is forgotten."""
        kinds = [type(f"Bug{number}", (Exception,), {}) for number in range(2 * MOST_PLACES)]
        for kind in kinds:
            self.meet(kind)
        self.assertEqual((len(self.bugs._logged), len(self.flushLoggedErrors())), (MOST_PLACES, 2 * MOST_PLACES))
        self.meet(kinds[-1])
        self.assertEqual(self.flushLoggedErrors(), [])
        self.meet(kinds[0])
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_one_for_all(self) -> None:
        """All that runs on one clock has one reporter; a clock that is gone takes its reporter along."""
        self.assertIs(reporter(self.clock), reporter(self.clock))
        other = Clock()
        self.assertIsNot(reporter(self.clock), reporter(other))
        gone = ref(reporter(other))
        del other
        gc.collect()
        self.assertIsNone(gone())
