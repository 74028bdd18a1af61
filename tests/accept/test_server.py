"""The server factory of twisted.names, with our engine."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.names.server import DNSServerFactory
from twisted.trial.unittest import SynchronousTestCase

from heimdall.accept.crowd import Crowd
from heimdall.accept.engine import Faults
from heimdall.accept.front import Front
from heimdall.accept.server import Server
from heimdall.accept.stream import Stream
from heimdall.cache.memory import Memory
from tests.accept.test_front import Source


class Serving(SynchronousTestCase):
    """What Twisted asks of a factory."""

    def test_kind(self) -> None:
        """It is a server factory of twisted.names, whose connections are ours."""
        clock = Clock()
        front = Front([], Memory(1_000_000), [], Source(), clock)
        server = Server(front, Crowd(clock, Faults(clock)))
        self.assertIsInstance(server, DNSServerFactory)
        self.assertEqual(server.logPrefix(), "DNS over TCP")
        self.assertIsInstance(server.buildProtocol(None), Stream)
