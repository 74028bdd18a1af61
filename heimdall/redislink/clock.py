"""The time on the clock of Redis, reckoned from when it was read last, and how wrong that may be."""

from __future__ import annotations

from typing import Final

from attrs import frozen

DRIFT: Final = 0.0005
"""Seconds that two clocks drift apart in one, at most: as fast as NTP slews one."""


@frozen
class Time:
    """One reading of that clock.

    :param ahead: seconds that it is ahead of ours.
    :param vague: seconds by which that may be wrong: half of what the reading took.
    :param read: when it was read, on our clock.
    """

    ahead: float
    vague: float
    read: float

    @classmethod
    def of(cls, time: float, sent: float, heard: float) -> Time:
        """Return what is known when we asked for the time, and heard it, at two moments on our clock."""
        return cls(time - (sent + heard) / 2, (heard - sent) / 2, heard)

    def now(self, seconds: float) -> float:
        """Return the time there, in seconds since 1970, at a moment on our clock."""
        return seconds + self.ahead

    def doubt(self, seconds: float) -> float:
        """Return by how many seconds that may be wrong, either way."""
        return self.vague + DRIFT * (seconds - self.read)
