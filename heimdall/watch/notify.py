"""Tell the service manager that started this process how it does: sd_notify, as systemd hears it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from heimdall.tally import Count, Tally

STATUS_EVERY = 10.0
"""Seconds between two words on how we do, at most."""

BEATS = 3
"""Signs of life in the time after which the manager takes us for dead: two may be late."""


class Herald:
    """Says that this process is ready, lives, loads its configuration anew, ends.

    A message that the manager does not take is no failure of ours: it is counted, and what it said goes out with the
    next one.

    :param clock: the reactor's time.
    :param address: the manager's datagram socket: a path, or an abstract name behind an ``@``. Empty: nobody listens.
    :param watchdog: seconds of silence after which the manager takes us for dead; None when it never does.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, address: str = "", watchdog: float | None = None) -> None:
        self._clock = clock
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._every = STATUS_EVERY if watchdog is None else min(STATUS_EVERY, watchdog / BEATS)
        self._watched = watchdog is not None
        self._socket: socket.socket | None = None
        self._beating: LoopingCall | None = None
        self._alive: Callable[[], bool] = lambda: True
        self._status: Callable[[], str] = lambda: ""
        self._owed: dict[str, str] = {}
        self._unheard = self._doubtful = False
        self._errors = Count("heimdall_watch_notify_errors_total", "Messages that the service manager did not take.")
        self.tallies: list[Tally] = [self._errors]

    def start(self, alive: Callable[[], bool], status: Callable[[], str]) -> None:
        """Give signs of life from now on.

        :param alive: whether this process does what it is for; no sign is given while it does not.
        :param status: how it does, in one line.
        """
        if not self._address:
            return
        self._alive, self._status = alive, status
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._beating = LoopingCall(self._beat)
        self._beating.clock = self._clock
        self._beating.start(self._every)

    def ready(self) -> None:
        """Say that we serve, at first or again."""
        for over in ("RELOADING", "MONOTONIC_USEC"):
            self._owed.pop(over, None)
        self._say(READY="1", STATUS=self._status())

    def reloading(self) -> None:
        """Say that the configuration is loaded anew; :meth:`ready` says that this is over."""
        self._owed.pop("READY", None)
        self._say(
            RELOADING="1", MONOTONIC_USEC=str(int(self._clock.seconds() * 1e6)), STATUS="loading the configuration"
        )

    def stopping(self) -> None:
        """Say that we end; the last word."""
        if self._beating is not None:
            self._beating.stop()
            self._beating = None
        self._say(STOPPING="1", STATUS="ending: answering what was asked")
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _beat(self) -> None:
        alive = self._alive()
        if alive is self._doubtful:
            self._doubtful = not alive
            tell = self._log.info if alive else self._log.error
            tell("Alive again" if alive else "Not serving as it should: no signs of life for the service manager")
        if self._watched and alive:
            self._say(STATUS=self._status(), WATCHDOG="1")
        else:
            self._say(STATUS=self._status())

    def _say(self, **fields: str) -> None:
        """Send one message, with what is owed from before."""
        if self._socket is None:
            return
        self._owed |= fields
        message = "\n".join(f"{name}={value}" for name, value in self._owed.items())
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError as error:
            self._errors.add()
            # A sign of life that comes late is none.
            self._owed.pop("WATCHDOG", None)
            if not self._unheard:
                self._unheard = True
                self._log.warn("The service manager does not hear us: {why}", why=error.strerror or str(error))
            return
        self._owed.clear()
        if self._unheard:
            self._unheard = False
            self._log.info("The service manager hears us again")


def herald(clock: IReactorTime, environ: Mapping[str, str]) -> Herald:
    """Return who tells the manager that the environment names; where it names none, nothing is ever said.

    What cannot be used is left out, with a line in the log: it is no reason not to serve DNS.
    """
    log = Logger()
    address = environ.get("NOTIFY_SOCKET", "")
    if address and address[0] not in "/@":
        log.warn("NOTIFY_SOCKET is no path of a Unix socket: the service manager is told nothing")
        address = ""
    watchdog = None
    if environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()) and environ.get("WATCHDOG_USEC"):
        try:
            watchdog = int(environ["WATCHDOG_USEC"]) / 1e6
        except ValueError:
            log.warn("WATCHDOG_USEC is no number: the service manager gets no signs of life")
        else:
            watchdog = watchdog if watchdog > 0 else None
    return Herald(clock, address, watchdog)
