"""An answer as it lies in Redis: when it was stored, its records as they came, and a seal bound to its key.

Whoever can write to Redis can write anything: nothing in a value is believed before its seal was checked.
The question is the key's, and not stored again.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from heimdall.cache.seal import SIZE, Seal
from heimdall.message import rdata
from heimdall.message.answer import AA, MOST_RECORDS, SOA, TC, Answer
from heimdall.message.edns import OPT
from heimdall.message.query import AD, NXDOMAIN
from heimdall.message.spots import ALONE, SIZES, aged, walk, walk_one, walk_soa, with_ttl
from heimdall.message.wire import HEADER, Malformed, expand_name, records

VERSION: Final = 3
"""The first byte of a value; never 0, which marks a lease."""

TICK: Final = 0.004
"""Seconds that the times in a value are counted in."""

TOLERANCE: Final = 10.0
"""Seconds that a value may come from the future: the clock of Redis may step, and another Redis take over."""

NODES: Final = 1 << 16
"""Numbers that nodes go by in a value."""

REASONS: Final = ("short", "version", "damaged", "forged", "malformed", "future")
"""Why a value is not taken: with a secret ``forged``, without one ``damaged``."""

# In front: 8 bits of version, 40 of when it was stored in ticks since 1970, 16 of how many ticks before that its
# upstream was asked; the number of the node that asked; the marks; the counts, wide if one is over 255; the scope, if
# there is one. Then the records, and at the end the seal of all that. An address record makes 44 bytes, the most that
# Redis keeps beside its own head of a value in one block of 64.
_NARROW: Final = Struct("!QHBBBB")
_WIDE: Final = Struct("!QHBHHH")
_ALONE: Final = Struct("!QHI2s4sIH")
_PLAIN: Final = 1 << 16  # no marks, and one answer alone
_TTL: Final = Struct("!I")
_WITH_AA: Final = 1
_WITH_AD: Final = 2
_NO_NAME: Final = 4
_SCOPED: Final = 8
_COUNTED_WIDE: Final = 16
_MARKS: Final = 31
_LONG_AGO: Final = 0xFFFF
_LATEST: Final = (1 << 40) - 1
_LONGEST: Final = 0x7FFFFFFF
_BEFORE: Final = b"\0" * HEADER
_ONE: Final[tuple[int, int, int]] = (1, 0, 0)
_OPT: Final = OPT.to_bytes(2, "big")
_OWNER: Final = b"\xc0\x0c"

_Read = tuple[tuple[int, ...], int, bool]


class Rubbish(ValueError):
    """A value is not an answer to the question; ``reason`` is one of :data:`REASONS`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def to_bytes(answer: Answer, key: bytes, now: float, seal: Seal, asked: float | None = None, node: int = 0) -> bytes:
    """Return the value to store an answer as. Its extended errors are left out.

    :param key: the key of the query; it begins with the answer's question.
    :param now: seconds since 1970 on the clock of Redis; ages are reckoned from here.
    :param asked: when the upstream was asked, on the same clock; None for now.
    :param node: the number of the node that asked it, of which :data:`NODES` are told apart; 0 for none.
    :raises ValueError: the key is of another question, or the answer is a failure or truncated.
    """
    if not key.startswith(answer.question):
        raise ValueError("the answer is not one to this question")
    if answer.rcode not in (0, NXDOMAIN) or answer.flags & TC:
        raise ValueError("a failure, or a part of an answer")
    stored = int(now / TICK)
    if not 0 <= stored <= _LATEST:
        stored = min(max(stored, 0), _LATEST)
    before = 0 if asked is None else stored - int(asked / TICK)
    if not 0 <= before <= _LONG_AGO:
        before = min(max(before, 0), _LONG_AGO)
    times = VERSION << 56 | stored << 16 | before
    marks = _NO_NAME if answer.rcode else 0
    if answer.flags & AD:
        marks |= _WITH_AD
    if answer.flags & AA:
        marks |= _WITH_AA
    scope = b""
    if answer.scope is not None:
        marks |= _SCOPED
        scope = answer.scope.to_bytes(1, "big")
    answers, authorities, additionals = answer.counts
    if answers < 256 and authorities < 256 and additionals < 256:
        head = _NARROW.pack(times, node % NODES, marks, answers, authorities, additionals)
    else:
        head = _WIDE.pack(times, node % NODES, marks | _COUNTED_WIDE, answers, authorities, additionals)
    value = head + scope + answer.body
    return value + seal.sign(key, value)


def from_bytes(value: bytes, key: bytes, size: int, now: float, seal: Seal) -> tuple[Answer, float, float]:
    """Return the answer in a value as it is by now, the seconds it has left, and when its upstream was asked.

    What is left is negative when the answer is stale. The time of asking is in seconds since 1970 on the clock of
    Redis, and 0.0 when it was minutes before the answer was stored.

    :param key: the key of the query, whose first ``size`` bytes are the question.
    :param now: seconds since 1970 on the clock of Redis.
    :raises Rubbish: the value is not a well-formed answer to this question; nothing else is ever raised.
    """
    end = len(value) - SIZE
    if end < _NARROW.size:
        raise Rubbish("short")
    if value[0] != VERSION:
        raise Rubbish("version")
    if not seal.fits(key, value[:end], value[end:]):
        raise Rubbish("forged" if seal.keyed else "damaged")
    question = key[:size]
    # Nearly all values hold one address, of the very name that was asked for: read at once, head and all.
    times, _, facts, owner, kind, ttl, data = _ALONE.unpack_from(value)
    if (
        facts == _PLAIN
        and owner == _OWNER
        and kind == question[-4:]
        and end == _ALONE.size + data
        and data == SIZES.get(kind)
    ):
        scope, rcode, flags, sections, body = None, 0, 0, _ONE, value[_NARROW.size : end]
        spots, denied = ALONE, False
        if ttl > _LONGEST:
            raise Rubbish("malformed")
    else:
        scope, rcode, flags, sections, body = _facts(value, end)
        message = _BEFORE + question + body
        spots, ttl, denied = _usual(message, question, sections) or _whole(message, HEADER + size, sections)
    stored, before = times >> 16 & _LATEST, times & _LONG_AGO
    age = now - stored * TICK
    if age < 0:
        if age < -TOLERANCE:
            raise Rubbish("future")
        age = 0.0
    seconds = int(age)
    left = ttl - seconds if ttl > seconds else 0
    if seconds:
        body = with_ttl(body, left) if spots == ALONE else aged(body, spots, seconds)
    return (
        Answer(
            question,
            rcode,
            flags,
            sections,
            body,
            spots,
            left,
            True,
            "redis",
            (),
            denied or not sections[0] or rcode != 0,
            scope,
        ),
        ttl - age,
        (stored - before) * TICK if before < _LONG_AGO else 0.0,
    )


def _facts(value: bytes, end: int) -> tuple[int | None, int, int, tuple[int, int, int], bytes]:
    """Return what stands in front of a value's records: scope, code, flags and counts; and the records, up to ``end``.

    :raises Rubbish: that cannot be.
    """
    _, _, marks, answers, authorities, additionals = _NARROW.unpack_from(value)
    at = _NARROW.size
    scope = None
    if marks:
        if marks & _COUNTED_WIDE:
            if end < _WIDE.size:
                raise Rubbish("malformed")
            _, _, marks, answers, authorities, additionals = _WIDE.unpack_from(value)
            at = _WIDE.size
        if marks & _SCOPED:
            scope = value[at]
            at += 1
        if marks > _MARKS or at > end or (scope is not None and scope > 128):
            raise Rubbish("malformed")
    flags = (AD if marks & _WITH_AD else 0) | (AA if marks & _WITH_AA else 0)
    return scope, NXDOMAIN if marks & _NO_NAME else 0, flags, (answers, authorities, additionals), value[at:end]


def stored_at(value: bytes) -> float:
    """Return when a value that :func:`from_bytes` takes was stored: seconds since 1970 on the clock of Redis."""
    return (int.from_bytes(value[:8], "big") >> 16 & _LATEST) * TICK


def stored_by(value: bytes) -> int:
    """Return the number of the node that stored a value which :func:`from_bytes` takes; 0 where it told none."""
    return int.from_bytes(value[8:10], "big")


def _usual(message: bytes, question: bytes, sections: tuple[int, int, int]) -> _Read | None:
    """Return what :func:`_whole` does, for one RRset that was asked for, or the SOA of a no; None for anything else."""
    if question[-4:-2] == _OPT:
        return None
    at = HEADER + len(question)
    answers, authorities, additionals = sections
    if additionals or answers > MOST_RECORDS:
        return None
    if authorities:
        denial = walk_soa(message, at) if authorities == 1 and not answers else None
        if denial is None or denial[2] != len(message) or denial[0] > _LONGEST:
            return None
        return ALONE, denial[0], True
    if answers == 1:
        found = walk_one(message, at, question)
        if found is None or found[1] != len(message) or found[0] > _LONGEST:
            return None
        return ALONE, found[0], False
    walked = walk(message, at, answers, question) if answers else None
    if walked is None:
        return None
    spots, ttls, end = walked
    return (spots, min(ttls), False) if end == len(message) and max(ttls) <= _LONGEST else None


def _whole(message: bytes, at: int, sections: tuple[int, int, int]) -> _Read:
    """Return the places of the TTLs in some records, counted from ``at``, the lowest of them, and whether they say no.

    Whoever has what was asked for tells no SOA beside it.
    """
    count = sum(sections)
    if count > MOST_RECORDS:
        raise Rubbish("malformed")
    spots = []
    names: dict[int, bytes] = {}
    lowest = _LONGEST if count else 0
    end = at
    denied = False
    try:
        for index, (owner, fixed, kind, _, behind) in enumerate(records(message, at, count)):
            expand_name(message, owner, names)
            rdata.read(kind, message, fixed + 10, behind, names)
            (ttl,) = _TTL.unpack_from(message, fixed + 4)
            if ttl > _LONGEST or kind == OPT:
                raise Rubbish("malformed")
            if ttl < lowest:
                lowest = ttl
            if kind == SOA and sections[0] <= index < sections[0] + sections[1]:
                denied = True
            spots.append(fixed + 4 - at)
            end = behind
    except Malformed:
        raise Rubbish("malformed") from None
    if end != len(message):
        raise Rubbish("malformed")
    return tuple(spots), lowest, denied
