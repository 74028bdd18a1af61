"""The benchmark of what replies take to leave."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import replies
from tests.accept.test_segments import NOT_SENT


class Replies(SynchronousTestCase):
    """What it measures, and writes."""

    skip = NOT_SENT

    def test_together(self) -> None:
        """To one client a whole batch costs less together than one by one, and of one size less than of several."""
        alone, mixed, together = (
            replies.microseconds(1, 64, cut, lengths, 50) for cut, lengths in ((False, 1), (True, 16), (True, 1))
        )
        self.assertLess(together, mixed)
        self.assertLess(mixed, alone)

    def test_table(self) -> None:
        """The table and the file have a row for each number of clients that a batch has room for."""
        file, out = Path(self.mktemp()), io.StringIO()
        self.patch(sys, "argv", ["replies", "--times", "1", "--json", str(file)])
        self.patch(sys, "stdout", out)
        self.assertEqual(replies.main(), 0)
        found = [(one["clients"], one["batch"]) for one in json.loads(file.read_text())]
        self.assertEqual(
            found, [(count, batch) for batch in (64, 128, 192) for count in replies.CLIENTS if count <= batch]
        )
        self.assertEqual(len(out.getvalue().splitlines()), len(found) + 1)
