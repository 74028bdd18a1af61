"""What the tests that run against real servers on the real reactor share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from heimdall.redislink import Startable, connect_to
from tests.redisserver import RedisServer

reactor: Any = global_reactor

PATIENT: dict[str, Any] = {"slow": 5.0, "time_limit": 15.0, "silent": 30.0}
"""How long a link waits for a Redis that is well: a busy machine may stand still for a while."""


async def pause(seconds: float) -> None:
    """Let real time pass."""
    await deferLater(reactor, seconds)


async def until(true: Callable[[], object], seconds: float = 60.0) -> float:
    """Wait until something is true; return the seconds it took."""
    began = reactor.seconds()
    while not true():
        if reactor.seconds() - began > seconds:
            raise AssertionError(f"not true after {seconds} s")
        await pause(0.005)
    return float(reactor.seconds() - began)


class RedisCase(TestCase):
    """Starts servers and links, and takes both down again; what our own log said is in ``events``."""

    timeout = 300

    def setUp(self) -> None:
        """Listen to the log."""
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
        link = connect_to(reactor, url, **PATIENT | settings)
        self.addCleanup(link.close)
        link.start()
        return link
