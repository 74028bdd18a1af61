"""When more comes than we keep up with, what nobody knows waits a moment: so what is known is answered at once.

A question that has to be asked costs ten times what an answer from memory does. A flood of names that nobody ever asked
for would else stand in front of everybody's queries in the socket's queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from heimdall.accept.engine import Held
from heimdall.tally import Count, Gauge, Tally

LEAP: Final = 128
"""Questions that go on in one turn of the reactor: the more go on together, the less each of them costs."""

STEP: Final = 16
"""Questions that go on in a turn of a flood: so long who asks for what is known waits for the sockets to be read."""

FLOOD: Final = 4
"""New questions for each that is known past which it is a flood."""

LATELY: Final = 2048
"""Questions after which those before count half."""

MIXED: Final = 1.0
"""Seconds behind a question that was known in which such are expected: while there are none, leaps are taken."""

MOST: Final = 2000
"""Questions that wait; one more takes the place of the one that waits for longest, who will have asked again."""

GoOn = Callable[[Sequence[Held]], None]
"""Takes queries that memory does not know further."""


class Rush:
    """Questions that wait while there is a rush.

    :param go_on: called with some when their turn has come.
    :ivar on: whether there is a rush: somebody who reads a socket sets it.
    :ivar flood: whether far more is asked for that nobody knows than else, though some of what is known.
    """

    _log: ClassVar = Logger()

    def __init__(self, clock: IReactorTime, go_on: GoOn) -> None:
        self._clock = clock
        self._go_on = go_on
        self._waiting: deque[Held] = deque()
        self._timer: IDelayedCall | None = None
        self._told = False
        self._known = self._new = 0.0
        self._mixed_until = 0.0
        self.on = self.flood = False
        self._dropped = Count("heimdall_accept_rush_dropped_total", "Questions given up since too many waited.")
        self.tallies: list[Tally] = [
            self._dropped,
            Gauge("heimdall_accept_rush_waiting_queries", "Questions that wait in a rush.", self._waiting.__len__),
        ]

    def hold(self, held: Sequence[Held]) -> None:
        """Let questions wait."""
        for query, _, _ in held:
            query.shorten()
        self._waiting.extend(held)
        too_many = len(self._waiting) - MOST
        if too_many > 0:
            for _ in range(too_many):
                self._waiting.popleft()
            self._dropped.add(by=too_many)
            if not self._told:
                self._told = True
                self._log.warn("More new questions come than can be asked: the oldest are given up")

    def read(self, known: int, new: int) -> None:
        """Note how many questions came of which the reply was known, and how many of which it was not."""
        now = self._clock.seconds()
        if known:
            self._mixed_until = now + MIXED
        self._known += known
        self._new += new
        if self._known + self._new > LATELY:
            self._known /= 2
            self._new /= 2
        self.flood = self._known * FLOOD < self._new and now < self._mixed_until

    def catch_up(self) -> None:
        """Let some questions go on, if none did in this turn of the reactor; the next ones follow in the next turn."""
        if self._timer is None:
            self._let_go()

    def close(self) -> None:
        """Let all that wait go on now."""
        while self._waiting:
            self._go_on([self._waiting.popleft()])
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _let_go(self) -> None:
        self._timer = None
        waiting = self._waiting
        self._go_on([waiting.popleft() for _ in range(min(STEP if self.flood else LEAP, len(waiting)))])
        self.on = bool(waiting)
        if waiting:
            self._timer = self._clock.callLater(0, self._let_go)
        elif self._told:
            self._told = False
            self._log.info("New questions are asked as they come again")
