"""What all connections to Redis count together."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from heimdall.interfaces import ILink
from heimdall.redislink.refusals import NOPERM, REASONS, Refusal, Refusals
from heimdall.tally import Count, Gauge, Tally, Times


class Ledger:
    """The counters that every connection of one link writes to."""

    def __init__(self) -> None:
        self.changes = Count("heimdall_redislink_changes_total", "Changes of state, by the new one.", "state")
        self.ends = Count("heimdall_redislink_errors_total", "Failed attempts, lost connections.", "reason")
        self.commands = Count("heimdall_redislink_commands_total", "Commands, by what came of them.", "result")
        self.times = Times("heimdall_redislink_round_trip_seconds", "From a command to its reply.")
        self.deaf = Count("heimdall_redislink_ear_errors_total", "Failed attempts to listen, lost ears.", "reason")
        self.messages = Count("heimdall_redislink_messages_total", "Messages heard, by what came of them.", "result")
        self.refused = Count("heimdall_redislink_error_replies_total", "Commands that Redis refused.", "reason")
        self._refusals = Refusals()

    def refuse(self, refused: Refusal, now: float, at: str) -> None:
        """Count a command that Redis refused, and tell of it when that begins.

        :param at: its address, as it may be logged.
        """
        self.refused.add(refused.reason)
        self._refusals.note(refused, now, at)

    def lack(self, refused: Refusal, now: float) -> None:
        """Note a refusal that somebody else tells of."""
        self._refusals.note(refused, now)

    def refusals(self, now: float) -> list[Refusal]:
        """Return what Redis refuses now."""
        return self._refusals.current(now)

    def tallies(self, link: ILink, seconds: Callable[[], float]) -> list[Tally]:
        """Return all of it, with how a link is at the moment.

        :param seconds: the clock.
        """
        up = Gauge(
            "heimdall_redislink_connection_up",
            "1 when Redis answers in time, else 0.",
            lambda: float(link.up),
            across="min",
        )
        ear = Gauge(
            "heimdall_redislink_ear_up", "1 when messages reach us, else 0.", lambda: float(link.hearing), across="min"
        )
        rights = Gauge(
            "heimdall_redislink_missing_rights",
            "Rights that Redis has just refused us.",
            lambda: float(sum(each.reason == NOPERM for each in self.refusals(seconds()))),
            across="max",
        )
        refusing = Gauge(
            "heimdall_redislink_refusal_up",
            "1 while Redis refuses commands for this reason, else 0.",
            lambda: _by_reason(self.refusals(seconds())),
            "reason",
            across="max",
        )
        return [
            self.changes, self.ends, self.commands, self.refused, self.times, self.deaf, self.messages, up, ear, rights,
            refusing,
        ]  # fmt: skip


def _by_reason(refusals: list[Refusal]) -> Mapping[str, float]:
    found = {refusal.reason for refusal in refusals}
    return {reason: float(reason in found) for reason in REASONS}
