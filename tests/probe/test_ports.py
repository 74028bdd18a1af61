"""Binding the addresses that a configuration names."""

from __future__ import annotations

import socket

from twisted.trial.unittest import SynchronousTestCase

from heimdall.probe import ports as module
from heimdall.probe.found import FAIL, NOTE, OK
from heimdall.probe.ports import ports
from tests.ports import free_port
from tests.running import Running


class Ports(SynchronousTestCase):
    """What is found where somebody wants to serve."""

    def test_free(self) -> None:
        """A free address is ok, and free again afterwards."""
        dns, http = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        for _ in range(2):
            self.assertEqual([(each.what, each.state) for each in ports([dns], http, True)], [(dns, OK), (http, OK)])

    def test_in_use(self) -> None:
        """A port that some program has is a failure."""
        self.patch(module, "WAIT", 0.05)
        with socket.create_server(("127.0.0.1", 0)) as other:
            text = f"127.0.0.1:{other.getsockname()[1]}"
            [dns, http] = ports([text], text, True)
            self.assertEqual((dns.state, http.state), (FAIL, FAIL))
            self.assertIn("another program uses the port", dns.said)

    def test_node(self) -> None:
        """Where a node of ours serves already, that is said: it is no failure to check what is running."""
        self.patch(module, "WAIT", 60.0)
        node = Running("--no-redis", "--upstream=127.0.0.1:1")
        self.addCleanup(node.clean)
        found = ports([f"127.0.0.1:{node.port}"], f"127.0.0.1:{node.http}", True)
        self.assertEqual([each.state for each in found], [NOTE, NOTE])
        self.assertEqual(found[0].said, "in use: a DNS server answers there, of this node")
        self.assertEqual(found[1].said, "a node serves there already; it is ready")
        [alone] = ports([f"127.0.0.1:{node.port}"], "", True)
        self.assertEqual((alone.state, alone.said), (FAIL, "in use: a DNS server answers there"))

    def test_lacking(self) -> None:
        """An address that this machine lacks is a failure where it was asked for, and of a default a note."""
        text = f"192.0.2.1:{free_port()}"
        self.assertEqual([each.state for asked in (True, False) for each in ports([text], "", asked)], [FAIL, NOTE])
