"""Messages that differ from earlier ones in nothing but the name they ask for: read by one look-up.

All that stands before and behind the name in a message is its shape: flags, counts, type, class, and the OPT, if there
is one. Clients know few. What a shape means was read once, from a message that was answered from memory.
"""

from __future__ import annotations

from typing import Final

from heimdall.message.query import Query
from heimdall.message.wire import HEADER, Malformed, question_end

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
        """Return what a message asks if it is one of a known shape; the id of its ``wire`` is 0.

        Nobody has looked at the name: it is taken to end at the first zero. Where memory has an answer under the
        query's key, that was right, since then it is the name of a question that was read: a byte too few or too many
        would be another key. Where memory has none, the query means nothing.

        The query is good until the next one is read; who keeps it must copy it, as :meth:`whole` does.
        """
        end = rest.find(b"\0", _NAME) + 1
        known = self._shapes.get(rest[:_NAME] + rest[end:])
        if known is None or not end:
            return None
        query, ending = known
        query.wire = b"\0\0" + rest
        query.question = rest[_NAME : end + 4]
        query.name = name = rest[_NAME:end].lower()
        query.key = name + ending
        return query

    def whole(self, query: Query, wire: bytes) -> Query | None:
        """Return a copy of what was read just now, where memory had no answer; None if its name is not sound.

        :param wire: the message with its id.
        """
        try:
            end = question_end(wire)
        except Malformed:
            return None
        if end != HEADER + len(query.question):
            return None
        copy = query.again(0.0)
        copy.wire = wire
        return copy

    def forget(self) -> None:
        """Forget all shapes: they were read by other rules."""
        self._shapes.clear()
