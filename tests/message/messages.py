"""Messages for the tests: built by dnspython, the second implementation ours is held against."""

from __future__ import annotations

from functools import lru_cache
from struct import unpack_from

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from hypothesis import strategies as st

from heimdall.message.answer import Answer
from heimdall.message.query import question_of
from heimdall.message.wire import records

SOA = "example. 900 SOA ns.example. admin.example. 1 2 3 4 300"

LABEL = st.binary(min_size=1, max_size=20)
NAMES = st.lists(LABEL, max_size=6).map(lambda labels: dns.name.Name([*labels, b""]))
PLAIN_NAMES = st.lists(
    st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-_", min_size=1, max_size=15), min_size=1, max_size=5
).map(lambda labels: dns.name.from_text(".".join(labels) + "."))
TTLS = st.integers(0, 0x7FFFFFFF)

_DATA = st.one_of(
    st.builds(lambda n: ("A", f"192.0.2.{n}"), st.integers(0, 255)),
    st.builds(lambda n: ("AAAA", f"2001:db8::{n:x}"), st.integers(0, 65535)),
    st.builds(lambda name: ("CNAME", name.to_text()), NAMES),
    st.builds(lambda n, name: ("MX", f"{n} {name.to_text()}"), st.integers(0, 65535), NAMES),
    st.builds(lambda data: ("TXT", '"' + data + '"'), st.text("abc xyz", max_size=60)),
    st.builds(
        lambda name, minimum: ("SOA", f"{name.to_text()} {name.to_text()} 1 2 3 4 {minimum}"),
        NAMES,
        st.integers(0, 9999),
    ),
    st.builds(lambda data: ("TYPE65400", f"\\# {len(data)} {data.hex()}" if data else "\\# 0"), st.binary(max_size=40)),
)


@st.composite
def rrsets(draw: st.DrawFn, owner: st.SearchStrategy[dns.name.Name] = NAMES) -> dns.rrset.RRset:
    """An RRset with one record of any of several types."""
    kind, data = draw(_DATA)
    return dns.rrset.from_text(draw(owner), draw(TTLS), "IN", kind, data)


@st.composite
def replies(draw: st.DrawFn) -> dns.message.Message:
    """A reply with records in every section, with or without OPT."""
    query = dns.message.make_query(draw(NAMES), draw(st.sampled_from(["A", "AAAA", "MX", "TXT"])), id=1)
    if draw(st.booleans()):
        query.use_edns(0, 0, 1232, options=[option(65001, draw(st.binary(max_size=8)))])
    reply = dns.message.make_response(query)
    if reply.edns >= 0 and draw(st.booleans()):
        reply.use_edns(0, 0, 1232, options=[dns.edns.EDEOption(draw(st.sampled_from(dns.edns.EDECode)), "why")])
    alias = draw(NAMES)
    owners = st.one_of(st.just(query.question[0].name), st.just(alias), NAMES)
    if draw(st.booleans()):
        reply.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "CNAME", alias.to_text()))
    for section in (reply.answer, reply.authority, reply.additional):
        section.extend(draw(st.lists(rrsets(owners), max_size=4)))
    reply.set_rcode(dns.rcode.Rcode(draw(st.sampled_from([0, 0, 0, 2, 3, 5]))))
    return dns.message.from_wire(reply.to_wire())  # records that were drawn twice are one


@st.composite
def usual_replies(draw: st.DrawFn) -> bytes:
    """A reply as nearly all are: some addresses, or a no with a SOA, whose TTLs may be anything; damaged or not."""
    name = draw(PLAIN_NAMES)
    query = dns.message.make_query(name, "A", use_edns=draw(st.sampled_from([0, False])), id=1)
    reply = dns.message.make_response(query)
    if draw(st.booleans()):
        hosts = draw(st.lists(st.integers(0, 255), min_size=1, max_size=3, unique=True))
        reply.answer.append(dns.rrset.from_text(name, 60, "IN", "A", *(f"192.0.2.{host}" for host in hosts)))
    else:
        owner = dns.name.Name(name.labels[draw(st.integers(0, len(name.labels) - 2)) :])
        minimum = draw(st.integers(0, 0xFFFFFFFF))
        reply.authority.append(dns.rrset.from_text(owner, 60, "IN", "SOA", f"ns. admin. 1 2 3 4 {minimum}"))
    reply.set_rcode(dns.rcode.Rcode(draw(st.sampled_from([0, 3, 2]))))
    wire = bytearray(reply.to_wire())
    spot = len(query.question[0].name.to_wire() or b"") + 12 + 4 + 6
    wire[spot : spot + 4] = draw(st.integers(0, 0xFFFFFFFF)).to_bytes(4, "big")
    for at in draw(st.lists(st.integers(0, len(wire) - 1), max_size=2)):
        wire[at] = draw(st.integers(0, 255))
    return bytes(wire[: draw(st.integers(12, len(wire)))] if draw(st.integers(0, 4)) == 4 else wire)


def folded(name: dns.name.Name) -> bytes:
    """The folded wire name."""
    wire = name.to_wire()
    assert wire is not None
    return wire.lower()


def option(code: int, data: bytes) -> dns.edns.GenericOption:
    """An EDNS option of any code."""
    return dns.edns.GenericOption(dns.edns.OptionType.make(code), data)


def query_wire(name: str, qtype: str = "A", **kwargs: object) -> bytes:
    """A query as a client sends it."""
    return dns.message.make_query(name, qtype, **kwargs).to_wire()  # type: ignore[arg-type]


@lru_cache(1000)  # many tests want the same one again and again
def reply_wire(name: str, qtype: str, *records: str, rcode: int = 0, authority: tuple[str, ...] = ()) -> bytes:
    """A reply to a question; records as "name TTL type data"."""
    reply = dns.message.make_response(dns.message.make_query(name, qtype), recursion_available=True)
    for text, section in [*((r, reply.answer) for r in records), *((r, reply.authority) for r in authority)]:
        owner, ttl, kind, data = text.split(maxsplit=3)
        section.append(dns.rrset.from_text(owner, int(ttl), "IN", kind, data))
    reply.set_rcode(dns.rcode.Rcode(rcode))
    return reply.to_wire()


def image(message: dns.message.Message) -> Answer:
    """An answer with the very records of a message, whatever they are."""
    message.use_edns(False)
    wire = message.to_wire()
    question, at = question_of(wire)
    counts = unpack_from("!HHH", wire, 6)
    spots = tuple(fixed + 4 - at for _, fixed, _, _, _ in records(wire, at, sum(counts)))
    return Answer(question, message.rcode(), 0, counts, wire[at:], spots)


def said(message: dns.message.Message) -> list[dns.rrset.RRset] | None:
    """What the answer section of a good response says of its question, as dnspython sees it; None for nothing at all.

    That is the records at the name that was asked for, at the names that its aliases lead to, and the DNAMEs above;
    where these end, those of the type alone, if the response code does not deny them.
    """
    question = message.question[0]
    name, passed, found = question.name, set(), set()
    while name not in passed:
        passed.add(name)
        here = [rrset for rrset in message.answer if rrset.name == name]
        above = [
            rrset for rrset in message.answer if rrset.rdtype == dns.rdatatype.DNAME and name.is_subdomain(rrset.name)
        ]
        found |= {rrset.name for rrset in here + [one for one in above if one.name != name]}
        aliases = [rrset for rrset in here if rrset.rdtype == dns.rdatatype.CNAME]
        matches = any(rrset.rdtype == question.rdtype for rrset in here)
        if matches or not aliases:
            if message.answer and not found:
                return None
            if message.rcode() or not matches:
                found.discard(name)
            kept = [rrset for rrset in message.answer if rrset.name in found]
            denied = message.rcode() or any(
                rrset.rdtype == dns.rdatatype.SOA and name.is_subdomain(rrset.name) for rrset in message.authority
            )
            return kept if kept or denied or not message.answer else None
        name = aliases[0][0].target
    return None


def ttls(of: Answer) -> list[int]:
    """The TTL of each record."""
    return [int.from_bytes(of.body[spot : spot + 4], "big") for spot in of.spots]
