"""A start is quick: what a node does not need in order to serve is not loaded for it."""

from __future__ import annotations

import subprocess
import sys

from tests.house.tree import ROOT, House

LATE = (
    "dns", "heimdall.command", "heimdall.local_cluster", "heimdall.probe", "heimdall.redis_server",
    "heimdall.redislink.atlas", "heimdall.redislink.cluster", "heimdall.redislink.sentinel", "heimdall.testing",
    "heimdall.workers", "sqlite3", "tomllib", "twisted.conch", "twisted.words",
)  # fmt: skip
"""What only some need: other commands, other kinds of Redis, several processes, a file to read, tests."""

MOST = 295
"""Modules that are loaded on top of those of twistd and its reactor: 281 when this was written."""

_START = """
import gc, sys
from twisted.application import app
from twisted.internet import reactor
before = set(sys.modules)
from heimdall import tap
options = tap.Options()
options.environ = {}
options.parseOptions(["--listen=127.0.0.1:0", "--http=127.0.0.1:0", "--upstream=127.0.0.1:1", "--redis=redis://127.0.0.1:1"])
tap.makeService(options)
assert gc.isenabled() and gc.get_freeze_count()
print("\\n".join(set(sys.modules) - before))
"""


class Start(House):
    """All that is loaded until a node with Redis and pages is built."""

    def test_loaded(self) -> None:
        """What is needed late, or by few, is loaded late; and no more is loaded than there was."""
        command = [sys.executable, "-c", _START]
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        self.assertEqual(told.returncode, 0, told.stderr)
        loaded = told.stdout.split()
        self.assertIn("heimdall.node", loaded)
        self.assertNone(
            [
                f"{name} is loaded at every start"
                for name in sorted(loaded)
                for late in LATE
                if name == late or name.startswith(f"{late}.")
            ]
        )
        self.assertLess(len(loaded), MOST)
