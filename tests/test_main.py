"""What a run of all tests ends with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.__main__ import MOST_TOLD, failures

CASES = """
from twisted.trial.unittest import SynchronousTestCase

class Cases(SynchronousTestCase):
    def test_bug(self):
        raise RuntimeError("it ended with code 1; its log:\\n" + self.log)

    def test_wrong(self):
        self.assertEqual(1, 2)

    def test_skipped(self):
        pass
    test_skipped.skip = "not here"

    def test_good(self):
        pass

    log = "\\n".join(map("line {}".format, range(LINES)))
"""


RAISED = "builtins.RuntimeError: it ended with code 1; its log:"


class End(SynchronousTestCase):
    """The end is what people look at first, and may be all that they are shown."""

    def told(self, lines: int) -> list[str]:
        """Return what is told of a run of trial in which a test failed with so many lines."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "test_cases.py").write_text(CASES.replace("LINES", str(lines)))
        command = [sys.executable, "-m", "twisted.trial", "--jobs=1", "test_cases"]
        done = subprocess.run(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        return failures(done.stdout.splitlines())

    def test_failures(self) -> None:
        """Of each failure it tells what was raised, and where; not the way there, nor of tests that were left out."""
        told = self.told(2)
        bug = [RAISED, "line 0", "line 1", "test_cases.Cases.test_bug"]
        wrong = ["twisted.trial.unittest.FailTest: 1 != 2", "test_cases.Cases.test_wrong"]
        self.assertIn(told, (bug + wrong, wrong + bug))
        self.assertEqual(failures(["PASSED (successes=1)"]), [])

    def test_long(self) -> None:
        """What is long is told from both its ends."""
        told = [line for line in self.told(1000) if "FailTest" not in line and "test_wrong" not in line]
        self.assertEqual(len(told), MOST_TOLD + 1)
        self.assertEqual(told[0], RAISED)
        self.assertEqual(told[-2:], ["line 999", "test_cases.Cases.test_bug"])
