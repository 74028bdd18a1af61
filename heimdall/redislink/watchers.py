"""Who is told when a link changes."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger


class Watchers:
    """Calls everybody; whoever fails is logged, and keeps nothing from the others."""

    log = Logger()

    def __init__(self) -> None:
        self._watchers: list[Callable[[], None]] = []

    def add(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` from now on."""
        self._watchers.append(changed)

    def tell(self) -> None:
        """Call everybody."""
        for changed in self._watchers:
            try:
                changed()
            except Exception:
                self.log.failure("a change of the link could not be dealt with")
