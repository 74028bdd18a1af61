"""The benchmark of what replies take to leave."""

from __future__ import annotations

import io
import json
import sys
from math import ceil
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import replies
from heimdall.accept.slots import Slots
from heimdall.gso import MOST
from tests.accept.test_segments import NOT_SENT


class Replies(SynchronousTestCase):
    """What it measures, and writes."""

    skip = NOT_SENT

    def messages(self, *, together: bool, lengths: int) -> int:
        """Return how many messages the kernel is given of five batches of 64 replies to one client."""
        push, pushed = Slots._push, []

        def counted(slots: Slots, at: int, count: int) -> list[tuple[int, OSError]]:
            pushed.append(count)
            return push(slots, at, count)

        self.patch(Slots, "_push", counted)
        self.assertGreater(replies.microseconds(1, 64, together, lengths, 1), 0)
        return sum(pushed)

    def test_together(self) -> None:
        """To one client a whole batch leaves in as few messages as it fits into, and with several sizes in more."""
        alone, mixed, together = (
            self.messages(together=cut, lengths=lengths) for cut, lengths in ((False, 1), (True, 16), (True, 1))
        )
        self.assertEqual((alone, together), (64 * replies.ROUNDS, ceil(64 / MOST) * replies.ROUNDS))
        self.assertTrue(together < mixed < alone, mixed)

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
