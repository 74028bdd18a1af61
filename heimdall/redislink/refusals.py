"""What Redis refuses, and why: told once when it begins and once when it is over, with what to do about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from attrs import define, frozen
from twisted.logger import Logger

HOLD: Final = 15.0
"""Seconds without another refusal after which one is over: what is refused is tried more often than that."""

HOLD_RIGHT: Final = 90.0
"""The same for a right: some of them are needed once a minute."""

MOST: Final = 50
"""Refusals that are kept in mind: more than there are."""

# Redis 6, 7.0 and 7.2 and Valkey say it in different words, of a command, and of one in a script.
_DENIED: Final = ("NOPERM", "ACL failure", "can't run this command", "can't access at least one", "can't publish")
_COMMAND: Final = re.compile(r"run the '([\w|]{1,30})' command")
_UNKNOWN: Final = re.compile(r"unknown (?:redis )?command(?: [`'](\w{1,30})['`])?", re.I)

_OPTIONAL: Final = ("eval_ro", "evalsha_ro")
"""Commands that a Redis before 7 does not have; what they are for is done without."""


@frozen
class Refusal:
    """Why Redis refuses a command.

    :ivar reason: a label: one of :data:`REASONS`.
    :ivar text: the same in words.
    :ivar remedy: what a person can do about it.
    """

    reason: str
    text: str
    remedy: str

    @property
    def of_redis(self) -> bool:
        """Whether it is a state of that Redis, which refuses the same to all who write to it."""
        return self.reason not in (NOPERM, UNKNOWN)


def _state(word: str, text: str, remedy: str) -> tuple[str, Refusal]:
    return word, Refusal(word.lower(), f"{word}, {text}", remedy)


STATES: Final[Mapping[str, Refusal]] = dict(
    (
        _state(
            "BUSY", "somebody's script runs for too long",
            "SCRIPT KILL or FUNCTION KILL there ends it; look for what runs it",
        ),
        _state(
            "CLUSTERDOWN", "some slots of the cluster have no master",
            "see CLUSTER INFO there; with cluster-require-full-coverage no the other slots go on",
        ),
        _state("LOADING", "it reads its data", "none is needed: that ends by itself"),
        _state(
            "MASTERDOWN", "it is a replica that has lost its master",
            "start the master, or set replica-serve-stale-data yes there",
        ),
        _state(
            "MISCONF", "it cannot save its data to disk, so it takes no writes",
            "see its log and its disk; for a cache, save \"\" or stop-writes-on-bgsave-error no will do",
        ),
        _state("NOAUTH", "it wants a password", "correct the user, the password or the password file"),
        _state(
            "NOREPLICAS", "it takes no writes while it has too few replicas",
            "start its replicas, or lower min-replicas-to-write there",
        ),
        _state(
            "OOM", "its memory is full, and it may evict nothing",
            "set maxmemory-policy volatile-lru there, or raise maxmemory",
        ),
        _state(
            "READONLY", "it is a replica, and takes no writes",
            "none is needed where Redis fails over; else redis.url has to lead to the master",
        ),
    )
)  # fmt: skip
"""The states in which Redis refuses commands, by the first word of its reply."""

NOPERM: Final = "noperm"
UNKNOWN: Final = "unknown"

REASONS: Final = (*(state.reason for state in STATES.values()), NOPERM, UNKNOWN)
"""The labels."""


def refusal(text: str) -> Refusal | None:
    """Return why a command was refused; None where the reply says no such thing.

    :param text: the error reply.
    """
    missing = right(text)
    if missing:
        return Refusal(NOPERM, missing, "give it what docs/redis.md lists")
    state = STATES.get(text.split(" ", 1)[0])
    if state is not None:
        return state
    unknown = _UNKNOWN.search(text)
    if unknown and (unknown[1] or "").lower() not in _OPTIONAL:
        which = f"the command {unknown[1].lower()}" if unknown[1] else "a command that our scripts run"
        return Refusal(UNKNOWN, f"it does not know {which}", "use Redis 6 or newer, or Valkey, with no command renamed")
    return None


def right(text: str) -> str:
    """Return the right that an error reply says is missing; empty when it says no such thing."""
    if not any(words in text for words in _DENIED):
        return ""
    named = _COMMAND.search(text)
    if named:
        return f"the command {named[1]}"
    return next((f"the {what}s" for what in ("key", "channel") if what in text), "a command that our scripts run")


@define
class _Kept:
    """A refusal: by whom, and when last."""

    refusal: Refusal
    at: str
    last: float

    def over(self, now: float) -> bool:
        """Return whether it is over."""
        return now - self.last >= (HOLD_RIGHT if self.refusal.reason == NOPERM else HOLD)


class Refusals:
    """What was just refused, by all connections to one Redis."""

    _log = Logger()

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def note(self, refused: Refusal, now: float, at: str = "") -> None:
        """Note that Redis refuses something.

        :param at: its address, as it may be logged; empty where somebody else tells of it.
        """
        self._forget(now)
        kept = self._kept.get(refused.text)
        if kept is not None:
            kept.last = now
        elif len(self._kept) < MOST:
            self._kept[refused.text] = _Kept(refused, at, now)
            if at:
                self._tell(refused, at)

    def current(self, now: float) -> list[Refusal]:
        """Return what is refused now."""
        self._forget(now)
        return [kept.refusal for _, kept in sorted(self._kept.items())]

    def _tell(self, refused: Refusal, at: str) -> None:
        if refused.reason == NOPERM:
            what = "Redis at {at} does not let its user use {what}; {remedy}"
        else:
            what = "Redis at {at} refuses commands: {what}; {remedy}"
        self._log.warn(what, at=at, what=refused.text, remedy=refused.remedy, of_redis=refused.of_redis)

    def _forget(self, now: float) -> None:
        """Take what is over off the list; of rights that is told when none is missing any more."""
        over = [kept for kept in self._kept.values() if kept.over(now)]
        for kept in over:
            del self._kept[kept.refusal.text]
            if kept.refusal.reason != NOPERM and kept.at:
                self._log.info(
                    "Redis at {at} refuses commands no more: {what}",
                    at=kept.at, what=kept.refusal.text, of_redis=kept.refusal.of_redis,
                )  # fmt: skip
        rights = [kept for kept in over if kept.refusal.reason == NOPERM]
        if rights and not any(kept.refusal.reason == NOPERM for kept in self._kept.values()):
            self._log.info("Redis refuses no right that we need any more")
