"""The short way through usual answers leads where the long way does."""

from __future__ import annotations

import struct
from collections.abc import Callable
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from heimdall.cache import entry
from heimdall.cache.seal import Seal
from heimdall.message import answer, query, response
from heimdall.message.answer import Answer
from heimdall.message.query import question_of
from heimdall.message.spots import walk
from heimdall.message.wire import Malformed

NAME = b"\3www\7example\0"
SEAL = Seal()


def record(kind: int, ttl: int, data: bytes, owner: bytes = b"\xc0\x0c") -> bytes:
    """Return one record."""
    return owner + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data


@some.composite
def wires(draw: some.DrawFn) -> bytes:
    """Return a reply of the usual kind, or one that is nearly so: a few of its bytes are others."""
    asked = draw(some.sampled_from((1, 28, 46, 6, 65)))
    ttls = draw(some.lists(some.sampled_from((0, 5, 60, 86400, 0x7FFFFFFF, 0x80000000)), max_size=4))
    body = b"".join(record(asked, ttl, draw(some.binary(min_size=2, max_size=6))) for ttl in ttls)
    opt = draw(some.sampled_from((b"", b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0))))
    head = struct.pack("!HHHHHH", 7, draw(some.sampled_from((0x8180, 0x83A0))), 1, len(ttls), 0, bool(opt))
    wire = bytearray(head + NAME + struct.pack("!HH", asked, 1) + body + opt)
    for _ in range(draw(some.sampled_from((0, 0, 1, 2)))):
        wire[draw(some.integers(4, len(wire) - 1))] = draw(some.sampled_from((0, 1, 2, 41, 46, 0x80, 0xC0, 0xFF)))
    return bytes(wire[: len(wire) - draw(some.sampled_from((0, 0, 0, 1, 5, 11, 12)))])


def outcome(read: Callable[[], object]) -> object:
    """Return what comes of reading: all that the answer says, or that there is none."""
    try:
        found = read()
    except (Malformed, entry.Rubbish) as error:
        return type(error)
    known, *more = found if isinstance(found, tuple) else (found,)
    return [getattr(known, name) for name in answer.FIELDS] + more


class Short(SynchronousTestCase):
    """Answers of one RRset, and what only looks like them."""

    def test_is_taken(self) -> None:
        """Addresses at the name that was asked for are walked in one go: places, TTLs and end are told."""
        body = record(1, 60, b"\1\2\3\4") + record(1, 50, b"\1\2\3\5")
        self.assertEqual(walk(b"?" + body, 1, 2, NAME + b"\0\1\0\1"), ((6, 22), [60, 50], 33))

    def test_others_are_left(self) -> None:
        """A record at another name or of another type, and one that is cut short, are not walked."""
        question = NAME + b"\0\1\0\1"
        for body in (record(1, 60, b"\1\2\3\4", NAME), record(28, 60, b"\1\2\3\4"), record(1, 60, b"\1\2\3\4")[:-1]):
            self.assertIsNone(walk(body, 0, 1, question))
        self.assertIsNone(walk(record(1, 60, b""), 0, 2, question))

    @given(wires())
    def test_same_reply(self, wire: bytes) -> None:
        """A reply is read as it would be without the short way, whether its question has been compared or not."""
        found = outcome(lambda: response.read(wire))
        with patch.object(response, "_usual", lambda *_: None):
            self.assertEqual(found, outcome(lambda: response.read(wire)))
        if isinstance(found, list):
            question, _ = question_of(wire)
            self.assertTrue(query.asks(wire, question))
            self.assertEqual(found, outcome(lambda: response.read(wire, question)))

    @given(wires(), some.sampled_from((0, 4, 100)))
    def test_same_value(self, wire: bytes, age: int) -> None:
        """A value is taken from Redis as it would be without the short way."""
        question = NAME + wire[len(NAME) + 12 : len(NAME) + 14].ljust(2, b"\0") + b"\0\1"
        body = wire[12 + len(question) :]
        count = wire[7] if len(wire) > 7 else 1
        made = Answer(question, 0, 0, (count, 0, 0), body)
        value = entry.to_bytes(made, question + b"\0", 1e9, SEAL)

        def take() -> object:
            return entry.from_bytes(value, question + b"\0", len(question), 1e9 + age, SEAL)

        found = outcome(take)
        with patch.object(entry, "_usual", lambda *_: None):
            self.assertEqual(found, outcome(take))

    @given(wires(), wires())
    def test_same_question(self, one: bytes, other: bytes) -> None:
        """A message has a folded question if that is what is read in it."""
        try:
            question, _ = question_of(one)
            theirs, _ = question_of(other)
        except Malformed:
            return
        self.assertEqual(query.asks(other, question), theirs == question)
