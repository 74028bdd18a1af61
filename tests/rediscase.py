"""What the tests that run against real servers on real sockets share."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

from heimdall.redislink import Startable, connect_to
from tests.redisserver import RedisServer
from tests.virtual_time import CLOCK, VirtualCase, until_of

real_reactor: Any = global_reactor
reactor: Any = CLOCK
"""The reactor of these tests: no test waits on it, and none is late on a busy machine."""

PATIENT: dict[str, Any] = {"slow": 5.0, "time_limit": 15.0, "silent": 30.0}
"""How long a link waits for a Redis that is well, in real time: a busy machine may stand still for a while."""

pause, really_pause = partial(deferLater, reactor), partial(deferLater, real_reactor)
"""Let so many seconds pass."""

until, really_until = until_of(reactor), until_of(real_reactor)
"""Wait until something is true; return the seconds it took."""


class RedisCase(VirtualCase):
    """Starts servers and links, and takes both down again; what our own log said is in ``events``."""

    def setUp(self) -> None:
        """Listen to the log."""
        super().setUp()
        self.events: list[str] = []
        observer: ILogObserver = self._observe  # type: ignore[assignment]
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def _observe(self, event: LogEvent) -> None:
        if str(event.get("log_namespace", "")).startswith("heimdall"):
            self.events.append(str(event["log_format"]).format(**event))

    def server(self, **settings: Any) -> RedisServer:
        """Start a Redis."""
        server = RedisServer(**settings)
        self.addCleanup(server.stop)
        return server.start()

    def linked(self, url: str, **settings: Any) -> Startable:
        """Start a link, as patient as its settings do not say otherwise."""
        link = connect_to(self.reactor, url, **PATIENT | settings)
        self.addCleanup(link.close)
        link.start()
        return link
