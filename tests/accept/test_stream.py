"""Connections: framing, many queries in flight, and clients that mean no good."""

from __future__ import annotations

import os
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from heimdall.accept.sockets import bind_stream
from heimdall.accept.stream import MOST_UNREAD, TURN, Stream
from heimdall.message.query import SERVFAIL
from tests.accept.echo import Echo, ask, framed, read_messages, reply_to, unframed
from tests.rediscase import really_until as until
from tests.running import resident

Live = Generator["Deferred[Any]", Any, None]


class StreamTests(SynchronousTestCase):
    """The rules, on a clock of our own."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.server = Echo(self.clock, idle=10.0, patience=10.0, pipeline=3, most=4, most_per_client=4)

    def connect(self) -> tuple[Stream, StringTransportWithDisconnection]:
        stream = self.server.buildProtocol(None)
        transport = StringTransportWithDisconnection()
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        transport.getHandle = lambda: ours  # type: ignore[attr-defined]
        transport.protocol = stream
        stream.makeConnection(transport)
        return stream, transport

    def event(self, name: str) -> int:
        return self.server.streams.events.total(name)

    def test_interfaces(self) -> None:
        """A connection says that it can be half closed, and that it can be paused."""
        stream, _ = self.connect()
        self.assertTrue(verifyObject(IHalfCloseableProtocol, stream))
        self.assertTrue(verifyObject(IPushProducer, stream))
        stream.writeConnectionLost()
        stream.stopProducing()

    def test_one_query(self) -> None:
        """A message is answered, and its client is told to the server."""
        stream, transport = self.connect()
        stream.dataReceived(framed(ask("a.test")))
        self.assertEqual(unframed(transport.value()), [reply_to(ask("a.test"))])
        self.assertEqual(self.server.taken, [(ask("a.test"), ("192.168.1.1", 54321), True)])

    def test_any_pieces(self) -> None:
        """It does not matter how the stream is cut into segments."""
        wires = [ask(f"{n}.test", n) for n in range(5)]
        data = framed(*wires)
        for size in (1, 2, 3, 7, 50, len(data)):
            stream, transport = self.connect()
            for at in range(0, len(data), size):
                stream.dataReceived(data[at : at + size])
            self.assertEqual(unframed(transport.value()), [reply_to(wire) for wire in wires])
            transport.loseConnection()

    def test_out_of_order(self) -> None:
        """A reply goes out as soon as it is known, whatever was asked before it (RFC 7766, 7)."""
        stream, transport = self.connect()
        wires = [ask("later1.test", 1), ask("later2.test", 2), ask("now.test", 3)]
        stream.dataReceived(framed(*wires))
        self.server.answer(1)
        self.server.answer(0)
        self.assertEqual(unframed(transport.value()), [reply_to(wires[n]) for n in (2, 1, 0)])

    def test_pipeline_limit(self) -> None:
        """With as many queries in flight as may be, the client is read no further until one is answered."""
        stream, transport = self.connect()
        wires = [ask("later.test", n) for n in range(5)]
        stream.dataReceived(framed(*wires))
        self.assertEqual(len(self.server.waiting), 3)
        self.assertEqual(transport.producerState, "paused")
        self.server.answer()
        self.assertEqual(len(self.server.waiting), 3)
        self.assertEqual(transport.producerState, "paused")
        self.server.answer()
        self.server.answer()
        self.assertEqual(transport.producerState, "producing")
        self.server.answer()
        self.server.answer()
        self.assertEqual(unframed(transport.value()), [reply_to(wire) for wire in wires])
        self.assertFalse(stream.busy)

    def test_turns(self) -> None:
        """Of many messages that came at once only some are answered before others get their turn."""
        stream, transport = self.connect()
        wires = [ask("a.test", n) for n in range(TURN + 10)]
        stream.dataReceived(framed(*wires))
        self.assertEqual(len(unframed(transport.value())), TURN)
        self.assertEqual(transport.producerState, "paused")
        stream.dataReceived(framed(*[ask("b.test")] * (TURN + 10)))
        self.assertEqual(len(unframed(transport.value())), TURN * 2)
        self.clock.advance(0)
        self.assertEqual(len(unframed(transport.value())), TURN * 2 + 20)
        self.assertEqual(transport.producerState, "producing")

    def test_silence(self) -> None:
        """A message that gets no reply holds no place in the pipeline."""
        stream, transport = self.connect()
        stream.dataReceived(framed(*[ask("silent.test")] * 10, ask("a.test")))
        self.assertEqual(unframed(transport.value()), [reply_to(ask("a.test"))])
        self.assertFalse(stream.busy)

    def test_bug(self) -> None:
        """A bug of ours is SERVFAIL for that query, a traceback in the log, and the connection goes on."""
        stream, transport = self.connect()
        stream.dataReceived(framed(ask("bug.test", 7), ask("bug.test", 8), ask("a.test", 9)))
        first, second, third = unframed(transport.value())
        self.assertEqual((first[:2], first[3] & 15), (b"\0\7", SERVFAIL))
        self.assertEqual(first[12:], ask("bug.test")[12 : len(first)])
        self.assertEqual((second[:2], second[3] & 15), (b"\0\x08", SERVFAIL))
        self.assertEqual(third, reply_to(ask("a.test", 9)))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_garbage(self) -> None:
        """A message too short for a header ends the stream, once what came before it is answered."""
        stream, transport = self.connect()
        stream.dataReceived(framed(ask("later.test"), b"short", ask("a.test")))
        self.assertTrue(transport.connected)
        stream.dataReceived(framed(ask("a.test")))
        self.server.answer()
        self.assertEqual(unframed(transport.value()), [reply_to(ask("later.test"))])
        self.assertFalse(transport.connected)
        self.assertEqual(self.event("garbled"), 1)

    def test_half_close(self) -> None:
        """A client that says it has no more questions still gets the answers, all that it asked for."""
        stream, transport = self.connect()
        wires = [ask("later.test", n) for n in range(5)]
        stream.dataReceived(framed(*wires) + b"\0")
        stream.readConnectionLost()
        for _ in wires:
            self.assertTrue(transport.connected)
            self.server.answer()
        self.assertEqual(unframed(transport.value()), [reply_to(wire) for wire in wires])
        self.assertFalse(transport.connected)

    def test_half_close_without_questions(self) -> None:
        """A client that closes with nothing in flight is closed at once."""
        stream, transport = self.connect()
        stream.readConnectionLost()
        self.assertFalse(transport.connected)
        self.assertEqual(len(self.server.streams), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_idle(self) -> None:
        """The idle limit runs from the last complete message; parts of a message do not count."""
        stream, transport = self.connect()
        self.clock.advance(9)
        stream.dataReceived(framed(ask("a.test")))
        for _ in range(9):
            self.clock.advance(1)
            stream.dataReceived(b"\0" if not stream._buffer else b"\x40")
            self.assertTrue(transport.connected)
        self.clock.advance(1)
        self.assertFalse(transport.connected)
        self.assertEqual(self.event("idle"), 1)

    def test_idle_from_the_start(self) -> None:
        """A client that never asks is closed after the idle limit."""
        _, transport = self.connect()
        self.clock.advance(9.9)
        self.assertTrue(transport.connected)
        self.clock.advance(0.1)
        self.assertFalse(transport.connected)

    def test_waiting_is_not_idling(self) -> None:
        """While a query is in flight nobody is idle; the limit runs again from its reply."""
        stream, transport = self.connect()
        self.clock.advance(9)
        stream.dataReceived(framed(ask("later.test")))
        self.clock.pump([1] * 12)
        self.server.answer()
        self.clock.pump([1] * 9)
        self.assertTrue(transport.connected)
        self.clock.advance(1)
        self.assertFalse(transport.connected)
        self.assertEqual(self.event("idle"), 1)

    def test_waiting_does_not_prolong(self) -> None:
        """A query that was in flight when the limit was looked at does not put it off."""
        stream, transport = self.connect()
        self.clock.advance(9)
        stream.dataReceived(framed(ask("later.test")))
        self.clock.pump([1] * 2)
        self.server.answer()
        self.clock.pump([1] * 9)
        self.assertTrue(transport.connected)
        self.clock.advance(1)
        self.assertFalse(transport.connected)

    def test_waiting_ends(self) -> None:
        """A reply that never comes does not hold a connection for ever."""
        stream, transport = self.connect()
        stream.dataReceived(framed(ask("later.test")))
        self.clock.pump([1] * 19)
        self.assertTrue(transport.connected)
        self.clock.advance(1)
        self.assertFalse(transport.connected)
        self.assertEqual(self.event("stalled"), 1)
        self.server.answer()

    def test_a_slow_reader_is_not_read(self) -> None:
        """While the client does not read its replies, its queries are left alone; then they are answered."""
        stream, transport = self.connect()
        stream.dataReceived(framed(ask("later.test", 1)))
        stream.pauseProducing()
        self.assertEqual(transport.producerState, "paused")
        stream.dataReceived(framed(ask("a.test", 2)))
        self.server.answer()
        self.assertEqual(unframed(transport.value()), [reply_to(ask("later.test", 1))])
        self.clock.advance(5)
        stream.resumeProducing()
        self.assertEqual(len(unframed(transport.value())), 2)
        self.assertEqual(transport.producerState, "producing")
        self.clock.advance(9)
        self.assertTrue(transport.connected)

    def test_reading_is_not_idling(self) -> None:
        """The idle limit runs from the moment a slow reader has taken all its replies."""
        stream, transport = self.connect()
        stream.pauseProducing()
        self.clock.advance(9)
        stream.resumeProducing()
        self.clock.pump([1] * 9)
        self.assertTrue(transport.connected)
        self.clock.advance(1)
        self.assertFalse(transport.connected)

    def test_a_client_that_never_reads(self) -> None:
        """A client that takes none of its replies within the idle limit is cut off."""
        stream, transport = self.connect()
        stream.dataReceived(framed(ask("a.test")))
        stream.pauseProducing()
        self.clock.advance(10)
        self.assertTrue(transport.disconnected)
        self.assertEqual(self.event("stalled"), 1)

    def test_unread_replies_are_bounded(self) -> None:
        """Replies that come while the client does not read are kept up to a bound; then it is cut off."""
        self.server.streams.pipeline = 100
        stream, transport = self.connect()
        stream.dataReceived(framed(*[ask("later.test")] * 64))
        stream.pauseProducing()
        _, client, later = self.server.waiting[0]
        for _ in range(MOST_UNREAD // 60_000):
            later(b"\0" * 60_000, client)
        self.assertTrue(transport.connected)
        later(b"\0" * 60_000, client)
        self.assertTrue(transport.disconnected)
        size = len(transport.value())
        later(b"\0" * 60_000, client)
        self.assertEqual(len(transport.value()), size)

    def test_a_close_that_does_not_end(self) -> None:
        """A client that does not take its last replies is cut off one idle limit after the close."""
        stream, transport = self.connect()
        lost = transport.loseConnection
        transport.loseConnection = lambda: None  # type: ignore[method-assign]
        stream.dataReceived(framed(ask("a.test")))
        stream.readConnectionLost()
        stream.finish()
        self.assertIsNone(transport.producer)
        self.clock.advance(10)
        self.assertTrue(transport.disconnected)
        lost()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lost_while_a_reply_is_written(self) -> None:
        """A connection that breaks under a reply takes no more messages."""
        stream, transport = self.connect()
        transport.write = lambda data: transport.abortConnection()  # type: ignore[method-assign]
        stream.dataReceived(framed(*[ask("a.test")] * 3))
        self.assertEqual(len(self.server.taken), 1)
        self.assertEqual((len(self.server.streams), self.clock.getDelayedCalls()), (0, []))

    def test_refused(self) -> None:
        """A connection past the limit, none being idle, is closed and asked nothing."""
        for _ in range(4):
            self.connect()[0].dataReceived(framed(ask("later.test")))
        stream, transport = self.connect()
        self.assertTrue(transport.disconnected)
        stream.dataReceived(framed(ask("a.test")))
        self.assertEqual(len(self.server.taken), 4)
        self.assertEqual(len(self.server.streams), 4)

    def test_evicted(self) -> None:
        """The connection idle for longest makes room, even with messages of it still to be answered."""
        streams = []
        for _ in range(4):
            streams.append(self.connect())
            self.clock.advance(1)
        oldest, transport = streams[0]
        transport.abortConnection = lambda: None  # type: ignore[method-assign]
        oldest.dataReceived(framed(*[ask("silent.test")] * (TURN + 1)))
        for stream, _ in streams[1:]:
            self.clock.advance(1)
            stream.dataReceived(framed(ask("a.test")))
        oldest.since = 0
        self.connect()
        self.assertEqual(self.event("evicted"), 1)
        self.clock.advance(100)
        self.assertEqual(len(self.server.streams), 0)

    def test_finish(self) -> None:
        """At the end idle connections close at once, the others when their queries are answered."""
        _, idle = self.connect()
        stream, busy = self.connect()
        stream.dataReceived(framed(ask("later.test")))
        done = self.server.streams.finish(5)
        self.assertFalse(idle.connected)
        stream.dataReceived(framed(ask("a.test")))
        self.assertNoResult(done)
        self.server.answer()
        self.assertFalse(busy.connected)
        self.assertEqual(unframed(busy.value()), [reply_to(ask("later.test"))])
        self.successResultOf(done)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_mutated_streams(self) -> None:
        """Whatever bytes come, in whatever pieces, nothing is raised, and what is held stays small."""
        rand = random.Random(1)
        seed = framed(*[ask(text, n) for n, text in enumerate(("a.test", "silent.test", "now.test", "later.test"))])
        for _ in range(3000):
            data = bytearray(seed * rand.randrange(1, 4))
            for _ in range(rand.randrange(6)):
                data[rand.randrange(len(data))] = rand.randrange(256)
            del data[rand.randrange(len(data) + 1) :]
            stream, transport = self.connect()
            while data and transport.connected:
                size = rand.randrange(1, 60)
                if not stream._ended:
                    stream.dataReceived(bytes(data[:size]))
                del data[:size]
                if self.server.waiting and rand.random() < 0.3:
                    self.server.answer(rand.randrange(len(self.server.waiting)))
                self.assertLess(len(stream._buffer), 70_000)
            if transport.connected:
                stream.readConnectionLost()
            while self.server.waiting:
                self.server.answer()
            self.clock.advance(0)
            self.assertFalse(transport.connected)
            unframed(transport.value())
        self.flushLoggedErrors(ValueError)
        self.assertEqual((len(self.server.streams), self.clock.getDelayedCalls()), (0, []))


class LiveTests(TestCase):
    """Real sockets on loopback."""

    timeout = 600

    def serve(self, **rules: Any) -> Echo:
        server = Echo(reactor, **rules)
        listening = bind_stream("127.0.0.1:0")
        self.port = listening.getsockname()[1]
        port = reactor.adoptStreamPort(listening.fileno(), socket.AF_INET, server)  # type: ignore[attr-defined]
        listening.close()
        self.addCleanup(server.streams.finish, 0)
        self.addCleanup(port.stopListening)
        return server

    def connect(self, host: str = "127.0.0.1") -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), 60, source_address=(host, 0))
        self.addCleanup(client.close)
        return client

    def questions(self, host: str, rounds: int) -> int:
        """Ask on one connection, one question after the other; return how many were answered right."""
        right = 0
        with self.connect(host) as client:
            for n in range(rounds):
                client.sendall(framed(ask("a.test", n)))
                right += read_messages(client, 1) == [reply_to(ask("a.test", n))]
                time.sleep(0.02)
        return right

    @inlineCallbacks
    def test_a_thousand_at_once(self) -> Live:
        """A thousand queries in one segment get a thousand replies."""
        self.serve()
        wires = [ask(("a.test", "now.test")[n % 2], n) for n in range(1000)]

        def client() -> list[bytes]:
            with self.connect() as talk:
                talk.sendall(framed(*wires))
                return read_messages(talk, len(wires))

        replies = yield deferToThread(client)
        self.assertEqual(replies, [reply_to(wire) for wire in wires])

    @inlineCallbacks
    def test_half_close_and_many(self) -> Live:
        """A client may send all, say that this is all, and read the replies to the end of the stream."""
        self.serve()
        wires = [ask("a.test", n) for n in range(300)]

        def client() -> list[bytes]:
            with self.connect() as talk:
                talk.sendall(framed(*wires))
                talk.shutdown(socket.SHUT_WR)
                return read_messages(talk, len(wires) + 1)

        replies = yield deferToThread(client)
        self.assertEqual(len(replies), 300)

    @inlineCallbacks
    def test_replies_that_wait_for_each_other(self) -> Live:
        """A reply does not wait until the client's kernel has confirmed the one before it."""
        server = self.serve()
        self.connect()
        yield Deferred.fromCoroutine(until(lambda: server.connections))
        self.assertTrue(server.connections[0].transport.getTcpNoDelay())

    @inlineCallbacks
    def test_a_client_that_resets(self) -> Live:
        """A client that goes without a word while its queries are in flight leaves nothing behind."""
        server = self.serve()

        def client() -> None:
            with self.connect() as talk:
                talk.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                talk.sendall(framed(*[ask("later.test")] * 20, ask("a.test")))
                read_messages(talk, 1)

        yield deferToThread(client)
        while len(server.streams):
            yield deferLater(reactor, 0.01, lambda: None)
        while server.waiting:
            server.answer()
        self.assertEqual(server.connections, [])

    @inlineCallbacks
    def test_byte_by_byte(self) -> Live:
        """A query that comes byte by byte is answered."""
        self.serve()

        def client() -> list[bytes]:
            with self.connect() as talk:
                talk.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for byte in framed(ask("a.test")):
                    talk.sendall(bytes((byte,)))
                    time.sleep(0.001)
                return read_messages(talk, 1)

        replies = yield deferToThread(client)
        self.assertEqual(replies, [reply_to(ask("a.test"))])

    def besiege(self, stop: threading.Event) -> None:
        """Keep 200 bad connections open from 127.0.0.3: idle, slow and never reading, reopened when closed."""
        many: list[socket.socket | None] = [None] * 200
        while not stop.wait(0.1):
            for n, bad in enumerate(many):
                try:
                    if bad is None:
                        many[n] = bad = socket.create_connection(
                            ("127.0.0.1", self.port), 60, source_address=("127.0.0.3", 0)
                        )
                        bad.setblocking(False)
                    if n % 3 == 1:
                        bad.send(b"\0")
                    elif n % 3 == 2:
                        bad.send(framed(*[ask("big.test")] * 10))
                    elif bad.recv(1) == b"":
                        raise ConnectionError
                except BlockingIOError:
                    pass
                except OSError:
                    if bad is not None:
                        bad.close()
                    many[n] = None
        for bad in many:
            if bad is not None:
                bad.close()

    @inlineCallbacks
    def test_siege(self) -> Live:
        """200 idle, slow and never-reading connections from one address cost a good client nothing."""
        server = self.serve(most=100, most_per_client=50)
        stop = threading.Event()
        siege = deferToThread(self.besiege, stop)
        good = deferToThread(self.questions, "127.0.0.4", 60)

        def short() -> int:
            return sum(self.questions("127.0.0.5", 1) for _ in range(40))

        connections = yield deferToThread(short)
        answered = yield good
        yield Deferred.fromCoroutine(until(lambda: server.streams.events.total("evicted") > 100, 60))
        stop.set()
        yield siege
        self.assertEqual((answered, connections), (60, 40))

    @inlineCallbacks
    def test_a_connection_each(self) -> Live:
        """A client that closes a connection behind each answer, and opens the next at once, loses none."""
        server = self.serve(most_per_client=10)

        def client() -> int:
            right = 0
            for n in range(300):
                few = [self.connect() for _ in range(9)]
                for one in few:
                    one.sendall(framed(ask("a.test", n)))
                for one in few:
                    right += read_messages(one, 1) == [reply_to(ask("a.test", n))]
                    one.close()
            return right

        answered = yield deferToThread(client)
        self.assertEqual(answered, 2700)
        self.assertEqual(server.streams.events.total("evicted"), 0)

    @inlineCallbacks
    def test_gone(self) -> Live:
        """That the client has closed a connection shows before the reactor tells; bytes to be read are no end."""
        server = self.serve()
        for sent, last in ((b"", True), (b"\0", False)):
            client = yield deferToThread(self.connect)
            while not len(server.streams):
                yield deferLater(reactor, 0.01)
            (stream,) = server.streams
            self.assertFalse(stream.gone)
            client.send(sent)
            client.close()  # and the reactor does not run meanwhile
            self.assertEqual(stream.gone, last)
            stream.abort()
            while len(server.streams):
                yield deferLater(reactor, 0.01)

    @inlineCallbacks
    def test_siege_from_next_door(self) -> Live:
        """A good client at the address of 200 silent connections loses nothing either, up to its limit."""
        self.serve(most=100, most_per_client=20)
        bad = [self.connect("127.0.0.3") for _ in range(200)]
        answered = yield deferToThread(lambda: sum(self.questions("127.0.0.3", 2) for _ in range(20)))
        self.assertEqual(answered, 40)
        self.assertEqual(len(bad), 200)

    @inlineCallbacks
    def test_a_client_that_sends_for_ever_and_never_reads(self) -> Live:
        """It is read no further, cut off after the idle limit, and costs little memory."""
        server = self.serve(idle=1.0)
        before = resident(os.getpid())

        def client() -> tuple[int, int]:
            sent = most = 0
            query = framed(*[ask("big.test")] * 100)
            with self.connect("127.0.0.3") as talk:
                # What waits in its own kernel is none of ours.
                talk.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
                talk.setblocking(False)
                while True:
                    try:
                        sent += talk.send(query)
                    except BlockingIOError:
                        most = max(most, resident(os.getpid()))
                        time.sleep(0.01)
                    except OSError:
                        return sent, most

        sent, most = yield deferToThread(client)
        self.assertLess(sent, 20_000_000)
        self.assertLess(most - before, 20_000_000)
        self.assertEqual(server.streams.events.total("stalled"), 1)

    @inlineCallbacks
    def test_mutated(self) -> Live:
        """Garbage on real connections is answered or closed, and nothing is logged."""
        self.serve()
        rand = random.Random(2)

        def client(talk: Callable[[], socket.socket] = self.connect) -> None:
            seed = framed(*[ask("a.test", n) for n in range(20)])
            for _ in range(100):
                data = bytearray(seed)
                for _ in range(rand.randrange(10)):
                    data[rand.randrange(len(data))] = rand.randrange(256)
                with talk() as one:
                    one.sendall(data)
                    one.shutdown(socket.SHUT_WR)
                    try:
                        while one.recv(65536):
                            pass
                    except ConnectionError:
                        pass

        yield deferToThread(client)
        answered = yield deferToThread(self.questions, "127.0.0.1", 1)
        self.assertEqual(answered, 1)
