"""What was reported of bugs: for tests that have some."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from heimdall.bugs import reporter
from heimdall.tally import Count


def met(clock: IReactorTime) -> int:
    """Return how many bugs were met on a clock so far."""
    (count,) = reporter(clock).tallies
    assert isinstance(count, Count)
    return count.total()
