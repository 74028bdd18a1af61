"""Messages that differ from earlier ones in nothing but the name they ask for: read by one look-up.

All that stands before and behind the name in a message is its shape: flags, counts, type, class, and the OPT, if there
is one. Clients know few. What a shape means was read once, from a message that the gates had let pass.
"""

from __future__ import annotations

from typing import Final

from heimdall.message.query import Query
from heimdall.message.wire import HEADER

MOST = 1000
"""Shapes that are remembered; past that all are forgotten, and those in use are there again at once."""

_NAME: Final = HEADER - 2


class Alike:
    """The shapes of messages. A message is given here without its id."""

    def __init__(self) -> None:
        self._shapes: dict[bytes, tuple[Query, bytes]] = {}

    def learn(self, query: Query) -> None:
        """Remember the shape of a message; of one with a client's subnet there is more to know than that."""
        if query.subnet is not None:
            return
        rest = query.wire[2:]
        shape = rest[:_NAME] + rest[_NAME + len(query.name) :]
        if shape not in self._shapes:
            if len(self._shapes) >= MOST:
                self._shapes.clear()
            self._shapes[shape] = query.again(0.0), query.key[len(query.name) :]

    def read(self, rest: bytes) -> Query | None:
        """Return what a message asks if it is one of a known shape, and its name is sound; with no ``wire`` of its own.

        The query is good until the next one is read; who keeps it must copy it.
        """
        at = _NAME
        try:
            while length := rest[at]:
                if length > 63:
                    return None
                at += length + 1
        except IndexError:
            return None
        end = at + 1
        known = self._shapes.get(rest[:_NAME] + rest[end:])
        if known is None or end - _NAME > 255:
            return None
        query, ending = known
        query.question = rest[_NAME : end + 4]
        query.name = name = rest[_NAME:end].lower()
        query.key = name + ending
        return query

    def forget(self) -> None:
        """Forget all shapes: they were read by other rules."""
        self._shapes.clear()
