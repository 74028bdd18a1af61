"""Tests of the exchange over UDP, on real sockets."""

from __future__ import annotations

import os
import resource
import socket
from collections import Counter
from collections.abc import Callable, Generator
from itertools import pairwise
from typing import Any
from unittest import mock

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, gatherResults, inlineCallbacks
from twisted.internet.interfaces import IReactorFDSet, IReactorTime, IReactorUDP, IReadDescriptor
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from heimdall.fetch import udp
from heimdall.fetch.dice import Dice
from heimdall.fetch.ledger import Ledger
from heimdall.fetch.port import MOST_STRAYS
from heimdall.fetch.udp import Udp
from heimdall.interfaces import ITransport, NoAnswer
from heimdall.message.query import SERVFAIL, WITH_OPT, Query, make, write
from heimdall.message.wire import from_text
from heimdall.testing import Scripted
from tests.fetch.outcomes import exchange
from tests.ports import NO_IPV6
from tests.rediscase import reactor, until
from tests.virtual_time import VirtualCase

Steps = Generator[Deferred[Any], Any, None]

CLOCK = IReactorTime(reactor)

NEVER = 600.0
"""Seconds that no test lasts."""


def ask(text: str = "www.example", qtype: int = 1) -> Query:
    """Return a question."""
    return make(from_text(text), qtype)


class Case(VirtualCase):
    """An upstream and an exchange with it."""

    host = "127.0.0.1"

    def setUp(self) -> None:
        super().setUp()
        self.upstream = Scripted(reactor, self.host).start()
        self.addCleanup(self.upstream.stop)
        self.upstream.when("*", say=["192.0.2.1"])
        self.ledger = Ledger()
        self.udp = self.exchange()

    def exchange(self, **more: Any) -> Udp:
        port = self.upstream.port
        made = Udp(CLOCK, IReactorFDSet(reactor), self.host, port, write=write, ledger=self.ledger, **more)
        self.addCleanup(made.close)
        return made

    def failed(self, deferred: Deferred[Any]) -> Deferred[Any]:
        return self.assertFailure(deferred, NoAnswer)


class Exchanges(Case):
    """The plain course of things."""

    def test_seams(self) -> None:
        """It is an exchange, and its sockets are what a reactor reads."""
        self.assertTrue(verifyObject(ITransport, self.udp))
        exchange(self.udp, ask(), 1).addErrback(lambda _: None)
        (port,) = self.udp._ring
        self.assertTrue(verifyObject(IReadDescriptor, port))
        self.assertEqual(port.logPrefix(), "heimdall.fetch")

    @inlineCallbacks
    def test_answer(self) -> Steps:
        """The answer to the question comes back, and nothing is left in flight."""
        answer = yield exchange(self.udp, ask(), 5)
        self.assertEqual((answer.rcode, answer.counts, answer.body[-4:]), (0, (1, 0, 0), bytes((192, 0, 2, 1))))
        self.assertEqual(self.udp.inflight, 0)

    @inlineCallbacks
    def test_many(self) -> Steps:
        """Each of 200 questions in flight at once gets its own answer, whatever order the replies come in."""
        asked = [exchange(self.udp, ask(f"n{number}.example"), 5) for number in range(200)]
        answers = yield gatherResults(asked)
        for number, answer in enumerate(answers):
            self.assertEqual(answer.question, ask(f"n{number}.example").key[:-1])
        self.assertEqual(self.udp.inflight, 0)

    @inlineCallbacks
    def test_silence(self) -> Steps:
        """A question without a reply ends after its time-out, and is counted."""
        self.upstream.silent = True
        yield self.failed(exchange(self.udp, ask(), 0.05))
        self.assertEqual(self.ledger.failed.counts, {("timeout",): 1})
        self.assertEqual(self.udp.inflight, 0)

    @inlineCallbacks
    def test_closed_port(self) -> Steps:
        """A closed port is told at once, also for the questions after the first."""
        yield self.upstream.stop()
        for _ in range(20):
            yield self.failed(exchange(self.udp, ask(), 60))
        self.assertEqual(self.ledger.failed.counts, {("refused",): 20})
        self.upstream.start()
        yield exchange(self.udp, ask(), 60)

    @inlineCallbacks
    def test_refused_on_one_socket(self) -> Steps:
        """On one socket as well, a refusal ends what was in flight and lets the next question out."""
        yield self.upstream.stop()
        one = self.exchange(ports=1)
        asked = [self.failed(exchange(one, ask(), 5)) for _ in range(5)]
        yield gatherResults(asked)
        self.assertEqual(one.inflight, 0)

    @inlineCallbacks
    def test_refused_at_a_read(self) -> Steps:
        """A refusal that the system tells at a read ends what is in flight, each question once."""
        self.upstream.silent = True
        one = self.exchange(ports=1)
        first, second = exchange(one, ask(), 5), exchange(one, ask("other.example"), 5)
        first.addErrback(lambda _: second.cancel())
        yield Deferred.fromCoroutine(until(lambda: self.upstream.count() == 2))
        yield self.upstream.stop()
        os.write(one._ring[0].fileno(), b"anyone?")
        one._ring[0].doRead()
        self.failureResultOf(second)
        self.assertEqual(one.inflight, 0)

    @inlineCallbacks
    def test_refused_at_a_send(self) -> Steps:
        """A refusal that the system tells at the next send ends what was in flight, and the next one leaves."""
        self.upstream.silent = True
        one = self.exchange(ports=1)
        first = self.failed(exchange(one, ask(), 5))
        yield Deferred.fromCoroutine(until(self.upstream.count))
        yield self.upstream.stop()
        second = exchange(one, ask("other.example"), 5)
        os.write(one._ring[0].fileno(), b"anyone?")
        self.upstream.silent = False
        self.upstream.start()
        one._send_all()
        self.successResultOf(first)
        yield second
        self.assertEqual(self.ledger.failed.counts, {("refused",): 1})

    @inlineCallbacks
    def test_cancelled_by_a_refusal(self) -> Steps:
        """A question that somebody gives up, since an earlier one was refused as it was to leave, does not leave."""
        self.upstream.silent = True
        one = self.exchange(ports=1)
        first = exchange(one, ask(), 5)
        yield Deferred.fromCoroutine(until(self.upstream.count))
        yield self.upstream.stop()
        second = exchange(one, ask("other.example"), 5)
        first.addErrback(lambda _: second.cancel())
        os.write(one._ring[0].fileno(), b"anyone?")
        self.upstream.start()
        one._send_all()
        self.failureResultOf(second, CancelledError)
        self.upstream.silent = False
        yield exchange(one, ask("third.example"), 5)
        self.assertEqual((one.inflight, self.upstream.count("other.example")), (0, 0))

    @inlineCallbacks
    def test_given_up_at_once(self) -> Steps:
        """A question that is given up in the turn it was asked in does not leave."""
        given_up, asked = exchange(self.udp, ask("gone.example"), 5), exchange(self.udp, ask(), 5)
        given_up.cancel()
        yield self.assertFailure(given_up, CancelledError)
        yield asked
        self.assertEqual((self.upstream.count(), self.upstream.count("gone.example")), (1, 0))

    @inlineCallbacks
    def test_cannot_be_written(self) -> Steps:
        """A bug in writing one question fails that one, and no other."""

        def broken(query: Query, identity: int, form: int) -> bytes:
            if query.name == ask("bug.example").name:
                raise ZeroDivisionError
            return write(query, identity, form)

        way = Udp(CLOCK, IReactorFDSet(reactor), self.host, self.upstream.port, write=broken, ledger=self.ledger)
        self.addCleanup(way.close)
        failing, asked = self.failed(exchange(way, ask("bug.example"), 5)), exchange(way, ask(), 5)
        yield failing
        yield asked
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((way.inflight, self.ledger.failed.counts), (0, {("socket",): 1}))

    @inlineCallbacks
    def test_cancelled_by_another(self) -> Steps:
        """A question that is cancelled while others fail is ended once."""
        self.upstream.silent = True
        one = self.exchange(ports=1)
        first, second = exchange(one, ask(), 5), exchange(one, ask("other.example"), 5)
        first.addErrback(lambda _: second.cancel())
        one.close()
        yield self.assertFailure(second, CancelledError)
        self.assertEqual(self.ledger.failed.counts, {("closed",): 1})

    @inlineCallbacks
    def test_full_ring(self) -> Steps:
        """A worn socket goes on while too many others wait for their last replies."""
        self.upstream.when("slow.example", drop=True)
        one = self.exchange(ports=1)
        waiting = []
        for _ in range(2):
            waiting.append(self.failed(exchange(one, ask("slow.example"), NEVER)))
            for _ in range(udp.LEAST_USES * 3):
                yield exchange(one, ask(), 60)
        self.assertEqual((len(one._leaving), len(one._ring)), (1, 1))
        one.close()
        yield gatherResults(waiting)

    @inlineCallbacks
    def test_cancel(self) -> Steps:
        """Cancelling gives the place up, and a reply that comes later is waited past."""
        self.upstream.when("slow.example", say=["192.0.2.1"], delay=0.05)
        deferred = exchange(self.udp, ask("slow.example"), 5)
        yield Deferred.fromCoroutine(until(self.upstream.count))
        deferred.cancel()
        yield self.assertFailure(deferred, CancelledError)
        self.assertEqual(self.udp.inflight, 0)
        yield Deferred.fromCoroutine(until(self.ledger.mismatched.total))
        self.assertEqual(self.ledger.mismatched.counts, {("id",): 1})

    @inlineCallbacks
    def test_told_once(self) -> Steps:
        """Who asks is told once, and to cancel behind that changes nothing."""
        for name, silent in (("ready.example", False), ("gone.example", True)):
            told: list[object] = []
            self.upstream.silent = silent
            flight = self.udp.exchange(ask(name), WITH_OPT, 0.05 if silent else 60, told.append)
            yield Deferred.fromCoroutine(until(told.__len__))
            flight.cancel()
            self.assertEqual((len(told), self.udp.inflight), (1, 0))

    @inlineCallbacks
    def test_bug(self) -> Steps:
        """A bug of who is told is logged and costs that answer; the next question is answered."""
        one = self.exchange(ports=1)
        one.exchange(ask(), WITH_OPT, 60, lambda outcome: 1 // 0)
        yield Deferred.fromCoroutine(until(lambda: self.flushLoggedErrors(ZeroDivisionError)))
        yield exchange(one, ask(), 60)
        self.assertEqual((one.inflight, len(one._ring)), (0, 1))

    @inlineCallbacks
    def test_close(self) -> Steps:
        """Closing fails what is in flight, and what is asked afterwards."""
        self.upstream.silent = True
        waiting = self.failed(exchange(self.udp, ask(), 5))
        self.udp.close()
        yield waiting
        yield self.failed(exchange(self.udp, ask(), 5))
        self.assertEqual(self.udp._ring, [])

    @inlineCallbacks
    def test_full(self) -> Steps:
        """One question more than may be in flight fails at once."""
        self.upstream.silent = True
        small = self.exchange(most=3)
        waiting = [self.failed(exchange(small, ask(), 5)) for _ in range(3)]
        yield self.failed(exchange(small, ask(), 5))
        self.assertEqual(self.ledger.failed.counts, {("full",): 1})
        small.close()
        yield gatherResults(waiting)

    @inlineCallbacks
    def test_no_socket(self) -> Steps:
        """When the system gives no socket, the question fails at once and is counted."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
        try:
            yield self.failed(exchange(self.udp, ask(), 5))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.assertEqual(self.ledger.failed.counts, {("socket",): 1})

    @inlineCallbacks
    def test_no_way(self) -> Steps:
        """A server that no route leads to fails at once, and leaves no socket open."""
        before = len(os.listdir("/proc/self/fd"))
        nowhere = Udp(CLOCK, IReactorFDSet(reactor), "255.255.255.255", 53, write=write, ledger=self.ledger)
        yield self.failed(exchange(nowhere, ask(), 5))
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        self.assertEqual(self.ledger.failed.counts, {("socket",): 1})

    def test_no_address(self) -> None:
        """A host name is no address: it would have to be resolved by ourselves."""
        with self.assertRaises(OSError):
            Udp(CLOCK, IReactorFDSet(reactor), "dns.example", 53, write=write, ledger=self.ledger)


class Six(Case):
    """The same over IPv6."""

    skip = NO_IPV6
    host = "::1"

    @inlineCallbacks
    def test_answer(self) -> Steps:
        """A server with an IPv6 address answers like any other."""
        answer = yield exchange(self.udp, ask(), 5)
        self.assertEqual(answer.rcode, 0)


class Lies(Case):
    """Replies that only look like the right one (RFC 5452, 9)."""

    @inlineCallbacks
    def lie(self, label: str, *lies: str) -> Steps:
        self.upstream.when("forged.example", say=["192.0.2.2"], lies=lies)
        answer = yield exchange(self.udp, ask("forged.example"), 5)
        self.assertEqual(answer.body[-4:], bytes((192, 0, 2, 2)))
        self.assertEqual(self.ledger.mismatched.counts, {(label,): len(lies)} if label else {})

    def test_id(self) -> Deferred[None]:
        """Replies with a wrong id are counted and waited past."""
        return self.lie("id", "id", "id", "id")

    def test_question(self) -> Deferred[None]:
        """A reply to another question is counted and waited past."""
        return self.lie("question", "question")

    @inlineCallbacks
    def test_cut(self) -> Steps:
        """A damaged reply is an event of that server: the question ends with it, and nothing is waited past."""
        self.upstream.when("forged.example", say=["192.0.2.2"], lies=["cut"])
        answer = yield exchange(self.udp, ask("forged.example"), 60)
        self.assertEqual((answer.rcode, answer.counts), (SERVFAIL, (0, 0, 0)))

    def test_port(self) -> Deferred[None]:
        """A reply from another port never reaches us: the kernel keeps it from a connected socket."""
        return self.lie("", "port")

    @inlineCallbacks
    def test_query_back(self) -> Steps:
        """A query, a reply to another kind of request, and less than a header with our id are failures at once."""
        changes: list[Callable[[bytes], bytes]] = [
            lambda wire: wire,
            lambda wire: wire[:2] + b"\xa0\0" + wire[4:],
            lambda wire: wire[:7],
            lambda wire: wire[:2],
        ]
        for change in changes:
            self.upstream.when("odd.example", make=lambda query, change=change: change(query.to_wire()))
            answer = yield exchange(self.udp, ask("odd.example"), NEVER)
            self.assertEqual(answer.rcode, SERVFAIL)
        self.assertEqual(self.ledger.mismatched.counts, {})

    @inlineCallbacks
    def test_too_short(self) -> Steps:
        """A datagram too short for an id is nobody's reply: it is counted and waited past."""
        for number, wire in enumerate((b"", b"x"), 1):
            self.upstream.when("odd.example", garbage=wire)
            waiting = exchange(self.udp, ask("odd.example"), NEVER)
            yield Deferred.fromCoroutine(until(lambda number=number: self.ledger.mismatched.total() == number))  # type: ignore[misc]
            self.assertNoResult(waiting)
            waiting.cancel()
            yield self.assertFailure(waiting, CancelledError)
        self.assertEqual(self.ledger.mismatched.counts, {("id",): 2})

    @inlineCallbacks
    def test_spelling(self) -> Steps:
        """The question is compared without regard to case (RFC 4343)."""

        def shout(query: Any) -> bytes:
            wire = query.to_wire()
            return bytes(wire[:2] + b"\x81\x80" + wire[4:12] + wire[12:].upper())

        self.upstream.when("case.example", make=shout)
        answer = yield exchange(self.udp, ask("case.example"), 5)
        self.assertEqual(answer.question, ask("case.example").key[:-1])

    @inlineCallbacks
    def test_guessed_at(self) -> Steps:
        """A port that gets many replies which match nothing takes no more questions."""
        one = self.exchange(ports=1)
        self.upstream.when("guess.example", say=["192.0.2.1"], lies=["id"] * MOST_STRAYS)
        yield exchange(one, ask("guess.example"), 5)
        yield exchange(one, ask(), 5)
        first, second = (asked.port for asked in self.upstream.asked)
        self.assertNotEqual(first, second)


class Ports(Case):
    """Nobody can guess where a question comes from, or under which id."""

    @inlineCallbacks
    def test_spread(self) -> Steps:
        """Over 4000 questions ids and ports are spread evenly, and no socket carries more than its share."""
        for _ in range(80):
            yield gatherResults([exchange(self.udp, ask(), 5) for _ in range(50)])
        ids = [asked.identity for asked in self.upstream.asked]
        ports = Counter(asked.port for asked in self.upstream.asked)
        self.assertEqual(len(ids), 4000)
        self.assertGreater(len(set(ids)), 3750)  # 3880 are to be expected of 4000 draws out of 65536
        for bit in range(16):
            ones = sum(identity >> bit & 1 for identity in ids)
            self.assertTrue(1800 < ones < 2200, f"bit {bit} is set in {ones} of 4000")
        self.assertGreater(len(ports), 60)
        self.assertLess(max(ports.values()), 3 * udp.LEAST_USES)
        self.assertGreater(min(ports), udp.FIRST_PORT - 1)
        self.assertGreater(max(ports) - min(ports), 30000)
        steps = Counter(after - before for before, after in pairwise(ids))
        self.assertLess(steps.most_common(1)[0][1], 8)  # at 5, chance alone failed it once in 7,000 times

    @inlineCallbacks
    def test_worn(self) -> Steps:
        """A socket that has served its time gives way to one on another port, and is closed."""
        one = self.exchange(ports=1)
        for _ in range(udp.LEAST_USES * 4):
            yield exchange(one, ask(), 5)
        self.assertGreater(len({asked.port for asked in self.upstream.asked}), 1)
        self.assertEqual((len(one._ring), len(one._leaving)), (1, 0))

    @inlineCallbacks
    def test_old(self) -> Steps:
        """A port that is half a minute old is not used any more, however little it was used."""
        clock = Clock()
        way = Udp(
            clock, IReactorFDSet(reactor), self.host, self.upstream.port, write=write, ledger=self.ledger, ports=1
        )
        self.addCleanup(way.close)
        for age in (udp.MOST_AGE, 0.0):
            asked = exchange(way, ask(), 5)
            clock.advance(0)
            yield asked
            clock.advance(age)
        first, second = (asked.port for asked in self.upstream.asked)
        self.assertNotEqual(first, second)

    @inlineCallbacks
    def test_last_reply(self) -> Steps:
        """A worn socket stays open for the replies it still expects, and no more of them than there are others."""
        one = self.exchange(ports=1)
        self.upstream.when("slow.example", say=["192.0.2.9"], delay=NEVER)
        slow = exchange(one, ask("slow.example"), NEVER)
        for _ in range(udp.LEAST_USES * 3):
            yield exchange(one, ask(), 60)
        self.assertEqual(len(one._leaving), 1)
        (late,) = self.upstream._delayed
        late.reset(0)
        answer = yield slow
        self.assertEqual(answer.body[-4:], bytes((192, 0, 2, 9)))
        self.assertEqual(len(one._leaving), 0)

    @inlineCallbacks
    def test_taken(self) -> Steps:
        """When every port drawn is taken, the system is asked for a free one."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("0.0.0.0", 0))
            taken = other.getsockname()[1]
            way = self.exchange()
            way._dice._numbers = [0] * 2048
            with mock.patch.object(udp, "FIRST_PORT", taken):
                yield exchange(way, ask(), 5)
        self.assertNotEqual(self.upstream.asked[0].port, taken)


class Numbers(SynchronousTestCase):
    """The source of ids and ports."""

    def test_range(self) -> None:
        """Numbers are of 16 bits, spread evenly, also past the end of a page."""
        dice = Dice()
        drawn = [dice.draw() for _ in range(20000)]
        self.assertTrue(all(0 <= number < 65536 for number in drawn))
        self.assertTrue(31500 < sum(drawn) / len(drawn) < 34000)


class Mutating(DatagramProtocol):
    """A hostile upstream: it changes some bytes of every reply, and cuts some of them."""

    noisy = False

    def __init__(self) -> None:
        self.count = 0
        self.seeds = [os.urandom(64) for _ in range(500)]

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.count += 1
        wire = bytearray(datagram[:2] + b"\x81\x80\0\1\0\2\0\1\0\1" + datagram[12:-11])
        wire += b"\xc0\x0c\0\1\0\1\0\0\1\x2c\0\4\xc0\0\2\1" * 2
        wire += b"\xc0\x0c\0\6\0\1\0\0\1\x2c\0\x18\0\0" + bytes(20) + b"\0\0\0\1\0\0\0\0\0"
        wire += b"\0\0\x29\x04\xd0\0\0\0\0\0\6\0\x0f\0\2\0\x16"
        noise = self.seeds[self.count % len(self.seeds)]
        for at in range(0, 2 + self.count % 9 * 3, 3):
            spot = (noise[at] << 8 | noise[at + 1]) + self.count
            wire[2 + spot % (len(wire) - 2)] = noise[at + 2]
        cut = noise[63] % 40 if self.count % 3 == 0 else 0
        assert self.transport is not None
        self.transport.write(bytes(wire[: len(wire) - cut]), addr)


class Mutants(VirtualCase):
    """Hostile upstreams."""

    timeout = 600

    @inlineCallbacks
    def test_mutated_replies(self) -> Steps:
        """20,000 mutated replies bring no exception into the log, and every question ends."""
        upstream = Mutating()
        port: Any = IReactorUDP(reactor).listenUDP(0, upstream, "127.0.0.1", 8192)
        self.addCleanup(port.stopListening)
        ledger = Ledger()
        way = Udp(CLOCK, IReactorFDSet(reactor), "127.0.0.1", port.getHost().port, write=write, ledger=ledger)
        self.addCleanup(way.close)
        outcomes: list[object] = []
        gate = DeferredSemaphore(200)
        asked = [
            gate.run(exchange, way, ask(f"m{number % 7}.example"), 0.05).addBoth(outcomes.append)
            for number in range(20000)
        ]
        yield gatherResults(asked)
        bad = [outcome for outcome in outcomes if isinstance(outcome, Failure) and not outcome.check(NoAnswer)]
        self.assertEqual(bad, [])
        self.assertGreater(upstream.count, 19000)
        self.assertGreater(ledger.mismatched.total(), 100)
        self.assertEqual(way.inflight, 0)
        self.assertEqual(self.flushLoggedErrors(), [])
