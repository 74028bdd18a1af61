"""What Redis does not let its user do, though we need it: told once, and again as soon as nothing is refused."""

from __future__ import annotations

import re
from typing import Final

from twisted.logger import Logger

HOLD: Final = 60.0
"""Seconds without another refusal after which a right counts as given."""

MOST: Final = 50
"""Rights that are kept in mind: more than we need."""

# Redis 6, 7.0 and 7.2 and Valkey say it in different words, of a command, and of one in a script.
_DENIED: Final = ("NOPERM", "ACL failure", "can't run this command", "can't access at least one", "can't publish")
_COMMAND: Final = re.compile(r"run the '([\w|]{1,30})' command")


def right(text: str) -> str:
    """Return the right that an error reply says is missing; empty when it says no such thing."""
    if not any(words in text for words in _DENIED):
        return ""
    named = _COMMAND.search(text)
    if named:
        return f"the command {named[1]}"
    return next((f"the {what}s" for what in ("key", "channel") if what in text), "a command that our scripts run")


class Rights:
    """The rights that were refused of late, by all connections to one Redis."""

    _log = Logger()

    def __init__(self) -> None:
        self._refused: dict[str, float] = {}

    def refused(self, text: str, now: float, at: str = "") -> None:
        """Look into an error reply.

        :param text: what Redis said.
        :param at: its address, as it may be logged; empty where somebody else tells of it.
        """
        missing = right(text)
        if not missing:
            return
        self._forget(now)
        if missing not in self._refused:
            if len(self._refused) >= MOST:
                return
            if at:
                what = "Redis at {at} does not let its user use {right}; give it what docs/redis.md lists"
                self._log.warn(what, at=at, right=missing)
        self._refused[missing] = now

    def missing(self, now: float) -> list[str]:
        """Return the rights that are missing, in words."""
        self._forget(now)
        return sorted(self._refused)

    def _forget(self, now: float) -> None:
        if self._refused:
            self._refused = {missing: last for missing, last in self._refused.items() if now - last < HOLD}
            if not self._refused:
                self._log.info("Redis refuses nothing that we need any more")
