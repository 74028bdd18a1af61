"""A process that ends with this one: started, told to end, killed, and what it said last."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol
from twisted.python.failure import Failure

from heimdall.redis_server import launcher

SAID: Final = 2000
"""Bytes that are kept of what it says, its last."""


class Child(ProcessProtocol):
    """A process, started by the :mod:`launcher <heimdall.redis_server.launcher>`.

    :ivar began: when it was started; ``process`` its number in the system, 0 before that.
    :ivar answered: for its owner to note that it does what it is for.
    :ivar gone: whether it has ended; ``why`` how, or why it has to.

    :param on_end: called with itself once it is gone.
    """

    transport: Any

    def __init__(self, reactor: Any, on_end: Callable[[Child], object]) -> None:
        self.answered = self.gone = False
        self.began = reactor.seconds()
        self.process = 0
        self.why = ""
        self._reactor, self._on_end = reactor, on_end
        self._said = b""
        self._enders: list[Deferred[None]] = []

    def spawn(self, command: Sequence[str], environ: Mapping[str, str], descriptors: Mapping[int, int | str]) -> None:
        """Start it.

        :param descriptors: what it has open beside its standard input, by its own numbers: one of ours, or "r" where
            it writes and we read.
        :raises OSError: the system does not let us.
        """
        launching = [sys.executable, "-I", "-S", launcher.__file__, str(os.getpid()), *command]
        self._reactor.spawnProcess(self, launching[0], launching, env=dict(environ), childFDs={0: "w", **descriptors})

    def end(self, within: float) -> Deferred[None]:
        """Tell it to end, and kill it if that takes longer; fires when it is gone.

        :param within: seconds that it may take.
        """
        if self.gone:
            return succeed(None)
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("TERM")
        killing = self._reactor.callLater(within, self.kill, "did not end")
        ended: Deferred[None] = Deferred()
        self._enders.append(ended)
        return ended.addCallback(lambda _: killing.cancel() if killing.active() else None)

    def kill(self, why: str) -> None:
        """Kill it."""
        self.why = self.why or why
        self._kill_group()
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")

    def connectionMade(self) -> None:
        """Note its number."""
        self.process = int(self.transport.pid)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Keep the last of what it says, to tell why it ended."""
        self._said = (self._said + data)[-SAID:]

    def processExited(self, reason: Failure) -> None:
        """Leave nothing behind that it had started, and tell how it ended."""
        self.gone = True
        self._kill_group()
        number, status = getattr(reason.value, "signal", None), getattr(reason.value, "exitCode", None)
        how = f"was killed by {signal.Signals(number).name}" if number else f"ended with {status}{self._last_words()}"
        self.why = self.why or how
        enders, self._enders = self._enders, []
        self._on_end(self)
        for ender in enders:
            ender.callback(None)

    def _kill_group(self) -> None:
        if self.process:
            with suppress(OSError):
                os.killpg(self.process, signal.SIGKILL)

    def _last_words(self) -> str:
        """Return the last line that Redis marks as a warning, or else the last, without time and process."""
        lines = [line.strip() for line in self._said.decode(errors="replace").splitlines() if line.strip()]
        wrong = [line.partition(" # ")[2] for line in lines if " # " in line and "WARNING" not in line]
        last = wrong[-1] if wrong else (lines[-1].partition(" * ")[2] or lines[-1]) if lines else ""
        return f": {last[:200]}" if last.isprintable() and last else ""


class Asker(Protocol):
    """Says one thing over a connection of its own; ``reply`` fires with the beginning of the reply."""

    transport: Any

    def __init__(self, said: bytes) -> None:
        self.said = said
        self.reply: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        """Say it."""
        self.transport.write(self.said)

    def dataReceived(self, data: bytes) -> None:
        """Take the reply."""
        if not self.reply.called:
            self.reply.callback(data)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Take nothing for a reply."""
        if not self.reply.called:
            self.reply.callback(b"")


def ask(reactor: Any, endpoint: IStreamClientEndpoint, said: bytes, within: float) -> Deferred[bytes]:
    """Say one thing at an endpoint; fires with the beginning of the reply, or fails.

    :param within: seconds that all of it may take.
    """
    asker = Asker(said)
    factory = Factory.forProtocol(lambda: asker)
    factory.noisy = False

    def hang_up(result: Any) -> Any:
        if asker.transport is not None:
            asker.transport.abortConnection()
        return result

    asking: Deferred[bytes] = endpoint.connect(factory).addCallback(lambda _: asker.reply)
    return asking.addTimeout(within, reactor).addBoth(hang_up)
