"""Read a response: what it says, as it may be kept (RFC 1035, 2181, 2308)."""

from __future__ import annotations

from struct import Struct
from typing import Final

from heimdall.message import edns
from heimdall.message.answer import MOST_RECORDS, RRSIG, SOA, TC, Answer
from heimdall.message.edns import ExtendedError
from heimdall.message.query import AD, ANY, NXDOMAIN, question_of
from heimdall.message.spots import ALONE, patched, walk, walk_one, walk_soa, with_ttl
from heimdall.message.wire import HEADER, Malformed, records

_TTL: Final = Struct("!I")
_COUNTS: Final = Struct("!HHH")
_LONGEST: Final = 0x7FFFFFFF
_ROOT_OPT: Final = b"\0\0\x29"
_ODD: Final[tuple[bytes, ...]] = (edns.OPT.to_bytes(2, "big"), RRSIG.to_bytes(2, "big"))


def read(wire: bytes, question: bytes = b"") -> Answer:
    """Read a reply.

    Every TTL comes out as it may be used: those with the top bit set as 0, one per RRset, the SOA of a
    negative answer no longer than its minimum.

    :param question: its folded question, where that has been compared already.
    :raises Malformed: the bytes are no reply to one question.
    """
    at = HEADER + len(question)
    if not question:
        question, at = question_of(wire)
    if not wire[2] & 0x80:
        raise Malformed("not a reply")
    answers, authorities, additionals = _COUNTS.unpack_from(wire, 6)
    usual = None
    if additionals < 2:
        if not authorities and 0 < answers < MOST_RECORDS and not wire[3] & 15:
            usual = _usual(wire, at, answers, additionals, question)
        elif authorities == 1 and not answers:
            usual = _denial(wire, at, additionals, question)
    return usual or whole(wire, at, (answers, authorities, additionals), question)


def whole(wire: bytes, at: int, sections: tuple[int, int, int], question: bytes) -> Answer:
    """Read a reply whatever it holds, record by record; the arguments and the rest as for :func:`read`.

    :param at: where the records begin.
    :param sections: how many stand in each.
    """
    if sum(sections) > MOST_RECORDS:
        raise Malformed(f"more than {MOST_RECORDS} records")
    records_in = _Records(wire, at, sections)
    # AA stays behind: what a cache hands on is nobody's own word (RFC 1035, 4.1.1).
    flags = (wire[2] << 8 | wire[3]) & (TC | AD)
    rcode = wire[3] & 15 | records_in.rcode
    ttls, keep = records_in.ttls(question, rcode)
    body = wire[at : records_in.end]
    return Answer(
        question=question,
        rcode=rcode,
        flags=flags,
        counts=records_in.counts,
        body=patched(body, records_in.spots, ttls),
        spots=tuple(records_in.spots),
        ttl=min(ttls, default=0),
        keep=keep and not flags & TC,
        errors=records_in.errors,
        negative=keep and not records_in.answers(question),
        scope=records_in.scope,
    )


def _usual(wire: bytes, at: int, answers: int, additionals: int, question: bytes) -> Answer | None:
    """Read a reply that holds one RRset, which was asked for, and at most an OPT that says nothing; None for others."""
    if question[-4:-2] in _ODD:
        return None
    if answers == 1:
        found = walk_one(wire, at, question)
        if found is None:
            return None
        lowest, end = found
        spots, even = ALONE, lowest <= _LONGEST
        if not even:
            lowest = 0
    else:
        walked = walk(wire, at, answers, question)
        if walked is None:
            return None
        spots, ttls, end = walked
        lowest = min(ttls) if max(ttls) <= _LONGEST else 0
        even = ttls.count(lowest) == answers
    if additionals and not _says_nothing(wire, end):
        return None
    body = wire[at:end]
    if not even:
        body = patched(body, spots, [lowest] * answers)
    flags = (wire[2] << 8 | wire[3]) & (TC | AD)
    return Answer(question, 0, flags, (answers, 0, 0), body, spots, lowest, not flags & TC)


def _denial(wire: bytes, at: int, additionals: int, question: bytes) -> Answer | None:
    """Read a reply that says no by a SOA alone, and holds at most an OPT that says nothing; None for others."""
    rcode = wire[3] & 15
    found = walk_soa(wire, at, at)
    if found is None or rcode not in (0, NXDOMAIN):
        return None
    ttl, minimum, end = found
    if additionals and not _says_nothing(wire, end):
        return None
    # RFC 2181, 8, and RFC 2308, 5.
    usable = 0 if ttl > _LONGEST else min(ttl, minimum, _LONGEST)
    body = wire[at:end]
    if usable != ttl:
        body = with_ttl(body, usable)
    flags = (wire[2] << 8 | wire[3]) & (TC | AD)
    keep = not flags & TC
    return Answer(question, rcode, flags, (0, 1, 0), body, ALONE, usable, keep, "upstream", (), True)


def _says_nothing(wire: bytes, at: int) -> bool:
    """Whether there is an OPT without options or upper bits of a response code."""
    return wire[at : at + 3] == _ROOT_OPT and wire[at + 9 : at + 11] == b"\0\0" and not wire[at + 5]


class _Records:
    """What the records of one reply say about its lifetime, and its OPT."""

    def __init__(self, wire: bytes, at: int, sections: tuple[int, int, int]) -> None:
        self.wire = wire
        self.spots: list[int] = []
        self.rcode = 0
        self.errors: tuple[ExtendedError, ...] = ()
        self.scope: int | None = None
        self.end = at
        self._sets: list[bytes] = []
        self._kinds: list[int] = []
        self._minimum: int | None = None
        before_additionals = sections[0] + sections[1]
        kept = 0
        seen_opt = False
        for index, (owner, fixed, kind, size, end) in enumerate(records(wire, at, sum(sections))):
            if kind == edns.OPT:
                if seen_opt or index < before_additionals:
                    raise Malformed("a second OPT, or one out of its place")
                seen_opt = True
                self._read_opt(fixed, size, end)
            elif not seen_opt:
                # What follows the OPT is left out: offsets into it would be wrong once the OPT is gone, and
                # nothing but a signature of the transport stands there.
                kept += 1
                self.spots.append(fixed + 4 - at)
                self._kinds.append(kind)
                covered = wire[fixed + 10 : fixed + 12] if kind == RRSIG else b""
                self._sets.append(wire[owner : fixed + 2] + covered)
                if kind == SOA and sections[0] <= index < before_additionals and end - fixed >= 32:
                    self._minimum = min(_TTL.unpack_from(wire, end - 4)[0], _LONGEST)
                self.end = end
        self.counts = (sections[0], sections[1], kept - before_additionals)

    def _read_opt(self, fixed: int, size: int, end: int) -> None:
        wire = self.wire
        self.rcode = wire[fixed + 4] << 4
        pairs = edns.options(wire[fixed + 10 : end])
        self.errors = edns.errors(pairs)
        for code, data in pairs:
            if code == edns.CLIENT_SUBNET and len(data) >= 4:
                self.scope = min(data[3], 128)  # no address has more bits

    def ttls(self, question: bytes, rcode: int) -> tuple[list[int], bool]:
        """Return the TTL of each record as it may be used, and whether there is one to keep the whole by."""
        base = len(question) + HEADER
        ttls = []
        lowest: dict[bytes, int] = {}
        for spot, key in zip(self.spots, self._sets, strict=True):
            (ttl,) = _TTL.unpack_from(self.wire, base + spot)
            if ttl > _LONGEST:  # RFC 2181, 8
                ttl = 0
            ttls.append(ttl)
            lowest[key] = min(ttl, lowest.get(key, ttl))
        ttls = [lowest[key] for key in self._sets]  # RFC 2181, 5.2
        if rcode == 0 and self.answers(question):
            return ttls, True
        if rcode not in (0, NXDOMAIN) or self._minimum is None:
            return ttls, False  # RFC 2308, 5: a no without a SOA has nothing to be kept by
        most = self._minimum
        return [min(ttl, most) if kind == SOA else ttl for ttl, kind in zip(ttls, self._kinds, strict=True)], True

    def answers(self, question: bytes) -> bool:
        """Whether the answer section holds what was asked for."""
        qtype = int.from_bytes(question[-4:-2], "big")
        kinds = self._kinds[: self.counts[0]]
        return qtype in kinds or (qtype == ANY and bool(kinds))
