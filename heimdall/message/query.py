"""Read a query: its question and its OPT, and what a bad one is told (RFC 1035, 6891, 8906, 9619)."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from heimdall.message import edns
from heimdall.message.edns import ExtendedError, Subnet
from heimdall.message.wire import HEADER, Malformed, question_end, records

if TYPE_CHECKING:
    from heimdall.message.passed import Passed
    from heimdall.message.trace import Trace

FORMERR: Final = 1
SERVFAIL: Final = 2
NXDOMAIN: Final = 3
NOTIMP: Final = 4
REFUSED: Final = 5
BADVERS: Final = 16

RD: Final = 0x0100
CD: Final = 0x0010
AD: Final = 0x0020

Client = tuple[str, int] | tuple[str, int, int, int]
"""A client's address as the socket gives it, host and port first; IPv6 has the flow and the scope behind them."""

LONGEST: Final = 512
"""Bytes of a message that is kept whole while it waits."""

EVERY_TYPE: Final = b"\0\0"
"""What stands for the type in the key of an answer that holds for all of them."""

IN: Final = b"\0\1"
DS: Final = 43
ANY: Final = 255
_NXNAME: Final = 128

_HEAD: Final = Struct("!HHHHHH")
_OPT: Final = edns.opt()
_OPT_DO: Final = edns.opt(do=True)
_QUESTION_ONLY: Final = b"\0\1\0\0\0\0\0\0"
_WITH_ONE_ADDITIONAL: Final = b"\0\1\0\0\0\0\0\1"


class Query:
    """One question of one client.

    ``wire``      the message as it came (``wire[:2]`` is its id); of one that waits, what it begins with
    ``flags``     the 16 bits behind the id
    ``question``  name, type and class as the client spelt them
    ``name``      the folded wire name
    ``qtype``     the type, a number
    ``key``       what tells this question apart in a cache: folded name, type, class, DO and CD
    ``edns``      whether the client sent an OPT; ``do`` its DO bit; ``size`` the UDP bytes it takes
    ``subnet``    the client subnet it gave, cut to what may be passed on, or None
    ``client``    its address as the socket gives it: host first
    ``stream``    whether it came over a stream, where the size does not count
    ``least``     seconds: an answer with less left to live is not enough (a refresh sets it)
    ``seen``      what a station saw of it for one further on, or None
    ``links``     aliases that were followed from a client's question to this one
    ``trace``     where the stations note what they did with it, if an operator follows it; else None
    ``passed``    on what terms policies let it pass; None where there are none
    """

    __slots__ = (
        "client", "do", "edns", "flags", "key", "least", "links", "name", "passed",
        "qtype", "question", "seen", "size", "stream", "subnet", "trace", "wire",
    )  # fmt: skip

    wire: bytes
    flags: int
    question: bytes
    name: bytes
    qtype: int
    key: bytes
    edns: bool
    do: bool
    size: int
    subnet: Subnet | None
    client: Client
    stream: bool
    least: float
    seen: object
    links: int
    trace: Trace | None
    passed: Passed | None

    def __init__(
        self,
        wire: bytes,
        flags: int,
        question: bytes,
        name: bytes,
        qtype: int,
        key: bytes,
        client: Client = ("", 0),
        stream: bool = False,
        edns: bool = False,
        do: bool = False,
        size: int = 512,
        subnet: Subnet | None = None,
        least: float = 0.0,
    ) -> None:
        self.wire = wire
        self.flags = flags
        self.question = question
        self.name = name
        self.qtype = qtype
        self.key = key
        self.client = client
        self.stream = stream
        self.edns = edns
        self.do = do
        self.size = size
        self.subnet = subnet
        self.least = least
        self.seen = None
        self.links = 0
        self.trace = None
        self.passed = None

    def keys(self) -> list[bytes]:
        """Return the keys an answer may be held under, the closest first: more than one only with a subnet."""
        if self.subnet is None:
            return [self.key]
        return [self.key + part for part in self.subnet.closest()]

    def key_for(self, scope: int) -> bytes:
        """Return the key to hold an answer under whose client subnet scope is ``scope`` bits."""
        return self.key if self.subnet is None else self.key + self.subnet.key(scope)

    def shorten(self) -> None:
        """Keep of a long message the header and the question alone: what waits is bounded by number."""
        if len(self.wire) > LONGEST:
            self.wire = self.wire[: HEADER + len(self.question)]

    def again(self, least: float) -> Query:
        """Return the same question, to be asked for an answer with more than ``least`` seconds to live."""
        query = Query(
            self.wire, self.flags, self.question, self.name, self.qtype, self.key,
            self.client, self.stream, self.edns, self.do, self.size, self.subnet, least,
        )  # fmt: skip
        query.links = self.links
        return query

    def at(self, name: bytes) -> Query:
        """Return the same question for the name that an alias leads to.

        :param name: the folded wire name.
        """
        query = Query(
            self.wire, self.flags, name + self.question[-4:], name, self.qtype, name + self.key[len(self.name) :],
            self.client, self.stream, self.edns, self.do, self.size, self.subnet,
        )  # fmt: skip
        query.links = self.links + 1
        query.trace = self.trace
        return query


def read(wire: bytes, client: Client = ("", 0), stream: bool = False, subnets: bool = False) -> Query | bytes | None:
    """Read what a client sent.

    :param wire: one message, without the length that precedes it on a stream.
    :param subnets: whether to heed the client subnet that it may give (RFC 7871). An option that is not heeded is
        ignored, whatever stands in it (RFC 6891, 6.1.2).
    :return: the query to answer, or the reply that a bad one deserves, or None where silence is due
        (a reply, or less than a header).
    """
    if len(wire) < HEADER or wire[2] & 0x80:
        return None
    if wire[2] & 0x78:
        return refusal(wire, NOTIMP)
    query, end = None, HEADER
    try:
        if wire[4:6] != b"\0\1":
            return refusal(wire, FORMERR)
        end = question_end(wire)
        query = _asked(wire, end, client, stream)
        if len(wire) != end or wire[4:12] != _QUESTION_ONLY:
            _read_rest(query, end, subnets)
    except Malformed:
        return refusal(wire, FORMERR, end, edns.opt(query.do) if query is not None and query.edns else b"")
    except _Version:
        return refusal(wire, BADVERS, end, edns.opt(rcode=BADVERS))
    if wire[end - 2 : end] == IN and (query.qtype < 128 or query.qtype > 254) and query.qtype not in (0, edns.OPT):
        return query
    return _bad_question(query, end)


def _asked(wire: bytes, end: int, client: Client, stream: bool) -> Query:
    """Return the query whose question ends at ``end``, as far as nothing stands behind that."""
    name = wire[HEADER : end - 4].lower()
    key = name + wire[end - 4 : end] + (b"\2" if wire[3] & CD else b"\0")
    qtype = wire[end - 4] << 8 | wire[end - 3]
    return Query(wire, wire[2] << 8 | wire[3], wire[HEADER:end], name, qtype, key, client, stream)


class _Version(Exception):
    """The OPT is of a version after ours, the only one there is."""


def _read_rest(query: Query, end: int, subnets: bool) -> None:
    """Read the OPT of a query and check that nothing else is wrong with what follows the question."""
    wire = query.wire
    answers, authorities, additionals = (wire[6] << 8 | wire[7], wire[8] << 8 | wire[9], wire[10] << 8 | wire[11])
    found = None
    for index, (owner, fixed, kind, size, after) in enumerate(records(wire, end, answers + authorities + additionals)):
        if kind == edns.OPT:
            if found or index < answers + authorities or fixed != owner + 1:
                raise Malformed("a second OPT, or one out of its place")
            found = (fixed, size, after)
        end = after
    if end != len(wire):
        raise Malformed("bytes behind the end of the message")
    if found is None:
        return
    fixed, size, after = found
    if wire[fixed + 5]:
        raise _Version
    query.edns = True
    query.size = max(size, 512)
    if wire[fixed + 6] & 0x80:
        query.do = True
        query.key = query.key[:-1] + bytes((query.key[-1] | 1,))
    if after - fixed > 10:
        for code, data in edns.options(wire[fixed + 10 : after]):
            if subnets and code == edns.CLIENT_SUBNET:
                query.subnet = Subnet.from_option(data)


def _bad_question(query: Query, end: int) -> bytes:
    """Return what a question that no cache can answer is told: another class, or a type that is none."""
    errors = b""
    if query.wire[end - 2 : end] != IN:
        rcode = REFUSED
    elif query.qtype in (0, edns.OPT, _NXNAME):
        rcode = FORMERR
        errors = edns.error_option(ExtendedError(edns.INVALID_QUERY_TYPE))
    else:
        rcode = NOTIMP
    return refusal(query.wire, rcode, end, edns.opt(query.do, rcode, errors) if query.edns else b"")


def refusal(wire: bytes, rcode: int, end: int = HEADER, opt: bytes = b"") -> bytes:
    """Return a reply without records to the message ``wire``.

    What is no query (another opcode) has no query's flags: nothing but its opcode is repeated.

    :param end: where its question ends; the reply repeats it. At the header's end the reply has none.
    :param opt: the OPT record to add, if any.
    """
    flags = (0x80 | wire[2] & 0x78) << 8 | rcode & 15
    if not wire[2] & 0x78:
        flags |= (wire[2] & 1) << 8 | 0x80 | wire[3] & CD
    identity = wire[0] << 8 | wire[1]
    return _HEAD.pack(identity, flags, end > HEADER, 0, 0, len(opt) > 0) + wire[HEADER:end] + opt


PLAIN: Final = 0
WITH_OPT: Final = 1
WITH_SUBNET: Final = 2
"""How a question is put to an upstream: without EDNS, with it, and with the client's subnet in it as well."""


def write(query: Query, identity: int, form: int = WITH_OPT, ad: bool = False) -> bytes:
    """Return the message that asks an upstream this question (RD set, CD and DO as the client's).

    :param identity: the message's id, 16 bits.
    :param form: one of :data:`PLAIN`, :data:`WITH_OPT` and :data:`WITH_SUBNET`.
    :param ad: set the AD bit: we want to know whether the upstream validated (RFC 6840, 5.7).
    """
    flags = RD | query.flags & CD | (AD if ad else 0)
    head = (identity << 16 | flags).to_bytes(4, "big")
    question = query.key[:-1]
    if form == WITH_OPT:
        return head + _WITH_ONE_ADDITIONAL + question + (_OPT_DO if query.do else _OPT)
    if form == PLAIN or query.subnet is None:
        return head + _QUESTION_ONLY + question
    return head + _WITH_ONE_ADDITIONAL + question + edns.opt(query.do, options=query.subnet.to_option())


def make(name: bytes, qtype: int, *, do: bool = False, cd: bool = False) -> Query:
    """Return a query of our own for a name in class IN: a refresh, a probe, another program's question."""
    question = name + qtype.to_bytes(2, "big") + IN
    head = _HEAD.pack(0, RD | (CD if cd else 0), 1, 0, 0, 1)
    made = read(head + question + edns.opt(do), stream=True)
    if not isinstance(made, Query):
        raise ValueError(f"no question can be asked for type {qtype} of {name!r}")
    return made


def question_of(wire: bytes) -> tuple[bytes, int]:
    """Return the folded question of a message, and where it ends.

    :raises Malformed: there is not exactly one question, or it is cut short.
    """
    if len(wire) < HEADER or wire[4:6] != b"\0\1":
        raise Malformed("not exactly one question")
    end = question_end(wire)
    return wire[HEADER : end - 4].lower() + wire[end - 4 : end], end


def asks(wire: bytes, question: bytes) -> bool:
    """Whether a message has this folded question, and no other."""
    end = HEADER + len(question)
    if wire[4:6] != b"\0\1":
        return False
    asked = wire[HEADER:end]
    return asked == question or (asked[-4:] == question[-4:] and asked[:-4].lower() == question[:-4])
