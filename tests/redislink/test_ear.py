"""What is published reaches us, and whether it does is known."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone, ConnectionRefusedError

from heimdall.redislink.gone import REMEDIES
from tests.redislink.test_link import Case, Transport
from tests.reported import met

MESSAGE = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$3\r\none\r\n"


def confirmed(*channels: str) -> bytes:
    """Return what Redis says to SUBSCRIBE."""
    return b"".join(
        f"*3\r\n$9\r\nsubscribe\r\n${len(name)}\r\n{name}\r\n:{number}\r\n".encode()
        for number, name in enumerate(channels, 1)
    )


class Hearing(Case):
    """A link with two channels, and a Redis whose every byte the test decides."""

    def setUp(self) -> None:
        super().setUp()
        self.heard: list[bytes] = []
        self.changes: list[tuple[bool, bool]] = []
        self.link.watch(lambda: self.changes.append((self.link.up, self.link.hearing)))
        self.link.listen("a", self.heard.append)
        self.link.listen("b", self.heard.append)

    @property
    def ear(self) -> Transport:
        """The newest connection: the one that speaks is made first."""
        return self.endpoint.connections[-1]

    def greet_ear(self, channels: bytes = confirmed("a", "b")) -> None:
        """Answer the greeting of the connection that listens."""
        self.assertEqual(self.ear.heard(), ["AUTH", "PING", "CLIENT"])
        self.ear.say(b"+OK\r\n+PONG\r\n+OK\r\n")
        self.assertEqual(self.ear.heard(), ["SUBSCRIBE", "SUBSCRIBE"])
        self.ear.say(channels)

    def start(self) -> None:
        """Start the link, and have it be up and hear."""
        self.link.start()
        mouth = self.endpoint.connections[0]
        self.assertEqual(mouth.heard(), ["AUTH", "SELECT", "PING", "CLIENT"])
        mouth.say(b"+OK\r\n" * 4)
        self.assertEqual(mouth.heard(), ["TIME"])
        mouth.say(b"*2\r\n$10\r\n1767225600\r\n$6\r\n500000\r\n")
        self.greet_ear()
        self.assertTrue(self.link.up and self.link.hearing)

    def test_hearing(self) -> None:
        """It hears when all channels are confirmed, not before, and whoever watches is told of each change."""
        self.link.start()
        self.assertEqual(len(self.endpoint.connections), 2)
        self.greet_ear(confirmed("a"))
        self.assertFalse(self.link.hearing)
        self.ear.say(confirmed("b"))
        self.assertTrue(self.link.hearing)
        self.assertEqual(self.changes, [(False, True)])
        self.ear.say(MESSAGE[:20])
        self.ear.say(MESSAGE[20:] + MESSAGE)
        self.assertEqual(self.heard, [b"one", b"one"])

    def test_nobody_listens(self) -> None:
        """Who listens to nothing needs no second connection; the first channel makes it."""
        self.endpoint.connections.clear()
        other = type(self.link)(self.clock, self.endpoint)
        other.start()
        self.assertEqual((len(self.endpoint.connections), other.hearing), (1, False))
        other.listen("a", self.heard.append)
        self.assertEqual(len(self.endpoint.connections), 2)

    def test_another_channel(self) -> None:
        """A channel that is added is subscribed to at once; until it is confirmed, not everything is heard."""
        self.start()
        self.link.listen("c", self.heard.append)
        self.assertEqual((self.ear.heard(), self.link.hearing), (["SUBSCRIBE"], False))
        self.ear.say(MESSAGE + confirmed("c"))
        self.assertTrue(self.link.hearing)
        self.link.listen("c", self.heard.append)
        self.assertEqual((self.ear.heard(), self.link.hearing, self.heard), ([], True, [b"one"]))

    def test_another_channel_refused(self) -> None:
        """A channel that this user must not hear ends the connection: half the news is none."""
        self.start()
        self.link.listen("c", self.heard.append)
        self.ear.say(b"-NOPERM no channel\r\n")
        self.assertFalse(self.link.hearing or self.ear.open)
        self.assertIn(REMEDIES["permission"], self.events[-1])

    def test_lost(self) -> None:
        """A connection that is lost is made anew, by itself and without a line in the log; the other one stays."""
        self.start()
        told = len(self.events)
        self.ear.end(ConnectionDone())
        self.assertEqual(self.changes[-1], (True, False))
        self.come_back()
        self.greet_ear()
        self.assertEqual(self.changes[-1], (True, True))
        self.ear.say(MESSAGE)
        self.assertEqual((self.heard, self.events[told:]), ([b"one"], []))
        self.assertTrue(self.endpoint.connections[0].open)

    def test_redis_away(self) -> None:
        """That nothing can be heard of a Redis that is away is no news."""
        self.endpoint.refusal = ConnectionRefusedError()
        self.link.start()
        self.pass_time(30, 0.05)
        self.assertEqual(len(self.events), 1)

    def test_refused(self) -> None:
        """A user that may not listen is told once, and that it may at last."""
        self.start()
        told = len(self.events)
        self.ear.end(ConnectionDone())
        for _ in range(3):
            self.come_back()
            self.ear.heard()
            self.ear.say(b"+OK\r\n+PONG\r\n+OK\r\n-NOPERM no\r\n-NOPERM no\r\n")
            self.assertFalse(self.link.hearing)
        self.come_back()
        self.greet_ear()
        self.assertEqual(len(self.events[told:]), 2)
        self.assertIn(REMEDIES["permission"], self.events[told])
        self.assertIn("hear again", self.events[-1])

    def test_checked(self) -> None:
        """Every 3 s a PING asks whether anybody is there, between whatever messages."""
        self.start()
        for _ in range(5):
            self.answer_mouth(3)
            self.assertEqual(self.ear.heard(), ["PING"])
            self.ear.say(MESSAGE + b"*2\r\n$4\r\npong\r\n$0\r\n\r\n" + MESSAGE)
        self.assertEqual((self.link.hearing, len(self.heard)), (True, 10))

    def test_silent(self) -> None:
        """A connection that leaves a PING without an answer for 3 s is given up."""
        self.start()
        self.answer_mouth(5.9)
        self.assertTrue(self.link.hearing)
        self.answer_mouth(0.2)
        self.assertFalse(self.link.hearing)
        self.assertEqual(self.count("ear_errors", "silent"), 1)

    def test_no_answer(self) -> None:
        """An attempt to subscribe that nobody answers ends."""
        self.link.start()
        self.ear.heard()
        self.ear.say(b"+OK\r\n+PONG\r\n+OK\r\n")
        self.pass_time(3.1)
        self.assertFalse(self.endpoint.connections[1].open)

    def test_bugs(self) -> None:
        """A hearer or a watcher that fails is counted, logged once, and keeps nothing from the others."""

        def bug(message: bytes = b"") -> None:
            raise RuntimeError("bug")

        self.link.watch(bug)
        self.link.listen("a", bug)
        self.link.listen("a", self.heard.append)
        self.start()
        self.ear.say(MESSAGE)
        self.assertEqual(self.heard, [b"one", b"one"])
        self.assertEqual(self.count("messages", "failed"), 1)
        self.assertEqual((len(self.flushLoggedErrors(RuntimeError)), met(self.clock)), (1, 3))

    def test_chatter(self) -> None:
        """What is neither message nor reply ends the connection."""
        self.start()
        self.ear.say(b"*3\r\n$8\r\npmessage\r\n$1\r\na\r\n$1\r\na\r\n")
        self.assertFalse(self.link.hearing)
        self.assertEqual(self.count("ear_errors", "protocol"), 1)

    def test_closed(self) -> None:
        """Closed, it hears nothing more and leaves nothing behind."""
        self.start()
        self.successResultOf(self.link.close())
        self.assertEqual((self.link.hearing, self.clock.getDelayedCalls()), (False, []))
        self.link.listen("d", self.heard.append)
        self.assertEqual(len(self.endpoint.connections), 2)

    def test_closed_while_away(self) -> None:
        """Closed between two attempts, neither connection is made again."""
        self.endpoint.refusal = ConnectionRefusedError()
        self.link.start()
        self.successResultOf(self.link.close())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_secret(self) -> None:
        """No password is logged."""
        self.start()
        self.ear.end(ConnectionDone())
        self.come_back()
        self.ear.say(b"-WRONGPASS hidden\r\n" * 3)
        self.pass_time(0.1)
        self.assertNotIn("hidden", " ".join(self.events))
        self.assertIn(REMEDIES["password"], self.events[-1])

    def answer_mouth(self, seconds: float) -> None:
        """Let time pass, with the other connection answered in time."""
        mouth = self.endpoint.connections[0]
        for _ in range(round(seconds / 0.05)):
            self.clock.advance(0.05)
            for _ in mouth.heard():
                mouth.say(b"*2\r\n$10\r\n1767225600\r\n$6\r\n500000\r\n")
