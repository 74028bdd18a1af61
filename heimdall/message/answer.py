"""An answer as we keep it: the bytes an upstream sent, OPT taken out, and where its TTLs are."""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Any, Final

from heimdall.message import edns, rdata
from heimdall.message.edns import ExtendedError
from heimdall.message.query import NXDOMAIN, Query
from heimdall.message.spots import aged, patched
from heimdall.message.wire import HEADER, Malformed, expand_name, records, suffixes

AA: Final = 0x0400
TC: Final = 0x0200

NS: Final = 2
CNAME: Final = 5
SOA: Final = 6
RRSIG: Final = 46

STALE_TTL: Final = 30
"""The TTL of a stale answer, in seconds (RFC 8767, 4)."""

MOST_RECORDS: Final = 4096
"""Records a message may hold: of the smallest useful ones, 16 bytes each, fewer fit 64 KiB."""

_TTL: Final = Struct("!I")
_FIXED: Final = Struct("!HHIH")

FIELDS: Final[tuple[str, ...]] = (
    "question", "rcode", "flags", "counts", "body", "spots", "ttl", "keep", "origin", "errors", "negative", "scope",
    "alias",
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
    ``keep``      whether it may be kept at all: not a failure, not truncated, not a no without a SOA; where ``alias``
                  is set, only together with what that leads to
    ``origin``    who knew: memory, redis, upstream, stale, local or blocked
    ``errors``    extended errors to be told with it
    ``negative``  whether it says that the name, or the type at it, does not exist; also behind an alias
    ``scope``     bits of the asker's subnet it is meant for; None where no subnet was asked for
    ``alias``     the folded name that its aliases lead to, where it lacks the records of that; else no bytes
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
        alias: bytes = b"",
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
        self.alias = alias

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

    def at_most(self, most: int) -> Answer:
        """Return the answer with no TTL above so many seconds."""
        old = [_TTL.unpack_from(self.body, spot)[0] for spot in self.spots]
        body = patched(self.body, self.spots, [min(ttl, most) for ttl in old])
        return self.replace(body=body, ttl=min(self.ttl, most))

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
            answer.keep, answer.origin, answer.errors, answer.negative, answer.scope, answer.alias,
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


def make(query: Query, rcode: int, origin: str, *errors: ExtendedError) -> Answer:
    """Return an answer of our own without records."""
    return Answer(query.key[: len(query.question)], rcode, origin=origin, errors=errors)


Row = tuple[bytes, int, int, bytes]
"""A record of class IN: its folded owner, type, TTL in seconds, and data without compressed names."""


def pack(question: bytes, rows: Iterable[Row], ttls: Iterable[int]) -> tuple[bytes, tuple[int, ...]]:
    """Return the body of an answer that holds some records, and where its TTLs are.

    :param question: the question, whose name and parents the owners point to where they can; also to each other.
    :param ttls: the TTL of each record, which counts instead of its own.
    :raises Malformed: they do not fit a message.
    """
    name = question[:-4]
    places = {above: HEADER + len(name) - len(above) for above in suffixes(name) if above != b"\0"}
    body = bytearray()
    spots = []
    base = HEADER + len(question)
    for (owner, kind, _, data), ttl in zip(rows, ttls, strict=True):
        place = places.get(owner)
        if place is None:
            if base + len(body) < 0x4000 and owner != b"\0":
                places[owner] = base + len(body)
            body += owner
        else:
            body += (0xC000 | place).to_bytes(2, "big")
        spots.append(len(body) + 4)
        body += _FIXED.pack(kind, 1, ttl, len(data)) + data
    if base + len(body) > 65535:
        raise Malformed("the records do not fit a message")
    return bytes(body), tuple(spots)


def rows_of(answer: Answer) -> tuple[list[Row], list[Row], list[Row]]:
    """Return the records of an answer, section by section.

    :raises Malformed: they are none.
    """
    message = bytes(HEADER) + answer.question + answer.body
    names: dict[int, bytes] = {HEADER: answer.question[:-4]}
    rows: list[Row] = []
    for owner, fixed, kind, _, end in records(message, HEADER + len(answer.question), sum(answer.counts)):
        data = rdata.read(kind, message, fixed + 10, end, names)
        (ttl,) = _TTL.unpack_from(message, fixed + 4)
        rows.append((expand_name(message, owner, names)[0].lower(), kind, ttl, data))
    answers, authorities, _ = answer.counts
    return rows[:answers], rows[answers : answers + authorities], rows[answers + authorities :]


def local(query: Query, rcode: int, rows: list[Row], *, origin: str = "local", alias: bytes = b"") -> Answer:
    """Return an answer of our own with records.

    :param rows: the records; a SOA goes to the authority section, unless it is what was asked for, any other to the
        answer section. SOAs come last.
    :param alias: the name that the last of them leads to, where somebody else has its records.
    """
    authorities = sum(
        kind == SOA and (rcode != 0 or query.qtype != SOA or name != query.name) for name, kind, _, _ in rows
    )
    body, spots = pack(query.key[:-1], rows, (row[2] for row in rows))
    return Answer(
        question=query.key[:-1],
        rcode=rcode,
        flags=AA,
        counts=(len(rows) - authorities, authorities, 0),
        body=body,
        spots=spots,
        ttl=min((ttl for _, _, ttl, _ in rows), default=0),
        origin=origin,
        alias=alias,
    )
