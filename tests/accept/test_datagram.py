"""Datagrams: answered from the right address, whatever the kernel and the clients do."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Callable, Generator
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor, IUDPTransport, IWriteDescriptor
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from heimdall.accept.datagram import Datagrams
from heimdall.accept.reader import BATCH, REST, Reader
from heimdall.accept.sockets import bind
from heimdall.message.query import SERVFAIL, Client
from tests.accept.echo import HOSTS, Echo, ask, reply_to
from tests.ports import over_ipv6

Live = Generator["Deferred[Any]", Any, None]


@implementer(IReactorFDSet)
class Waiting:
    """What a reactor knows of descriptors: who is read."""

    def __init__(self) -> None:
        self.readers: list[IReadDescriptor] = []

    def addReader(self, reader: IReadDescriptor) -> None:
        if reader not in self.readers:
            self.readers.append(reader)

    def removeReader(self, reader: IReadDescriptor) -> None:
        if reader in self.readers:
            self.readers.remove(reader)

    def addWriter(self, writer: object) -> None:
        raise NotImplementedError

    removeWriter = addWriter

    def removeAll(self) -> list[IReadDescriptor | IWriteDescriptor]:
        raise NotImplementedError

    def getReaders(self) -> list[IReadDescriptor]:
        return self.readers

    def getWriters(self) -> list[IWriteDescriptor]:
        return []


class Troubled(socket.socket):
    """A socket whose kernel says what the test wants."""

    receive_error: OSError | None = None
    receive_once = False
    send_error: OSError | None = None

    def fail(self) -> None:
        error = self.receive_error
        if self.receive_once:
            self.receive_error = None
        if error is not None:
            raise error

    def recvfrom(self, size: int, flags: int = 0) -> tuple[bytes, Any]:
        self.fail()
        return super().recvfrom(size, flags)

    def recvmsg(self, *args: int) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]:
        self.fail()
        return super().recvmsg(*args)

    def sendto(self, data: bytes, address: Any) -> int:  # type: ignore[override]
        if self.send_error is not None:
            raise self.send_error
        return super().sendto(data, address)

    def sendmsg(self, *args: Any) -> int:
        if self.send_error is not None:
            raise self.send_error
        return super().sendmsg(*args)


class ReaderTests(SynchronousTestCase):
    """Real sockets, read when the test says so."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.server = Echo(self.clock)
        self.datagrams = Datagrams(self.server, self.clock, self.server.faults)
        self.waiting = Waiting()
        self.addCleanup(self.datagrams.close)

    def listen(self, text: str = "127.0.0.1:0") -> Troubled:
        (bound,) = bind([text], True)
        bound.tcp.close()
        udp = Troubled(fileno=bound.udp.detach())
        self.datagrams.listen(udp, self.waiting)
        self.port = bound.port
        return udp

    def client(self, host: str = "127.0.0.1") -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        client = socket.socket(family, socket.SOCK_DGRAM)
        self.addCleanup(client.close)
        client.connect((host, self.port))
        client.settimeout(60)
        return client

    @property
    def reader(self) -> Reader:
        (reader,) = self.waiting.readers
        return cast(Reader, reader)

    def errors(self, way: str, reason: str) -> int:
        (count,) = self.datagrams.tallies
        return count.total(way, reason)  # type: ignore[union-attr]

    def test_interface(self) -> None:
        """The reactor can read it."""
        self.listen()
        self.assertTrue(verifyObject(IReadDescriptor, self.reader))
        self.assertEqual(self.reader.logPrefix(), "datagrams")

    def test_at_once_and_later(self) -> None:
        """Replies go to whoever asked, at once or when they are known."""
        for text, host in HOSTS:
            self.waiting.readers.clear()
            self.listen(text)
            one, two = self.client(host), self.client(host)
            one.send(ask("later.test", 1))
            two.send(ask("a.test", 2))
            one.send(ask("now.test", 3))
            self.reader.doRead()
            self.assertEqual(two.recv(4096), reply_to(ask("a.test", 2)))
            self.assertEqual(one.recv(4096), reply_to(ask("now.test", 3)))
            self.server.answer()
            self.assertEqual(one.recv(4096), reply_to(ask("later.test", 1)))
            self.assertEqual(self.server.taken[-1][1:], (one.getsockname(), False))

    def test_a_batch(self) -> None:
        """One wake-up reads a batch, and leaves the rest to the next, so that others get their turn."""
        self.listen()
        client = self.client()
        for _ in range(BATCH + 5):
            client.send(ask("silent.test"))
        self.reader.doRead()
        self.assertEqual(len(self.server.taken), BATCH)
        self.reader.doRead()
        self.assertEqual(len(self.server.taken), BATCH + 5)

    def test_a_bug(self) -> None:
        """A bug of ours is SERVFAIL to that client, and the next one is served."""
        for text in ("127.0.0.1:0", "0.0.0.0:0"):
            self.waiting.readers.clear()
            self.listen(text)
            client = self.client()
            client.send(ask("bug.test", 7))
            client.send(ask("a.test", 8))
            self.reader.doRead()
            reply = client.recv(4096)
            self.assertEqual((reply[:2], reply[3] & 15), (b"\0\7", SERVFAIL))
            self.assertEqual(client.recv(4096), reply_to(ask("a.test", 8)))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_errors_on_send(self) -> None:
        """Whatever the kernel says to a reply is counted by its kind, and nothing else happens."""
        kinds = {
            "full": (errno.EAGAIN, errno.ENOBUFS),
            "denied": (errno.EPERM,),
            "size": (errno.EMSGSIZE,),
            "unreachable": (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ECONNREFUSED),
            "other": (errno.EINVAL,),
        }
        for text in ("127.0.0.1:0", "0.0.0.0:0"):
            self.waiting.readers.clear()
            udp = self.listen(text)
            client = self.client()
            for number in (number for numbers in kinds.values() for number in numbers):
                udp.send_error = OSError(number, "as the test wants")
                client.send(ask("a.test"))
                client.send(ask("later.test"))
                self.reader.doRead()
                self.server.answer()
            udp.send_error = None
            client.send(ask("a.test"))
            self.reader.doRead()
            self.assertEqual(client.recv(4096), reply_to(ask("a.test")))
        for kind, numbers in kinds.items():
            self.assertEqual(self.errors("send", kind), 4 * len(numbers), kind)

    def test_errors_on_receive(self) -> None:
        """A socket that gives nothing but errors is left alone for a moment, and served when it is well again."""
        for text in ("127.0.0.1:0", "0.0.0.0:0"):
            self.waiting.readers.clear()
            udp = self.listen(text)
            client = self.client()
            udp.receive_error = OSError(errno.ENOBUFS, "as the test wants")
            with capturedLogs() as logs:
                for _ in range(3):
                    self.reader.doRead()
                    self.assertEqual(self.waiting.readers, [])
                    self.clock.advance(REST)
                udp.receive_error = None
                client.send(ask("a.test"))
                self.reader.doRead()
            self.assertEqual(client.recv(4096), reply_to(ask("a.test")))
            self.assertEqual([event["log_level"].name for event in logs], ["warn", "info"])
        self.assertEqual(self.errors("receive", "full"), 6 * BATCH)

    def test_one_error_on_receive(self) -> None:
        """One error is counted, and the datagrams behind it are answered in the same wake-up."""
        for text in ("127.0.0.1:0", "0.0.0.0:0"):
            self.waiting.readers.clear()
            udp = self.listen(text)
            client = self.client()
            client.send(ask("a.test"))
            udp.receive_error, udp.receive_once = OSError(errno.ECONNREFUSED, "as the test wants"), True
            self.reader.doRead()
            self.assertEqual(client.recv(4096), reply_to(ask("a.test")))
            self.assertEqual(len(self.waiting.readers), 1)
        self.assertEqual(self.errors("receive", "unreachable"), 2)

    def test_the_reactor_lets_go(self) -> None:
        """A descriptor that the reactor dropped comes back: one error is not the end of a socket."""
        self.listen()
        reader = self.reader
        self.waiting.removeReader(reader)
        reader.connectionLost(Failure(ConnectionError()))
        reader.connectionLost(Failure(ConnectionError()))
        self.clock.advance(REST)
        self.assertIs(self.reader, reader)
        self.datagrams.pause()
        reader.connectionLost(Failure(ConnectionError()))
        self.datagrams.close()
        reader.connectionLost(Failure(ConnectionError()))
        self.assertEqual((self.waiting.readers, self.clock.getDelayedCalls()), ([], []))

    def test_pause_and_close(self) -> None:
        """After a pause nothing is read, replies still go out; after the close neither, and nothing is raised."""
        for text in ("127.0.0.1:0", "0.0.0.0:0"):
            self.listen(text)
            client = self.client()
            for _ in range(2):
                client.send(ask("later.test"))
            self.reader.doRead()
            self.datagrams.pause()
            self.assertEqual(self.waiting.readers, [])
            self.server.answer()
            self.assertEqual(client.recv(4096), reply_to(ask("later.test")))
            self.datagrams.close()
            self.server.answer()
        self.assertEqual(self.errors("send", "other"), 2)

    def test_pause_while_resting(self) -> None:
        """A pause ends the rest as well."""
        udp = self.listen()
        udp.receive_error = OSError(errno.ENOBUFS, "as the test wants")
        self.reader.doRead()
        self.datagrams.pause()
        self.clock.advance(REST)
        self.assertEqual((self.waiting.readers, self.clock.getDelayedCalls()), ([], []))

    def test_large_and_empty(self) -> None:
        """A datagram of any size is taken: an empty one, and of a large one the first part."""
        self.listen()
        client = self.client()
        client.send(b"")
        client.send(b"\0" * 20_000)
        self.reader.doRead()
        self.assertEqual([len(wire) for wire, _, _ in self.server.taken], [0, 4096])

    def test_a_twisted_port(self) -> None:
        """It serves as the protocol of a Twisted port too, and takes what that says about a reply."""
        sent: list[tuple[bytes, Client]] = []

        class Port:
            trouble: OSError | None = None

            def write(self, data: bytes, address: Client) -> None:
                if self.trouble:
                    raise self.trouble
                sent.append((data, address))

        port = Port()
        self.datagrams.makeConnection(cast(IUDPTransport, port))
        client = ("192.0.2.7", 53)
        for text in ("a.test", "later.test", "later.test", "silent.test"):
            self.datagrams.datagramReceived(ask(text), client)
        self.server.answer()
        self.assertEqual(sent, [(reply_to(ask(text)), client) for text in ("a.test", "later.test")])
        port.trouble = OSError(errno.EPERM, "as the test wants")
        self.datagrams.datagramReceived(ask("a.test"), client)
        self.assertEqual(self.errors("send", "denied"), 1)
        self.datagrams.stopProtocol()
        self.server.answer()
        self.assertEqual(len(sent), 2)


class LiveTests(TestCase):
    """The real reactor and real sockets on loopback."""

    timeout = 600

    def serve(self, text: str) -> int:
        self.server = Echo(reactor)
        self.datagrams = Datagrams(self.server, reactor, self.server.faults)
        (bound,) = bind([text], True)
        bound.tcp.close()
        self.datagrams.listen(bound.udp, reactor)
        self.addCleanup(self.datagrams.close)
        self.udp = bound.udp
        return bound.port

    def asker(self, host: str, port: int, count: int = 1) -> Callable[[], list[bytes]]:
        def client() -> list[bytes]:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as talk:
                talk.connect((host, port))
                talk.settimeout(60)
                replies = []
                for n in range(count):
                    talk.send(ask("a.test", n))
                    replies.append(talk.recv(4096))
                return replies

        return client

    @inlineCallbacks
    def test_from_the_address_that_was_asked(self) -> Live:
        """A server on every address replies from the one the query came to: others are not believed (RFC 5452)."""
        port = self.serve("0.0.0.0:0")
        for host in ("127.0.0.1", "127.0.0.2", "127.9.9.9"):
            replies = yield deferToThread(self.asker(host, port, 3))
            self.assertEqual(replies, [reply_to(ask("a.test", n)) for n in range(3)])

    @over_ipv6
    @inlineCallbacks
    def test_ipv6(self) -> Live:
        """The same over IPv6."""
        for text in ("[::]:0", "[::1]:0"):
            port = self.serve(text)
            replies = yield deferToThread(self.asker("::1", port))
            self.assertEqual(replies, [reply_to(ask("a.test"))])

    @inlineCallbacks
    def test_port_unreachable(self) -> Live:
        """A client that has gone by the time of the reply, and the ICMP error for it, change nothing."""
        port = self.serve("127.0.0.1:0")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind(("127.0.0.1", 0))
            gone = client.getsockname()
        # Only a connected socket is told of ICMP errors: so this is the worst case.
        self.udp.connect(gone)
        self.udp.send(b"to nobody")
        yield deferLater(reactor, 0, lambda: None)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind(gone)
            client.connect(("127.0.0.1", port))
            client.settimeout(60)
            client.send(ask("a.test"))
            reply = yield deferToThread(client.recv, 4096)
        self.assertEqual(reply, reply_to(ask("a.test")))

    @inlineCallbacks
    def test_mutated(self) -> Live:
        """Ten thousand pieces of garbage are taken, and then a good query is answered."""
        port = self.serve("127.0.0.1:0")
        rand = random.Random(3)

        def client() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as talk:
                talk.connect(("127.0.0.1", port))
                for _ in range(10_000):
                    wire = bytearray(ask(rand.choice(("a.test", "bug.test", "later.test"))))
                    for _ in range(rand.randrange(1, 6)):
                        wire[rand.randrange(len(wire))] = rand.randrange(256)
                    talk.send(wire[: rand.randrange(len(wire) + 1)])

        yield deferToThread(client)
        replies = yield deferToThread(self.asker("127.0.0.1", port))
        self.assertEqual(replies, [reply_to(ask("a.test"))])
        self.flushLoggedErrors(ValueError)
