"""The end of a node, whatever hangs."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.running import Running

# The C library looks names up at port 53 alone, which a test must not touch: so the wait is put where it waits.
SLOW_NAMES = """
import socket, time
kept = socket.getaddrinfo
def slow(host, *more, **most):
    time.sleep(3600 if host == "redis.invalid" else 0)
    return kept(host, *more, **most)
socket.getaddrinfo = slow
"""


class Ends(SynchronousTestCase):
    """SIGTERM."""

    def test_names_hang(self) -> None:
        """A node whose machine waits for a DNS that hangs, to find Redis, ends all the same."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(SLOW_NAMES)
        path = f"{folder}{os.pathsep}{Path(__file__).resolve().parent.parent.parent}"
        node = Running("--redis=redis://redis.invalid", "--upstream=127.0.0.1:1", environ={"PYTHONPATH": path})
        self.addCleanup(node.clean)
        self.assertEqual(node.end(), 0)
