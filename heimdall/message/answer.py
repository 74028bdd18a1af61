"""An answer as we keep it: the bytes an upstream sent, OPT taken out, and where its TTLs are (RFC 1035, 2181, 2308)."""

from __future__ import annotations

from struct import Struct
from typing import Any

from heimdall.message import edns
from heimdall.message.edns import ExtendedError
from heimdall.message.query import AD, ANY, NXDOMAIN, Query, question_of
from heimdall.message.spots import aged, patched, walk
from heimdall.message.wire import HEADER, Malformed, counts, records

AA, TC = 0x0400, 0x0200

NS, CNAME, SOA, RRSIG = 2, 5, 6, 46

STALE_TTL = 30
"""The TTL of a stale answer, in seconds (RFC 8767, 4)."""

MOST_RECORDS = 4096
"""Records a message may hold: of the smallest useful ones, 16 bytes each, fewer fit 64 KiB."""

_TTL = Struct("!I")
_FIXED = Struct("!HHIH")
_LONGEST = 0x7FFFFFFF
_ROOT_OPT = b"\0\0\x29"
_ODD = (edns.OPT.to_bytes(2, "big"), RRSIG.to_bytes(2, "big"))


FIELDS = (
    "question", "rcode", "flags", "counts", "body", "spots", "ttl", "keep", "origin", "errors", "negative", "scope",
)  # fmt: skip
"""The attributes of an answer."""


class Answer:
    """What is known of a question. Nobody changes one: to have that checked would cost as much as to read its records.

    ``question``  folded name, type and class, as on the wire
    ``rcode``     the response code, all 12 bits
    ``flags``     of AA, TC and AD those that are set
    ``counts``    records in the answer, authority and additional sections, without OPT
    ``body``      those records as on the wire; compression offsets count from the message's start
    ``spots``     where in ``body`` the TTLs are, as offsets in bytes
    ``ttl``       seconds until the first of its records is out of date
    ``keep``      whether it may be kept at all: not a failure, not truncated, not a no without a SOA
    ``origin``    who knew: memory, redis, upstream, stale, local or blocked
    ``errors``    extended errors to be told with it
    ``negative``  whether it says that the name, or the type at it, does not exist; also behind an alias
    ``scope``     bits of the asker's subnet it is meant for; None where no subnet was asked for
    """

    __slots__ = FIELDS

    def __init__(
        self,
        question: bytes,
        rcode: int,
        flags: int = 0,
        counts: tuple[int, int, int] = (0, 0, 0),
        body: bytes = b"",
        spots: tuple[int, ...] = (),
        ttl: int = 0,
        keep: bool = False,
        origin: str = "upstream",
        errors: tuple[ExtendedError, ...] = (),
        negative: bool = False,
        scope: int | None = None,
    ) -> None:
        self.question = question
        self.rcode = rcode
        self.flags = flags
        self.counts = counts
        self.body = body
        self.spots = spots
        self.ttl = ttl
        self.keep = keep
        self.origin = origin
        self.errors = errors
        self.negative = negative
        self.scope = scope

    def replace(self, **changes: Any) -> Answer:
        """Return the same answer but for some of its attributes."""
        known: dict[str, Any] = {name: getattr(self, name) for name in FIELDS}
        return Answer(**known | changes)

    def bounded(self, floor: int, ceiling: int, negative: int) -> Answer:
        """Return an answer that may be kept with every TTL between two bounds in seconds; any other as it is.

        :param floor: the least.
        :param ceiling: the most; ``negative`` the most for answers that say no.
        """
        if not self.keep:
            return self
        most = min(ceiling, negative) if self.negative else ceiling
        least = min(floor, most)
        if len(self.spots) == 1 and least <= self.ttl <= most:
            return self
        old = [_TTL.unpack_from(self.body, spot)[0] for spot in self.spots]
        new = [min(max(ttl, least), most) for ttl in old]
        if new == old:
            return self
        return self.replace(body=patched(self.body, self.spots, new), ttl=min(new))

    def with_ttls(self, ttl: int, origin: str) -> Answer:
        """Return the answer with every TTL set to ``ttl`` seconds, known from ``origin``."""
        return self.replace(body=patched(self.body, self.spots, [ttl] * len(self.spots)), ttl=ttl, origin=origin)

    def stale(self, late: float = 0.0, age: float | None = None) -> Stale:
        """Return the answer as it is given past its TTL (RFC 8767, 4; RFC 8914, 4.4 and 4.20).

        :param late: seconds since its TTL was over.
        :param age: seconds since it was learnt; None for the TTL that it has, and those.
        """
        code = edns.STALE_NXDOMAIN if self.rcode == NXDOMAIN else edns.STALE_ANSWER
        given = self.with_ttls(STALE_TTL, "stale").replace(errors=(ExtendedError(code),))
        return Stale(given, late, self.ttl + late if age is None else age, self.origin)

    def older(self, age: int, origin: str) -> Answer:
        """Return the answer as it is ``age`` seconds later: every TTL less by that, none below 0."""
        return self.replace(body=aged(self.body, self.spots, age), ttl=max(self.ttl - age, 0), origin=origin)

    def with_body(self, query: Query, body: bytes) -> Answer:
        """Return the answer to a query with its records as they are at this moment, and the TTL that is left now."""
        ttls = [_TTL.unpack_from(body, spot)[0] for spot in self.spots]
        question = query.key[: len(query.question)]
        return self.replace(question=question, body=body, ttl=min(ttls, default=self.ttl))


class Stale(Answer):
    """An answer as it is given past its TTL.

    ``late``    seconds that its TTL was over by then
    ``age``     seconds since it was learnt, by then
    ``source``  who knew it: memory or redis
    """

    __slots__ = ("age", "late", "source")

    def __init__(self, answer: Answer, late: float, age: float, source: str) -> None:
        super().__init__(
            answer.question, answer.rcode, answer.flags, answer.counts, answer.body, answer.spots, answer.ttl,
            answer.keep, answer.origin, answer.errors, answer.negative, answer.scope,
        )  # fmt: skip
        self.late = late
        self.age = age
        self.source = source

    def replace(self, **changes: Any) -> Stale:
        """Return the same answer but for some of its attributes, as late as it is."""
        return Stale(super().replace(**changes), self.late, self.age, self.source)

    def stale(self, late: float = 0.0, age: float | None = None) -> Stale:
        """Return it as it is given once more.

        :param late: seconds since its time as a stale answer was over.
        """
        more = STALE_TTL + late
        return Stale(self, self.late + more, self.age + more, self.source)


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
    _, answers, authorities, additionals = counts(wire)
    if 0 < answers < MOST_RECORDS and not authorities and additionals < 2 and not wire[3] & 15:
        usual = _usual(wire, at, answers, additionals, question)
        if usual is not None:
            return usual
    if answers + authorities + additionals > MOST_RECORDS:
        raise Malformed(f"more than {MOST_RECORDS} records")
    records_in = _Records(wire, at, (answers, authorities, additionals))
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
    walked = walk(wire, at, answers, question)
    if walked is None:
        return None
    spots, ttls, end = walked
    if additionals and (wire[end : end + 3] != _ROOT_OPT or wire[end + 9 : end + 11] != b"\0\0" or wire[end + 5]):
        return None
    lowest = min(ttls) if max(ttls) <= _LONGEST else 0
    body = wire[at:end]
    if ttls.count(lowest) < answers:
        body = patched(body, spots, [lowest] * answers)
    flags = (wire[2] << 8 | wire[3]) & (TC | AD)
    return Answer(question, 0, flags, (answers, 0, 0), body, spots, lowest, not flags & TC)


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


def make(query: Query, rcode: int, origin: str, *errors: ExtendedError) -> Answer:
    """Return an answer of our own without records."""
    return Answer(query.key[: len(query.question)], rcode, origin=origin, errors=errors)


def local(query: Query, rcode: int, rows: list[tuple[bytes, int, int, bytes]], *, origin: str = "local") -> Answer:
    """Return an answer of our own with records.

    :param rows: of each record the name, type, TTL in seconds and data; a SOA goes to the authority section,
        unless it is what was asked for, any other to the answer section. SOAs come last.
    """
    body = bytearray()
    spots = []
    authorities = 0
    base = HEADER + len(query.question)
    for name, kind, ttl, data in rows:
        body += b"\xc0\x0c" if name == query.name else name
        spots.append(len(body) + 4)
        body += _FIXED.pack(kind, 1, ttl, len(data)) + data
        authorities += kind == SOA and (rcode != 0 or query.qtype != SOA or name != query.name)
    if base + len(body) > 65535:
        raise ValueError(f"the records of {query.name!r} do not fit a message")
    return Answer(
        question=query.key[: len(query.question)],
        rcode=rcode,
        flags=AA,
        counts=(len(rows) - authorities, authorities, 0),
        body=bytes(body),
        spots=tuple(spots),
        ttl=min((ttl for _, _, ttl, _ in rows), default=0),
        origin=origin,
    )
