"""Datagrams by the dozen: what the kernel gives and takes in one call is what it gives and takes in many."""

from __future__ import annotations

import errno
import socket
import struct
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from heimdall import mmsg
from heimdall.accept import slots
from heimdall.accept.batch import BatchReader
from heimdall.accept.datagram import Datagrams
from heimdall.accept.engine import Left
from heimdall.accept.outbox import TOGETHER
from heimdall.accept.reader import BATCH, LARGEST, Reader, WideReader
from heimdall.accept.slots import Slots
from heimdall.accept.sockets import bind
from heimdall.gso import cuts
from tests.accept.echo import HOSTS, NO_BATCHES, Echo, ask, reply_to
from tests.accept.test_datagram import Waiting
from tests.ports import NO_IPV6


class Forgetful:
    """Knows what a message of one name is told, and of another that it gets no reply."""

    def answer(self, slots: Slots, count: int) -> tuple[list[Left], list[int]]:
        left: list[Left] = []
        silent: list[int] = []
        for index in range(count):
            wire = slots.message(index)
            if b"known" in wire:
                slots.put(index, wire[:2] + b"known")
            elif b"hush" in wire:
                silent.append(index)
            else:
                left.append((index, None, False))
        return left, silent


class Case(SynchronousTestCase):
    """Real sockets, read when the test says so."""

    skip = NO_BATCHES

    def setUp(self) -> None:
        self.clock = Clock()
        self.server = Echo(self.clock)
        self.datagrams = Datagrams(self.server, self.clock, self.server.faults, Forgetful())
        self.waiting = Waiting()
        self.addCleanup(self.datagrams.close)

    def listen(self, text: str) -> BatchReader:
        (bound,) = bind([text], True)
        bound.tcp.close()
        self.waiting.readers.clear()
        self.datagrams.listen(bound.udp, self.waiting)
        self.port = bound.port
        (reader,) = self.waiting.readers
        assert isinstance(reader, BatchReader)
        return reader

    def client(self, host: str) -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        client = socket.socket(family, socket.SOCK_DGRAM)
        self.addCleanup(client.close)
        client.connect((host, self.port))
        client.settimeout(60)
        return client

    def errors(self, way: str, reason: str) -> int:
        (count,) = self.datagrams.tallies
        return count.total(way, reason)  # type: ignore[union-attr]


class Reading(Case):
    """A batch of messages of every kind."""

    def test_every_way(self) -> None:
        """Known at once, by the server, later, or not at all: each client gets its own, from the address it asked."""
        for text, host in HOSTS:
            reader = self.listen(text)
            one, two = self.client(host), self.client(host)
            one.send(ask("later.test", 1))
            two.send(ask("known.test", 2))
            two.send(ask("silent.test", 3))
            one.send(ask("hush.test", 4))
            one.send(ask("known.test", 5))
            two.send(ask("a.test", 6))
            reader.doRead()
            self.assertEqual([two.recv(4096) for _ in range(2)], [b"\0\2known", reply_to(ask("a.test", 6))])
            self.assertEqual(one.recv(4096), b"\0\5known")
            self.server.answer()
            self.clock.advance(0)
            self.assertEqual(one.recv(4096), reply_to(ask("later.test", 1)))
            for client in (one, two):
                client.setblocking(False)
                self.assertRaises(BlockingIOError, client.recv, 4096)

    def test_who_asked(self) -> None:
        """The server is told the client's address just as Python's own sockets give it."""
        for text, host in HOSTS:
            reader = self.listen(text)
            client = self.client(host)
            client.send(ask("a.test"))
            reader.doRead()
            self.assertEqual(self.server.taken[-1][1], client.getsockname())

    def test_a_full_batch(self) -> None:
        """One wake-up reads a batch and leaves the rest to the next; nothing is lost, and nothing is told twice."""
        reader = self.listen("127.0.0.1:0")
        client = self.client("127.0.0.1")
        names = ["known.test", "a.test", "silent.test"]
        for number in range(BATCH + 5):
            client.send(ask(names[number % 3], number))
        reader.doRead()
        self.assertEqual(len(self.server.taken), BATCH * 2 // 3)
        reader.doRead()
        expected = [number for number in range(BATCH + 5) if number % 3 < 2]
        replies = [int.from_bytes(client.recv(4096)[:2], "big") for _ in expected]
        self.assertEqual(sorted(replies), expected)

    def test_cut_up(self) -> None:
        """Whether the kernel cuts up replies is said for all sockets at once, and for those that come later too."""
        first = self.listen("127.0.0.1:0")
        self.datagrams.lead(cut=False, coalesce=0.0)
        second = self.listen("127.0.0.1:0")
        for on in (False, True):
            self.datagrams.lead(cut=on, coalesce=0.0)
            for reader in (first, second):
                slots = reader._slots, reader._outbox.slots
                self.assertEqual([one._segments is not None for one in slots], [on and cuts(reader.udp)] * 2)

    @settings(max_examples=30)
    @given(st.lists(st.binary(max_size=LARGEST + 100), min_size=1, max_size=20))
    def test_bytes(self, wires: list[bytes]) -> None:
        """Whatever is sent arrives whole, one that is too long cut where a single read would cut it."""
        reader = self.listen("127.0.0.1:0")
        client = self.client("127.0.0.1")
        self.server.taken.clear()
        for wire in wires:
            client.send(wire + b"silent")
        reader.doRead()
        self.assertEqual(
            [taken[0] for taken in self.server.taken if b"known" not in taken[0]],
            [(wire + b"silent")[:LARGEST] for wire in wires if b"known" not in wire and b"hush" not in wire],
        )

    def test_a_bug(self) -> None:
        """A bug of ours in one message is SERVFAIL to that client; the others of the batch are served."""
        reader = self.listen("127.0.0.1:0")
        client = self.client("127.0.0.1")
        for text in ("a.test", "bug.test", "known.test"):
            client.send(ask(text))
        reader.doRead()
        self.assertEqual([client.recv(4096)[3] & 15 for _ in range(3)][1], 2)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_a_bug_before_all(self) -> None:
        """A bug among the repeated messages is told, and the whole batch is taken the long way."""
        reader = self.listen("127.0.0.1:0")
        client = self.client("127.0.0.1")
        client.send(ask("a.test", 7))
        with patch.object(Forgetful, "answer", side_effect=KeyError("bug")):
            reader.doRead()
        self.assertEqual(client.recv(4096), reply_to(ask("a.test", 7)))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)


class Trouble(Case):
    """What the kernel refuses."""

    def test_errors_on_send(self) -> None:
        """A reply that the kernel does not take is counted by its kind, and those behind it are sent."""
        reader = self.listen("127.0.0.1:0")
        first, second, third = (self.client("127.0.0.1") for _ in range(3))
        for client in (first, second, third):
            client.send(ask("known.test"))
        read = reader._slots
        receive = read._receive

        def spoilt(*args: object) -> object:
            count = receive(*args)
            # No datagram can be sent to port 0.
            read._heads[read._head + 2 : read._head + 4] = b"\0\0"
            return count

        read._receive = spoilt
        reader.doRead()
        self.assertEqual([client.recv(4096) for client in (first, third)], [b"\0\0known"] * 2)
        self.assertEqual(self.errors("send", "other"), 1)

    def test_errors_on_receive(self) -> None:
        """An error on reading is found out, counted and slept over by reading one at a time."""
        for text, host in HOSTS:
            reader = self.listen(text)
            client = self.client(host)
            client.send(ask("a.test"))
            reader._slots._receive = lambda *_: -1
            reader.doRead()
            self.assertEqual(client.recv(4096), reply_to(ask("a.test")))

    def test_nothing_there(self) -> None:
        """A wake-up for nothing is no error."""
        self.listen("127.0.0.1:0").doRead()
        self.assertEqual(self.errors("receive", ""), 0)
        self.assertEqual(len(self.waiting.readers), 1)

    def test_no_calls(self) -> None:
        """Where the C library has no such calls, or they do not work, datagrams are read one at a time."""
        for trouble in (OSError(errno.ENOSYS, "no such call"), AttributeError("recvmmsg")):
            slots.possible.cache_clear()
            self.addCleanup(slots.possible.cache_clear)
            with patch.object(mmsg, "_calls", side_effect=trouble):
                self.assertFalse(slots.possible())
                datagrams = Datagrams(self.server, self.clock, self.server.faults, Forgetful())
            self.addCleanup(datagrams.close)
            for text, kind in (("127.0.0.1:0", Reader), ("0.0.0.0:0", WideReader)):
                (bound,) = bind([text], True)
                bound.tcp.close()
                self.waiting.readers.clear()
                datagrams.listen(bound.udp, self.waiting)
                self.assertIs(type(self.waiting.readers[0]), kind)


class Late(Case):
    """Replies that were not known at once."""

    def ask_later(self, count: int, text: str = "127.0.0.1:0", host: str = "127.0.0.1") -> list[socket.socket]:
        """Have as many clients ask what is answered later."""
        reader = self.listen(text)
        clients = [self.client(host) for _ in range(count)]
        for number, client in enumerate(clients):
            client.send(ask("later.test", number))
        for _ in range(0, count, BATCH):
            reader.doRead()
        return clients

    def answer_all(self) -> None:
        """Have the server answer them, in one turn of the reactor."""
        while self.server.waiting:
            self.server.answer()

    def assertAnswered(self, clients: list[socket.socket], first: int = 0) -> None:
        """Each has its own reply, and nothing else; ``first`` is the number of the first one's question."""
        for number, client in enumerate(clients, first):
            self.assertEqual(client.recv(4096), reply_to(ask("later.test", number)))
            client.setblocking(False)
            self.assertRaises(BlockingIOError, client.recv, 4096)

    def test_together(self) -> None:
        """Those of one turn of the reactor leave at its end, in one system call, each to its client."""
        for text, host in HOSTS:
            clients = self.ask_later(3, text, host)
            self.answer_all()
            clients[0].setblocking(False)
            self.assertRaises(BlockingIOError, clients[0].recv, 4096)
            clients[0].settimeout(60)
            self.clock.advance(0)
            self.assertAnswered(clients)

    def test_more_than_a_batch(self) -> None:
        """Only so many wait for each other: they leave as soon as they are so many, the rest at the turn's end."""
        clients = self.ask_later(TOGETHER + 3)
        self.answer_all()
        clients[TOGETHER - 1].settimeout(60)
        self.assertAnswered(clients[:TOGETHER])
        self.clock.advance(0)
        self.assertAnswered(clients[TOGETHER:], TOGETHER)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_before_the_end(self) -> None:
        """A socket that is closed sends first what waits for the end of the turn."""
        clients = self.ask_later(2)
        self.answer_all()
        self.datagrams.close()
        self.assertAnswered(clients)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_refused(self) -> None:
        """What the kernel does not take is counted, and costs the others nothing."""
        clients = self.ask_later(2)
        (reader,) = self.waiting.readers
        assert isinstance(reader, BatchReader)
        self.answer_all()
        envelope, reply = reader._outbox._waiting[0]
        reader._outbox._waiting[0] = envelope[:2] + b"\0\0" + envelope[4:], reply  # nobody can be sent to port 0
        self.clock.advance(0)
        self.assertEqual(self.errors("send", "other"), 1)
        self.assertEqual(clients[1].recv(4096), reply_to(ask("later.test", 1)))

    def test_after_the_end(self) -> None:
        """A reply that comes when its socket is closed is counted as not taken."""
        self.ask_later(1)
        self.datagrams.close()
        self.answer_all()
        self.clock.advance(0)
        self.assertEqual(self.errors("send", "other"), 1)


class LinkLocal(Case):
    """Addresses that mean nothing without an interface (RFC 4007)."""

    skip = NO_BATCHES or NO_IPV6

    def test_interface_is_kept(self) -> None:
        """The packet information of a link-local address keeps its interface, that of others loses it."""
        read = self.listen("[::]:0")._slots
        client = self.client("::1")
        for host, kept in (("fe80::1", 7), ("2001:db8::1", 0)):
            client.send(ask("a.test"))
            self.assertEqual(read.receive(), 1)
            at = read._control
            read._heads[at : at + 20] = socket.inet_pton(socket.AF_INET6, host) + (7).to_bytes(4, "little")
            read._let_go(1)
            found = read.envelope(0)
            level, kind = struct.unpack_from("@ii", found, at - 8)
            self.assertEqual((level, kind), (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO))
            self.assertEqual(int.from_bytes(found[at + 16 : at + 20], "little"), kept)

    def test_no_packet_information(self) -> None:
        """Where the kernel gave none, there is none to send a late reply by."""
        read = self.listen("0.0.0.0:0")._slots
        client = self.client("127.0.0.1")
        client.send(ask("a.test"))
        self.assertEqual(read.receive(), 1)
        read._controls[0] = 0
        self.assertEqual(read.envelope(0), b"")
