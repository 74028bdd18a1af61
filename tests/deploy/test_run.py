"""``make run``: with a Redis of its own, unless something else is said of Redis."""

from __future__ import annotations

import os
import shutil
import subprocess

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.house.tree import ROOT


class Run(SynchronousTestCase):
    """What would be run."""

    def told(self, target: str, arguments: str = "", **environ: str) -> str:
        """Return the command that make would run."""
        if not shutil.which("make"):
            raise SkipTest("no make here: apt-get install make")
        own = ("MAKE", "HEIMDALL_", "REDIS_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        command = ["make", "-n", target, f"ARGS={arguments}"]
        done = subprocess.run(command, cwd=ROOT, env=kept | environ, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[-1]

    def test_own(self) -> None:
        """By itself, or where other things are said, it keeps answers in a folder of this checkout."""
        for arguments in ("", "--upstream 192.0.2.1 --listen 127.0.0.1:53", "--check"):
            told = self.told("run", arguments)
            self.assertIn('heimdall --redis "embedded:$(cd .venv && pwd)/redis" ' + arguments, told)

    def test_other(self) -> None:
        """What is said of Redis, in the arguments or by a variable, or a file that may say it, is obeyed."""
        for arguments in ("--redis redis://h", "--redis=redis://h", "--no-redis", "--config x", "--config=x", "-c x"):
            self.assertNotIn("embedded", self.told("run", arguments), arguments)
        for name in ("HEIMDALL_REDIS_URL", "HEIMDALL_REDIS_ENABLED", "REDIS_URL", "HEIMDALL_CONFIG"):
            self.assertNotIn("embedded", self.told("run", **{name: "x"}), name)

    def test_cluster(self) -> None:
        """The cluster is run by the Python of the checkout, and is told what stands in the arguments."""
        told = self.told("cluster", "--upstream 192.0.2.1")
        self.assertTrue(told.endswith("-m heimdall.local_cluster --folder .venv/cluster --upstream 192.0.2.1"), told)
