"""Values in Redis: what is stored comes back aged, and nothing else is ever believed."""

from __future__ import annotations

import random
from binascii import crc32
from struct import pack, unpack_from

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from heimdall.cache.entry import REASONS, Rubbish, from_bytes, to_bytes
from heimdall.message import answer, edns, query, wire
from heimdall.message.answer import AA, Answer
from heimdall.message.edns import ExtendedError
from heimdall.message.query import AD, NXDOMAIN

NOW = 1_767_225_600.0
QUERY = query.make(wire.from_text("www.example.com"), 1)
SIZE = len(QUERY.question)
MAIL = wire.from_text("mail.example.com")


def known(errors: tuple[ExtendedError, ...] = (), scope: int | None = None) -> Answer:
    """Return an answer of two records, 300 and 60 seconds to live."""
    made = answer.local(QUERY, 0, [(QUERY.name, 1, 300, b"\1\2\3\4"), (MAIL, 1, 60, b"\1\2\3\5")], origin="upstream")
    return evolve(made, keep=True, flags=AA | AD, errors=errors, scope=scope)


def ttls(of: Answer) -> list[int]:
    """Return the TTLs in an answer, as its spots tell."""
    return [unpack_from("!I", of.body, spot)[0] for spot in of.spots]


def sealed(value: bytes) -> bytes:
    """Return a value with the check sum that its bytes want."""
    return value[:1] + pack("!I", crc32(value[5:])) + value[5:]


class Kept(SynchronousTestCase):
    """What was stored comes back."""

    def test_round_trip(self) -> None:
        """An answer comes back as it was, from Redis."""
        for one in (
            known(),
            known(scope=24),
            known(scope=0),
            evolve(known(), rcode=NXDOMAIN),
            evolve(known(), counts=(0, 1, 1)),
        ):
            back, left = from_bytes(to_bytes(one, QUERY.key, NOW), QUERY.key, SIZE, NOW)
            self.assertEqual(left, 60.0)
            for name in ("question", "rcode", "flags", "counts", "body", "spots", "ttl", "keep", "scope"):
                self.assertEqual(getattr(back, name), getattr(one, name), name)
            self.assertEqual(back.origin, "redis")

    def test_extended_errors_stay_behind(self) -> None:
        """What was told with an answer was of its moment: it is not stored."""
        value = to_bytes(known(errors=(ExtendedError(edns.OTHER, "then"),)), QUERY.key, NOW)
        self.assertEqual(from_bytes(value, QUERY.key, SIZE, NOW)[0].errors, ())

    def test_ages(self) -> None:
        """Every TTL is less by the whole seconds since the answer was stored, and none is below 0."""
        value = to_bytes(known(), QUERY.key, NOW)
        back, left = from_bytes(value, QUERY.key, SIZE, NOW + 59.4)
        self.assertEqual((ttls(back), back.ttl), ([241, 1], 1))
        self.assertAlmostEqual(left, 0.6, 3)
        back, left = from_bytes(value, QUERY.key, SIZE, NOW + 100)
        self.assertEqual((ttls(back), back.ttl, left), ([200, 0], 0, -40.0))

    def test_a_clock_a_little_behind(self) -> None:
        """A value from a moment ahead is new: it has its whole TTL, and no more."""
        back, left = from_bytes(to_bytes(known(), QUERY.key, NOW + 3), QUERY.key, SIZE, NOW)
        self.assertEqual((ttls(back), left), ([300, 60], 60.0))

    def test_variants(self) -> None:
        """A key with a client's subnet behind the question keeps it."""
        key = QUERY.key + b"\1\x18\xc0\0\2"
        back, _ = from_bytes(to_bytes(known(scope=24), key, NOW), key, SIZE, NOW)
        self.assertEqual(back.question, QUERY.key[:SIZE])

    def test_without_records(self) -> None:
        """An answer without records has nothing left to live."""
        empty = evolve(answer.make(QUERY, 0, "upstream"), keep=True)
        self.assertEqual(from_bytes(to_bytes(empty, QUERY.key, NOW), QUERY.key, SIZE, NOW)[1], 0)

    def test_not_storable(self) -> None:
        """An answer to another question cannot be made a value."""
        other = query.make(MAIL, 1)
        self.assertRaises(ValueError, to_bytes, known(), other.key, NOW)


class Refused(SynchronousTestCase):
    """What is no answer to the question is refused, with the reason."""

    def refused(self, value: bytes, reason: str, key: bytes = QUERY.key, now: float = NOW) -> None:
        error = self.assertRaises(Rubbish, from_bytes, value, key, SIZE, now)
        self.assertEqual(error.reason, reason)

    def test_cut_short(self) -> None:
        """A value that ends early is refused, wherever it ends."""
        value = to_bytes(known(), QUERY.key, NOW)
        for end in range(len(value)):
            self.assertRaises(Rubbish, from_bytes, value[:end], QUERY.key, SIZE, NOW)
        self.refused(b"", "short")

    def test_another_version(self) -> None:
        """A value of a format we do not know is refused as such."""
        self.refused(b"\2" + to_bytes(known(), QUERY.key, NOW)[1:], "version")

    def test_every_bit(self) -> None:
        """A value in which any one bit was turned is refused."""
        value = to_bytes(known(), QUERY.key, NOW)
        for bit in range(len(value) * 8):
            turned = bytearray(value)
            turned[bit // 8] ^= 1 << bit % 8
            self.assertRaises(Rubbish, from_bytes, bytes(turned), QUERY.key, SIZE, NOW)

    def test_another_question(self) -> None:
        """A value that lies under the key of another name, type, DO or CD is refused."""
        value = to_bytes(known(), QUERY.key, NOW)
        name = QUERY.name
        others = [query.make(wire.from_text("wwx.example.com"), 1), query.make(name, 28)]
        others += [query.make(name, 1, do=True), query.make(name, 1, cd=True)]
        for other in others:
            self.refused(value, "question", other.key)
        self.refused(value, "question", QUERY.key + b"\1\x18\xc0\0\2")

    def test_from_the_future(self) -> None:
        """A value stored long after now is refused: it would live too long."""
        self.refused(to_bytes(known(), QUERY.key, NOW + 11), "future")

    def test_facts_out_of_bounds(self) -> None:
        """A value whose numbers cannot be is refused, though its check sum is right."""
        value = to_bytes(known(), QUERY.key, NOW)
        message = len(value) - len(known().body) - SIZE - 12
        for at, new in (
            (5, b"\x81"),  # a scope of 129 bits
            (6, b"\xff\xff"),  # the response code
            (8, b"\xff" * 8),  # when it was stored
            (message + 2, b"\2\0"),  # truncated
            (message + 4, b"\0\2"),  # two questions
            (message + 6, b"\xff\xff"),  # records
            (message + 6, b"\0\3"),
            (message + 6, b"\0\1"),
            (len(value) - len(known().body) + 6, b"\x80"),  # a TTL of more than 31 bits
            (len(value) - len(known().body) + 2, b"\0\x29"),  # an OPT record
            (len(value) - len(known().body), b"\xc0\xff"),  # a pointer ahead
        ):
            self.refused(sealed(value[:at] + new + value[at + len(new) :]), "malformed")
        self.refused(sealed(value + b"\0"), "malformed")

    def test_very_old(self) -> None:
        """A value from the beginning of time is as stale as that."""
        value = to_bytes(known(), QUERY.key, 0)
        self.assertLess(from_bytes(value, QUERY.key, SIZE, NOW)[1], -1e9)

    @given(some.binary(max_size=300))
    def test_any_bytes(self, value: bytes) -> None:
        """No bytes whatsoever raise anything but that they are rubbish."""
        self.assertRaises(Rubbish, from_bytes, value, QUERY.key, SIZE, NOW)
        self.assertRaises(Rubbish, from_bytes, sealed(b"\1" + value), QUERY.key, SIZE, NOW)

    def test_a_hundred_thousand_mutations(self) -> None:
        """Values broken in a few places, their check sums mended, are refused for a known reason or well-formed."""
        dice = random.Random(8)
        value = to_bytes(known(scope=24), QUERY.key, NOW)
        seen = set()
        for _ in range(100_000):
            broken = bytearray(value)
            for _ in range(dice.choice((1, 1, 2, 5))):
                broken[dice.randrange(len(broken))] = dice.randrange(256)
            if not dice.randrange(4):
                at = dice.randrange(len(broken))
                broken[at : at + dice.randrange(8)] = dice.randbytes(dice.randrange(8))
            try:
                back, left = from_bytes(sealed(bytes(broken)), QUERY.key, SIZE, NOW)
            except Rubbish as rubbish:
                seen.add(rubbish.reason)
                continue
            seen.add("good")
            self.assertEqual(len(back.spots), sum(back.counts))
            self.assertEqual(min(ttls(back), default=0), back.ttl)
            self.assertLess(left, 1 << 31)
            self.assertEqual(back.question, QUERY.key[:SIZE])
        self.assertEqual(seen, {"good", *REASONS} - {"short", "damaged"})
