"""A flush as a fact: a name, perhaps all below it, and when; how it is told and logged, and what it concerns."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf, nan
from struct import Struct
from typing import Final

from attrs import frozen

from heimdall.message.wire import Malformed, skip_name

MOST: Final = 10_000
"""Flushes that are kept apart from each other."""

NEVER: Final = nan
"""The time of what has none: nothing comes before it."""

ID: Final = 8
"""Bytes of the id that a flush begins with."""

_HEAD: Final = Struct("!8sQB")


def is_below(key: bytes, name: bytes) -> bool:
    """Return whether a key that begins with a wire name begins with this one, or one below it."""
    if name not in key:  # most are not; and this costs next to nothing
        return False
    at = 0
    while not key.startswith(name, at):
        if at >= len(key) or not key[at]:
            return False
        at += key[at] + 1
    return True


@frozen
class Flush:
    """A name, and perhaps all below it, was flushed.

    ``id`` eight random bytes; ``time`` seconds since 1970 on the clock of Redis; ``name`` the folded wire name.
    """

    id: bytes
    time: float
    name: bytes
    subtree: bool

    def to_bytes(self) -> bytes:
        """Return it as it is told and logged."""
        return _HEAD.pack(self.id, int(self.time * 1000), self.subtree) + self.name

    def matches(self, key: bytes) -> bool:
        """Return whether it concerns a name, or a key that begins with one."""
        return is_below(key, self.name) if self.subtree else key.startswith(self.name)

    @classmethod
    def from_bytes(cls, data: bytes) -> Flush:
        """Read what :meth:`to_bytes` wrote.

        :raises Malformed: the bytes are no flush.
        """
        if len(data) <= _HEAD.size:
            raise Malformed("a flush of no name")
        identity, milliseconds, subtree = _HEAD.unpack_from(data)
        # The walker takes pointers for names behind a header only; a whole name has none.
        if skip_name(data, _HEAD.size) != len(data) or data[-1] or subtree > 1:
            raise Malformed("a flush of something that is no name")
        return cls(identity, milliseconds / 1000, data[_HEAD.size :].lower(), bool(subtree))


class Several:
    """Some flushes as one, to look through many keys once: whenever that came which is concerned."""

    def __init__(self, flushes: Iterable[Flush] = ()) -> None:
        # Until when what came is concerned: of the name itself, and of all below it.
        self._exact: dict[bytes, float] = {}
        self._below: dict[bytes, float] = {}
        for flush in flushes:
            (self._below if flush.subtree else self._exact)[flush.name] = inf

    def __len__(self) -> int:
        return len(self._exact) + len(self._below)

    def add(self, what: Flush | Several, until: float) -> None:
        """Be these as well, for what came until a time, none before that of others added.

        More than :data:`MOST` are a flush of everything.
        """
        one = what if isinstance(what, Several) else Several((what,))
        self._exact |= dict.fromkeys(one._exact, until)
        self._below |= dict.fromkeys(one._below, until)
        if len(self) > MOST:
            self._exact, self._below = {}, {b"\0": until}

    def matches(self, key: bytes) -> bool:
        """Return whether one of them concerns a name, or a key that begins with one."""
        return self.covers(key, -inf)

    def covers(self, key: bytes, came: float) -> bool:
        """Return whether one of them concerns what came under a key at a time."""
        at, starts = 0, []
        try:
            while size := key[at]:
                starts.append(at)
                at += size + 1
        except IndexError:
            return False
        starts.append(at)
        at += 1
        if came <= self._exact.get(key[:at], NEVER):
            return True
        below = self._below
        return bool(below) and any(came <= below.get(key[start:at], NEVER) for start in starts)
