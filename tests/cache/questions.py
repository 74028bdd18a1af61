"""Questions and answers for the tests of the cache."""

from __future__ import annotations

from heimdall.message import query, response
from heimdall.message.answer import Answer
from heimdall.message.query import Query
from heimdall.message.wire import from_text
from tests.message.messages import reply_wire

SOA = "example. 900 SOA ns.example. admin.example. 1 2 3 4 300"


def question(text: str = "a.example", qtype: int = 1) -> Query:
    """A question as a client asks it."""
    return query.make(from_text(text), qtype)


def positive(text: str = "a.example", ttl: int = 60, data: str = "192.0.2.1") -> Answer:
    """An address, from an upstream."""
    return response.read(reply_wire(text + ".", "A", f"{text}. {ttl} A {data}"))


def negative(text: str = "no.example", rcode: int = 3) -> Answer:
    """The answer that a name, or what is asked of it, does not exist; for 300 s."""
    return response.read(reply_wire(text + ".", "A", rcode=rcode, authority=(SOA,)))


def failure(text: str = "a.example", rcode: int = 2) -> Answer:
    """A failure that an upstream told."""
    return response.read(reply_wire(text + ".", "A", rcode=rcode))


def scoped(known: Answer, scope: int) -> Answer:
    """The same answer, meant for so many bits of the asker's subnet."""
    return known.replace(scope=scope)


def ttls(body: bytes, known: Answer) -> list[int]:
    """The TTLs in some records of an answer."""
    return [int.from_bytes(body[spot : spot + 4], "big") for spot in known.spots]
