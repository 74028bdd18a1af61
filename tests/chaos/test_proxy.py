"""The bad network between nodes and Redis."""

from __future__ import annotations

import socket
import time

from twisted.trial.unittest import SynchronousTestCase

from tests.chaos.proxy import Proxy
from tests.redisserver import RedisServer

PING, PONG = b"PING\r\n", b"+PONG\r\n"


class Proxies(SynchronousTestCase):
    """A proxy before a real Redis."""

    def setUp(self) -> None:
        redis = RedisServer().start()
        self.addCleanup(redis.stop)
        self.proxy = Proxy(redis.port).start()
        self.addCleanup(self.proxy.stop)
        self.tcp = socket.create_connection(("127.0.0.1", self.proxy.port), 10)
        self.addCleanup(self.tcp.close)
        self.ping()

    def ping(self, times: int = 1) -> float:
        """Send so many commands, a segment each, and read their replies; return the seconds it took."""
        began, left = time.monotonic(), times * len(PONG)
        for _ in range(times):
            self.tcp.sendall(PING)
            time.sleep(0.002)
        told = b""
        while len(told) < left:
            told += self.tcp.recv(65536)
        self.assertEqual(told, PONG * times)
        return time.monotonic() - began

    def test_delay(self) -> None:
        """A command and its reply take longer by the delay, half of it each way; once it is gone nothing is held."""
        self.proxy.delay = 0.2
        self.assertGreaterEqual(self.ping(), 0.2)
        self.assertEqual(self.proxy._hold(), 0.1)
        self.proxy.delay = 0.0
        self.ping()
        self.assertEqual(self.proxy._hold(), 0.0)

    def test_loss(self) -> None:
        """What is lost comes later, whole and in order, as TCP has it."""
        self.proxy.loss = 0.5
        self.assertGreaterEqual(self.ping(20), 0.2)

    def test_end(self) -> None:
        """When the proxy ends, so do its connections."""
        self.proxy.stop()
        self.assertEqual(self.tcp.recv(10) if not self.reset() else b"", b"")

    def reset(self) -> bool:
        """Say whether the connection was reset rather than closed."""
        try:
            self.tcp.recv(10, socket.MSG_PEEK)
        except ConnectionResetError:
            return True
        return False
