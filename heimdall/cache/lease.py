"""One flight per question in the cluster: who follows another node's question, how long, and what wakes it.

Nobody depends on being woken. A follower is patient for about as long as the upstream usually takes; then it asks
for itself, and takes whatever comes first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from heimdall.interfaces import INotices
from heimdall.tally import Count, Gauge, Tally

KIND: Final = b"W"
"""The kind of the notice that wakes."""

LASTS: Final = 5.0
"""Seconds that a lease lasts when nobody ends it: a query has its answer by then, or never gets it."""

SHORTEST, LONGEST = 0.03, 0.4
"""Seconds that a follower is patient, at least and at most. While nothing is known of the upstream: the most."""

_GAIN: Final = 0.125
"""What a new time counts for, against all before it (as the round-trip times of TCP, RFC 6298)."""

_UNSCRIPTED: Final = ("NOPERM", "ERR unknown command", "ERR This Redis command is not allowed")

Woken = Callable[[bytes], None]
"""What is called with the value that was waited for; no bytes say that whoever asked gave up."""


class Leases:
    """The questions of other nodes that this one waits for.

    :param notices: what wakes us.
    :param lasts: milliseconds of a lease that we take.
    """

    _log = Logger()

    def __init__(self, notices: INotices, clock: IReactorTime) -> None:
        self._notices = notices
        self._clock = clock
        self.token = notices.token
        self.channels = notices.channel(b"")
        self.lasts = int(LASTS * 1000)
        self.usable = True
        """Whether Redis runs scripts for us; if not, every node asks for itself."""
        self._waiting: dict[bytes, list[Woken]] = {}
        self._usual: float | None = None
        self._spread = 0.0
        self._followed = Count("heimdall_cache_lease_followed_total", "Questions left to another node, by end.", "end")
        self.tallies: list[Tally] = [
            self._followed,
            Gauge(
                "heimdall_cache_lease_waiting_questions", "Questions of other nodes waited for.", self._waiting.__len__
            ),
            Gauge("heimdall_cache_lease_patience_seconds", "How long a follower waits now.", lambda: self.patience),
        ]
        notices.on(KIND, self._woken)

    def refused(self, reason: str) -> None:
        """Note why a script did not run; where none may be run, do without from now on."""
        if self.usable and reason.startswith(_UNSCRIPTED):
            self.usable = False
            self._log.warn("Redis lets this user run no scripts: every node asks for itself")

    @property
    def hearing(self) -> bool:
        """Whether we would hear that we are woken."""
        return self._notices.hearing

    @property
    def patience(self) -> float:
        """How long to wait for another node, in seconds: about as long as our upstream takes when it is slow."""
        if self._usual is None:
            return LONGEST
        return min(max(2 * self._usual + 4 * self._spread, SHORTEST), LONGEST)

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

        :param end: why: woken, patience (it took too long) or other.
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
            woken(value)
