"""What one node is asked for most, counted by itself."""

from __future__ import annotations

from collections.abc import Iterator

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from heimdall.cache.heavy_hitters import EVERY, MOST, SLICE, HeavyHitters, from_json, to_json
from heimdall.cache.memory import Memory
from heimdall.cache.ranks import EXACT, HALF, UNKNOWN, Asked
from heimdall.slices import LONGEST
from heimdall.slices import SLICE as TURN
from tests.cache.questions import positive, question


class Counting(SynchronousTestCase):
    """A memory, and what is counted of it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.memory = Memory(10_000_000)
        self.hitters = HeavyHitters(self.memory, self.clock, tells=True)

    def ask(self, name: str, times: int) -> None:
        """Ask so many times for a name that an upstream knows the first time, and memory after that."""
        now = self.clock.seconds()
        if self.memory.get(question(name), now) is None:
            self.hitters.missed.landed(question(name), positive(name, ttl=600), 1)
            self.memory.put(question(name), positive(name, ttl=600), now)
            times -= 1
        for _ in range(times):
            self.memory.get(question(name), now)

    def slowly(self) -> None:
        """Let each step of a look take longer than one turn of the reactor may."""
        growth = self.memory.growth

        def slow(size: int) -> Iterator[list[tuple[int, bytes]]]:
            for grown in growth(size):
                self.clock.rightNow += 2 * TURN
                yield grown

        self.patch(self.memory, "growth", slow)

    def counted(self) -> dict[str, float]:
        """Look, and return the asks of each name in order."""
        self.collect()
        return {row.key[1:].split(b"\7")[0].decode(): round(row.asked, 3) for row in self.hitters.top()}

    def collect(self) -> None:
        """Look."""
        done = self.hitters.collect()
        while not done.called:
            self.clock.advance(LONGEST)
        self.successResultOf(done)

    def test_counted(self) -> None:
        """Each name with its asks, by who answered, and its TTL; what was counted once is not counted again."""
        self.ask("a.example", 5)
        self.ask("b.example", 2)
        self.assertEqual(list(self.counted()), ["a", "b"])
        first, second = self.hitters.top(7)
        assert first.facts is not None
        self.assertEqual((first.key, round(first.asked)), (question("a.example").key, 5))
        self.assertEqual((round(first.facts.memory), round(first.facts.upstream)), (4, 1))
        self.assertEqual((first.facts.ttl, first.facts.nodes), (600, (7,)))
        self.assertEqual(round(second.asked), 1, "one use proves nothing, and waits until it is more")
        self.collect()
        self.assertEqual(round(self.hitters.top()[0].asked), 5)

    def test_fades(self) -> None:
        """An ask counts half after ten minutes: what is asked now stands before what was asked often long ago."""
        self.ask("old.example", 9)
        self.collect()
        self.clock.advance(2 * HALF)
        self.ask("new.example", 4)
        self.collect()
        new, old = self.hitters.top()
        self.assertEqual((new.key, round(new.asked)), (question("new.example").key, 4))
        self.assertAlmostEqual(old.asked, 9 / 4, 1)

    def test_bounded(self) -> None:
        """A flood of names takes no more room, and does not hide what is asked often; nor does what is to be told."""
        for turn in range(30):
            for number in range(150):
                self.hitters.missed.landed(question(f"r{turn}n{number}.example"), positive(), 1)
            self.hitters.missed.landed(question("often.example"), positive(), 20)
            self.collect()
            self.assertLessEqual(len(self.hitters.top()), MOST)
        self.assertEqual(self.hitters.top()[0].key, question("often.example").key)
        told = self.hitters.take()
        self.assertEqual((len(told), self.hitters.take()), (MOST, []))
        self.assertIn((question("often.example").key, 600), [(row.key, row.upstream) for row in told])

    def test_given_back(self) -> None:
        """What could not be told is told with what came since."""
        self.hitters.give_back([Asked(b"a", 1, 2, 3, UNKNOWN), Asked(b"b", 1, 0, 0, 9)])
        self.hitters.give_back([Asked(b"a", 1, 1, 1, 60 | EXACT), Asked(b"b", 1, 0, 0, UNKNOWN)])
        self.assertEqual(self.hitters.take(), [Asked(b"a", 2, 3, 4, 60 | EXACT), Asked(b"b", 2, 0, 0, 9)])

    def test_nobody_to_tell(self) -> None:
        """Where nobody is told, nothing waits for that."""
        self.hitters = HeavyHitters(self.memory, self.clock)
        self.ask("a.example", 5)
        self.collect()
        self.assertEqual((len(self.hitters.top()), self.hitters.take()), (1, []))

    def test_slices(self) -> None:
        """Memory is looked through so many answers a turn; who asks meanwhile waits for the same look."""
        self.slowly()
        for number in range(3 * SLICE):
            self.memory.put(question(f"n{number}.example"), positive(), 0.0)
        first, second = self.hitters.collect(), self.hitters.collect()
        slices = len(list(self.memory.growth(SLICE)))
        self.assertGreaterEqual(slices, 3)
        for _ in range(slices):
            self.assertNoResult(first)
            self.clock.advance(LONGEST)
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped(self) -> None:
        """It looks by itself until it is stopped, also amid a look; who has given up waiting is no trouble."""
        self.slowly()
        self.memory.put(question("a.example"), positive(), 0.0)
        self.hitters.start()
        self.ask("a.example", 3)
        self.clock.advance(EVERY)
        self.clock.pump([LONGEST] * 5)
        self.assertEqual(len(self.hitters.top()), 1)
        impatient, patient = self.hitters.collect(), self.hitters.collect()
        impatient.cancel()
        self.failureResultOf(impatient, CancelledError)
        self.hitters.stop()
        self.failureResultOf(patient, CancelledError)
        self.hitters.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_inherited(self) -> None:
        """Another configuration goes on with what was counted."""
        self.ask("a.example", 5)
        self.collect()
        following = HeavyHitters(self.memory, self.clock)
        following.inherit(self.hitters)
        self.assertEqual((following.top(), following.since), (self.hitters.top(), self.hitters.since))

    def test_json(self) -> None:
        """What a worker tells its parent understands."""
        self.ask("a.example", 5)
        self.ask("b.example", 3)
        self.collect()
        told = to_json((self.hitters.since, self.hitters.top()))
        self.assertEqual(from_json(told, 7), (self.hitters.since, self.hitters.top(7)))
