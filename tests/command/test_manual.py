"""The manual page, as man would show it."""

from __future__ import annotations

import shutil
import subprocess

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from heimdall.command.completion import spoken
from heimdall.command.main import parser
from heimdall.command.manual import manual


class Manual(SynchronousTestCase):
    """heimdall(1)"""

    def test_whole(self) -> None:
        """It tells of every command, every option and every exit code."""
        page = manual().replace("\\-", "-")
        for command, told in spoken(parser()).items():
            self.assertIn(f'.SS "{command}' if command else ".SH NAME", page)
            for taken in (*told.options, *told.places):
                self.assertIn(" ".join(filter(None, (".B", ", ".join(taken.names), taken.value))), page)
                self.assertIn(taken.about, page)
        self.assertIn("130 interrupted", page)

    def test_read(self) -> None:
        """The formatter of man finds nothing wrong with it."""
        if shutil.which("groff") is None:
            raise SkipTest("no groff here: apt-get install groff-base")
        done = subprocess.run(
            ["groff", "-man", "-Tutf8", "-ww"], input=manual(), capture_output=True, text=True, check=True, timeout=60
        )
        self.assertEqual(done.stderr, "")
        self.assertIn("ask a running node", done.stdout)
