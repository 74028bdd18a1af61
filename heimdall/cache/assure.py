"""Whether memory can be sure that it missed no flush: not after a freeze, nor when Redis comes back.

A node that was frozen, or cut off from Redis, may hold what was flushed meanwhile. Before it answers from memory
again it reads the log of flushes; while it reads, a few milliseconds, queries go the long way. A node that *is*
cut off answers from memory all the same: it cannot know better, and no answer is worse.
"""

from __future__ import annotations

from math import inf
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from heimdall.cache.flush import Flushes
from heimdall.cache.memory import Memory
from heimdall.interfaces import ILink, INotices
from heimdall.tally import Count, Tally

TICK: Final = 0.05
"""Seconds between two looks at the clock."""

FROZEN: Final = 0.15
"""Seconds without a look after which we must have been frozen. A flush is heard of so late at most: less than that
is what a busy machine may do to anybody."""

PATIENCE: Final = 0.05
"""Seconds that reading the log may take; then memory is believed all the same, until it has been read."""

GRACE: Final = 1.0
"""Seconds after a freeze in which a connection that died meanwhile may be made anew, for the log to be read."""


class Assurance:
    """Takes memory out of use while a flush may have been missed.

    :param clock: monotonic, and going on while the process is frozen.
    """

    def __init__(self, link: ILink, notices: INotices, flushes: Flushes, memory: Memory, clock: IReactorTime) -> None:
        self._link, self._notices, self._flushes, self._memory, self._clock = link, notices, flushes, memory, clock
        self._tick: IDelayedCall | None = None
        self._reading: Deferred[bool] | None = None
        self._doubts = Count("heimdall_cache_assure_doubts_total", "Times that a flush may have been missed.", "why")
        self.tallies: list[Tally] = [self._doubts]
        # Whether the log has to be read as soon as that is possible, and whether it could have been just now.
        self._owed = True
        self._up = link.up
        self._last: Deferred[bool] | None = None
        # After a freeze: when to believe memory though the log could not be read.
        self._believe_at: float | None = None
        self._stopped = False

    def start(self) -> None:
        """Look at the clock from now on."""
        self._memory.doubted = self._frozen
        self._link.watch(self._changed)
        self._ticked()

    def stop(self) -> None:
        """Look no more; memory is believed, unless another one looks after it by now."""
        self._stopped = True
        if self._reading is not None:
            self._reading.cancel()
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        if self._memory.doubted == self._frozen:
            self._memory.doubted = None
            self._memory.sure_until = inf

    def _ticked(self) -> None:
        self._tick = self._clock.callLater(TICK, self._ticked)
        now = self._clock.seconds()
        if self._reading is None:
            if self._believe_at is not None:
                self._doubt()
            elif now >= self._memory.sure_until:
                self._frozen()
            else:
                self._memory.sure_until = now + FROZEN

    def _frozen(self) -> None:
        """Read the log. A connection that seems to be there may have died: then its next one is waited for.

        One that was known to be gone is not: what was missed before the freeze could not be known either.
        """
        if self._reading is None and self._believe_at is None:
            self._doubts.add("frozen")
            self._believe_at = self._clock.seconds() + (GRACE if self._up else 0.0)
            self._doubt()

    def _changed(self) -> None:
        """Redis, or the notices, are here again, or gone. As long as notices reach us nothing is missed.

        When Redis is back before the notices are, the log is read at once, before anybody looks up a value there; and
        read again when nothing can be missed any more. The end of a connection may be the first that is seen after a
        freeze: it was not known before.
        """
        if self._stopped:
            return
        if self._clock.seconds() >= self._memory.sure_until:
            self._frozen()
        before, self._up = self._up, self._link.up
        self._owed = self._owed or not self._notices.hearing
        if self._owed and self._up and (self._notices.hearing or not before):
            self._doubts.add("cut off")
            self._doubt()

    def _doubt(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        self._memory.sure_until = 0.0
        reading = self._reading = self._last = Deferred()
        reading.addTimeout(PATIENCE, self._clock)
        reading.addErrback(lambda _: False)
        reading.addCallback(self._read, reading)
        self._flushes.sync().addErrback(lambda _: False).addCallback(self._synced, reading)

    def _synced(self, done: bool, reading: Deferred[bool]) -> None:
        """Take what was read of the log, also when nobody waits for it any more."""
        if not reading.called:
            reading.callback(done)
        elif done and reading is self._last:
            self._owed = not self._notices.hearing

    def _read(self, done: bool, reading: Deferred[bool]) -> None:
        if self._reading is None or self._reading is reading:
            self._reading = None
            self._owed = not (done and self._notices.hearing)
            now = self._clock.seconds()
            if self._stopped:
                return
            if done or self._believe_at is None or now >= self._believe_at:
                self._believe_at = None
                self._memory.sure_until = now + FROZEN
