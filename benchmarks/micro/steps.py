"""The steps that are timed, each on what a query for an A record brings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from attrs import frozen
from twisted.internet.task import Clock

from benchmarks.beside.peers import RATE
from heimdall.accept.server import Server
from heimdall.admit.acl import Acl
from heimdall.admit.limit import Limit
from heimdall.cache.entry import from_bytes, to_bytes
from heimdall.cache.memory import Memory
from heimdall.cache.seal import Seal
from heimdall.config.settings import Admit
from heimdall.fetch.nowhere import Nowhere
from heimdall.message import answer, query
from heimdall.message.answer import Answer
from heimdall.message.query import Query
from heimdall.message.reply import fit
from heimdall.message.wire import from_text

CLIENT: Final = ("192.168.1.2", 53000)
NAMES: Final = 10_000
"""Answers in the memory that is looked up in."""

_RECORD: Final = b"\xc0\x0c\0\1\0\1\0\0\x0e\x10\0\4"


@frozen
class Step:
    """What is timed: its name, what it is, and a call of it."""

    name: str
    text: str
    call: Callable[[], object]


def asked(text: str, *, opt: bool = False) -> tuple[bytes, Query]:
    """Return a message of a client that asks for an address, and what it is read as.

    :param opt: whether it has an OPT.
    """
    wire = query.write(query.make(from_text(text), 1), 4711, with_opt=opt)
    read = query.read(wire, CLIENT)
    assert isinstance(read, Query)
    return wire, read


def reply(wire: bytes, number: int = 0) -> bytes:
    """Return what an upstream replies to a message without an OPT: one address, for an hour."""
    return wire[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + wire[12:] + _RECORD + number.to_bytes(4, "big")


def learn(memory: Memory, text: str, now: float, number: int = 0) -> Answer:
    """Put an answer into memory as one that comes from an upstream is."""
    wire, read = asked(text)
    known = answer.read(reply(wire, number))
    memory.put(read, known, now)
    return known


def steps() -> Iterator[Step]:
    """Yield all steps."""
    clock = Clock()
    clock.advance(1_000_000.5)
    now = clock.seconds()
    plain, read = asked("www.example.com")
    with_opt, _ = asked("www.example.com", opt=True)
    upstream = reply(plain)
    memory = Memory(100_000_000, stale_window=86400, refresh_share=0.1)
    for number in range(NAMES):
        learn(memory, f"n{number}.example.com", now)
    known = learn(memory, "www.example.com", now)
    seal = Seal(b"sixteen bytes and more")
    value, size = to_bytes(known, read.key, now, seal), len(read.question)
    acl, limit = Acl(Admit().allow), Limit(clock, float(RATE))
    server = Server([acl, limit], memory, [], Nowhere(), clock)

    def later(reply: bytes, client: object) -> None:
        raise RuntimeError("the answer was not in memory")

    server.take(plain, CLIENT, False, later)
    server.take(plain, CLIENT, False, later)
    yield Step("parse", "read a query", partial(query.read, plain, CLIENT))
    yield Step("parse_opt", "read a query with an OPT", partial(query.read, with_opt, CLIENT))
    yield Step("acl", "judge whether a known client may ask", partial(acl.judge, read))
    yield Step("limit", "judge whether it asks too much", partial(limit.judge, read))
    yield Step("memory", "look up in memory, hot, expiry checked", partial(memory.get, read, now))
    yield Step("reply", "make a reply", partial(fit, read, known, known.body))
    yield Step("take", "all of that for a message, the long way", partial(server.take, plain, CLIENT, False, later))
    yield Step("answer", "read the reply of an upstream", partial(answer.read, upstream))
    yield Step("to_bytes", "an answer to its bytes in Redis", partial(to_bytes, known, read.key, now, seal))
    yield Step("from_bytes", "an answer from its bytes in Redis", partial(from_bytes, value, read.key, size, now, seal))
