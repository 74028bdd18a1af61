"""Replies that leave together and are cut up by the kernel: real sockets, and each reply as if it had left alone."""

from __future__ import annotations

import socket
from collections import Counter
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from heimdall.accept.reader import BATCH
from heimdall.accept.segments import PAUSE, VAIN, Segments
from heimdall.accept.slots import Slots
from heimdall.accept.sockets import IP_PKTINFO
from heimdall.gso import LONGEST, MOST, cuts
from tests.accept.echo import NO_BATCHES
from tests.gso import NOT_CUT, SO_NO_CHECK
from tests.ports import over_ipv6

NOT_SENT: Final = NO_BATCHES or NOT_CUT
"""Why tests of it are skipped, or None."""


class Case(SynchronousTestCase):
    """A server's socket on the loopback, and its slots; clients who ask, and take what comes back."""

    skip = NOT_SENT
    family, host = socket.AF_INET, "127.0.0.1"
    wide = False

    def setUp(self) -> None:
        self.udp = self.socket()
        self.udp.bind(("" if self.wide else self.host, 0))
        if self.wide and self.family == socket.AF_INET:
            self.udp.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        elif self.wide:
            self.udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        self.port = self.udp.getsockname()[1]
        self.slots = Slots(self.udp, self.wide)
        self.slots.cut(True)
        self.clients = [self.socket() for _ in range(4)]
        for client in self.clients:
            client.bind((self.host, 0))

    def socket(self) -> socket.socket:
        """Open a socket."""
        made = socket.socket(self.family, socket.SOCK_DGRAM)
        self.addCleanup(made.close)
        if self.family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setblocking(False)
        return made

    @property
    def segments(self) -> Segments:
        """What lays out what is to be cut."""
        assert self.slots._segments is not None
        return self.slots._segments

    def ask(self, count: int, hosts: tuple[str, ...] = ()) -> int:
        """Let the clients ask by turns; return how many questions were read."""
        hosts = hosts or (self.host,)
        for number in range(count):
            client = self.clients[number % len(self.clients)]
            client.sendto(b"%02d" % number, (hosts[number // 4 % len(hosts)], self.port))
        return self.slots.receive()

    def reply(self, sizes: list[int]) -> None:
        """Answer each question with its number, as often as it takes to be so long."""
        for index, size in enumerate(sizes):
            self.slots.put(index, (self.slots.message(index) * size)[:size])

    def got(self) -> Counter[tuple[int, bytes, str]]:
        """Return what came: to which client, what, and from which address."""
        came: Counter[tuple[int, bytes, str]] = Counter()
        for number, client in enumerate(self.clients):
            while True:
                try:
                    reply, sender = client.recvfrom(65535)
                except BlockingIOError:
                    break
                came[number, reply, sender[0]] += 1
        return came

    def expected(self, sizes: list[int], but: tuple[int, ...] = ()) -> Counter[tuple[int, bytes, str]]:
        """Return what should come."""
        numbers = [number for number in range(len(sizes)) if number not in but]
        return Counter(
            (number % 4, ((b"%02d" % number) * sizes[number])[: sizes[number]], self.host) for number in numbers
        )


class Sending(Case):
    """Replies of one batch."""

    def test_each_as_alone(self) -> None:
        """Every client gets his replies, whole and one by one, and nothing that has none is answered."""
        sizes = [60 + number % 3 for number in range(40)]
        self.assertEqual(self.ask(40), 40)
        self.reply(sizes)
        self.assertEqual(self.slots.send(40, [3, 17]), [])
        self.assertEqual(self.got(), self.expected(sizes, (3, 17)))

    def test_again(self) -> None:
        """The next batch finds nothing of the one before."""
        for count in (40, 12, 25):
            sizes = [100 - count] * count
            self.assertEqual(self.ask(count), count)
            self.reply(sizes)
            self.assertEqual(self.slots.send(count), [])
            self.assertEqual(self.got(), self.expected(sizes))


class Wide(Sending):
    """The same at a socket that is bound to every address."""

    wide = True

    def test_from_where_it_was_asked(self) -> None:
        """A client who asks two of our addresses has each reply from the one that it asked."""
        count = self.ask(40, ("127.0.0.1", "127.0.0.2"))
        self.reply([60] * count)
        self.assertEqual(self.slots.send(count), [])
        came = Counter((int(reply[:2]) // 4 % 2, sender) for _, reply, sender in self.got().elements())
        self.assertEqual(came, {(0, "127.0.0.1"): 20, (1, "127.0.0.2"): 20})

    def test_nobody_says(self) -> None:
        """Where the kernel did not say which address was asked, nothing is taken from what it said before."""
        for asked, told in (("127.0.0.2", 1), ("127.0.0.1", 0)):
            self.udp.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, told)
            count = self.ask(40, (asked,))
            self.reply([60] * count)
            self.assertEqual(self.slots.send(count), [])
            self.assertEqual(Counter(sender for _, _, sender in self.got().elements()), {asked: 40})


@over_ipv6
class Six(Sending):
    """The same over IPv6."""

    family, host = socket.AF_INET6, "::1"


@over_ipv6
class WideSix(Sending):
    """The same over IPv6, at a socket that is bound to every address."""

    family, host, wide = socket.AF_INET6, "::1", True


class Together(Case):
    """Which replies share a message."""

    def gather(self, sizes: list[int], but: tuple[int, ...] = ()) -> list[list[int]]:
        """Read as many questions, and lay out replies of these sizes."""
        count = self.ask(len(sizes))
        self.reply(sizes)
        return self.segments.gather(count, but)

    def test_to_one_client(self) -> None:
        """Those to one client do, from the longest down: all of one size, and then one that is shorter."""
        del self.clients[2:]
        groups = self.gather([60, 70, 60, 80, 60, 70, 50, 70, 40, 80, *[60, 70] * 4], (4,))
        self.assertEqual(groups, [[3, 9, 1], [5, 7, 11, 13, 15, 17], [0, 2, 10, 12, 14, 16, 6], [8]])

    def test_no_more_than_fit(self) -> None:
        """No message has more than fit into a datagram, however long they are."""
        del self.clients[1:]
        groups = self.gather([LONGEST] * 2 * MOST)
        self.assertEqual([len(group) for group in groups], [MOST] * 2)
        self.assertEqual(self.slots.send(2 * MOST), [])
        self.assertEqual(self.got().total(), 2 * MOST)

    def test_long(self) -> None:
        """What might be too long for the path leaves alone, as fragments if need be."""
        groups = self.gather([60] * 16 + [LONGEST + 1] * 4)
        self.assertEqual([len(group) for group in groups], [1] * 4 + [4] * 4)

    def test_few(self) -> None:
        """In a small batch nobody is looked for."""
        del self.clients[1:]
        self.assertEqual(self.gather([60] * 15), [])

    def test_in_vain(self) -> None:
        """Where hardly two go together all leave alone, and in the next batches nobody is looked for."""
        self.assertEqual(self.gather([LONGEST + 1] * 16 + [60] * 5), [])
        for _ in range(VAIN):
            self.assertEqual(self.gather([60] * 16), [])
        self.assertEqual(len(self.gather([60] * 16)), 4)

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from([12, 60, 61, LONGEST, LONGEST + 1]), st.booleans()), max_size=BATCH))
    def test_anything(self, replies: list[tuple[int, bool]]) -> None:
        """Whatever the sizes, and whoever has no reply: all others come, as they are."""
        self.segments._pause = 0
        sizes = [size for size, _ in replies]
        but = tuple(number for number, (_, silent) in enumerate(replies) if silent)
        count = self.ask(len(replies)) if replies else 0
        self.reply(sizes)
        self.assertEqual(self.slots.send(count, but), [])
        self.assertEqual(self.got(), self.expected(sizes, but))


class Refused(Case):
    """A kernel that does not cut."""

    def send(self) -> list[OSError]:
        """Read questions and answer them."""
        self.assertEqual(self.ask(40), 40)
        self.reply([60] * 40)
        return self.slots.send(40)

    def test_one_by_one(self) -> None:
        """What it does not take so leaves one by one, with no error; it is asked again much later, and told once."""
        self.udp.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
        with capturedLogs() as events:
            for _ in range(2):
                self.segments._pause = 0
                self.assertEqual(self.send(), [])
                self.assertEqual(self.got(), self.expected([60] * 40))
                self.assertEqual(self.segments._pause, PAUSE)
        why = "The kernel cuts up no replies here, so they leave one by one: [Errno 22] Invalid argument"
        self.assertEqual([formatEvent(event) for event in events], [why])

    def test_by_itself(self) -> None:
        """What it does not take in any way is an error for each reply, and no reason to cut up nothing."""
        self.assertEqual(self.ask(40), 40)
        self.reply([60] * 40)
        self.udp.close()
        with capturedLogs() as events:
            self.assertEqual(len(self.slots.send(40)), 40)
        self.assertEqual((self.segments._pause, events), (0, []))

    def test_switched_off(self) -> None:
        """Whoever does not want it is not asked why: nothing is laid out, and all leave one by one."""
        self.slots.cut(False)
        self.assertIsNone(self.slots._segments)
        self.assertEqual(self.send(), [])
        self.assertEqual(self.got(), self.expected([60] * 40))

    def test_not_known(self) -> None:
        """A kernel that does not know of it is found out before."""
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as other:
            self.assertFalse(cuts(other))
