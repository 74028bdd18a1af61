"""Tests of the exchange over TCP, on real sockets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, gatherResults, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IReactorTime, ITCPTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides
from zope.interface.verify import verifyObject

from heimdall.fetch.ledger import Ledger
from heimdall.fetch.stream import IDLE, Stream
from heimdall.interfaces import ITransport, NoAnswer
from heimdall.message.query import SERVFAIL, Query, make, write
from heimdall.message.wire import from_text
from heimdall.testing import Scripted
from tests.fetch.outcomes import exchange
from tests.ports import free_port
from tests.rediscase import reactor, until
from tests.virtual_time import VirtualCase

Steps = Generator[Deferred[Any], Any, None]

CLOCK = IReactorTime(reactor)

NEVER = 600.0
"""Seconds that no test lasts."""


def ask(text: str = "www.example", qtype: int = 1) -> Query:
    """Return a question."""
    return make(from_text(text), qtype)


class Saying(Protocol):
    """Says one thing when it hears something, and closes."""

    transport: ITCPTransport

    def __init__(self, says: bytes) -> None:
        self.says = says

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(self.says)
        self.transport.loseConnection()


class Rubbish(Factory):
    """A server that says one thing on each connection, whatever it is asked, and closes it."""

    noisy = False

    def __init__(self, says: bytes) -> None:
        self.says = says
        self.connections = 0

    def buildProtocol(self, addr: object) -> Protocol:
        self.connections += 1
        return Saying(self.says)


class Case(VirtualCase):
    """An upstream and an exchange with it."""

    def setUp(self) -> None:
        super().setUp()
        self.upstream = Scripted(reactor).start()
        self.addCleanup(self.upstream.stop)
        self.upstream.when("*", say=["192.0.2.1"])
        self.ledger = Ledger()
        self.stream = self.exchange()

    def exchange(self, port: int = 0, clock: IReactorTime = CLOCK, **more: Any) -> Stream:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port or self.upstream.port, timeout=2)
        made = Stream(clock, endpoint, write=write, ledger=self.ledger, **more)
        self.addCleanup(made.close)
        return made

    def failed(self, deferred: Deferred[Any]) -> Deferred[Any]:
        return self.assertFailure(deferred, NoAnswer)

    def until(self, true: Callable[[], object]) -> Deferred[float]:
        return Deferred.fromCoroutine(until(true))


class Exchanges(Case):
    """The plain course of things."""

    @inlineCallbacks
    def test_one_connection(self) -> Steps:
        """One hundred questions share one connection, and each gets its own answer."""
        self.assertTrue(verifyObject(ITransport, self.stream))
        asked = [exchange(self.stream, ask(f"n{number}.example"), 5) for number in range(100)]
        self.assertEqual(self.stream.inflight, 100)
        for number, answer in enumerate((yield gatherResults(asked))):
            self.assertEqual(answer.question, ask(f"n{number}.example").key[:-1])
        yield exchange(self.stream, ask(), 5)
        self.assertEqual(len({asked.port for asked in self.upstream.asked}), 1)
        self.assertEqual(self.stream.inflight, 0)

    @inlineCallbacks
    def test_out_of_order(self) -> Steps:
        """A reply that is ready is not held up by one that is not (RFC 7766, 6.2.1.1)."""
        self.upstream.when("slow.example", say=["192.0.2.2"], delay=NEVER)
        slow = exchange(self.stream, ask("slow.example"), NEVER)
        yield exchange(self.stream, ask(), 60)
        self.assertNoResult(slow)
        (late,) = self.upstream._delayed
        late.reset(0)
        yield slow

    @inlineCallbacks
    def test_large(self) -> Steps:
        """A message of 40 kB comes through whole."""
        self.upstream.when("huge.example", "TXT", say=[f'"{"x" * 200}{number}"' for number in range(190)])
        answer = yield exchange(self.stream, ask("huge.example", 16), 5)
        self.assertEqual(answer.counts[0], 190)

    @inlineCallbacks
    def test_mismatch(self) -> Steps:
        """Replies with a wrong id or question, or too short for an id, are counted and waited past."""
        self.upstream.when("forged.example", say=["192.0.2.1"], lies=["id", "question"])
        self.upstream.when("short.example", garbage=b"x")
        yield exchange(self.stream, ask("forged.example"), 5)
        waiting = exchange(self.stream, ask("short.example"), NEVER)
        yield self.until(lambda: self.ledger.mismatched.total() == 3)
        self.assertNoResult(waiting)
        waiting.cancel()
        yield self.assertFailure(waiting, CancelledError)
        self.assertEqual(self.ledger.mismatched.counts, {("id",): 2, ("question",): 1})

    @inlineCallbacks
    def test_damaged(self) -> Steps:
        """A damaged reply is a failure of that question at once; the connection goes on."""
        self.upstream.when("odd.example", say=["192.0.2.1"], lies=["cut"])
        odd = yield exchange(self.stream, ask("odd.example"), 60)
        good = yield exchange(self.stream, ask(), 60)
        self.assertEqual((odd.rcode, good.rcode), (SERVFAIL, 0))
        self.assertEqual(len({asked.port for asked in self.upstream.asked}), 1)

    @inlineCallbacks
    def test_full(self) -> Steps:
        """One question more than may be in flight fails at once."""
        small = self.exchange(most=2)
        waiting = [exchange(small, ask(), 5) for _ in range(2)]
        yield self.failed(exchange(small, ask(), 5))
        yield gatherResults(waiting)
        self.assertEqual(self.ledger.failed.counts, {("full",): 1})

    @inlineCallbacks
    def test_cancel(self) -> Steps:
        """Cancelling gives the place up, before and after there is a connection."""
        for _ in range(2):
            deferred = exchange(self.stream, ask(), 5)
            deferred.cancel()
            yield self.assertFailure(deferred, CancelledError)
            self.assertEqual(self.stream.inflight, 0)
            yield self.until(lambda: self.stream._connections)

    @inlineCallbacks
    def test_ids(self) -> Steps:
        """No two questions in flight have the same id."""
        self.stream._dice._numbers = [6, 5, 5, 5]
        yield gatherResults([exchange(self.stream, ask(), 5) for _ in range(2)])
        self.assertEqual([asked.identity for asked in self.upstream.asked], [5, 6])


class Losses(Case):
    """Connections that are refused, lost, or silent."""

    @inlineCallbacks
    def test_refused(self) -> Steps:
        """A closed port is told at once, and the next question tries again."""
        port = free_port()
        away = self.exchange(port)
        yield self.failed(exchange(away, ask(), 5))
        yield self.failed(exchange(away, ask(), 5))
        self.assertEqual(self.ledger.failed.counts, {("connect",): 2})

    @inlineCallbacks
    def test_cancelled_by_another(self) -> Steps:
        """A question that is cancelled while others fail is ended once."""
        away = self.exchange(free_port())
        first, second = exchange(away, ask(), 5), exchange(away, ask(), 5)
        first.addErrback(lambda _: second.cancel())
        yield self.assertFailure(second, CancelledError)
        self.assertEqual(self.ledger.failed.counts, {("connect",): 1})

    @inlineCallbacks
    def test_hung_up(self) -> Steps:
        """A server that closes a fresh connection without a word has failed."""
        self.upstream.when("bye.example", hang_up=True)
        yield self.failed(exchange(self.stream, ask("bye.example"), 5))
        self.assertEqual(self.ledger.failed.counts, {("lost",): 1})
        self.assertEqual(self.upstream.count("bye.example"), 1)

    @inlineCallbacks
    def test_rubbish_is_no_word(self) -> Steps:
        """A server that closes behind what answers nothing has failed as well: it is not asked again and again."""
        for rubbish in (b"\0\0", b"\0\1x", b"\0\x0c" + bytes(12)):
            server = Rubbish(rubbish)
            port = reactor.listenTCP(0, server, interface="127.0.0.1")
            self.addCleanup(port.stopListening)
            stream = self.exchange(port.getHost().port)
            yield self.failed(exchange(stream, ask(), 5))
            self.assertEqual(server.connections, 1)

    @inlineCallbacks
    def test_asked_again(self) -> Steps:
        """What is in flight on a connection that had served before is asked once more on a fresh one."""
        yield exchange(self.stream, ask(), 5)
        self.upstream.when("bye.example", say=["192.0.2.3"])
        self.upstream.when("bye.example", hang_up=True, times=1)
        answer = yield exchange(self.stream, ask("bye.example"), 5)
        self.assertEqual(answer.rcode, 0)
        self.assertEqual(self.upstream.count("bye.example"), 2)

    @inlineCallbacks
    def test_few_answers_each(self) -> Steps:
        """All questions to a server that closes each connection after a few answers are answered (RFC 7766)."""
        for each in (1, 2, 5):
            self.upstream.when("*", say=["192.0.2.1"], replies_each=each)
            stream = self.exchange()
            before = len(self.upstream.asked)
            answers = yield gatherResults([exchange(stream, ask(f"n{number}.example"), 60) for number in range(20)])
            self.assertEqual([answer.rcode for answer in answers], [0] * 20)
            self.assertEqual(self.ledger.failed.counts, {})
            # The first connection took all of them, the others what it had shown to be answered.
            later = Counter(asked.port for asked in self.upstream.asked[before + 20 :])
            self.assertEqual(set(later.values()) - {each, (20 - each) % each}, set())

    @inlineCallbacks
    def test_asked_again_once(self) -> Steps:
        """A question is asked a second time, not a third."""
        yield exchange(self.stream, ask(), 5)
        self.upstream.when("bye.example", hang_up=True)
        yield self.failed(exchange(self.stream, ask("bye.example"), 5))
        self.assertEqual(self.upstream.count("bye.example"), 2)

    @inlineCallbacks
    def test_restarted(self) -> Steps:
        """After the server was restarted the next question finds it again."""
        yield exchange(self.stream, ask(), 5)
        yield self.upstream.stop()
        self.upstream.start()
        yield exchange(self.stream, ask(), 5)
        self.assertEqual(len({asked.port for asked in self.upstream.asked}), 2)

    @inlineCallbacks
    def test_silent(self) -> Steps:
        """A question without a reply ends after its time-out; on a connection that is dumb no more is written."""
        clock = Clock()
        stream = self.exchange(clock=clock)
        self.upstream.silent = True
        failed = self.failed(exchange(stream, ask(), 1))
        yield self.until(self.upstream.count)
        clock.advance(1)
        yield failed
        self.assertEqual(self.ledger.failed.counts, {("timeout",): 1})
        self.upstream.silent = False
        yield exchange(stream, ask(), 1)
        self.assertEqual(len({asked.port for asked in self.upstream.asked}), 2)

    @inlineCallbacks
    def test_one_silent(self) -> Steps:
        """A question without a reply does not cost the connection while others are answered on it."""
        clock = Clock()
        stream = self.exchange(clock=clock)
        self.upstream.when("drop.example", drop=True)
        dropped = self.failed(exchange(stream, ask("drop.example"), 1))
        yield exchange(stream, ask(), 1)
        clock.advance(1)
        yield dropped
        yield exchange(stream, ask(), 1)
        self.assertEqual(len({asked.port for asked in self.upstream.asked}), 1)

    @inlineCallbacks
    def test_close(self) -> Steps:
        """Closing fails what is in flight, on a connection or waiting for one, and what is asked afterwards."""
        self.upstream.when("slow.example", delay=NEVER, say=["192.0.2.1"])
        yield exchange(self.stream, ask(), 5)
        waiting = [self.failed(exchange(self.stream, ask("slow.example"), 5))]
        other = self.exchange()
        waiting.append(self.failed(exchange(other, ask(), 5)))
        self.stream.close()
        other.close()
        yield gatherResults(waiting)
        yield self.failed(exchange(self.stream, ask(), 5))

    @inlineCallbacks
    def test_idle(self) -> Steps:
        """A connection without questions is closed after ten seconds, and the next question opens another."""
        clock = Clock()
        stream = self.exchange(clock=clock)
        yield exchange(stream, ask(), 5)
        clock.advance(IDLE - 0.1)
        yield exchange(stream, ask(), 5)
        clock.advance(IDLE - 0.1)
        self.assertEqual(len(self.upstream._connections), 1)
        clock.advance(0.2)
        yield self.until(lambda: not self.upstream._connections)
        yield exchange(stream, ask(), 5)
        self.assertEqual(len({asked.port for asked in self.upstream.asked}), 2)


class NeverConnected(SynchronousTestCase):
    """A server that takes no notice of a connection."""

    def test_time_out(self) -> None:
        """A question ends in time though the connection is never made, and a late connection is closed when idle."""
        memory = MemoryReactorClock()
        endpoint = TCP4ClientEndpoint(memory, "192.0.2.1", 53)
        stream = Stream(memory, endpoint, write=write, ledger=Ledger())
        deferred = exchange(stream, ask(), 1)
        memory.advance(1)
        self.failureResultOf(deferred, NoAnswer)
        factory = memory.tcpClients[0][2]
        protocol = factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 53))
        transport = StringTransport()
        alsoProvides(transport, ITCPTransport)
        assert protocol is not None
        protocol.makeConnection(transport)
        memory.advance(IDLE)
        self.assertTrue(transport.disconnecting)
        self.assertEqual(transport.value(), b"")
