"""What a check says of a Redis that the node would run."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from heimdall.probe import embedded as module
from heimdall.probe.embedded import embedded
from heimdall.probe.found import FAIL, NOTE, OK
from heimdall.redis_server import program
from heimdall.redis_server.home import Home
from tests.redis_server.stage import folder
from tests.redisserver import binary


class Embedded(SynchronousTestCase):
    """The program and the folder; nothing is started, and no folder is made."""

    def setUp(self) -> None:
        self.place = folder(self)
        self.patch(module, "find", binary)

    def found(self) -> list[tuple[str, str]]:
        """Return what is found of the folder: states, and what is said."""
        return [(each.state, each.said) for each in embedded(str(self.place), 64_000_000)]

    def test_good(self) -> None:
        """It says which program would be run, its version, its memory and its folder."""
        ((state, said),) = self.found()
        self.assertEqual(state, OK)
        self.assertRegex(said, rf"^(Redis|Valkey) \d+\.\d+.*, {binary()}; 64 MB; keeps answers in {self.place}$")
        self.assertFalse(self.place.exists())
        (found,) = embedded("", 64_000_000)
        self.assertIn("until the node ends: name a folder to keep them", found.said)

    def test_none(self) -> None:
        """Without a program it fails, with what would install one; so does one that is no Redis."""
        self.patch(module, "find", str)
        ((state, said),) = self.found()
        self.assertEqual((state, program.MISSING in said), (FAIL, True))
        self.patch(module, "find", lambda: "/bin/true")
        ((state, said),) = self.found()
        self.assertEqual((state, "is no Redis" in said), (FAIL, True))

    def test_folder(self) -> None:
        """A folder in use is to be looked at, with the process that uses it; one that is open to others fails."""
        home = Home(str(self.place), {})
        home.take()
        self.addCleanup(home.leave)
        self.assertEqual(self.found()[1:], [(NOTE, f"process {os.getpid()} uses {self.place} now")])
        home.leave()
        Path(self.place).chmod(0o755)
        ((state, said),) = self.found()[1:]
        self.assertEqual((state, f"chmod 700 {self.place}" in said), (FAIL, True))
