"""Read a response: what it says, as it may be kept (RFC 1035, 2181, 2308, 6672, 7871)."""

from __future__ import annotations

from struct import Struct
from typing import Final

from heimdall.message import edns, rdata
from heimdall.message.answer import AA, CNAME, MOST_RECORDS, NS, RRSIG, SOA, TC, Answer, Row, pack
from heimdall.message.edns import ExtendedError, Subnet
from heimdall.message.query import AD, ANY, IN, NXDOMAIN, question_of
from heimdall.message.spots import ALONE, data_of, patched, walk, walk_one, walk_soa, with_ttl
from heimdall.message.wire import HEADER, Malformed, expand_name, is_within, records, suffixes

DNAME: Final = 39

YXDOMAIN: Final = 6
"""The code of a DNAME that makes a name too long (RFC 6672, 2.2)."""

GOOD: Final[tuple[int, ...]] = (0, NXDOMAIN, YXDOMAIN)
"""The response codes that say something of a name; all others say that the server has nothing to say."""

MOST_LINKS: Final = 16
"""Aliases that may lead from the name that was asked for to the one that has the data."""

_TTL: Final = Struct("!I")
_COUNTS: Final = Struct("!HHH")
_LONGEST: Final = 0x7FFFFFFF
_ROOT_OPT: Final = b"\0\0\x29"
_UNUSUAL: Final[tuple[bytes, ...]] = (edns.OPT.to_bytes(2, "big"), RRSIG.to_bytes(2, "big"))
_IN: Final = int.from_bytes(IN, "big")
_META: Final = range(128, 256)  # types that no zone has: signatures of the transport, and questions (RFC 6895, 3.1)


class Referral(Malformed):
    """A response that names other servers and has no answer: its sender does not recurse (RFC 2308, 2.2)."""


class OtherSubnet(Malformed):
    """A response for another client subnet than the one that was asked for (RFC 7871, 7.3)."""


def read(wire: bytes, question: bytes = b"", do: bool = False, subnet: Subnet | None = None) -> Answer:
    """Read a response.

    Every TTL comes out as it may be used: those with the top bit set as 0, one per RRset, the SOA of a
    negative answer no longer than its minimum. Records that belong to another name, and duplicates, are left out; a
    failure has no records at all.

    :param question: its folded question, where that has been compared already.
    :param do: whether signatures were asked for. A response without an OPT has none, and is not kept (RFC 6891, 7).
    :param subnet: the client subnet that was sent.
    :raises Malformed: the bytes are no response to one question, or what they say cannot be. :class:`Referral` and
        :class:`OtherSubnet` are two kinds of that.
    """
    at = HEADER + len(question)
    if not question:
        question, at = question_of(wire)
    if not wire[2] & 0x80:
        raise Malformed("not a response")
    answers, authorities, additionals = _COUNTS.unpack_from(wire, 6)
    usual = None
    if additionals < 2 and (additionals or not do):
        if not authorities and 0 < answers < MOST_RECORDS and not wire[3] & 15:
            usual = _usual(wire, at, answers, additionals, question)
        elif authorities == 1 and not answers:
            usual = _denial(wire, at, additionals, question)
    return usual or whole(wire, at, (answers, authorities, additionals), question, do, subnet)


def _usual(wire: bytes, at: int, answers: int, additionals: int, question: bytes) -> Answer | None:
    """Read a response that has the RRset in question, and at most an OPT that says nothing; None for others."""
    kind = question[-4:-2]
    if kind in _UNUSUAL:
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
        if walked is None or len(set(data_of(wire, at, walked[0]))) != answers:
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
    """Read a negative response with a SOA alone, and at most an OPT that says nothing; None for others."""
    rcode = wire[3] & 15
    found = walk_soa(wire, at)
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


def whole(
    wire: bytes,
    at: int,
    sections: tuple[int, int, int],
    question: bytes,
    do: bool = False,
    subnet: Subnet | None = None,
) -> Answer:
    """Read a response whatever it holds, record by record; the arguments and the rest as for :func:`read`.

    :param at: where the records begin.
    :param sections: how many stand in each.
    """
    if sum(sections) > MOST_RECORDS:
        raise Malformed(f"more than {MOST_RECORDS} records")
    rcode = wire[3] & 15
    try:
        parts = _Sections(wire, at, sections, question, subnet)
    except OtherSubnet:
        raise
    except Malformed:
        if rcode in GOOD:
            raise
        return Answer(question, rcode)  # a failure, whatever stands behind it
    rcode |= parts.rcode
    # AA stays behind: what a cache hands on is nobody's own word (RFC 1035, 4.1.1).
    flags = (wire[2] << 8 | wire[3]) & (TC | AD)
    if rcode not in GOOD:
        return Answer(question, rcode, flags & TC, errors=parts.errors)
    return parts.answer(rcode, flags, bool(wire[2] << 8 & AA), do)


class _Sections:
    """The records of one response, and its OPT."""

    def __init__(
        self, wire: bytes, at: int, sections: tuple[int, int, int], question: bytes, subnet: Subnet | None
    ) -> None:
        self.wire, self.at, self.question = wire, at, question
        self.rcode = 0
        self.errors: tuple[ExtendedError, ...] = ()
        self.scope: int | None = None
        self.has_opt = False
        self._qtype = question[-4] << 8 | question[-3]
        self._spots: list[int] = []
        self._rows: list[list[Row]] = [[], [], []]
        self._end = at
        self._rewritten = False
        seen: set[tuple[int, bytes, int, bytes]] = set()
        names: dict[int, bytes] = {HEADER: question[:-4]}
        answers, before_additionals = sections[0], sections[0] + sections[1]
        for index, (owner_at, fixed, kind, klass, end) in enumerate(records(wire, at, sum(sections))):
            section = 0 if index < answers else 1 if index < before_additionals else 2
            if kind == edns.OPT:
                if self.has_opt or section < 2:
                    raise Malformed("a second OPT, or one out of its place")
                self.has_opt = True
                self._read_opt(fixed, klass, end, subnet)
                continue
            if self.has_opt or (section == 2 and kind in _META):
                # Behind the OPT may stand a signature of the transport. Offsets into what follows it would be wrong
                # once it is gone, and nobody needs more additional records. What stands before it leaves a gap.
                self._rewritten = self._rewritten or not self.has_opt
                continue
            if klass != _IN or kind in _META:
                raise Malformed(f"a record of class {klass} and type {kind}")
            owner = expand_name(wire, owner_at, names)[0].lower()
            data = rdata.read(kind, wire, fixed + 10, end, names)
            if kind in rdata.WRITTEN_OUT and len(data) != end - fixed - 10:
                self._rewritten = True
            (ttl,) = _TTL.unpack_from(wire, fixed + 4)
            if ttl > _LONGEST:  # RFC 2181, 8
                ttl = 0
            row = (owner, kind, ttl, data)
            mark = (section, owner, kind, data)
            if mark in seen:  # RFC 2181, 5
                self._rewritten = True
                continue
            seen.add(mark)
            self._rows[section].append(row)
            self._spots.append(fixed + 4 - at)
            self._end = end

    def _read_opt(self, fixed: int, _size: int, end: int, subnet: Subnet | None) -> None:
        wire = self.wire
        self.rcode = wire[fixed + 4] << 4
        pairs = edns.options(wire[fixed + 10 : end])
        self.errors = edns.errors(pairs)
        if subnet is None:
            return  # what was not asked for is ignored
        for code, data in pairs:
            if code == edns.CLIENT_SUBNET:
                scope = subnet.scope_in(data)
                if scope is None:
                    raise OtherSubnet("a response for another client subnet")
                self.scope = scope

    def answer(self, rcode: int, flags: int, authoritative: bool, do: bool) -> Answer:
        """Return what a response says that is no failure.

        :param authoritative: whether AA was set.
        :raises Malformed: it says nothing of the name that was asked for, or its aliases lead nowhere.
        """
        answers, authorities, additionals = self._rows
        end, owners, found = self._follow(rcode == YXDOMAIN)
        if answers and not owners:
            raise Malformed("the records of another name alone")
        found = found and not rcode
        if not found:
            owners.discard(end)  # what stands there is of another type, or denied by the response code
        kept = [row for row in answers if row[0] in owners]
        if len(kept) != len(answers):
            self._rewritten, answers = True, kept
        minimum = None
        soa = ns = False
        for owner, kind, _, data in authorities:
            ns = ns or kind == NS
            if kind == SOA:
                soa = True
                if minimum is None and is_within(end, owner):
                    minimum = min(_TTL.unpack_from(data, len(data) - 4)[0], _LONGEST)
        if ns and not (rcode or soa or answers or authoritative):
            raise Referral("a referral: this server does not recurse")
        if self._rows[0] and not (answers or rcode) and minimum is None:
            raise Malformed("the records of another type alone")
        alias = end if answers and not (rcode or found or minimum is not None) else b""
        keep = found or bool(alias) or (rcode in (0, NXDOMAIN) and minimum is not None)
        rows = [*answers, *authorities, *additionals]
        ttls = self._ttls(rows, None if found else minimum)
        if self._rewritten:
            body, spots = pack(self.question, rows, ttls)
        else:
            body, spots = patched(self.wire[self.at : self._end], self._spots, ttls), tuple(self._spots)
        return Answer(
            question=self.question,
            rcode=rcode,
            flags=flags,
            counts=(len(answers), len(authorities), len(additionals)),
            body=body,
            spots=spots,
            ttl=min(ttls, default=0),
            keep=keep and not flags & TC and (self.has_opt or not do),
            errors=self.errors,
            negative=keep and not found and not alias,
            scope=self.scope,
            alias=alias,
        )

    def _follow(self, too_long: bool) -> tuple[bytes, set[bytes], bool]:
        """Follow the aliases in the answer section from the name that was asked for (RFC 1034, 3.6.2; RFC 6672, 3).

        :param too_long: whether they may end at a name that is too long for one: the response code says so.
        :return: the name that they end at, the owners of the records on the way, and whether what was asked for is
            at the end.
        """
        kinds: dict[bytes, dict[int, bytes]] = {}
        dnames = False
        for owner, kind, _, data in self._rows[0]:
            kinds.setdefault(owner, {}).setdefault(kind, data)
            dnames = dnames or kind == DNAME
        name, qtype = self.question[:-4], self._qtype
        passed: set[bytes] = set()
        owners: set[bytes] = set()
        while True:
            passed.add(name)
            here = kinds.get(name, {})
            if here:
                owners.add(name)
            if qtype in here or (qtype == ANY and here):
                return name, owners, True
            target = here.get(CNAME, b"").lower()
            if dnames:
                for above in suffixes(name):
                    if above != name and DNAME in kinds.get(above, {}):
                        owners.add(above)
                        target = target or name[: len(name) - len(above)] + kinds[above][DNAME].lower()
            if not target or (too_long and len(target) > 255):
                return name, owners, False
            if target in passed or len(passed) > MOST_LINKS or len(target) > 255:
                raise Malformed("aliases that lead in a circle, or too far")
            name = target

    def _ttls(self, rows: list[Row], most_soa: int | None) -> list[int]:
        """Return the TTL of each record as it may be used."""
        lowest: dict[tuple[bytes, int, bytes], int] = {}
        sets = []
        for owner, kind, ttl, data in rows:
            of = (owner, kind, data[:2] if kind == RRSIG else b"")
            sets.append(of)
            lowest[of] = min(ttl, lowest.get(of, ttl))
        ttls = [lowest[of] for of in sets]  # RFC 2181, 5.2
        if most_soa is None:
            return ttls
        return [
            min(ttl, most_soa) if row[1] == SOA else ttl for ttl, row in zip(ttls, rows, strict=True)
        ]  # RFC 2308, 5


def rcode_with_opt(wire: bytes, at: int) -> int | None:
    """Return all 12 bits of the response code; None without an OPT, as far as the records can be read.

    :param at: where they begin.
    """
    try:
        for _, fixed, kind, _, _ in records(wire, at, sum(_COUNTS.unpack_from(wire, 6))):
            if kind == edns.OPT:
                return wire[fixed + 4] << 4 | wire[3] & 15
    except Malformed:
        pass
    return None
