"""Messages that differ from earlier ones in nothing but the name they ask for: read by one look-up.

All that stands before and behind the name in a message is its shape: flags, counts, type, class, and the OPT, if there
is one. Clients know few. What a shape means was read once, from a message that the gates had let pass.

Options that mean nothing here are no part of a shape: a cookie (RFC 7873), which each client has of its own, and
padding (RFC 7830).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from heimdall.message.edns import COOKIE, OPT, PADDING
from heimdall.message.query import Query
from heimdall.message.wire import HEADER

MOST_BYTES = 1 << 20
"""Bytes that shapes may take; past that the oldest is forgotten, and if it is in use it is soon there again."""

SHAPE_BYTES: Final = 600
"""Bytes that a shape takes besides its own (a test measures it)."""

LONGEST: Final = 512
"""Bytes of a shape that is remembered: one that is longer has options that hardly come again."""

_NAME: Final = HEADER - 2
_IGNORED: Final = frozenset((COOKIE, PADDING))
_TYPE_AND_CLASS: Final = 4
_OPT_HEAD: Final = 11
_OPT_OWNER: Final = b"\0" + OPT.to_bytes(2, "big")


class Alike:
    """The shapes of messages. A message is given here without its id."""

    def __init__(self) -> None:
        self._shapes: OrderedDict[bytes, tuple[Query, bytes]] = OrderedDict()
        self._read = Query(b"", 0, b"", b"", 0, b"")
        self.bytes = 0
        """What they take."""

    def learn(self, query: Query) -> None:
        """Remember the shape of a message; of one with a client's subnet there is more to know than that."""
        if query.subnet is not None:
            return
        rest = query.wire[2:]
        shape = rest[:_NAME] + _common(rest[_NAME + len(query.name) :])
        if shape in self._shapes or len(shape) > LONGEST:
            return
        # One goes for one that comes: to forget all of them at once would be a pause.
        self.bytes += SHAPE_BYTES + len(shape)
        while self.bytes > MOST_BYTES:
            oldest, _ = self._shapes.popitem(last=False)
            self.bytes -= SHAPE_BYTES + len(oldest)
        known = query.again(0.0)
        known.wire = b""
        self._shapes[shape] = known, query.key[len(query.name) :]

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
        behind = rest[end:]
        known = self._shapes.get(rest[:_NAME] + behind)
        if known is None:
            common = _common(behind)
            if common is not behind:
                known = self._shapes.get(rest[:_NAME] + common)
        if known is None or end - _NAME > 255:
            return None
        query, ending = known
        self._read.wire, self._read = b"", query  # of those not in hand no message is kept
        query.question = rest[_NAME : end + 4]
        query.name = name = rest[_NAME:end].lower()
        query.key = name + ending
        return query

    def forget(self) -> dict[bytes, tuple[Query, bytes]]:
        """Forget all shapes, as they were read by other rules; return them, to be let go of."""
        shapes, self._shapes = self._shapes, OrderedDict()
        self.bytes = 0
        return shapes


def _common(behind: bytes) -> bytes:
    """Return what stands behind the name of a message, without the options that mean nothing; itself if it has none.

    That is so where nothing but an OPT follows the question, and its options are well-formed to its end. Whatever else
    it is stays as it is, and is none of a known shape unless it was read as such.
    """
    size = len(behind)
    at = _TYPE_AND_CLASS + _OPT_HEAD
    if (
        size <= at
        or behind[_TYPE_AND_CLASS : _TYPE_AND_CLASS + 3] != _OPT_OWNER
        or behind[at - 2] << 8 | behind[at - 1] != size - at
    ):
        return behind
    kept: list[bytes] = []
    ignored = False
    while at < size:
        if at + 4 > size:
            return behind
        end = at + 4 + (behind[at + 2] << 8 | behind[at + 3])
        if end > size:
            return behind
        if behind[at] << 8 | behind[at + 1] in _IGNORED:
            ignored = True
        else:
            kept.append(behind[at:end])
        at = end
    if not ignored:
        return behind
    options = b"".join(kept)
    head = _TYPE_AND_CLASS + _OPT_HEAD - 2
    return behind[:head] + len(options).to_bytes(2, "big") + options
