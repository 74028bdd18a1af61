"""Nodes of tests start where they can, and say why where they cannot."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests import running
from tests.ports import free_port
from tests.running import Running, constants


class Constants(SynchronousTestCase):
    """What a process that a test starts takes for granted."""

    def test_other(self) -> None:
        """Constants have the values that the test gives, functions are called with other arguments, where none are."""
        program = (
            "from heimdall.peers import inspect; from heimdall import sharing;"
            "print(inspect.WAIT, sharing.connect_to.keywords)"
        )
        environ = {**os.environ, **constants(peers__inspect__WAIT=7.5, sharing__connect_to={"slow": 3.0})}
        done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout, "7.5 {'slow': 3.0}\n")


class Starting(SynchronousTestCase):
    """On ports that somebody else may take at any moment."""

    def given(self, *ports: int) -> list[int]:
        """Have these ports given first; return those that are yet to be given."""
        left = list(ports)
        self.patch(running, "free_port", lambda: left.pop(0) if left else free_port())
        return left

    def test_taken(self) -> None:
        """A node whose port is taken before it has it starts on another one, with a log that says nothing of it."""
        with socket.create_server(("127.0.0.1", free_port())) as taken:
            left = self.given(taken.getsockname()[1])
            node = Running("--no-redis")
        self.addCleanup(node.clean)
        self.assertEqual((left, node.get("/ready")[0]), ([], 200))
        self.assertNotIn("another program", node.log)

    def test_all_taken(self) -> None:
        """After three ports that are taken it is told that it ended, how, and what it said."""
        with socket.create_server(("127.0.0.1", free_port())) as taken:
            port = taken.getsockname()[1]
            left = self.given(port, free_port(), port, free_port(), port, free_port(), free_port())
            error = self.assertRaises(RuntimeError, Running, "--no-redis")
        self.assertEqual(len(left), 1)
        self.assertIn("the node did not start: ended with code 1", str(error))
        self.assertIn(f"{port} (TCP): another program uses the port", str(error))

    def test_other_reason(self) -> None:
        """One that does not start for another reason is not started again."""
        left = self.given(*(free_port() for _ in range(3)))
        error = self.assertRaises(RuntimeError, Running, "--no-such-option")
        self.assertEqual(len(left), 1)
        self.assertIn("--no-such-option", str(error))
