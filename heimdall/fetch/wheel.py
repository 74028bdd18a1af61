"""One timer for the waits of many: nearly all of them end early, and then cost no timer of the reactor."""

from __future__ import annotations

from math import ceil
from typing import ClassVar, Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

TICK: Final = 0.01
"""Seconds that a wait may last too long."""

_CLOSE: Final = 1e-6


class Waiting(Protocol):
    """What waits."""

    def late(self) -> object:
        """Act: the time is over."""


class Wheel:
    """Calls ``late`` of whatever has waited for its time, a tick after that at most.

    What waits stands in a slot with all that is due in the same tick; it takes itself out of there when it need not
    wait any more.
    """

    _log: ClassVar = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._slots: dict[int, set[Waiting]] = {}
        self._timer: IDelayedCall | None = None
        self._next = 0

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))

    def wait(self, one: Waiting, due: float) -> set[Waiting]:
        """Have something wait until a time on the clock; return its slot, from which it is discarded to wait no more.

        :param due: in seconds.
        """
        number = ceil(due / TICK - _CLOSE)
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = set()
            if self._timer is None or number < self._next:
                self._set(number)
        slot.add(one)
        return slot

    def close(self) -> None:
        """Forget all that waits."""
        self._slots.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, number: int) -> None:
        """Wake up for a slot."""
        if self._timer is not None:
            self._timer.cancel()
        self._next = number
        self._timer = self._clock.callLater(max(number * TICK - self._clock.seconds(), 0.0), self._turn)

    def _turn(self) -> None:
        self._timer = None
        now = self._clock.seconds() / TICK + _CLOSE
        for number in sorted(number for number in self._slots if number <= now):
            slot = self._slots.pop(number)
            while slot:
                try:
                    slot.pop().late()
                except Exception:
                    self._log.failure("a bug in what follows a wait")
        self._slots = {number: slot for number, slot in self._slots.items() if slot}
        if self._slots:
            self._set(min(self._slots))
