"""Who is told when a link changes."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from heimdall.bugs import reporter


class Watchers:
    """Calls everybody; whoever fails is logged, and keeps nothing from the others."""

    log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._bugs = reporter(clock)
        self._watchers: list[Callable[[], None]] = []

    def add(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` from now on."""
        self._watchers.append(changed)

    def tell(self) -> None:
        """Call everybody."""
        for changed in self._watchers:
            try:
                changed()
            except Exception as bug:
                self._bugs.report(self.log, "a change of the link could not be dealt with", bug)
