"""Every scenario of this folder, each as one test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.scenarios.moments import STOOD_STILL, Watch
from tests.scenarios.player import Player
from tests.scenarios.story import Untrue, rule

FOLDER = Path(__file__).parent

TRIES = 3
"""How often a scenario is played while the machine stands still in the middle of it."""


class Scenarios(TestCase):
    """The scenarios, by the names of their files."""

    timeout = 300

    def play(self, path: Path) -> Deferred[None]:
        """Play one; what goes wrong while the machine stands still says nothing of us."""
        return Deferred.fromCoroutine(self._play(path))

    async def _play(self, path: Path) -> None:
        from twisted.internet import reactor

        for left in reversed(range(TRIES)):
            folder = Path(self.mktemp())
            folder.mkdir()
            watch = Watch(reactor)
            try:
                with watch:
                    await Player(reactor, folder.resolve()).play(path)
            except Untrue:
                if not (left and watch.longest > STOOD_STILL):
                    raise
            else:
                return


def _test(path: Path) -> Callable[[Scenarios], Deferred[None]]:
    def test(self: Scenarios) -> Deferred[None]:
        return self.play(path)

    test.__name__ = "test_" + path.stem.replace("-", "_")
    test.__qualname__ = f"Scenarios.{test.__name__}"
    test.__doc__ = rule(path)
    return test


for _path in sorted(FOLDER.glob("*.scenario")):
    _made: Any = _test(_path)
    setattr(Scenarios, _made.__name__, _made)
