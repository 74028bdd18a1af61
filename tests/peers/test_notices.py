"""Nodes tell each other things, and nothing that anybody says there does harm."""

from __future__ import annotations

from functools import partial

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from heimdall.interfaces import INotices
from heimdall.peers.notices import MOST, Notices
from heimdall.tally import Count
from tests.fakelink import FakeLink
from tests.rediscase import RedisCase, reactor, until


def count(notices: Notices, what: str, result: str) -> int:
    """Read one of the counters."""
    [found] = [t for t in notices.tallies if isinstance(t, Count) and t.name == f"heimdall_peers_notices_{what}_total"]
    return found.total(result)


class Telling(SynchronousTestCase):
    """Three nodes on one Redis."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.link = FakeLink(self.clock)
        self.one, self.two, self.three = (
            Notices(link, self.clock, prefix="h")
            for link in (self.link, FakeLink(self.clock, self.link), FakeLink(self.clock, self.link))
        )
        self.heard: list[tuple[int, bytes, bytes]] = []
        for number, node in enumerate((self.one, self.two, self.three), 1):
            node.on(b"W", partial(self.hear, number))

    def hear(self, number: int, token: bytes, payload: bytes) -> None:
        self.heard.append((number, token, payload))

    def test_provides(self) -> None:
        """They are notices, and know whether they hear."""
        self.assertTrue(verifyObject(INotices, self.one))
        self.assertTrue(self.one.hearing)
        self.link.become(hearing=False)
        self.assertFalse(self.one.hearing)

    def test_all(self) -> None:
        """What is told to all reaches all others, with the token of who said it, and not ourselves."""
        self.one.tell(b"W", b"a\0\xff")
        self.assertEqual(self.heard, [(2, self.one.token, b"a\0\xff"), (3, self.one.token, b"a\0\xff")])
        self.assertEqual((count(self.one, "told", "sent"), count(self.one, "heard", "own")), (1, 1))

    def test_one(self) -> None:
        """What is told to one node reaches that one alone."""
        self.one.tell(b"W", b"", self.three.token)
        self.assertEqual(self.heard, [(3, self.one.token, b"")])

    def test_tokens(self) -> None:
        """Each start has a token of its own, and a channel named for it."""
        self.assertEqual(len({self.one.token, self.two.token, self.three.token}), 3)
        self.assertEqual(len(self.one.token), 8)
        self.assertEqual(self.one.channel(b"\0" * 7 + b"\xff"), "h:n:00000000000000ff")
        self.assertEqual(self.one.channel(None), "h:n:all")

    def test_rubbish(self) -> None:
        """What is too short, too long or of no known kind is counted, and nothing else."""
        for message in (b"", b"W", b"W1234567", b"?12345678", b"W12345678" + bytes(MOST + 1)):
            self.link.run("PUBLISH", "h:n:all", message)
        found = [count(self.two, "heard", what) for what in ("short", "unknown", "large", "heard")]
        self.assertEqual((found, self.heard), ([3, 1, 1, 0], []))

    def test_largest(self) -> None:
        """The largest payload passes; a larger one is not sent."""
        self.one.tell(b"W", bytes(MOST), self.two.token)
        self.one.tell(b"W", bytes(MOST + 1), self.two.token)
        self.assertEqual([len(payload) for _, _, payload in self.heard], [MOST])
        self.assertEqual(count(self.one, "told", "large"), 1)

    def test_away(self) -> None:
        """With Redis away a notice is lost, and that is counted."""
        self.link.break_down("away")
        self.one.tell(b"W", b"a")
        self.assertEqual((self.heard, count(self.one, "told", "failed")), ([], 1))

    def test_bug(self) -> None:
        """A hearer that fails keeps nothing from the others; its traceback is logged once a minute."""

        def bug(token: bytes, payload: bytes) -> None:
            raise RuntimeError("bug")

        heard: list[bytes] = []
        self.two.on(b"A", bug)
        self.two.on(b"A", lambda token, payload: heard.append(payload))
        for number in range(3):
            self.one.tell(b"A", b"%d" % number)
            self.clock.advance(40)
        self.assertEqual(heard, [b"0", b"1", b"2"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)
        self.assertEqual(count(self.two, "heard", "failed"), 3)


class Live(RedisCase):
    """Two nodes and a real Redis."""

    async def test_told(self) -> None:
        """A notice is heard, whatever bytes it holds, and again after Redis was restarted."""
        server = self.server()
        links = [self.linked(server.url) for _ in range(2)]
        one, two = (Notices(link, reactor) for link in links)
        heard: list[bytes] = []
        two.on(b"F", lambda token, payload: heard.append(token + payload))
        await until(lambda: all(link.up and link.hearing for link in links))
        payload = bytes(range(256)) * 256
        one.tell(b"F", payload)
        await until(lambda: heard)
        self.assertEqual(heard, [one.token + payload])
        server.restart()
        await until(lambda: not two.hearing)
        await until(lambda: links[0].up and two.hearing)
        one.tell(b"F", b"again", two.token)
        await until(lambda: len(heard) == 2)
