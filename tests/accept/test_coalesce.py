"""A moment before a read: taken where it saves, once a turn, and by nobody who is in no hurry to be sparing."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from heimdall.accept.coalesce import KNOWN, LEAST, Coalescing
from heimdall.accept.reader import BATCH
from tests.accept.echo import ask
from tests.accept.test_batch import Case


class Moments(SynchronousTestCase):
    """A clock that waiting moves on."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.waited: list[float] = []
        self.coalescing = Coalescing(self.clock, self.wait)

    def wait(self, seconds: float) -> None:
        """Take note of a wait, which takes twice as long as it was meant to."""
        self.waited.append(seconds)
        self.clock.advance(2 * seconds)

    def test_none(self) -> None:
        """Nobody waits before he is told how long."""
        self.coalescing.wait()
        self.assertEqual(self.waited, [])

    def test_once_a_turn(self) -> None:
        """Of the sockets that are read in one turn, one waits for all; in the next turn one does again."""
        self.coalescing.seconds = 0.0001
        for _ in range(3):
            self.coalescing.wait()
        self.assertEqual(self.waited, [0.0001])
        self.clock.advance(0.0001)
        self.coalescing.wait()
        self.assertEqual(self.waited, [0.0001] * 2)


class Before(Case):
    """When a reader waits, with real sockets."""

    def setUp(self) -> None:
        super().setUp()
        self.waits = 0
        self.datagrams.coalescing = Coalescing(self.clock, self.wait)
        self.datagrams.lead(cut=True, coalesce=0.0001)
        self.reader = self.listen("127.0.0.1:0")
        self.asking = self.client("127.0.0.1")

    def wait(self, _seconds: float) -> None:
        """Count a wait."""
        self.waits += 1

    def waits_after(self, known: int, new: int) -> int:
        """Return how many waits there are before the read that follows one of so many questions."""
        for number in range(known + new):
            self.asking.send(ask("known.test" if number < known else "silent.test", number))
        self.reader.doRead()
        before = self.waits
        self.clock.advance(1)
        self.reader.doRead()
        return self.waits - before

    def test_many(self) -> None:
        """After many questions that memory knew, the next read waits for more."""
        self.assertEqual(self.waits_after(LEAST, 0), 1)
        self.assertEqual(self.waits_after(BATCH - 1, 0), 1)

    def test_few(self) -> None:
        """After few it does not: each is answered at once."""
        self.assertEqual(self.waits_after(LEAST - 1, 0), 0)

    def test_full(self) -> None:
        """After a full batch it does not: there is more already."""
        self.assertEqual(self.waits_after(BATCH, 0), 0)

    def test_new(self) -> None:
        """After a batch of which much was new it does not: Redis and the upstreams are to be read."""
        few = LEAST // KNOWN
        self.assertEqual(self.waits_after(LEAST - few, few), 1)
        self.assertEqual(self.waits_after(LEAST - few, few + 1), 0)

    def test_nothing_left(self) -> None:
        """Once nothing came no read waits."""
        self.waits_after(LEAST, 0)
        self.assertEqual(self.waits_after(0, 0), 0)
