"""Run an embedded Redis: start it, watch it, start it again, end it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger

from heimdall.redis_server.child import Child, ask
from heimdall.redis_server.home import Home
from heimdall.tally import Count, Gauge, Tally

READY: Final = 2.0
"""Seconds that a node waits at most for its Redis before it goes on without."""

STEP: Final = 0.02
"""Seconds between two looks at one that does not answer yet."""

LOOK: Final = 1.0
"""Seconds between two looks at one that does."""

REPLY: Final = 5.0
"""Seconds that it has to reply to a look."""

HUNG: Final = 30.0
"""Seconds without a sign of life after which it is killed: a slow disk may hold it for some."""

SETTLED: Final = 10.0
"""Seconds after which one that ends is started again at once."""

SHORTEST: Final = 0.1
"""Seconds to wait before one that ended sooner is started again; each time twice as long, up to ``LONGEST``."""

LONGEST: Final = 10.0

TRIES: Final = 3
"""Starts in a row that come to nothing; then the data are taken for unreadable, and one is made without them."""

ENDS: Final = 5.0
"""Seconds that it has to end; then it is killed."""


class EmbeddedRedis:
    """One Redis, on a Unix socket, as long as the node runs.

    :ivar up: whether it answers.

    :param program: the path of a redis-server.
    :param home: the folder of it, taken when it is started at the latest.
    :param memory: bytes that it may take.
    """

    _log = Logger()

    def __init__(self, reactor: Any, program: str, home: Home, memory: int) -> None:
        self.home = home
        self.up = False
        self._reactor, self._program, self._memory = reactor, program, memory
        self._child: Child | None = None
        self._again: IDelayedCall | None = None
        self._started: Deferred[None] | None = None
        self._watching: Deferred[None] = succeed(None)
        self._stopping = self._aside = False
        self._wait, self._failures, self._told = 0.0, 0, ""
        self._endings = Count(
            "heimdall_redis_server_ended_total", "Times that the embedded Redis ended though nobody told it to."
        )
        self.tallies: list[Tally] = [
            self._endings,
            Gauge("heimdall_redis_server_up", "1 while the embedded Redis answers, else 0.", self._is_up, across="max"),
        ]

    def start(self) -> Deferred[None]:
        """Start it, and from now on keep it running; fires when it answers, or is not to be waited for."""
        started = self._started = Deferred()
        self._spawn()
        return started.addTimeout(READY, self._reactor, lambda *_: None)

    def stop(self) -> Deferred[None]:
        """End it, and give its folder up; fires when that is done, within seconds."""
        self._stopping = True
        if self._again is not None and self._again.active():
            self._again.cancel()
        self._go_on()
        ending = succeed(None) if self._child is None else self._child.end(ENDS)
        return ending.addCallback(lambda _: self.home.leave())

    def limit(self, memory: int) -> None:
        """Let it take so many bytes from now on."""
        if memory != self._memory:
            self._memory = memory
            # Where it does not answer now, the next one is started with that.
            self._ask(b"CONFIG SET maxmemory %d\r\n" % memory).addErrback(lambda _: None)

    def _is_up(self) -> int:
        return int(self.up)

    # One life after the other.

    def _spawn(self) -> None:
        child = self._child = Child(self._reactor, self._ended)
        try:
            self.home.take()
            with suppress(FileExistsError):
                os.mkdir(self.home.data, 0o700)
            child.spawn(self._command(), {"LC_ALL": "C"}, {1: "r", 2: "r", 3: self.home.lock})
        except (OSError, ValueError) as error:
            self._child = None
            why = getattr(error, "strerror", None) or str(error)
            self._failed(f"cannot be run in {self.home.folder}: {why}", 0.0, False)
            return
        if not child.gone:
            self._watching = Deferred.fromCoroutine(self._watch(child))
            self._watching.addErrback(lambda failure: failure.trap(CancelledError) and None)

    def _command(self) -> Sequence[str]:
        home = self.home
        settings = {
            "port": "0",
            "unixsocket": home.socket,
            "unixsocketperm": "600",
            "dir": home.data,
            "pidfile": f"{home.folder}/redis.pid",
            "daemonize": "no",
            "logfile": "",
            "databases": "1",
            "maxclients": "1000",
            "maxmemory": str(self._memory),
            "maxmemory-policy": "volatile-lru",
            "save": "",
            "appendonly": "yes" if home.kept else "no",
            "appendfsync": "everysec",
            # By default it is rewritten from 64 MB on, however little memory there is.
            "auto-aof-rewrite-min-size": str(self._memory),
        }
        return [self._program, *(word for name, value in settings.items() for word in (f"--{name}", value))]

    async def _watch(self, child: Child) -> None:
        """Look whether it answers; kill it when it gives no sign of life."""
        heard = self._reactor.seconds()
        while True:
            try:
                reply = await self._ask(b"PING\r\n")
            except Exception:  # not there yet, or hung, or gone
                reply = b""
            if child.gone:
                return
            now = self._reactor.seconds()
            heard = now if reply else heard
            if reply.startswith(b"+PONG") and not child.answered:
                self._answers(child)
            if now - heard > HUNG:
                child.kill(f"gave no sign of life for {HUNG:g} s")
                return
            await deferLater(self._reactor, LOOK if child.answered else STEP)

    def _ask(self, command: bytes) -> Deferred[bytes]:
        return ask(self._reactor, UNIXClientEndpoint(self._reactor, self.home.socket, timeout=REPLY), command, REPLY)

    def _answers(self, child: Child) -> None:
        child.answered = self.up = True
        self._failures, self._told = 0, ""
        if self._aside:
            self._aside = False
            self._log.warn(
                "The embedded Redis could not read what it had kept: it begins empty; the old data are in {aside}",
                aside=self.home.aside,
            )
        self._log.info(
            "The embedded Redis serves at {socket}: {program}, process {pid}, with {memory} MB",
            socket=self.home.socket, program=self._program, pid=child.process, memory=self._memory // 1_000_000,
        )  # fmt: skip
        self._go_on()

    def _ended(self, child: Child) -> None:
        self._child = None
        self.up = False
        self._watching.cancel()
        if not self._stopping:
            if child.answered:
                self._endings.add()
            self._failed(child.why, self._reactor.seconds() - child.began, child.answered)

    def _failed(self, why: str, lived: float, answered: bool) -> None:
        """Try again, later and later; say why, where that is news."""
        self._failures = 0 if answered else self._failures + 1
        self._wait = 0.0 if lived >= SETTLED else min(max(2 * self._wait, SHORTEST), LONGEST)
        if answered:
            self._log.error("The embedded Redis {why}; the next one starts in {wait:g} s", why=why, wait=self._wait)
        elif not self._aside and (kind := re.sub(r"\d+", "", why)) != self._told:
            self._told = kind
            self._log.error("The embedded Redis does not start: it {why}; the node goes on without, and tries", why=why)
        self._try_without_data()
        self._go_on()
        self._again = self._reactor.callLater(self._wait, self._spawn)

    def _try_without_data(self) -> None:
        """After some tries find out whether the data are at fault: broken by a crash, or of a later version."""
        with suppress(OSError):
            if self._aside:
                self._aside = False
                self.home.put_back()
            elif self.home.kept and self._failures and self._failures % TRIES == 0:
                self.home.set_aside()
                self._aside = True

    def _go_on(self) -> None:
        """Let the node go on, which waits for the first one."""
        started, self._started = self._started, None
        if started is not None and not started.called:
            started.callback(None)
