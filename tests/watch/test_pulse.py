"""How fast every node goes, on a clock that the test sets."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from heimdall.interfaces import LinkDown, Member
from heimdall.watch.pulse import AT_EASE, GOOD, IDLE, KEPT, MINUTE, PATIENCE, SHOWN, Course, Pulse, Reading


def member(name: str, at: float, **stats: float) -> Member:
    """A member as the registry lists it."""
    return Member(name, name, "", at, "healthy", stats)


def course(*readings: tuple[float, float]) -> Course:
    """What one told: when, and how many queries it had by then."""
    made = Course()
    for at, queries in readings:
        made.add(Reading(at, {"queries": queries}))
    return made


class Courses(SynchronousTestCase):
    """What one member told of late."""

    def test_rate(self) -> None:
        """The rate is what came between the last two readings, by the time between them."""
        self.assertEqual(course((0, 100), (5, 150), (10, 350)).rate("queries"), 40.0)

    def test_too_little(self) -> None:
        """One reading tells no rate, nor do two that are too close, and the same one again changes nothing."""
        self.assertIsNone(course().rate("queries"))
        self.assertIsNone(course((0, 100)).rate("queries"))
        self.assertIsNone(course((0, 100), (0.9, 300), (0.5, 300)).rate("queries"))
        self.assertEqual(course((0, 0), (5, 50), (5, 50), (5, 50)).rate("queries"), 10.0)

    def test_rise(self) -> None:
        """The rise is that of the last minute."""
        self.assertEqual(course().rise("queries"), 0)
        self.assertEqual(course(*[(at, at) for at in range(0, 300, 5)]).rise("queries"), MINUTE)

    def test_anew(self) -> None:
        """A member that has begun anew is known from there on."""
        self.assertIsNone(course((0, 100), (5, 200), (10, 7)).rate("queries"))
        self.assertEqual(course((0, 100), (5, 200), (10, 7), (15, 12)).rise("queries"), 5)

    def test_leap(self) -> None:
        """A clock that leaps, either way, makes no rate of nonsense."""
        for leap in (-100, 1000):
            self.assertIsNone(course((1000, 100), (1005, 200), (1005 + leap, 300)).rate("queries"), leap)

    def test_unknown(self) -> None:
        """A number that is not told, by an older version, rises by nothing."""
        told = course((0, 0), (5, 50))
        self.assertEqual((told.rate("took_0.1"), told.rise("took_0.1")), (0.0, 0.0))


class Looks(SynchronousTestCase):
    """The looks at the cluster."""

    def setUp(self) -> None:
        """Begin with this node and another."""
        self.clock = Clock()
        self.asked = 0
        self.others: Sequence[Member] = ()
        self.listing: Deferred[Sequence[Member]] | None = None
        self.pulse = Pulse(self.clock, self.own, self.listed, ("memory", "redis"))

    def own(self) -> Member:
        """This node, that answers ten queries a second."""
        now = self.clock.seconds()
        return member("own", 1700000000 + now, queries=10 * now, memory=10 * now)

    def listed(self) -> Deferred[Sequence[Member]]:
        """Who is in the cluster."""
        self.asked += 1
        return self.listing or succeed(self.others)

    def look(self, seconds: float = GOOD) -> None:
        """Let some time pass, and look."""
        self.clock.advance(seconds)
        self.successResultOf(self.pulse.look())

    def test_alone(self) -> None:
        """Where nothing is shared this node is all there is, and the reason is told."""
        self.pulse = Pulse(self.clock, self.own, None, ("memory",))
        self.look()
        self.look(2)
        self.assertEqual([one.id for one in self.pulse.members], ["own"])
        self.assertEqual(self.pulse.away, "Redis is not in use")
        self.look(5)
        self.assertEqual(self.pulse.past(), [(5.0, (10.0,)), (0.0, (10.0,))])

    def test_sum(self) -> None:
        """What is kept of the cluster is the sum over its members, of those whose rate is known."""
        self.look()
        self.others = [member("b", 1700000001, queries=100, redis=40)]
        self.look()
        self.assertEqual(self.pulse.past()[-1], (0.0, (10.0, 0.0)))
        self.others = [member("b", 1700000006, queries=200, redis=90)]
        self.look()
        self.assertEqual(self.pulse.past()[-1], (0.0, (10.0, 10.0)))
        self.assertEqual(self.pulse.course("b").rate("queries"), 20.0)
        self.assertEqual(self.pulse.rise("queries"), 100 + 2 * GOOD * 10)

    def test_own_is_live(self) -> None:
        """This node is on the list as it is now, whatever the registry says of it."""
        self.others = [member("own", 1600000000, queries=1), member("a", 1700000001)]
        self.look(7)
        self.assertEqual([one.id for one in self.pulse.members], ["a", "own"])
        self.assertEqual(self.pulse.members[1].stats["queries"], 70)

    def test_gone(self) -> None:
        """Who has left is forgotten."""
        self.others = [member("b", 1700000001, queries=1)]
        self.look()
        self.others = []
        self.look()
        self.assertEqual([one.id for one in self.pulse.members], ["own"])
        self.assertIsNone(self.pulse.course("b").rate("queries"))

    def test_down(self) -> None:
        """Without Redis this node is shown alone, with the reason, and all are back when Redis is."""
        self.others = [member("b", 1700000001)]
        self.listing = fail(LinkDown("refused: connection refused"))
        self.look()
        self.assertEqual((len(self.pulse.members), self.pulse.away), (1, "refused: connection refused"))
        self.listing = None
        self.look()
        self.assertEqual((len(self.pulse.members), self.pulse.away), (2, ""))

    def test_at_once(self) -> None:
        """All who want to know while a look is under way wait for that one, but for who has left."""
        self.listing = Deferred()
        waiting = [self.pulse.look() for _ in range(3)]
        waiting[0].cancel()
        self.failureResultOf(waiting[0], CancelledError)
        self.listing.callback([member("b", 1700000001)])
        for one in waiting[1:]:
            self.successResultOf(one)
        self.assertEqual((self.asked, len(self.pulse.members)), (1, 2))

    def test_slow(self) -> None:
        """A list that does not come is given up, and this node shown alone."""
        self.listing = Deferred()
        waiting = self.pulse.look()
        self.clock.advance(PATIENCE - 0.1)
        self.assertNoResult(waiting)
        self.clock.advance(0.1)
        self.successResultOf(waiting)
        self.assertEqual(len(self.pulse.members), 1)
        self.assertTrue(self.pulse.away)

    def test_bug(self) -> None:
        """A bug behind the list is logged, and the next look is a new one."""
        self.listing = fail(ZeroDivisionError())
        self.look()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.listing = None
        self.look()
        self.assertEqual([one.id for one in self.pulse.members], ["own"])

    def test_idle(self) -> None:
        """By itself it looks now and then, so that the past is known; once stopped it asks nobody."""
        self.pulse.start()
        self.clock.pump([1] * int(4 * IDLE))
        self.assertEqual(self.asked, 5)
        self.assertEqual([round(ago / IDLE) for ago, _ in self.pulse.past()], [3, 2, 1, 0])
        self.listing = Deferred()
        self.clock.advance(IDLE)
        self.pulse.stop()
        self.clock.advance(IDLE)
        self.assertEqual((self.asked, self.clock.getDelayedCalls()), (6, []))

    def test_good(self) -> None:
        """A look is good for a moment, of a huge cluster for longer, however many want to know."""
        self.pulse.look()
        self.look(GOOD - 0.1)
        self.assertEqual(self.asked, 1)
        self.others = [member(f"n{number:04}", 1700000000 + number) for number in range(2 * SHOWN)]
        self.look(0.1)
        self.look(GOOD * SHOWN / AT_EASE - 0.1)
        self.assertEqual(self.asked, 2)
        self.look(0.2)
        self.assertEqual(self.asked, 3)

    def test_bounds(self) -> None:
        """Of a huge cluster the latest are shown, and no more than the last minutes are kept."""
        self.others = [member(f"n{number:04}", 1700000000 + number) for number in range(2 * SHOWN)]
        self.look()
        self.assertEqual(len(self.pulse.members), SHOWN)
        self.assertNotIn("n0000", [one.id for one in self.pulse.members])
        self.others = []
        for _ in range(2000):
            self.look()
        self.assertLessEqual(len(self.pulse.past()), KEPT / GOOD + 1)
