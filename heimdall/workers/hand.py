"""One worker, as its parent sees it: a process, the channel to it, and how it does."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from heimdall.accept.sockets import Bound
from heimdall.bugs import reporter
from heimdall.interfaces import Unanswered
from heimdall.signals import held_back
from heimdall.tally import Tally
from heimdall.totals import heard
from heimdall.workers import PARENTS
from heimdall.workers.channel import Channel, Refused

START: Final = 60.0
"""Seconds that a worker may take to serve: it may have to read long lists."""

HUNG: Final = 5
"""Looks in a row, one a second, that a worker may leave unanswered; then it is killed."""

CLOSED: Final = 5.0
"""Seconds that a worker may live on behind its end of the channel, which it closes when it ends; then it is killed."""

SILENT: Final = 2
"""Looks in a row after which another one serves on its sockets as well."""

_CHANNEL: Final = 3
_FIRST: Final = 4
_LEVELS: Final = {level.name: level for level in LogLevel.iterconstants()}
# These were for the parent, and would be wrong of a worker.
_PARENTS: Final = {"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}


class Hand(ProcessProtocol):
    """Starts one process, and stays with it to its end.

    :param number: which of the workers it is, from 0.
    :param sets: the sockets of all of them.
    :param changed: called with itself when it serves from now on, and when it is gone.
    :param judge: called with itself, and the names that a policy of it wants to be judged again.
    """

    transport: Any
    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        number: int,
        sets: Sequence[Sequence[Bound]],
        changed: Callable[[Hand], object],
        judge: Callable[[Hand, Any], object],
        environ: Mapping[str, str],
    ) -> None:
        self.number = number
        self.serves = self.gone = False
        self.why = ""
        """How it ended, or why it has to."""
        self.refused = ""
        """Why it says that it cannot serve."""
        self.tallies: list[Tally] = []
        self.upstreams: list[Any] = []
        self.covers: list[int] = []
        """The numbers of those whose sockets it serves on as well."""
        self.began = reactor.seconds()
        self._reactor, self._changed, self._judge, self._sets = reactor, changed, judge, sets
        self._missed = 0
        self._looking = self._killed = self._served = False
        self._closing: IDelayedCall | None = None
        self._lookers: list[Deferred[None]] = []
        self._mourners: list[Deferred[None]] = []
        verbs = {"log": self._say, "leaving": self._leaving, "changed": self._judge_again}
        self.channel = Channel(reactor, verbs, lambda: None)
        self._spawn(environ)
        self.process = int(self.transport.pid or 0)
        """Its number in the system."""

    def serve(self, settings: Any, name: str) -> None:
        """Have it serve.

        :param settings: as JSON; ``name`` that of the node.
        """
        numbers = iter(range(_FIRST, _FIRST + 2 * sum(map(len, self._sets))))
        sockets = [
            [(one.text, one.host, one.port, next(numbers), next(numbers)) for one in each] for each in self._sets
        ]
        what = {"settings": settings, "name": name, "number": self.number, "sockets": sockets}
        self.channel.ask("serve", what, START).addCallbacks(self._begun, self._unfit)

    @property
    def silent(self) -> bool:
        """Whether it has not been heard of for too long."""
        return self._missed >= SILENT

    def look(self) -> Deferred[None]:
        """Ask how it does; fires when that is known, or cannot be known. Never fails."""
        if not self.serves:
            return succeed(None)
        looker: Deferred[None] = Deferred()
        self._lookers.append(looker)
        if not self._looking:
            self._looking = True
            self.channel.ask("look", within=START).addCallbacks(self._told, lambda _: None).addBoth(self._looked)
        return looker

    def watch(self) -> None:
        """Look, once a second; kill it if it has left too many looks unanswered."""
        if not self.serves or self.gone:
            return
        if not self._looking:
            self._missed = 0
            self.look()
            return
        self._missed += 1
        if self._missed == HUNG:
            self.kill(f"gave no sign of life for {HUNG} s")

    def kill(self, why: str) -> None:
        """Kill it."""
        self.why = self.why or why
        self._killed = True
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")

    def end(self, within: float) -> Deferred[None]:
        """Have it answer what it was asked, and end; kill it if that takes longer. Fires when it is gone."""
        if self.gone:
            return succeed(None)
        self.channel.ask("end", within=within).addErrback(lambda _: None)
        if not self.serves:
            self.kill("was not ready yet")
        killing = self._reactor.callLater(within, self.kill, "did not end")
        mourner: Deferred[None] = Deferred()
        self._mourners.append(mourner)
        return mourner.addCallback(lambda _: killing.cancel() if killing.active() else None)

    def processEnded(self, reason: Failure) -> None:
        """Note how it ended: by its exit code or a signal, where it was not we who killed it."""
        self.gone, self.serves = True, False
        if self._closing is not None and self._closing.active():
            self._closing.cancel()
        number, status = getattr(reason.value, "signal", None), getattr(reason.value, "exitCode", None)
        if not self._killed or number != signal.SIGKILL:
            how = f"was killed by {_named(number)}" if number else f"ended with exit code {status}"
            before = "" if self._served else " before it served"
            self.why = f"{self.why}, and " * bool(self.why) + how + before
        mourners, self._mourners = self._mourners, []
        self._changed(self)
        for mourner in mourners:
            mourner.callback(None)

    def _spawn(self, environ: Mapping[str, str]) -> None:
        """Start the process. It finds our modules where we do, and has nothing of ours open but what it needs."""
        here, there = socket.socketpair()
        nothing = os.open(os.devnull, os.O_RDWR)
        descriptors = [each.fileno() for one in self._sets for bound in one for each in (bound.udp, bound.tcp)]
        given = {0: nothing, 1: 1, 2: 2, _CHANNEL: there.fileno(), **dict(enumerate(descriptors, _FIRST))}
        clean = {name: value for name, value in environ.items() if name not in _PARENTS}
        clean["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        try:
            here.setblocking(False)
            factory = Factory.forProtocol(lambda: self.channel)
            factory.noisy = False
            self._reactor.adoptStreamConnection(here.fileno(), socket.AF_UNIX, factory)
            command = [sys.executable, "-m", "heimdall.workers"]
            with held_back(*PARENTS):
                self._reactor.spawnProcess(self, command[0], command, env=clean, childFDs=given)
        finally:
            here.close()
            there.close()
            os.close(nothing)

    def _begun(self, _: object) -> None:
        if not self.gone:
            self.serves = self._served = True
            self._changed(self)

    def _leaving(self, _: object) -> Deferred[None]:
        """It was told to end, by whomever: it takes nothing more."""
        self.serves = False
        self._changed(self)
        return succeed(None)

    def _judge_again(self, names: Any) -> Deferred[None]:
        """A policy of it has changed its mind."""
        self._judge(self, names)
        return succeed(None)

    def _unfit(self, failure: Failure) -> None:
        failure.trap(Unanswered)
        if failure.check(Refused):
            self.refused = failure.getErrorMessage()
        if self.gone:
            return
        if self.channel.open:
            self.kill(f"could not serve: {failure.getErrorMessage()}")
        else:
            # It ends by itself, and how it does is what an operator wants to know.
            self._closing = self._reactor.callLater(CLOSED, self.kill, "closed its channel, but did not end")

    def _told(self, told: Any) -> None:
        self.tallies, self.upstreams = heard(told["tallies"]), told["upstreams"]

    def _looked(self, result: object) -> None:
        if isinstance(result, Failure):
            text = "worker {number} tells what cannot be understood"
            reporter(self._reactor).report(self._log, text, result, number=self.number + 1)
        self._looking = False
        lookers, self._lookers = self._lookers, []
        for looker in lookers:
            looker.callback(None)

    def _say(self, told: Any) -> Deferred[None]:
        """Log what it has to say: a node has one log."""
        log = Logger(str(told["from"]))
        level = _LEVELS.get(told["level"], LogLevel.info)
        text = "\n".join(filter(None, (told["event"], told.get("traceback"))))
        log.emit(level, "worker {worker}: {text}", worker=self.number + 1, text=text)
        return succeed(None)


def _named(number: int) -> str:
    """Return the name of a signal; its number where it has none."""
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
