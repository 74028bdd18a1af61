"""Tests of the epoll that the sockets of one upstream share: real sockets, read when a test says so."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from unittest import mock, skipUnless

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from heimdall.fetch.judgement import Unusable
from heimdall.fetch.ledger import Ledger
from heimdall.fetch.poll import Poll
from heimdall.fetch.port import Flight, Outcome
from heimdall.fetch.udp import SHARE, Udp
from heimdall.message.answer import Answer
from heimdall.message.query import WITH_OPT, make, write
from heimdall.message.wire import from_text
from tests.reported import met

MANY = 7 * SHARE
"""Questions asked in one turn, from seven ports of 64 drawn by chance: they are all one once in 64**6 times."""

LOST = Failure(ConnectionLost())


@skipUnless(hasattr(select, "epoll"), "there is no epoll here; it is Linux that has it")
class Case(SynchronousTestCase):
    """A server whose replies leave when a test wants, and an exchange whose epoll is read by hand."""

    ports = 64

    def setUp(self) -> None:
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.server.close)
        self.server.bind(("127.0.0.1", 0))
        self.fds = mock.Mock(spec=("addReader", "removeReader"))
        self.clock = Clock()
        self.exchange()
        self.told: list[Outcome | Failure] = []

    def exchange(self, cut: bool = True) -> None:
        """Begin with another exchange."""
        port, ledger = self.server.getsockname()[1], Ledger()
        self.udp = Udp(self.clock, self.fds, "127.0.0.1", port, write=write, ledger=ledger, ports=self.ports, cut=cut)
        self.addCleanup(self.udp.close)
        assert isinstance(self.udp._fds, Poll)
        self.poll = self.udp._fds

    def ask(self, told: Callable[[Outcome | Failure], object] | None = None) -> Flight:
        """Ask another question; the outcome goes where it is told to, or onto the list."""
        return self.udp.exchange(make(from_text("www.example"), 1), WITH_OPT, 60.0, told or self.told.append)

    def ask_all(self, told: Callable[[Outcome | Failure], object] | None = None) -> list[Flight]:
        """Ask :data:`MANY` questions."""
        return [self.ask(told) for _ in range(MANY)]

    def assertAllFailed(self) -> None:
        """Every question failed, and no socket stays."""
        self.assertEqual([isinstance(outcome, Unusable | Failure) for outcome in self.told], [True] * MANY)
        self.assertEqual((self.udp.inflight, self.udp._ring), (0, []))

    def reply(self) -> None:
        """Let the questions leave, and answer all that have come, each with its question."""
        self.clock.advance(0)
        self.server.setblocking(False)
        while True:
            try:
                wire, asker = self.server.recvfrom(512)
            except BlockingIOError:
                return
            self.server.sendto(wire[:2] + b"\x81\x80" + wire[4:], asker)

    def read(self) -> None:
        """Read, until no socket can have anything left."""
        for _ in range(MANY):
            self.poll.doRead()

    def broken(self, outcome: Outcome | Failure) -> None:
        """Be told, with a bug."""
        raise ZeroDivisionError(outcome)


class Watching(Case):
    """What the reactor sees of it."""

    def test_seams(self) -> None:
        """It is what a reactor reads, and has a name for its log."""
        self.assertTrue(verifyObject(IReadDescriptor, self.poll))
        self.assertEqual(self.poll.logPrefix(), "heimdall.fetch")

    def test_as_long_as_there_is_one(self) -> None:
        """The reactor watches it from the first socket to the last; around that, a read and an end do nothing."""
        self.poll.doRead()
        self.ask_all()
        self.fds.addReader.assert_called_once_with(self.poll)
        self.assertGreater(len(self.udp._ring), 1)
        self.fds.removeReader.assert_not_called()
        ports = list(self.udp._ring)
        self.udp.close()
        self.fds.removeReader.assert_called_once_with(self.poll)
        self.assertEqual(self.poll._readers, {})
        self.poll.doRead()
        self.poll.removeReader(ports[0])
        self.poll.connectionLost(LOST)
        self.assertEqual(len(self.told), MANY)

    def test_the_reactor_ends_it(self) -> None:
        """When the reactor gives it up, every question in flight fails, and no socket stays open."""
        self.ask_all()
        self.poll.connectionLost(LOST)
        self.assertAllFailed()


class Reading(Case):
    """What one read does where several sockets have something."""

    def test_all(self) -> None:
        """Every question gets its answer."""
        self.ask_all()
        self.reply()
        self.read()
        self.assertEqual([type(outcome) for outcome in self.told], [Answer] * MANY)

    def test_read_before_told(self) -> None:
        """Who is told of the first reply finds all others read, and may give one of those up: that is not told."""
        flights: list[Flight] = []

        def tell(outcome: Outcome | Failure) -> None:
            self.told.append(outcome)
            for flight in flights:
                flight.cancel()

        flights += self.ask_all(tell)
        self.reply()
        self.read()
        answers = [outcome for outcome in self.told if isinstance(outcome, Answer)]
        self.assertEqual((len(self.told), len(answers)), (MANY, 1))

    def test_bug_in_a_read(self) -> None:
        """A bug in reading one socket fails what is in flight on that one; the others are read."""
        flights = self.ask_all()
        first = self.udp._ring[0]
        theirs = sum(flight.port is first for flight in flights)
        with socket.socket(fileno=os.dup(first.fileno())) as same:
            self.server.sendto(b"no reply", same.getsockname())
        self.reply()
        with mock.patch.object(self.udp.ledger, "mismatched", mock.Mock(add=mock.Mock(side_effect=TypeError))):
            self.read()
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        failed = [outcome for outcome in self.told if isinstance(outcome, Unusable)]
        self.assertEqual((len(self.told), len(failed)), (MANY, theirs))
        self.assertNotIn(first, self.udp._ring)

    def test_bug_behind_an_answer(self) -> None:
        """A bug of who is told costs that answer; the others are told, and all sockets go on."""
        self.ask(self.broken)
        self.ask_all()
        sockets = list(self.udp._ring)
        self.reply()
        self.read()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual([type(outcome) for outcome in self.told], [Answer] * MANY)
        self.assertEqual((self.udp.inflight, self.udp._ring), (0, sockets))


class Refusing(Case):
    """What one read does where the server's port is closed."""

    def refuse(self) -> None:
        """Let the questions leave; close the server's port, and let every socket hear of it."""
        self.clock.advance(0)
        self.server.close()
        for port in self.udp._ring:
            os.write(port.fileno(), b"anyone?")

    def test_all(self) -> None:
        """Every question fails, and no socket stays."""
        self.ask_all()
        self.refuse()
        self.read()
        self.assertAllFailed()

    def test_ended_by_another(self) -> None:
        """Who is told of one refusal may close the exchange: the sockets that had something as well are not read."""

        def close(outcome: Outcome | Failure) -> None:
            self.told.append(outcome)
            self.udp.close()

        self.ask_all(close)
        self.refuse()
        self.poll.doRead()
        self.assertAllFailed()

    def test_bug_behind_a_refusal(self) -> None:
        """A bug of who is told of a refusal keeps it from nobody else, and is logged once."""
        for _ in range(MANY):
            self.ask(self.broken)
            self.ask()
        self.refuse()
        self.read()
        self.assertEqual((len(self.flushLoggedErrors(ZeroDivisionError)), met(self.clock)), (1, MANY))
        self.assertAllFailed()
