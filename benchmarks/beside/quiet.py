"""Wait until the machine is as quick as it has been: a virtual one runs at half its speed while its neighbours work."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from typing import Final

from benchmarks.micro.clock import least
from tests.cores import on_core

MOST: Final = 1.2
"""Times what it took at best that a datagram may take."""

PATIENCE: Final = 10.0
"""Seconds that are waited for that before one measurement; then it is made all the same."""

ALTOGETHER: Final = 240.0
"""Seconds that are waited in all."""

PAUSE: Final = 0.2


def pace(core: int) -> float:
    """Return the seconds that a datagram takes from one socket to another on a core now, as the servers get theirs."""
    with (
        on_core(core),
        socket.socket(type=socket.SOCK_DGRAM) as here,
        socket.socket(type=socket.SOCK_DGRAM) as there,
    ):
        here.bind(("127.0.0.1", 0))
        there.connect(here.getsockname())
        return least(lambda: (there.send(b"a datagram"), here.recv(64)), 3, 0.01)


class Quiet:
    """Knows how quick each core was at best.

    :param cores: those that must be quick.
    :param now: returns the pace of a core; ``clock`` the time in seconds, which ``sleep`` lets pass.
    """

    def __init__(
        self,
        cores: Iterable[int],
        now: Callable[[int], float] = pace,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._best = dict.fromkeys(cores, float("inf"))
        self._now, self._clock, self._sleep = now, clock, sleep
        self.waited = 0.0
        """Seconds that were waited in all."""

    def wait(self) -> float:
        """Wait for a while if a core is slow; return how many times its best the slowest one takes now."""
        began = self._clock()
        while True:
            slowest = max(map(self._slower, self._best))
            spent = self._clock() - began
            if slowest <= MOST or spent >= PATIENCE or self.waited + spent >= ALTOGETHER:
                self.waited += spent
                return slowest
            self._sleep(PAUSE)

    def _slower(self, core: int) -> float:
        took = self._now(core)
        self._best[core] = best = min(self._best[core], took)
        return took / best
