"""What parent and worker say to each other, over two transports in this process."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from heimdall.interfaces import Unanswered
from heimdall.workers.channel import MOST_ASKED, MOST_BYTES, Channel, Verb


class Case(SynchronousTestCase):
    """A parent and a worker."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.heard: list[Any] = []
        self.gone: list[str] = []
        self.slow: Deferred[Any] = Deferred()
        verbs: dict[str, Verb] = {
            "echo": succeed,
            "note": self.note,
            "slow": lambda _: self.slow,
            "refuse": lambda _: fail(ValueError("not like that")),
            "break": lambda _: fail(RuntimeError("a bug")),
        }
        self.parent = Channel(self.clock, {"note": self.note}, lambda: self.gone.append("parent"))
        self.worker = Channel(self.clock, verbs, lambda: self.gone.append("worker"))
        self.ends = [(self.parent, StringTransport()), (self.worker, StringTransport())]
        for channel, transport in self.ends:
            channel.makeConnection(transport)

    def note(self, what: Any) -> Deferred[None]:
        """Note what is said."""
        self.heard.append(what)
        return succeed(None)

    def pass_on(self) -> None:
        """Have each end hear what the other said."""
        for (_, out), (channel, _) in zip(self.ends, reversed(self.ends), strict=True):
            said = out.value()
            out.clear()
            channel.dataReceived(said)

    def ask(self, verb: str, what: Any = None) -> Deferred[Any]:
        """Ask the worker, and have it reply."""
        asked = self.parent.ask(verb, what)
        self.pass_on()
        self.pass_on()
        return asked


class Asking(Case):
    """Questions and replies."""

    def test_reply(self) -> None:
        """A question is answered with what the other end's verb fires with."""
        self.assertEqual(self.successResultOf(self.ask("echo", {"a": [1, "ü"]})), {"a": [1, "ü"]})

    def test_out_of_order(self) -> None:
        """A question that takes longer keeps no other one waiting."""
        slow = self.ask("slow")
        self.assertEqual(self.successResultOf(self.ask("echo", 2)), 2)
        self.slow.callback(1)
        self.pass_on()
        self.assertEqual(self.successResultOf(slow), 1)

    def test_refused(self) -> None:
        """What the other end refuses fails with its reason; a bug there as well, which it logs."""
        for verb, reason in (("refuse", "not like that"), ("break", "a bug")):
            self.assertEqual(str(self.failureResultOf(self.ask(verb), Unanswered).value), reason)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_unknown(self) -> None:
        """A verb that is not known ends the channel: the other end is not one of us."""
        self.parent.ask("none").addErrback(lambda _: None)
        with self.assertRaises(KeyError):
            self.pass_on()

    def test_late(self) -> None:
        """A question that is not answered in time fails; what comes later is not listened to."""
        asked = self.ask("slow")
        self.clock.advance(1)
        self.assertIn("in time", str(self.failureResultOf(asked, Unanswered).value))
        self.slow.callback(1)
        self.pass_on()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_gone(self) -> None:
        """With the other end gone, what is under way fails, and what is asked from then on; it is told of once."""
        asked = self.ask("slow")
        self.parent.connectionLost(Failure(ConnectionDone()))
        for each in (asked, self.parent.ask("echo")):
            self.failureResultOf(each, Unanswered)
        self.parent.tell("note")
        self.assertEqual((self.gone, self.clock.getDelayedCalls()), (["parent"], []))

    def test_bounds(self) -> None:
        """There is a bound to the questions under way, and to the bytes of a message."""
        for _ in range(MOST_ASKED):
            self.parent.ask("slow").addErrback(lambda _: None)
        self.failureResultOf(self.parent.ask("echo"), Unanswered)
        (worker, transport) = self.ends[1]
        worker.dataReceived((MOST_BYTES + 1).to_bytes(4, "big"))
        self.assertTrue(transport.disconnecting or transport.disconnected)
        self.clock.advance(1)

    def test_no_json(self) -> None:
        """What is no JSON is neither asked nor waited for; as a reply it is refused."""
        self.assertRaises(TypeError, self.parent.ask, "echo", {1, 2})
        self.assertEqual(len(self.parent._asked), 0)
        asked = self.ask("slow")
        self.slow.callback({1, 2})
        self.pass_on()
        self.failureResultOf(asked, Unanswered)
        self.flushLoggedErrors(TypeError)


class Telling(Case):
    """Words without a reply."""

    def test_told(self) -> None:
        """What is told is heard, and nothing comes back."""
        self.worker.tell("note", "hello")
        self.pass_on()
        self.assertEqual((self.heard, self.ends[0][1].value()), (["hello"], b""))

    def test_unheard(self) -> None:
        """While the other end does not listen words are left out, and counted; replies are not."""
        self.worker.pauseProducing()
        self.worker.tell("note", "lost")
        self.assertEqual(self.successResultOf(self.ask("echo", 1)), 1)
        self.worker.resumeProducing()
        self.worker.tell("note", "heard")
        self.pass_on()
        self.assertEqual((self.heard, self.worker.unsaid.total()), (["heard"], 1))

    def test_words(self) -> None:
        """On the wire a word is its length in four bytes, and JSON."""
        self.worker.tell("note", "hello")
        said = self.ends[1][1].value()
        self.assertEqual(int.from_bytes(said[:4], "big"), len(said) - 4)
        self.assertEqual(json.loads(said[4:]), {"ask": "note", "what": "hello", "number": 0})
