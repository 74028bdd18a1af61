"""Notice that this process stood still: what is told in tenths of seconds means nothing then."""

from __future__ import annotations

from typing import Any

TICK = 0.01
"""Seconds between two looks at the clock."""

STOOD_STILL = 0.1
"""Seconds without a look that no test of ours takes up by itself."""


class Stalls:
    """Looks at the clock from its making on, until :meth:`end`."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._longest = 0.0
        self._last = reactor.seconds()
        self._timer = reactor.callLater(TICK, self._look)

    def _look(self) -> None:
        now = self._reactor.seconds()
        self._longest = max(self._longest, now - self._last - TICK)
        self._last = now
        self._timer = self._reactor.callLater(TICK, self._look)

    def end(self) -> bool:
        """Look no more; return whether the process stood still."""
        self._timer.cancel()
        self._longest = max(self._longest, self._reactor.seconds() - self._last - TICK)
        return self._longest > STOOD_STILL
