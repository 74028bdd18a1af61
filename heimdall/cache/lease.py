"""The leases of other nodes that are waited for: how long, and what wakes who waits.

Nobody depends on being woken. A follower is patient for about as long as the upstream usually takes, and only while
the lease is renewed; then it asks for itself, and takes whatever comes first.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import ClassVar, Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from heimdall.bugs import reporter
from heimdall.interfaces import INotices
from heimdall.tally import Count, Gauge, Tally

KIND: Final = b"W"
"""The kind of the notice that wakes."""

LASTS: Final = 0.35
"""Seconds that a lease lasts when nobody ends or renews it: so long a dead leader is waited for."""

SHORTEST: Final = 0.03
LONGEST: Final = 2.5
"""Seconds that a follower is patient with a leader that is alive, at least and at most: what is left of the time for a
query must do for asking ourselves. While nothing is known of the upstream: the most."""

_GAIN: Final = 0.125
"""What a new time counts for, against all before it (as the round-trip times of TCP, RFC 6298)."""

TRY_AGAIN: Final = 60.0
"""Seconds after which scripts are tried again, where Redis ran none for us: its user may have been given the right."""

_UNSCRIPTED: Final = ("ERR unknown command", "ERR This Redis command is not allowed")

Woken = Callable[[bytes], None]
"""What is called with the value that was waited for; no bytes say that whoever asked gave up."""


class Leases:
    """The questions of other nodes that this one waits for.

    :param notices: what wakes us.
    :param longest: seconds that we are patient with another node at most.
    """

    _log: ClassVar = Logger()

    def __init__(self, notices: INotices, clock: IReactorTime, *, longest: float = LONGEST) -> None:
        self._notices = notices
        self._clock = clock
        self._longest = max(min(longest, LONGEST), SHORTEST)
        self.token = notices.token
        self.channels = notices.channel(b"")
        self.lasts = int(LASTS * 1000)
        """Milliseconds of a lease that we take."""
        self._refused_until = -inf
        self._waiting: dict[bytes, list[Woken]] = {}
        self._usual: float | None = None
        self._spread = 0.0
        self._followed = Count("heimdall_cache_lease_followed_total", "Questions left to another node, by end.", "end")
        self.tallies: list[Tally] = [
            self._followed,
            Gauge(
                "heimdall_cache_lease_waiting_questions", "Questions of other nodes waited for.", self._waiting.__len__
            ),
            Gauge(
                "heimdall_cache_lease_patience_seconds",
                "How long a follower waits now.",
                lambda: self.patience,
                across="max",
            ),
        ]
        notices.on(KIND, self._woken)

    def refused(self, reason: str) -> None:
        """Note why a script did not run; where none may be run, do without for a while."""
        if reason.startswith(_UNSCRIPTED) or (reason.startswith("NOPERM") and "'eval" in reason):
            if self._refused_until == -inf:
                self._log.warn("Redis runs no scripts for us: every node asks for itself")
            self._refused_until = self._clock.seconds() + TRY_AGAIN

    @property
    def usable(self) -> bool:
        """Whether Redis runs scripts for us, as far as is known; if not, every node asks for itself."""
        return self._clock.seconds() >= self._refused_until

    @property
    def hearing(self) -> bool:
        """Whether we would hear that we are woken."""
        return self._notices.hearing

    @property
    def patience(self) -> float:
        """How long to wait for another node, in seconds: about as long as our upstream takes when it is slow."""
        if self._usual is None:
            return self._longest
        return min(max(2 * self._usual + 4 * self._spread, SHORTEST), self._longest)

    def took(self, seconds: float) -> None:
        """Note how long our own upstream took."""
        if self._usual is None:
            self._usual, self._spread = seconds, seconds / 2
        else:
            off = seconds - self._usual
            self._usual += _GAIN * off
            self._spread += 2 * _GAIN * (abs(off) - self._spread)

    def follow(self, key: bytes, woken: Woken) -> None:
        """Wait for what another node asks for."""
        self._waiting.setdefault(key, []).append(woken)

    def leave(self, key: bytes, woken: Woken, end: str) -> None:
        """Wait no longer.

        :param end: why; see :meth:`heimdall.cache.flight.Flights.leave`.
        """
        self._followed.add(end)
        waiting = self._waiting.get(key)
        if waiting is not None and woken in waiting:
            waiting.remove(woken)
            if not waiting:
                del self._waiting[key]

    def _woken(self, sender: bytes, payload: bytes) -> None:
        size = int.from_bytes(payload[:2], "big")
        key, value = payload[2 : 2 + size], payload[2 + size :]
        for woken in self._waiting.pop(key, ()):
            try:
                woken(value)
            except Exception as bug:
                reporter(self._clock).report(self._log, "who waited for another node met a bug", bug)
