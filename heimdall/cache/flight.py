"""One flight per question in the cluster: who leads says so again and again; who follows takes its place if not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from heimdall.cache.lease import LASTS, Leases
from heimdall.cache.look import Look
from heimdall.cache.reading import Reading
from heimdall.cache.writer import Writer

AGAIN: Final = LASTS / 5
"""Seconds between two looks at a lease, ours or another node's; the first comes after one to two of them."""

MOST: Final = 500
"""Leases looked at in one turn. When more questions than that hang, the leases of the others end by themselves, and who
waits there asks when its patience ends: Redis is not flooded for what no upstream answers."""

ALONE: Final = b""
"""What wakes followers when nothing was learnt that can be shared: each asks for itself."""

ANEW: Final = b"\0"
"""What wakes them when the leader merely gave up: one of them takes its place."""


class Flights:
    """The questions that this node leads or follows.

    Each lease is looked at again while it lasts: by its holder, which makes it last longer, and by those who wait. So
    one that nobody renews, since its holder is dead or frozen, goes to the first of them, and a wake that was lost
    costs little.

    :param leases: None where nobody is followed.
    :param take: called with a look and a value that was found for it; may end the look.
    :param ask: called with a look that shall ask for itself.
    """

    def __init__(
        self,
        leases: Leases | None,
        reading: Reading,
        writer: Writer,
        clock: IReactorTime,
        *,
        take: Callable[[Look, bytes], None],
        ask: Callable[[Look], None],
    ) -> None:
        self._leases, self._reading, self._writer, self._clock = leases, reading, writer, clock
        self._take, self._ask = take, ask
        self._young: dict[Look, None] = {}
        self._old: dict[Look, None] = {}
        self._timer: IDelayedCall | None = None

    @property
    def hearing(self) -> bool:
        """Whether we would hear that we are woken."""
        return self._leases is not None and self._leases.hearing

    def lead(self, look: Look, key: bytes) -> None:
        """Hold the lease at a key for a question that we ask."""
        look.lease = key
        self._watch(look)

    def follow(self, look: Look, key: bytes) -> None:
        """Leave a question to the node that holds the lease at a key, while that is alive and not too slow."""
        if self._leases is not None:
            look.following, look.woken = key, partial(self._woken, look)
            self._leases.follow(key, look.woken)
            look.patience = self._clock.callLater(self._leases.patience, self._impatient, look)
            self._watch(look)

    def leave(self, look: Look, end: str) -> None:
        """Follow no longer.

        :param end: why: woken, alone, led (we lead from now on), patience (it took too long) or other.
        """
        if look.patience is not None:
            look.patience.cancel()
            look.patience = None
        if look.following is not None and look.woken is not None and self._leases is not None:
            self._leases.leave(look.following, look.woken, end)
            look.following = look.woken = None
            self._unwatch(look)

    def release(self, look: Look, value: bytes) -> None:
        """Give our lease up, if we hold one, and wake who waits there: with a value, :data:`ALONE` or :data:`ANEW`."""
        if look.lease is not None:
            self._writer.release(look.lease, value)
            self.stored(look)

    def stored(self, look: Look) -> None:
        """Note that the answer was stored in the place of our lease."""
        look.lease = None
        self._unwatch(look)

    def came_late(self, look: Look, values: list[object] | None, key: bytes) -> None:
        """Deal with a lease that came when the look was done: it is of use only to one who asks all the same."""
        if values is not None and values[0] == 1:
            self.lead(look, key)
            if look.source is None:
                self.release(look, ANEW)

    def _impatient(self, look: Look) -> None:
        look.patience = None
        self.leave(look, "patience")
        self._ask(look)

    def _woken(self, look: Look, value: bytes) -> None:
        if value == ANEW and look.following and look.woken and self._leases is not None:
            self._leases.follow(look.following, look.woken)
            self._look(look)
        else:
            self._learnt(look, value, "woken" if value else "alone")

    def _learnt(self, look: Look, value: bytes, end: str) -> None:
        """Follow no longer: take the value, or ask."""
        self.leave(look, end)
        if value:
            self._take(look, value)
        if not look.done and not look.asked:
            self._ask(look)

    # Looking again.

    def _watch(self, look: Look) -> None:
        self._young[look] = None
        if self._timer is None:
            self._timer = self._clock.callLater(AGAIN, self._tick)

    def _unwatch(self, look: Look) -> None:
        self._young.pop(look, None)
        self._old.pop(look, None)
        if not self._young and not self._old and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = self._clock.callLater(AGAIN, self._tick)
        if self._reading.ready:
            for look in islice(self._old, MOST):
                self._look(look)
        self._old |= self._young
        self._young = {}

    def _look(self, look: Look) -> None:
        key = look.lease or look.following
        if key is not None:
            self._reading.read([key], True, partial(self._looked, look, key), _not_hurried)

    def _looked(self, look: Look, key: bytes, values: list[object] | None, _now: float) -> None:
        found = values[0] if values is not None else None
        if look.following == key:
            if isinstance(found, bytes):
                self._learnt(look, found, "woken")
            elif found == 1:
                self.leave(look, "led")
                self.lead(look, key)
                self._ask(look)
        elif look.lease == key and found != 1 and found is not None:
            self.stored(look)  # by somebody else; or it asks too, and holds the lease now
            if isinstance(found, bytes) and not look.done:
                self._take(look, found)


def _not_hurried() -> None:
    """Let a look at a lease take its time."""
