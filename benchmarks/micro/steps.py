"""The steps that are timed, each on what a query for an A record brings."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from attrs import frozen
from twisted.internet.task import Clock

from benchmarks.beside.peers import RATE
from heimdall.accept.front import Front
from heimdall.accept.reader import BATCH
from heimdall.accept.slots import STRIDE, Slots, possible
from heimdall.admit.acl import Acl
from heimdall.admit.limit import Limit
from heimdall.cache.entry import from_bytes, to_bytes
from heimdall.cache.memory import Memory
from heimdall.cache.seal import Seal
from heimdall.config.settings import Admit
from heimdall.fetch.nowhere import Nowhere
from heimdall.message import query, response
from heimdall.message.answer import Answer
from heimdall.message.query import Query
from heimdall.message.reply import fit
from heimdall.message.wire import from_text

CLIENT: Final = ("192.168.1.2", 53000)
NAMES: Final = 10_000
"""Answers in the memory that is looked up in."""

DAYS: Final = 30
"""That answers live: longer than what is timed, also where each call takes a second on the clock of the server."""

_RECORD: Final = b"\xc0\x0c\0\1\0\1" + (DAYS * 86400).to_bytes(4, "big") + b"\0\4"


@frozen
class Step:
    """What is timed: its name, what it is, and a call of it, which does it so many times."""

    name: str
    text: str
    call: Callable[[], object]
    times: int = 1


def asked(text: str, *, opt: bool = False) -> tuple[bytes, Query]:
    """Return a message of a client that asks for an address, and what it is read as.

    :param opt: whether it has an OPT.
    """
    wire = query.write(query.make(from_text(text), 1), 4711, query.WITH_OPT if opt else query.PLAIN)
    read = query.read(wire, CLIENT)
    assert isinstance(read, Query)
    return wire, read


def reply(wire: bytes, number: int = 0) -> bytes:
    """Return what an upstream replies to a message without an OPT: one address."""
    return wire[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + wire[12:] + _RECORD + number.to_bytes(4, "big")


def learn(memory: Memory, text: str, now: float, number: int = 0) -> Answer:
    """Put an answer into memory as one that comes from an upstream is."""
    wire, read = asked(text)
    known = response.read(reply(wire, number))
    memory.put(read, known, now)
    return known


class Batch:
    """A batch of messages that is answered over and over.

    :param pass_second: whether a second passes before each time: else what came is remembered as it was answered.
    """

    def __init__(self, front: Front, clock: Clock, wires: Sequence[bytes], *, pass_second: bool) -> None:
        self._repeats, self._clock, self._pass_second = front.repeats, clock, pass_second
        with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket(type=socket.SOCK_DGRAM) as client:
            udp.bind(("127.0.0.1", 0))
            for wire in wires:
                client.sendto(wire, udp.getsockname())
            self._slots = Slots(udp, False)
            assert self._slots.receive() == len(wires)
        self._wires = [(number * STRIDE, number * STRIDE + len(wire), wire) for number, wire in enumerate(wires)]

    def answer(self) -> None:
        """Answer them all; the replies are not sent."""
        view = self._slots.view
        for start, end, wire in self._wires:
            view[start:end] = wire
        if self._pass_second:
            self._clock.advance(1)
        left, silent = self._repeats.answer(self._slots, len(self._wires))
        assert not left and not silent


def batches(front: Front, clock: Clock) -> Iterator[Step]:
    """Yield the steps that answer what comes from memory, many messages at a time."""
    if not possible():
        return
    again = Batch(front, clock, [asked("www.example.com")[0]] * BATCH, pass_second=False)
    names = [asked(f"n{number}.example.com")[0] for number in range(BATCH)]
    alike = Batch(front, clock, names, pass_second=True)
    yield Step("again", "answer a message that comes again, of a batch", again.answer, BATCH)
    yield Step("alike", "answer one that is like others but for its name, of a batch", alike.answer, BATCH)


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
    front = Front([acl, limit], memory, [], Nowhere(), clock)

    def later(reply: bytes, client: object) -> None:
        raise RuntimeError("the answer was not in memory")

    front.take(plain, CLIENT, False, later)
    front.take(plain, CLIENT, False, later)
    yield Step("parse", "read a query", partial(query.read, plain, CLIENT))
    yield Step("parse_opt", "read a query with an OPT", partial(query.read, with_opt, CLIENT))
    yield Step("acl", "judge whether a known client may ask", partial(acl.judge, read))
    yield Step("limit", "judge whether it asks too much", partial(limit.judge, read))
    yield Step("memory", "look up in memory, hot, expiry checked", partial(memory.get, read, now))
    yield Step("reply", "make a reply", partial(fit, read, known, known.body))
    yield Step("take", "all of that for a message, the long way", partial(front.take, plain, CLIENT, False, later))
    yield from batches(front, clock)
    yield Step("answer", "read the reply of an upstream", partial(response.read, upstream))
    yield Step("to_bytes", "an answer to its bytes in Redis", partial(to_bytes, known, read.key, now, seal))
    yield Step("from_bytes", "an answer from its bytes in Redis", partial(from_bytes, value, read.key, size, now, seal))
