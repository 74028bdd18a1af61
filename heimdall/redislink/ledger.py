"""What all connections to Redis count together."""

from __future__ import annotations

from heimdall.interfaces import ILink
from heimdall.redislink.rights import Rights
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
        self.rights = Rights()

    def tallies(self, link: ILink) -> list[Tally]:
        """Return all of it, with how a link is at the moment."""
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
            "Rights that Redis refused us of late.",
            lambda: float(len(link.missing)),
            across="max",
        )
        return [self.changes, self.ends, self.commands, self.times, self.deaf, self.messages, up, ear, rights]
