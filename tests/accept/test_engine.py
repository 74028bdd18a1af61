"""Our own bugs: told once, answered always."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from heimdall.accept.engine import Faults
from heimdall.message.query import SERVFAIL
from tests.accept.echo import ask


class FaultsTests(SynchronousTestCase):
    """What is done about an exception."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.faults = Faults(self.clock)

    def meet(self, wire: bytes, kind: type[Exception] = ValueError) -> bytes:
        try:
            raise kind("a bug")
        except Exception as error:
            return self.faults.refuse(wire, error)

    def test_the_client_is_told_servfail(self) -> None:
        """The reply has the query's id and question, and says SERVFAIL."""
        reply = self.meet(ask("a.test", 7))
        self.assertEqual((reply[:2], reply[2] & 0x80, reply[3] & 15), (b"\0\7", 0x80, SERVFAIL))
        self.assertEqual(reply[12:], ask("a.test")[12 : len(reply)])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_a_bad_question(self) -> None:
        """A message whose question cannot be read is told SERVFAIL without one."""
        reply = self.meet(ask("a.test")[:14])
        self.assertEqual((len(reply), reply[3] & 15), (12, SERVFAIL))
        self.flushLoggedErrors(ValueError)

    def test_no_query(self) -> None:
        """What is no query gets no reply, not even from a bug: two servers would talk for ever."""
        wire = ask("a.test")
        self.assertEqual(self.meet(wire[:2] + b"\x80" + wire[3:]), b"")
        self.assertEqual(self.meet(b"short"), b"")
        self.flushLoggedErrors(ValueError)

    def test_once_a_minute(self) -> None:
        """The same bug is logged once a minute, and each query that meets it is counted."""
        for _ in range(5):
            self.meet(ask("a.test"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        (count,) = self.faults.tallies
        self.assertEqual(count.total(), 5)  # type: ignore[union-attr]

    def test_without_a_trace(self) -> None:
        """An exception that was never raised is a bug as well."""
        self.assertTrue(self.faults.refuse(ask("a.test"), ValueError("never raised")))
        self.flushLoggedErrors(ValueError)
