"""While much is asked of what memory knows, wait a moment before the sockets are read: more is read at once then.

Network cards do the same with interrupts (``ethtool -C``, rx-usecs). What is read together costs one look at the
sockets, and what goes to one client leaves together, see ``segments``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime

LEAST: Final = 32
"""Datagrams in a batch below which there is no need to be sparing: nobody waits at half the load that a node bears."""

KNOWN: Final = 8
"""Nobody waits either where more than one in so many is new: there is else to do, and that would wait as well."""


def many(count: int, new: int) -> bool:
    """Whether so much was read, with so little of it new, that a moment before the next read saves something."""
    return count >= LEAST and new * KNOWN <= count


class Coalescing:
    """The moment before a read, once for all sockets that are read in a turn of the reactor.

    :param sleep: waits, for so many seconds; the reactor cannot, by less than a millisecond.
    :ivar seconds: how long it is; 0 for none. The kernel makes it some 50 us longer (PR_SET_TIMERSLACK in prctl(2)).
    """

    def __init__(self, clock: IReactorTime, sleep: Callable[[float], object] = time.sleep) -> None:
        self.seconds = 0.0
        self._clock, self._sleep = clock, sleep
        self._next = 0.0

    def wait(self) -> None:
        """Wait, if nobody has just done so."""
        seconds = self.seconds
        if seconds and self._clock.seconds() >= self._next:
            self._sleep(seconds)
            self._next = self._clock.seconds() + seconds
