"""How one server is doing: its round-trip time, and whether it answers at all. Knows no clock and no socket."""

from __future__ import annotations

from typing import Final

from heimdall.interfaces import IExchange

UNKNOWN: Final = 0.25
"""Seconds to wait for a server whose round-trip time is not known."""

SHORTEST: Final = 0.1
LONGEST: Final = 0.4
"""The bounds of how long a server is waited for before another is asked as well, in seconds."""

MISSES: Final = 3
SILENCE: Final = 1.5
"""A server is down after so many questions without a reply, over at least so many seconds."""

FAILURES: Final = 8
"""Failures in a row from which a server counts as failing; more are not counted."""

LOOK: Final = 10.0
FIRST_PROBE: Final = 1.0
LAST_PROBE: Final = 30.0
"""Seconds between two looks at a server that others are preferred to: while it answers, and, longer each time,
while it does not."""

USUAL: Final = 1 / 8
RARE: Final = 1 / 2
"""The share that a new round-trip time has in the smoothed one (RFC 6298); it is larger after a long pause, where
what is known is old."""


class Health:
    """What the replies of one server tell. Every ``now`` is in seconds, on one clock.

    ``rtt``      the smoothed round-trip time in seconds; None until it is known (RFC 6298, 2)
    ``misses``   questions since the last reply that were waited for in vain
    ``up``       whether it answers
    ``errors``   replies since the last good one that were of no use, and for which the server is to blame
    """

    def __init__(self) -> None:
        self.rtt: float | None = None
        self.misses = 0
        self.up = True
        self.errors = 0
        self._variance = 0.0
        self._silent_since: float | None = None
        self._looked = -LOOK
        self._share = USUAL
        self._probe = FIRST_PROBE

    @property
    def patience(self) -> float:
        """How long its reply is waited for before another server is asked as well, in seconds."""
        if self.rtt is None:
            return UNKNOWN
        return min(max(3 * self.rtt, self.rtt + 4 * self._variance, SHORTEST), LONGEST)

    @property
    def score(self) -> float:
        """How dear it is to ask this server first; less is better."""
        rtt = UNKNOWN if self.rtt is None else self.rtt
        return (rtt + 0.001) * 4.0 ** min(self.misses, 8) * 2.0**self.errors

    def due(self, now: float) -> bool:
        """Whether it is time to ask it a question though another server is preferred."""
        return now - self._looked >= (self._probe if self.misses else LOOK)

    def asked(self, now: float) -> None:
        """Note that it was sent a question."""
        self._share = USUAL
        if self.due(now):
            self._share = RARE
            if not self.up:
                self._probe = min(self._probe * 2, LAST_PROBE)
        self._looked = now

    @property
    def failing(self) -> bool:
        """Whether it has brought nothing but failures for a while: it answers, and is asked last."""
        return self.errors >= FAILURES

    def failed(self) -> bool:
        """Note a failure that the server is to blame for.

        :return: whether it is failing from now on.
        """
        if self.failing:
            return False
        self.errors += 1
        return self.failing

    def succeeded(self) -> bool:
        """Note a reply that is of use.

        :return: whether it was failing until now.
        """
        was, self.errors = self.failing, 0
        return was

    def replied(self, seconds: float) -> bool:
        """Note a reply that took so long, whatever it says.

        :return: whether this ended its being down.
        """
        if self.rtt is None:
            self.rtt, self._variance = seconds, seconds / 2
        else:
            change = seconds - self.rtt
            self._variance += (abs(change) - self._variance) / 4
            self.rtt += change * self._share
        if not self.misses:
            return False
        self.misses = 0
        self._silent_since = None
        self._probe = FIRST_PROBE
        was, self.up = self.up, True
        return not was

    def missed(self, sent: float, now: float) -> bool:
        """Note that a question sent at ``sent`` has been waited for in vain.

        :return: whether it is down from now on.
        """
        self.misses += 1
        if self._silent_since is None:
            self._silent_since = sent
        if not self.up or self.misses < MISSES or now - self._silent_since < SILENCE:
            return False
        self.up = False
        return True


class Upstream:
    """A server of a group: its address as text, the way there, how it does, and what waits for it."""

    def __init__(self, text: str, exchange: IExchange) -> None:
        self.text = text
        self.exchange = exchange
        self.health = Health()
        self.inflight = 0
