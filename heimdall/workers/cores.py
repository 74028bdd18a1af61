"""Keep each worker on a core of its own, and give it what that core takes in, while that is shared out fairly.

What one core takes in and another answers costs both of them half as much again, since all of it has to be fetched out
of the other's cache. Where cores take in too different amounts (a network card with one queue, one client that is busy
on one core), the worker of one has too much to do and another nothing: then the kernel deals out by addresses again.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from twisted.logger import Logger

from heimdall.tally import Gauge, Tally

SINCE: Final = (6, 2)
"""The Linux that gives a datagram to the socket whose SO_INCOMING_CPU is the core that took it in (socket(7))."""

BUSY: Final = 0.7
"""The share of a core that a worker has wanted, from which it is asked whether another one has less than half of it."""

PATIENCE: Final = 3
"""Looks in a row that must find it so."""

REST: Final = (60.0, 3600.0)
"""Seconds until cores are tried again: twice as many each time, up to the last."""


def available() -> Sequence[int]:
    """Return the cores that we may run on; none where the system does not choose sockets by them."""
    linux = re.match(r"(\d+)\.(\d+)", os.uname().release) if os.uname().sysname == "Linux" else None
    if linux is None or (int(linux[1]), int(linux[2])) < SINCE:
        return ()
    return sorted(os.sched_getaffinity(0))


def waited_or_run(pid: int) -> float | None:
    """Return the seconds that a process has run, or waited for a core, so far; None where the system does not say."""
    try:
        run, waited, *_ = Path(f"/proc/{pid}/schedstat").read_text().split()
    except (OSError, ValueError):
        return None
    return (int(run) + int(waited)) / 1e9


def _run_on(pid: int, cores: Sequence[int]) -> None:
    with suppress(ProcessLookupError):  # it has ended: the next one is kept as well
        os.sched_setaffinity(pid, cores)


class Cores:
    """Which worker is kept where: there must be as many cores as workers, and the workers need sockets of their own.

    :param sockets: those for datagrams of each worker.
    :param seconds: the clock.
    :param cores: that we may run on; None for what the system says.
    :param wanted: returns the seconds that a process has run or waited for a core so far; None where none can tell.
    :ivar kept: whether the workers are kept on cores now.
    """

    _log = Logger()

    def __init__(
        self,
        sockets: Sequence[Sequence[socket.socket]],
        seconds: Callable[[], float],
        *,
        cores: Sequence[int] | None = None,
        wanted: Callable[[int], float | None] = waited_or_run,
    ) -> None:
        self.kept = False
        self._sockets, self._seconds, self._wanted = sockets, seconds, wanted
        self._all = tuple(available() if cores is None else cores)
        own = len({id(one) for each in sockets for one in each}) == sum(map(len, sockets))
        self._fit = own and len(sockets) == len(self._all) > 1
        self._pids: Mapping[int, int] = {}
        self._told: dict[int, float] = {}
        self._looked = 0.0
        self._uneven = 0
        self._rest, self._again = REST[0], 0.0
        self.tallies: list[Tally] = [
            Gauge("heimdall_workers_on_cores", "1 while each is kept on a core, for its questions.", lambda: self.kept)
        ]

    def look(self, pids: Mapping[int, int]) -> None:
        """Keep the workers where they belong, unless that is unfair to one; to be called each second or so.

        :param pids: the workers that serve, by their numbers.
        """
        now = self._seconds()
        try:
            if not self.kept:
                if self._fit and now >= self._again and len(pids) == len(self._all):
                    self._settle(pids)
            elif pids != self._pids:
                self._keep(pids)
            else:
                self._judge(now - self._looked)
        except OSError as error:
            self._release()
            self._fit = False
            self._log.info("Workers run on any core: {why}", why=error.strerror or error)
        self._looked = now

    def _settle(self, pids: Mapping[int, int]) -> None:
        """Begin to keep the workers; what the system does not let us do is not tried again."""
        for core, each in zip(self._all, self._sockets, strict=True):
            for one in each:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_INCOMING_CPU, core)
        self._keep(pids)
        if len(self._told) < len(pids):
            raise OSError("nothing tells how long a process waits for a core")
        self.kept = True

    def _keep(self, pids: Mapping[int, int]) -> None:
        self._pids, self._uneven = dict(pids), 0
        for number, pid in pids.items():
            _run_on(pid, (self._all[number],))
        self._told = self._tell()

    def _tell(self) -> dict[int, float]:
        return {pid: told for pid in self._pids.values() if (told := self._wanted(pid)) is not None}

    def _judge(self, passed: float) -> None:
        """See what share of its core each worker has wanted since the last time."""
        before, self._told = self._told, self._tell()
        if passed <= 0 or len(before) < len(self._all) or before.keys() != self._told.keys():
            return
        shares = [(told - before[pid]) / passed for pid, told in self._told.items()]
        uneven = max(shares) > BUSY and min(shares) < max(shares) / 2
        self._uneven = self._uneven + 1 if uneven else 0
        if self._uneven >= PATIENCE:
            self._loosen(shares)

    def _loosen(self, shares: Sequence[float]) -> None:
        self._release()
        self._again = self._seconds() + self._rest
        self._log.info(
            "Workers run on any core for {rest:g} s: one has wanted {most:.0%} of its own, another {least:.0%}",
            rest=self._rest, most=max(shares), least=min(shares),
        )  # fmt: skip
        self._rest = min(2 * self._rest, REST[1])

    def _release(self) -> None:
        self.kept = False
        for each in self._sockets:
            for one in each:
                with suppress(OSError):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_INCOMING_CPU, -1)
        for pid in self._pids.values():
            with suppress(OSError):
                _run_on(pid, self._all)
