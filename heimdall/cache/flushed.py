"""A flush as a fact: a name, perhaps all below it, and when; how it is told and logged, and what it concerns."""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Final

from attrs import frozen

from heimdall.message.wire import Malformed, skip_name

MOST: Final = 10_000
"""Flushes that are kept apart from each other."""

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
    """Some flushes as one, to look through many keys once."""

    def __init__(self, flushes: Iterable[Flush] = ()) -> None:
        self._exact: set[bytes] = set()
        self._below: set[bytes] = set()
        for flush in flushes:
            (self._below if flush.subtree else self._exact).add(flush.name)

    def __len__(self) -> int:
        return len(self._exact) + len(self._below)

    def add(self, what: Flush | Several) -> None:
        """Be these as well; more than :data:`MOST` are a flush of everything."""
        one = what if isinstance(what, Several) else Several((what,))
        self._exact |= one._exact
        self._below |= one._below
        if len(self) > MOST:
            self._exact, self._below = set(), {b"\0"}

    def matches(self, key: bytes) -> bool:
        """Return whether one of them concerns a name, or a key that begins with one."""
        at, starts = 0, []
        try:
            while size := key[at]:
                starts.append(at)
                at += size + 1
        except IndexError:
            return False
        at += 1
        if key[:at] in self._exact:
            return True
        return bool(self._below) and (b"\0" in self._below or any(key[start:at] in self._below for start in starts))
