"""Every scenario of this folder, each as one test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from tests.scenarios.player import Player
from tests.scenarios.story import rule
from tests.virtual_time import CLOCK, VirtualCase

FOLDER = Path(__file__).parent


class Scenarios(VirtualCase):
    """The scenarios, by the names of their files."""

    def play(self, path: Path) -> Deferred[None]:
        """Play one."""
        folder = Path(self.mktemp())
        folder.mkdir()
        return Player(CLOCK, folder.resolve()).play(path)


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
