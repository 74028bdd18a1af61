"""The time of a scenario: waiting for what is about to happen, and nodes with a clock of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from zope.interface import directlyProvides, providedBy

SETTLED = 0.03
"""Seconds after which what a reply has set off has begun."""

PATIENCE = 10.0
"""Seconds within which what is about to happen has to have happened."""


async def until(reactor: Any, condition: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Wait until something holds, for so many seconds at most; return whether it does."""
    ends = reactor.seconds() + seconds
    await deferLater(reactor, SETTLED)
    while not condition():
        if reactor.seconds() >= ends:
            return False
        await deferLater(reactor, 0.01)
    return True


class Ahead:
    """The time of the scenario as one node sees it.

    :param ahead: seconds that this node's clock is ahead of those of others.
    """

    def __init__(self, reactor: Any, ahead: float) -> None:
        self._reactor, self._ahead = reactor, ahead
        self._calls: list[IDelayedCall] = []
        directlyProvides(self, *providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def seconds(self) -> float:
        """Return the time on the node's clock."""
        return float(self._reactor.seconds()) + self._ahead

    def callLater(self, delay: float, *what: Any, **more: Any) -> IDelayedCall:
        """Set a timer."""
        self._calls = [call for call in self._calls if call.active()]
        self._calls.append(self._reactor.callLater(delay, *what, **more))
        return self._calls[-1]

    def end(self) -> None:
        """Cancel what timers are left, as the end of a process does."""
        for call in self._calls:
            if call.active():
                call.cancel()
