"""Values in Redis: what is stored comes back aged, and nothing else is ever believed."""

from __future__ import annotations

import random
from struct import unpack_from

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from heimdall.cache import entry
from heimdall.cache.entry import REASONS, TICK, VERSION, Rubbish, from_bytes, stored_at, stored_by, to_bytes
from heimdall.cache.seal import SIZE as SEAL
from heimdall.cache.seal import Seal
from heimdall.message import answer, edns, query, wire
from heimdall.message.answer import AA, TC, Answer
from heimdall.message.edns import ExtendedError
from heimdall.message.query import AD, NXDOMAIN, Query

NOW = 1_767_225_600.0
QUERY = query.make(wire.from_text("www.example.com"), 1)
SIZE = len(QUERY.question)
MAIL = wire.from_text("mail.example.com")
OPEN, KEYED = Seal(), Seal(b"known to the nodes")
HEAD = 14
MARKS = 10
COUNTS = slice(11, 14)


def known(errors: tuple[ExtendedError, ...] = (), scope: int | None = None) -> Answer:
    """Return an answer of two records, 300 and 60 seconds to live."""
    made = answer.local(QUERY, 0, [(QUERY.name, 1, 300, b"\1\2\3\4"), (MAIL, 1, 60, b"\1\2\3\5")], origin="upstream")
    return made.replace(keep=True, flags=AA | AD, errors=errors, scope=scope)


def ttls(of: Answer) -> list[int]:
    """Return the TTLs in an answer, as its spots tell."""
    return [unpack_from("!I", of.body, spot)[0] for spot in of.spots]


def sealed(value: bytes, key: bytes = QUERY.key, seal: Seal = KEYED) -> bytes:
    """Return a value with the seal that its bytes want in place of its own."""
    return value[:-SEAL] + seal.sign(key, value[:-SEAL])


def put(of: Answer, key: bytes = QUERY.key, now: float = NOW, asked: float | None = None) -> bytes:
    """Return the value of an answer."""
    return to_bytes(of, key, now, KEYED, asked)


def taken(value: bytes, key: bytes = QUERY.key, now: float = NOW) -> tuple[Answer, float, float]:
    """Return what a value tells."""
    return from_bytes(value, key, SIZE, now, KEYED)


class Kept(SynchronousTestCase):
    """What was stored comes back."""

    def test_round_trip(self) -> None:
        """An answer comes back as it was, from Redis, with a secret or without."""
        many = answer.local(QUERY, 0, [(QUERY.name, 1, 60, bytes((1, 2, 3, last))) for last in range(256)])
        for one in (
            known(),
            known(scope=24),
            known(scope=0),
            known().replace(rcode=NXDOMAIN),
            known().replace(flags=0),
            known().replace(counts=(0, 1, 1)),
            many.replace(keep=True),
            many.replace(keep=True, scope=128, counts=(0, 0, 256)),
        ):
            for seal in (OPEN, KEYED):
                back, left, asked = from_bytes(to_bytes(one, QUERY.key, NOW, seal), QUERY.key, SIZE, NOW, seal)
                self.assertEqual((left, asked), (60.0, NOW))
                for name in ("question", "rcode", "flags", "counts", "body", "spots", "ttl", "keep", "scope"):
                    self.assertEqual(getattr(back, name), getattr(one, name), name)
                self.assertEqual(back.origin, "redis")

    def test_extended_errors_stay_behind(self) -> None:
        """What was told with an answer was of its moment: it is not stored."""
        self.assertEqual(taken(put(known(errors=(ExtendedError(edns.OTHER, "then"),))))[0].errors, ())

    def test_ages(self) -> None:
        """Every TTL is less by the whole seconds since the answer was stored, and none is below 0."""
        value = put(known())
        back, left, _ = taken(value, now=NOW + 59.4)
        self.assertEqual((ttls(back), back.ttl), ([241, 1], 1))
        self.assertAlmostEqual(left, 0.6, 3)
        back, left, _ = taken(value, now=NOW + 100)
        self.assertEqual((ttls(back), back.ttl, left), ([200, 0], 0, -40.0))

    def test_a_clock_a_little_behind(self) -> None:
        """A value from a moment ahead is new: it has its whole TTL, and no more."""
        back, left, _ = taken(put(known(), now=NOW + 3))
        self.assertEqual((ttls(back), left), ([300, 60], 60.0))

    @given(some.floats(0, 4e9), some.floats(0, 200))
    def test_asked(self, now: float, before: float) -> None:
        """When the upstream was asked is told to a tick, and never later than it was."""
        asked = max(now - before, 0)
        told = taken(put(known(), now=now, asked=asked), now=now)[2]
        self.assertLessEqual(told, asked + 1e-6)
        self.assertLess(asked - told, TICK + 1e-6)

    def test_asked_long_ago(self) -> None:
        """An upstream that was asked minutes before counts as asked at the beginning: any flush came after it."""
        for before, expected in ((262.1, NOW - 262.1), (262.2, 0.0), (86400, 0.0), (NOW, 0.0)):
            self.assertAlmostEqual(taken(put(known(), asked=NOW - before))[2], expected, 2)

    def test_asked_in_the_future(self) -> None:
        """When the clock of Redis was set back in between, the upstream was asked when the answer was stored."""
        self.assertEqual(taken(put(known(), asked=NOW + 5))[2], NOW)

    def test_age_counts_from_the_storing(self) -> None:
        """However long the upstream took, an answer ages from when it was stored."""
        self.assertEqual(taken(put(known(), asked=NOW - 4))[1], 60.0)

    @given(some.floats(0, 4e9))
    def test_stored(self, now: float) -> None:
        """When an answer was stored is told to a tick."""
        self.assertLessEqual(stored_at(put(known(), now=now)), now + 1e-6)
        self.assertLess(now - stored_at(put(known(), now=now)), TICK + 1e-6)

    def test_stored_by(self) -> None:
        """Who stored an answer is told by the low half of his number, with few records and with many."""
        many = known().replace(counts=(0, 0, 300), body=known().body * 150)
        for one in (known(), many):
            for number, told in ((0, 0), (7, 7), (0x12345678, 0x5678)):
                value = to_bytes(one, QUERY.key, NOW, KEYED, NOW, number)
                self.assertEqual((stored_by(value), taken(value)[1]), (told, 60.0))

    def test_variants(self) -> None:
        """A key with a client's subnet behind the question keeps it."""
        key = QUERY.key + b"\1\x18\xc0\0\2"
        back, *_ = taken(put(known(scope=24), key), key)
        self.assertEqual(back.question, QUERY.key[:SIZE])

    def test_without_records(self) -> None:
        """An answer without records has nothing left to live."""
        empty = answer.make(QUERY, 0, "upstream").replace(keep=True)
        self.assertEqual(taken(put(empty))[1], 0)

    def test_not_storable(self) -> None:
        """An answer to another question, a failure and a part of an answer cannot be made values."""
        self.assertRaises(ValueError, put, known(), query.make(MAIL, 1).key)
        for rcode in (1, 2, 5, 23):
            self.assertRaises(ValueError, put, known().replace(rcode=rcode))
        self.assertRaises(ValueError, put, known().replace(flags=TC))

    def test_small(self) -> None:
        """An answer of one address takes 44 bytes: the most that Redis keeps in one block with its own head of it."""
        one = answer.local(QUERY, 0, [(QUERY.name, 1, 300, b"\1\2\3\4")])
        self.assertEqual(len(put(one)), 44)

    def test_format(self) -> None:
        """The bytes do not change from release to release; whoever changes them counts the version up."""
        value = to_bytes(known().replace(scope=24), QUERY.key, NOW, OPEN, NOW - 0.5, 0x1234)
        self.assertEqual(
            value.hex(),
            "0366ddb6aa00007d12340b02000018c00c000100010000012c000401020304046d61696c076578616d706c6503636f6d00000100010000003c0004010203059b4e0b2d831db4e958ea7b0fa7d4",
        )
        self.assertEqual(value[0], VERSION)

    def test_no_lease(self) -> None:
        """No value begins with the zero that marks a lease, whenever it was stored."""
        for now in (-1.0, 0.0, NOW, 1e15):
            self.assertEqual(put(known(), now=now)[0], VERSION)


class Refused(SynchronousTestCase):
    """What is no answer to the question is refused, with the reason."""

    def refused(self, value: bytes, reason: str, key: bytes = QUERY.key, now: float = NOW, seal: Seal = KEYED) -> None:
        error = self.assertRaises(Rubbish, from_bytes, value, key, SIZE, now, seal)
        self.assertEqual(error.reason, reason)

    def test_cut_short(self) -> None:
        """A value that ends early is refused, wherever it ends."""
        value = put(known())
        for end in range(len(value)):
            self.refused(value[:end], "short" if end < HEAD + SEAL else "forged")

    def test_another_version(self) -> None:
        """A value of a format we do not know is refused as such, and so is a lease."""
        self.refused(b"\1" + put(known())[1:], "version")
        self.refused(b"\0" + bytes(40), "version")

    def test_every_bit(self) -> None:
        """A value in which any one bit was turned is refused; with a secret, mending the open seal is no help."""
        for seal, reason in ((OPEN, "damaged"), (KEYED, "forged")):
            value = to_bytes(known(scope=24), QUERY.key, NOW, seal)
            for bit in range(len(value) * 8):
                turned = bytearray(value)
                turned[bit // 8] ^= 1 << bit % 8
                self.refused(bytes(turned), "version" if bit < 8 else reason, seal=seal)
                self.refused(sealed(bytes(turned), seal=OPEN), "version" if bit < 8 else "forged")

    def test_another_question(self) -> None:
        """A value that lies under the key of another name, type, DO, CD or subnet is refused."""
        name = QUERY.name
        others = [query.make(wire.from_text("wwx.example.com"), 1), query.make(name, 28)]
        others += [query.make(name, 1, do=True), query.make(name, 1, cd=True)]
        keys = [other.key for other in others] + [QUERY.key + b"\1\x18\xc0\0\2", QUERY.key + b"\1\x18\xc0\0\3"]
        for key in keys:
            self.refused(put(known()), "forged", key)
            self.refused(to_bytes(known(), QUERY.key, NOW, OPEN), "damaged", key, seal=OPEN)
        for key in keys[2:]:
            self.refused(put(known(), key), "forged")

    @given(some.data())
    def test_swapped(self, data: some.DataObject) -> None:
        """Of answers to any questions, none is taken under the key of another one."""
        labels = some.lists(some.binary(min_size=1, max_size=9), min_size=1, max_size=3)
        asked = some.builds(make, labels, some.integers(1, 100), some.booleans(), some.booleans())
        one, other = data.draw(asked), data.draw(asked)
        value = to_bytes(answer.make(one, 0, "upstream").replace(keep=True), one.key, NOW, KEYED)
        if one.key != other.key:
            error = self.assertRaises(Rubbish, from_bytes, value, other.key, len(other.question), NOW, KEYED)
            self.assertEqual(error.reason, "forged")

    def test_other_secrets(self) -> None:
        """Values of those without our secret are refused; of those with the former one they are taken."""
        changed = Seal(b"only the newest nodes know", [b"known to the nodes"])
        self.assertEqual(from_bytes(put(known()), QUERY.key, SIZE, NOW, changed)[1], 60.0)
        self.refused(to_bytes(known(), QUERY.key, NOW, changed), "forged")
        self.refused(to_bytes(known(), QUERY.key, NOW, OPEN), "forged")
        self.refused(put(known()), "damaged", seal=OPEN)

    def test_from_the_future(self) -> None:
        """A value stored long after now is refused: it would live too long."""
        self.refused(put(known(), now=NOW + 11), "future")

    def test_facts_out_of_bounds(self) -> None:
        """A value whose numbers cannot be is refused, though its seal is right."""
        value = put(known(scope=24))
        body = HEAD + 1
        for at, new in (
            (MARKS, b"\x20"),  # an unknown mark
            (MARKS, b"\x30"),
            (HEAD, b"\x81"),  # a scope of 129 bits
            (COUNTS.start, b"\1"),  # records
            (COUNTS.start, b"\3"),
            (COUNTS.start, b"\xff\xff\xff"),
            (MARKS, b"\x14\xff\xff\0\0\0\0"),  # more of them than a message may have
            (body + 6, b"\x80"),  # a TTL of more than 31 bits
            (body + 2, b"\0\x29"),  # an OPT record
            (body, b"\xc0\xff"),  # a pointer ahead
        ):
            self.refused(sealed(value[:at] + new + value[at + len(new) :]), "malformed")
        self.refused(sealed(value[:-SEAL] + b"\0" + bytes(SEAL)), "malformed")

    def test_ends_in_its_head(self) -> None:
        """A value whose marks promise more than it has is refused."""
        head = put(known())[:MARKS]
        for rest in (b"\x08\0\0\0", b"\x10\0\0\0", b"\x10" + bytes(5), b"\x18" + bytes(6)):
            self.refused(sealed(head + rest + bytes(SEAL)), "malformed")

    def test_very_old(self) -> None:
        """A value from the beginning of time is as stale as that."""
        self.assertLess(taken(put(known(), now=0))[1], -1e9)

    @given(some.binary(max_size=300), some.binary(max_size=300))
    def test_any_bytes(self, value: bytes, key: bytes) -> None:
        """No bytes whatsoever raise anything but that they are rubbish, or are believed without the secret."""
        for tried in (value, bytes((VERSION,)) + value):
            for under in (QUERY.key, key):
                self.assertRaises(Rubbish, taken, tried, under)
                self.assertRaises(Rubbish, from_bytes, tried, under, SIZE, NOW, OPEN)

    @given(some.binary(max_size=300))
    def test_any_sealed_bytes(self, value: bytes) -> None:
        """Even with the right seal, bytes are a well-formed answer or rubbish."""
        value = sealed(bytes((VERSION,)) + value + bytes(SEAL))
        try:
            back, left, asked = taken(value)
        except Rubbish as rubbish:
            self.assertIn(rubbish.reason, ("short", "malformed", "future"))
        else:
            self.assertEqual(len(back.spots), sum(back.counts))
            self.assertLess(left, 1 << 31)
            self.assertLessEqual(asked, NOW + 11)

    def test_a_hundred_thousand_mutations(self) -> None:
        """Values broken in a few places are refused; with their seals mended, for a known reason, or well-formed."""
        dice = random.Random(8)
        value = put(known(scope=24))
        seen = set()
        for _ in range(100_000):
            broken = mutated(value, dice)
            if broken != value:
                self.assertRaises(Rubbish, taken, broken)
            try:
                back, left, _ = taken(sealed(broken))
            except Rubbish as rubbish:
                seen.add(rubbish.reason)
                continue
            seen.add("good")
            self.assertEqual(len(back.spots), sum(back.counts))
            self.assertEqual(min(ttls(back), default=0), back.ttl)
            self.assertLess(left, 1 << 31)
            self.assertEqual(back.question, QUERY.key[:SIZE])
        self.assertEqual(seen, {"good", *REASONS} - {"short", "damaged", "forged"})

    def test_read_at_once(self) -> None:
        """A value of one record, which is read at once, tells what it does when it is read record by record."""
        dice = random.Random(9)
        values = []
        for kind in (1, edns.OPT):
            key = QUERY.name + kind.to_bytes(2, "big") + QUERY.key[-3:]
            row = [(QUERY.name, kind, 300, b"\1\2\3\4")]
            one = answer.local(QUERY, 0, row).replace(question=key[:-1], keep=True, flags=0)
            values += [(put(one, key), key)]
            values += [(sealed(mutated(put(one, key), dice), key), key) for _ in range(10_000)]
        at_once = [told(value, key, 2.5) for value, key in values]
        self.assertEqual({one[0] for one in at_once}, {"good", "version", "malformed", "future"})
        self.assertEqual((at_once[0][0], at_once[10_001][0]), ("good", "malformed"))
        self.patch(entry, "_PLAIN", None)
        self.patch(entry, "_usual", lambda *_: None)
        self.assertEqual([told(value, key, 2.5) for value, key in values], at_once)


def mutated(value: bytes, dice: random.Random) -> bytes:
    """Return a value broken in a few places."""
    broken = bytearray(value)
    for _ in range(dice.choice((1, 1, 2, 5))):
        broken[dice.randrange(len(broken))] = dice.randrange(256)
    if not dice.randrange(4):
        at = dice.randrange(len(broken))
        broken[at : at + dice.randrange(8)] = dice.randbytes(dice.randrange(8))
    return bytes(broken)


def told(value: bytes, key: bytes, later: float) -> tuple[object, ...]:
    """Return all that a value tells some seconds after it was stored, or why it is refused."""
    try:
        back, left, asked = from_bytes(value, key, SIZE, NOW + later, KEYED)
    except Rubbish as rubbish:
        return (rubbish.reason,)
    return "good", left, asked, *(getattr(back, name) for name in answer.FIELDS)


def make(labels: list[bytes], kind: int, do: bool, cd: bool) -> Query:
    """Return a query for a name of these labels; a type that nobody can ask for becomes A."""
    name = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    return query.make(name, 1 if kind == edns.OPT else kind, do=do, cd=cd)
