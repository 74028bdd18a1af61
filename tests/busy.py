"""A clock of a busy process: time passes whenever somebody looks at it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock


class Busy(Clock):
    """A clock by which each look takes ``takes`` seconds."""

    takes = 0.0

    def seconds(self) -> float:
        """Return the time, which is a little later than it was."""
        self.rightNow += self.takes
        return self.rightNow

    def turn(self) -> None:
        """Go on to the next call that is due, and make it."""
        call = min(self.getDelayedCalls(), key=lambda each: each.getTime())
        self.takes, takes = 0.0, self.takes
        self.rightNow = max(self.rightNow, call.getTime())
        self.takes = takes
        self.advance(0)

    def turns(self, work: Deferred[Any]) -> int:
        """Go on until some work is done; return how many turns that took."""
        ended: list[object] = []

        def end(result: Any) -> Any:
            ended.append(result)
            return result

        work.addBoth(end)
        turns = 0
        while not ended:
            self.turn()
            turns += 1
        return turns
