"""An answer as it lies in Redis: a versioned head with a check sum and the time it was stored, then a DNS message.

Whoever can write to Redis can write anything: nothing in a value is believed before it was checked.
"""

from __future__ import annotations

from binascii import crc32
from struct import Struct
from typing import Final

from heimdall.message.answer import AA, MOST_RECORDS, Answer
from heimdall.message.edns import OPT
from heimdall.message.query import AD
from heimdall.message.wire import HEADER, Malformed, records

VERSION: Final = 1

TOLERANCE: Final = 10.0
"""Seconds that a value may come from the future: the clock of Redis may step, and another Redis take over."""

REASONS: Final = ("short", "version", "damaged", "question", "malformed", "future")
"""Why a value is not taken."""

# Version, check sum of all that follows; scope, rcode, milliseconds since 1970 when it was stored, length of
# the variant. Then the variant (what the key has behind the question), and a DNS message.
_HEAD = Struct("!BI")
_FACTS = Struct("!BHQB")
_MESSAGE = Struct("!HHHHHH")
_TTL = Struct("!I")
_START = _HEAD.size + _FACTS.size
_NO_SCOPE = 255
_LONGEST = 0x7FFFFFFF
_LATEST = 1 << 52


class Rubbish(ValueError):
    """A value is not an answer to the question; ``reason`` is one of :data:`REASONS`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def to_bytes(answer: Answer, key: bytes, now: float) -> bytes:
    """Return the value to store an answer as. Its extended errors are left out.

    :param key: the key of the query; it begins with the answer's question.
    :param now: seconds since 1970 on the clock of Redis.
    :raises ValueError: the key is of another question.
    """
    question = answer.question
    if not key.startswith(question):
        raise ValueError("the answer is not one to this question")
    variant = key[len(question) :]
    scope = _NO_SCOPE if answer.scope is None else answer.scope
    rest = (
        _FACTS.pack(scope, answer.rcode, int(now * 1000), len(variant))
        + variant
        + _MESSAGE.pack(0, answer.flags, 1, *answer.counts)
        + question
        + answer.body
    )
    return _HEAD.pack(VERSION, crc32(rest)) + rest


def from_bytes(value: bytes, key: bytes, size: int, now: float) -> tuple[Answer, float]:
    """Return the answer in a value as it is by now, and how many seconds it has left: negative when it is stale.

    :param key: the key of the query, whose first ``size`` bytes are the question.
    :param now: seconds since 1970 on the clock of Redis.
    :raises Rubbish: the value is not a well-formed answer to this question; nothing else is ever raised.
    """
    if len(value) < _START + HEADER:
        raise Rubbish("short")
    version, check = _HEAD.unpack_from(value)
    if version != VERSION:
        raise Rubbish("version")
    rest = value[_HEAD.size :]
    if crc32(rest) != check:
        raise Rubbish("damaged")
    scope, rcode, stored, extra = _FACTS.unpack_from(rest)
    middle = _FACTS.size + extra
    at = HEADER + size
    message = rest[middle:]
    if rest[_FACTS.size : middle] != key[size:] or message[HEADER:at] != key[:size]:
        raise Rubbish("question")
    _, flags, one, answers, authorities, additionals = _MESSAGE.unpack_from(message)
    if one != 1 or rcode > 4095 or flags & ~(AA | AD) or stored > _LATEST or 128 < scope < _NO_SCOPE:
        raise Rubbish("malformed")
    age = now - stored / 1000
    if age < -TOLERANCE:
        raise Rubbish("future")
    body, spots, ttl = _aged(message, at, answers + authorities + additionals, max(int(age), 0))
    left = ttl - max(age, 0.0)
    return Answer(
        question=key[:size],
        rcode=rcode,
        flags=flags,
        counts=(answers, authorities, additionals),
        body=body,
        spots=spots,
        ttl=max(ttl - int(age), 0) if age > 0 else ttl,
        keep=True,
        origin="redis",
        scope=None if scope == _NO_SCOPE else scope,
    ), left


def _aged(message: bytes, at: int, count: int, age: int) -> tuple[bytes, tuple[int, ...], int]:
    """Return the records with their TTLs ``age`` seconds later, the places of these, and the lowest TTL before."""
    if count > MOST_RECORDS:
        raise Rubbish("malformed")
    image = bytearray(message)
    spots = []
    lowest = _LONGEST if count else 0
    end = at
    try:
        for _, fixed, kind, _, behind in records(message, at, count):
            (ttl,) = _TTL.unpack_from(message, fixed + 4)
            if ttl > _LONGEST or kind == OPT:
                raise Rubbish("malformed")
            if ttl < lowest:
                lowest = ttl
            if age:
                _TTL.pack_into(image, fixed + 4, ttl - age if ttl > age else 0)
            spots.append(fixed + 4 - at)
            end = behind
    except Malformed:
        raise Rubbish("malformed") from None
    if end != len(message):
        raise Rubbish("malformed")
    return bytes(image[at:]), tuple(spots), lowest
