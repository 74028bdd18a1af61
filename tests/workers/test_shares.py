"""What a worker gets of the settings."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from heimdall.config.settings import Accept, Admit, Cache, Fetch, Redis, Settings
from heimdall.workers.shares import from_json, share, to_json


class Shares(SynchronousTestCase):
    """The settings of a node with workers."""

    def test_divided(self) -> None:
        """What bounds the node is divided, to no less than one; what bounds a client is whole."""
        settings = Settings(
            accept=Accept(tcp_connections=10, inflight=2, tcp_connections_per_client=7),
            admit=Admit(rate=100),
            cache=Cache(memory=9_000_000),
            redis=Redis(most_writes=6, regions=("redis://192.0.2.1",)),
        )
        worker = share(settings, 3)
        accept = worker.accept
        self.assertEqual((accept.tcp_connections, accept.inflight, accept.tcp_connections_per_client), (3, 1, 7))
        self.assertEqual((worker.cache.memory, worker.admit.rate, worker.redis.most_writes), (3_000_000, 100, 2))
        self.assertEqual(worker.redis.regions, ())

    def test_there_and_back(self) -> None:
        """Settings are the same after their way through JSON."""
        settings = Settings(
            accept=Accept(listen=("127.0.0.1:53",)),
            admit=Admit(block=("a.example", "b.example"), rate=0.5),
            fetch=Fetch(upstreams=("192.0.2.1:53",), routes={"example": ("192.0.2.2:53",)}),
            redis=Redis(secret="s" * 32),
        )
        self.assertEqual(from_json(json.loads(json.dumps(to_json(settings)))), settings)
