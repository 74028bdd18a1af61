"""Ports of tests are given once."""

from __future__ import annotations

import socket
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests import ports
from tests.house.tree import ROOT

HOSTS = ("127.0.0.1",) if ports.NO_IPV6 else ("127.0.0.1", "::1")

ANOTHER = """
import sys
from tests import ports
ports.FIRST, ports.LAST = map(int, sys.argv[1:])
print(ports.free_port())
"""


class Ports(SynchronousTestCase):
    """Below those that anybody else takes."""

    def test_free(self) -> None:
        """A free port can be had over both transports, and is given once."""
        given = [ports.free_port(host) for host in HOSTS for _ in range(10)]
        self.assertEqual(len(set(given)), 10 * len(HOSTS))
        self.assertTrue(all(ports.FIRST <= port <= ports.LAST for port in given))
        with socket.create_server(("127.0.0.1", given[0])), socket.socket(type=socket.SOCK_DGRAM) as udp:
            udp.bind(("127.0.0.1", given[0]))

    def test_taken(self) -> None:
        """One that somebody has is not given, over whichever transport, nor one that was given before."""
        first = self.only()
        self.assertRaises(RuntimeError, ports.free_port)
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(type=kind) as taken:
                taken.bind(("127.0.0.1", first))
                ports._given.clear()
                self.assertRaises(RuntimeError, ports.free_port)
        self.assertEqual(ports.free_port(), first)

    def test_another_process(self) -> None:
        """What one process was given no other one is, though nobody listens there yet."""
        first = self.only()
        done = subprocess.run(
            [sys.executable, "-c", ANOTHER, str(first), str(first)],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        self.assertIn("RuntimeError", done.stderr)
        self.assertEqual(done.stdout, "")

    def only(self) -> int:
        """Have one port alone to give, which is given, and return it."""
        self.patch(ports, "_given", set())
        first = ports.free_port()
        self.patch(ports, "FIRST", first)
        self.patch(ports, "LAST", first)
        return first
