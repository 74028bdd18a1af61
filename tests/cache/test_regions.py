"""Two regions, each with a Redis and a cache of its own, share their flushes."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from heimdall.cache.flush import AT_ONCE, KEPT, OVERLAP, PAGE
from heimdall.cache.flushed import Flush
from heimdall.cache.regions import DRIFT, EVERY, TOLD, TOLD_OF, WAITING, Regions
from heimdall.interfaces import NO_CLOCK
from heimdall.message.wire import from_text
from heimdall.tally import Gauge
from tests.cache.questions import positive, question
from tests.cache.test_flush import LoggingLink, Node

NAME = from_text("www.a.example")


class Case(SynchronousTestCase):
    """A node in each of two regions, whose Redis are an hour apart."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.here, self.there = Node(self.clock), Node(self.clock)
        self.there.link.offset += 3600
        self.to_there, self.to_here = (LoggingLink(self.clock, node.link) for node in (self.there, self.here))
        self.to_there.offset = self.there.link.offset
        self.regions = Regions(
            {"there": self.to_there}, self.here.link, self.here.notices, self.here.flushes, self.clock
        )
        self.back = Regions({"here": self.to_here}, self.there.link, self.there.notices, self.there.flushes, self.clock)
        for node in (self.here, self.there):
            node.memory.put(question("www.a.example"), positive("www.a.example", ttl=3600), self.clock.seconds())

    def holds(self, node: Node) -> bool:
        """Whether a node still gives the answer from memory."""
        return node.memory.get(question("www.a.example"), self.clock.seconds()) is not None


class Sharing(Case):
    """What one region flushes."""

    def test_at_once(self) -> None:
        """A flush reaches the nodes of the other region at once, with the time of their Redis, as far as known."""
        self.successResultOf(self.here.flushes.flush(NAME, False))
        self.assertEqual((self.holds(self.here), self.holds(self.there)), (False, False))
        now = self.there.link.now() or 0.0
        self.assertTrue(self.there.flushes.covers(NAME, now - 1))
        self.assertTrue(self.there.flushes.covers(NAME, now + DRIFT))
        self.assertFalse(self.there.flushes.covers(NAME, now + DRIFT + 1))

    def test_missed(self) -> None:
        """A region that could not be reached learns of it when the logs are compared, from either side."""
        self.to_there.become(up=False)
        self.here.flushes.flush(NAME, False)
        self.assertTrue(self.holds(self.there))
        self.successResultOf(self.regions.compare())
        self.assertTrue(self.holds(self.there), "it is still away")
        self.successResultOf(self.back.compare())
        self.assertFalse(self.holds(self.there))
        self.assertEqual(len(self.there.link.sets[self.there.flushes.log_key]), 1, "logged for all nodes there")

    def test_told_later(self) -> None:
        """What a region lacks is told to it."""
        self.to_there.become(up=False)
        self.here.flushes.flush(NAME, False)
        self.to_there.become(up=True)
        self.successResultOf(self.regions.compare())
        self.assertFalse(self.holds(self.there))

    def test_no_echo(self) -> None:
        """A flush that came from elsewhere is not sent back, however often the logs are compared."""
        self.here.flushes.flush(NAME, False)
        for _ in range(3):
            self.successResultOf(self.regions.compare())
            self.successResultOf(self.back.compare())
        for node in (self.here, self.there):
            self.assertEqual(len(node.flushes.known()), 1)
            self.assertEqual(len(node.link.sets[node.flushes.log_key]), 1)

    def test_by_itself(self) -> None:
        """The logs are compared every few seconds, once started, and no more once stopped."""
        self.to_there.become(up=False)
        self.regions.start()
        self.here.flushes.flush(NAME, False)
        self.to_there.become(up=True)
        self.clock.advance(EVERY)
        self.assertFalse(self.holds(self.there))
        self.regions.stop()
        self.regions.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many(self) -> None:
        """A region that was away is told of many flushes by few commands, and then of what is new."""
        self.to_there.become(up=False)
        for number in range(2 * AT_ONCE):
            self.here.flushes.flush(from_text(f"n{number}.example"), False)
        self.to_there.become(up=True)
        for told in (2 * 2 * AT_ONCE, 0):
            self.to_there.commands.clear()
            self.successResultOf(self.regions.compare())
            written = sum(len(command) // 2 - 1 for command in self.to_there.commands if command[0] == "ZADD")
            self.assertEqual(written, told)
            self.assertLessEqual(self.to_there.names().count("PUBLISH"), TOLD_OF)
            self.clock.advance(2 * OVERLAP)
        self.assertEqual(len(self.there.link.sets[self.there.flushes.log_key]), 2 * AT_ONCE)
        self.assertEqual(self.lacked(), 0.0)

    def test_read_on(self) -> None:
        """Of a long log of a region what is new is read, and learnt; of one that lost it all of it is told again."""
        for number in range(2 * PAGE):
            self.there.flushes.flush(from_text(f"n{number}.example"), False)
        self.successResultOf(self.regions.compare())
        self.assertEqual(len(self.here.flushes), 2 * PAGE)
        for _ in range(2):
            self.clock.advance(2 * OVERLAP)
            self.to_there.commands.clear()
            self.successResultOf(self.regions.compare())
        self.assertEqual(self.to_there.names(), ["ZCARD", "ZREVRANGEBYSCORE"])
        self.there.link.sets.clear()
        self.successResultOf(self.regions.compare())
        self.assertEqual(len(self.there.link.sets[self.there.flushes.log_key]), 2 * PAGE)

    def test_one_reading(self) -> None:
        """While the log of a region is being read, it is not read again."""
        self.to_there.holding = True
        comparing = self.regions.compare()
        self.successResultOf(self.regions.compare())
        self.assertEqual(len(self.to_there.commands), 1)
        self.to_there.release()
        self.successResultOf(comparing)

    def test_hostile(self) -> None:
        """A log that holds rubbish, is no log, or cannot be read changes nothing here."""
        log = self.there.link.sets.setdefault(self.here.flushes.log_key, {})
        log[b"rubbish"] = (self.there.link.now() or 0.0) * 1000
        self.successResultOf(self.regions.compare())
        self.to_there.refusal = {"": "WRONGTYPE"}
        self.successResultOf(self.regions.compare())
        self.to_there.refusal = {}
        self.to_there.now = lambda: None  # type: ignore[method-assign]
        self.successResultOf(self.regions.compare())
        self.here.flushes.flush(NAME, False)
        self.assertTrue(self.holds(self.there))
        self.assertEqual(len(self.here.flushes.known()), 1)

    def lacked(self) -> float:
        """Return how many flushes the other region is not known to have taken."""
        [gauge] = [tally for tally in self.regions.tallies if isinstance(tally, Gauge)]
        told = gauge.read()
        assert isinstance(told, float)
        return told

    def test_told_of(self) -> None:
        """Who orders a flush learns what became of it in each region: taken, refused and why, or away."""
        flush = self.successResultOf(self.here.flushes.flush(NAME, False))
        self.assertEqual(self.taken(flush), [("there", TOLD)])
        self.to_there.refusal = {"": "NOPERM no rights"}
        flush = self.successResultOf(self.here.flushes.flush(NAME, False))
        self.assertEqual((self.taken(flush), self.lacked()), ([("there", "NOPERM no rights")], 1.0))
        self.to_there.refusal = {}
        self.to_there.become(up=False)
        flush = self.successResultOf(self.here.flushes.flush(NAME, False))
        self.assertEqual((self.taken(flush), self.lacked()), ([("there", "it is away")], 2.0))
        self.assertEqual(self.taken(None), [("there", NO_CLOCK)])
        self.to_there.become(up=True)
        self.successResultOf(self.regions.compare())
        self.assertEqual((self.taken(flush), self.lacked()), ([("there", TOLD)], 0.0))

    def test_hung(self) -> None:
        """Who orders a flush waits for a region for a moment and no longer; it is told when it comes back."""
        self.to_there.holding = True
        flush = self.successResultOf(self.here.flushes.flush(NAME, False))
        taken = Deferred.fromCoroutine(self.regions.taken(flush))
        self.clock.pump([0.01] * 50)
        self.assertNoResult(taken)
        self.clock.pump([0.01] * 60)
        self.assertEqual(self.successResultOf(taken), [("there", WAITING)])
        self.to_there.release()
        self.assertEqual((self.taken(flush), self.lacked()), ([("there", TOLD)], 0.0))
        self.assertFalse(self.holds(self.there))

    def test_forgotten(self) -> None:
        """What a region lacks is forgotten with the flush itself, when an hour has passed."""
        self.regions.start()
        self.to_there.become(up=False)
        self.here.flushes.flush(NAME, False)
        self.clock.advance(EVERY)
        self.assertEqual(self.lacked(), 1.0)
        self.clock.advance(KEPT)
        self.here.flushes.sync()
        self.clock.advance(EVERY)
        self.assertEqual(self.lacked(), 0.0)
        self.regions.stop()

    def test_home_away(self) -> None:
        """What is learnt while our own Redis takes no log of it is kept, and nothing fails."""
        self.to_there.become(up=False)
        self.there.flushes.flush(NAME, False)
        self.to_there.become(up=True)
        self.to_here.become(up=False)
        self.here.link.refusal = {"ZADD": "READONLY"}
        self.successResultOf(self.regions.compare())
        self.assertFalse(self.holds(self.here))

    def taken(self, flush: Flush | None) -> list[tuple[str, str]]:
        """Return what became of a flush."""
        return list(self.successResultOf(Deferred.fromCoroutine(self.regions.taken(flush))))

    def test_alone(self) -> None:
        """Without other regions there is nothing to be done."""
        alone = Regions({}, self.here.link, self.here.notices, self.here.flushes, self.clock)
        alone.start()
        self.assertEqual(self.clock.getDelayedCalls(), [])
