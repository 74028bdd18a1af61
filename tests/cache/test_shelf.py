"""What lies ready in Redis is taken from there before a flight begins; for all else a flight begins as ever."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from heimdall.cache.memory import Memory
from heimdall.cache.once import Once
from heimdall.cache.redis import Shared
from heimdall.cache.seal import Seal
from heimdall.cache.shelf import Shelf
from heimdall.cache.worth import Worth
from heimdall.interfaces import ISource, ITeller
from heimdall.message.answer import Answer
from heimdall.message.edns import Subnet
from heimdall.message.query import SERVFAIL, Query
from heimdall.message.trace import Trace
from tests.cache.leasing import Member, ScriptedLink
from tests.cache.questions import positive, question, ttls
from tests.cache.test_redis import NOTHING
from tests.cache.test_redis import Case as SharedCase
from tests.reported import met


class Case(SharedCase):
    """A shelf before the flights of a node."""

    def setUp(self) -> None:
        super().setUp()
        self.flushed: list[tuple[bytes, float]] = []
        self.shared = Shared(self.link, self.source, self.clock, window=3600, covers=self.covers)
        self.memory = Memory(1_000_000, stale_window=3600.0)
        self.once = Once(self.memory, self.shared, self.clock)
        self.hot: list[tuple[Query, Answer, int]] = []
        self.once.landed = lambda *landed: self.hot.append(landed)
        self.shelf = Shelf(self.shared, self.memory, self.once)

    def covers(self, name: bytes, asked: float) -> bool:
        """Whether the test says that a name was flushed; a bug for one, while its upstream was not asked."""
        if name == question("bug.example").name and not self.source.asked:
            raise ZeroDivisionError
        return any(name.endswith(flushed) and asked <= at for flushed, at in self.flushed)

    def known(self, name: str = "a.example") -> bool:
        """Whether memory holds what is fresh for a name."""
        return self.memory.get(question(name), self.clock.seconds()) is not None

    def looked(self) -> int:
        """How many keys were looked up."""
        return sum(len(command) - 1 for command in self.link.commands if command[0] == b"MGET")


class Ready(Case):
    """What lies ready."""

    def test_provides(self) -> None:
        """It is a source that calls back."""
        self.assertTrue(verifyObject(ISource, self.shelf))
        self.assertTrue(verifyObject(ITeller, self.shelf))

    def test_hit(self) -> None:
        """It is the answer, aged, and held; it counts as asked for, and no flight has begun."""
        self.lay(positive(ttl=60), age=15)
        asked = self.shelf.ask(question())
        self.turn()
        answer = self.successResultOf(asked)
        self.assertEqual((answer.origin, answer.ttl, ttls(answer.body, answer)), ("redis", 45, [45]))
        self.assertTrue(self.known())
        self.assertEqual((self.source.asked, self.count("lookups", "hit")), ([], 1))
        self.assertEqual([(query.key, known, by) for query, known, by in self.hot], [(question().key, answer, 1)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_turn_one_command(self) -> None:
        """The look-ups of one turn of the reactor travel together."""
        names = [f"host{number}.example" for number in range(300)]
        for name in names:
            self.lay(positive(name), of=question(name))
        waiting = [self.shelf.ask(question(name)) for name in names]
        self.turn()
        self.assertEqual([len(command) - 1 for command in self.link.commands], [256, 44])
        for name, asked in zip(names, waiting, strict=True):
            self.assertEqual(self.successResultOf(asked).question, question(name).key[:-1])

    def test_no_ttl(self) -> None:
        """What may not live here at all is given, and not held."""
        self.shared.worth = Worth(Seal(), self.covers, 0, (0, 0))
        self.shelf = Shelf(self.shared, self.memory, self.once)
        self.lay(positive(ttl=60))
        asked = self.shelf.ask(question())
        self.turn()
        self.assertEqual((self.successResultOf(asked).ttl, self.known()), (0, False))

    def test_not_counted(self) -> None:
        """Where nothing hot is counted, nothing is."""
        self.once.landed = None
        self.lay(positive())
        asked = self.shelf.ask(question())
        self.turn()
        self.assertEqual(self.successResultOf(asked).origin, "redis")


def broken(*_: object) -> None:
    """Meet a bug."""
    raise ZeroDivisionError


class Together(Case):
    """What lies ready for many who asked in one turn."""

    def lay_all(self, *names: str) -> None:
        """Have Redis hold an answer for each."""
        for name in names:
            self.lay(positive(name), of=question(name))

    def test_first(self) -> None:
        """It is told before others ask on, whatever the order in which they came."""
        self.lay_all("b.example")
        told: list[str] = []
        self.shelf.tell(question("a.example"), lambda outcome: None)
        self.shelf.tell(question("b.example"), lambda outcome: told.append(f"b, {len(self.source.asked)} asked on"))
        self.turn()
        self.assertEqual((told, len(self.source.asked)), (["b, 0 asked on"], 1))

    def test_one_has_a_bug(self) -> None:
        """A bug of one who asked costs the others nothing, and each answer is held."""
        names = [f"n{number}.example" for number in range(3)]
        self.lay_all(*names)
        told: list[object] = []

        for name, tell in zip(names, (told.append, broken, told.append), strict=True):
            self.shelf.tell(question(name), tell)
        self.turn()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((len(told), [self.known(name) for name in names]), (2, [True] * 3))
        self.assertEqual((self.count("lookups", "hit"), len(self.hot)), (3, 3))

    def test_a_bug_in_the_count(self) -> None:
        """A bug behind the count of what is hot keeps neither an answer from who asked nor another from the count."""
        names = ("a.example", "b.example")
        self.lay_all(*names)
        counted: list[Query] = []

        def count(query: Query, answer: Answer, by: int) -> None:
            counted.append(query)
            broken()

        self.once.landed = count
        waiting = [self.shelf.ask(question(name)) for name in names]
        self.turn()
        self.assertEqual([self.successResultOf(one).origin for one in waiting], ["redis", "redis"])
        self.assertEqual([query.key for query in counted], [question(name).key for name in names])
        self.assertEqual((len(self.flushLoggedErrors(ZeroDivisionError)), met(self.clock)), (1, 2))

    def test_gives_up_meanwhile(self) -> None:
        """Who gives up while others are told is told that, and nothing more."""
        self.lay_all("a.example", "b.example")
        told: list[object] = []

        def give_up(outcome: object) -> None:
            second.cancel()

        self.shelf.tell(question("a.example"), give_up)
        second = self.shelf.tell(question("b.example"), told.append)
        self.turn()
        [outcome] = told
        assert isinstance(outcome, Failure)
        self.assertTrue(outcome.check(CancelledError))

    def test_not_held(self) -> None:
        """Where memory meets a bug, who asked is told all the same."""
        self.lay_all("a.example")
        self.patch(self.memory, "put", broken)
        asked = self.shelf.ask(question())
        self.turn()
        self.assertEqual(self.successResultOf(asked).origin, "redis")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class NotReady(Case):
    """What is not there, or no good."""

    def test_miss(self) -> None:
        """It is asked for upstream, without a second look, and stored."""
        asked = self.shelf.ask(question())
        self.turn()
        self.source.give(positive(ttl=60))
        self.assertEqual(self.successResultOf(asked).origin, "upstream")
        self.turn()
        self.assertEqual((self.looked(), self.count("lookups", "miss")), (1, 1))
        self.assertEqual(self.count("writes", "stored"), 1)
        self.assertEqual(len(self.hot), 1)

    def test_same(self) -> None:
        """Two who ask the same are told the same, and it is asked for once."""
        first, second = self.shelf.ask(question()), self.shelf.ask(question())
        self.turn()
        self.assertEqual(len(self.source.asked), 1)
        self.source.give(positive())
        for asked in (first, second):
            self.assertEqual(self.successResultOf(asked).origin, "upstream")

    def test_on_its_way(self) -> None:
        """What is being asked for is not looked up again."""
        first = self.shelf.ask(question())
        self.turn()
        looked = self.looked()
        second = self.shelf.ask(question())
        self.turn()
        self.assertEqual((self.looked(), len(self.source.asked)), (looked, 1))
        self.source.give(positive())
        for asked in (first, second):
            self.assertEqual(self.successResultOf(asked).origin, "upstream")

    def test_rubbish(self) -> None:
        """Rubbish is judged once, and an answer takes its place."""
        self.link.values[b"heimdall:c1:" + question().key] = b"\3" + b"rubbish" * 9
        asked = self.shelf.ask(question())
        self.turn()
        self.assertEqual(self.count("rubbish", "damaged"), 1)
        self.source.give(positive())
        self.assertEqual(self.successResultOf(asked).origin, "upstream")
        self.turn()
        self.assertIsNotNone(self.held())

    def test_stale(self) -> None:
        """What is stale is given if nobody knows better."""
        self.lay(positive(ttl=60), age=100)
        asked = self.shelf.ask(question())
        self.turn()
        self.source.give(NOTHING)
        self.assertEqual(self.successResultOf(asked).origin, "stale")
        self.assertEqual(self.looked(), 1)

    def test_flushed(self) -> None:
        """What was flushed since it was asked for is not given."""
        self.lay(positive(ttl=60), age=15)
        self.flushed.append((question().name, (self.link.now() or 0.0) - 1))
        asked = self.shelf.ask(question())
        self.turn()
        self.assertNoResult(asked)
        self.source.give(positive())
        self.assertEqual(self.successResultOf(asked).origin, "upstream")

    def test_follow(self) -> None:
        """What another node asks for is waited for: one of two asks upstream."""
        one = Member(self.clock)
        two = Member(self.clock, one)
        shelves = []
        for member in (one, two):
            memory = Memory(1_000_000)
            shelves.append(Shelf(member.shared, memory, Once(memory, member.shared, self.clock)))
        waiting = [shelf.ask(question()) for shelf in shelves]
        self.turn()
        self.assertEqual([len(member.source.asked) for member in (one, two)], [1, 0])
        one.source.give(positive())
        self.turn()
        self.assertEqual([self.successResultOf(asked).origin for asked in waiting], ["upstream", "redis"])
        self.assertIsInstance(one.link, ScriptedLink)


class Trouble(Case):
    """Whatever is wrong with Redis costs nothing but misses."""

    def test_down(self) -> None:
        """A Redis that is away is not asked."""
        self.link.up = False
        asked = self.shelf.ask(question())
        self.source.give(positive())
        self.assertEqual(self.successResultOf(asked).origin, "upstream")
        self.assertEqual((self.link.commands, self.count("lookups", "down")), ([], 1))

    def test_breaks_down(self) -> None:
        """One that goes away meanwhile is asked no more."""
        self.link.holding = True
        asked = self.shelf.ask(question())
        self.turn()
        self.link.break_down("gone")
        self.source.give(positive())
        self.assertEqual(self.successResultOf(asked).origin, "upstream")
        self.assertEqual(self.count("lookups", "down"), 1)

    def test_late(self) -> None:
        """After the budget the upstream is asked, and what comes first is the answer: here Redis's."""
        self.lay(positive(ttl=60))
        self.link.holding = True
        asked = self.shelf.ask(question())
        self.turn(0.02)
        self.assertEqual(len(self.source.asked), 1)
        self.turn()
        self.link.release()
        self.assertEqual(self.successResultOf(asked).origin, "redis")
        self.assertEqual((self.source.cancelled, self.count("lookups", "late")), (1, 1))
        self.assertTrue(self.known())

    def test_later(self) -> None:
        """Or the upstream's."""
        self.link.holding = True
        asked = self.shelf.ask(question())
        self.turn(0.02)
        self.source.give(positive())
        self.assertEqual(self.successResultOf(asked).origin, "upstream")
        self.turn()
        self.link.release()
        self.turn()
        self.assertIsNotNone(self.held())

    def test_late_and_down(self) -> None:
        """One that is late, and away by then, is not asked again."""
        self.link.holding = True
        asked = self.shelf.ask(question())
        self.turn()
        self.link.up = False
        self.turn(0.02)
        self.source.give(positive())
        self.assertEqual(self.successResultOf(asked).origin, "upstream")
        self.assertEqual((self.count("lookups", "late"), self.count("lookups", "down")), (1, 0))

    def test_bug(self) -> None:
        """A bug behind a value costs its hit alone."""
        names = ("a.example", "bug.example")
        for name in names:
            self.lay(positive(name), of=question(name))
        first, second = (self.shelf.ask(question(name)) for name in names)
        self.turn()
        self.assertEqual(self.successResultOf(first).origin, "redis")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.source.give(positive("bug.example"))
        self.assertEqual(self.successResultOf(second).origin, "upstream")
        self.flushLoggedErrors(ZeroDivisionError)


class Ends(Case):
    """Nobody waits for ever."""

    def test_cancel(self) -> None:
        """Who gives up is told so, and nothing is begun for him."""
        asked = self.shelf.ask(question())
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.turn()
        self.assertEqual((self.source.asked, self.known()), ([], False))

    def test_cancel_later(self) -> None:
        """Who gives up once others look for him is told so as well."""
        asked = self.shelf.ask(question())
        self.turn()
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.source.give(positive())
        self.assertTrue(self.known())

    def test_cancel_too_late(self) -> None:
        """Who was told is told nothing more."""
        self.lay(positive())
        told: list[object] = []
        ongoing = self.shelf.tell(question(), told.append)
        self.turn()
        ongoing.cancel()
        self.assertEqual(len(told), 1)

    def test_close(self) -> None:
        """When all is closed, who still waits asks on, and is told what comes of that."""
        self.link.holding = True
        asked = self.shelf.ask(question())
        self.turn()
        self.shelf.close()
        self.once.close()
        self.assertEqual(self.successResultOf(asked).rcode, SERVFAIL)
        self.link.release()


class PassedBy(Case):
    """What is none of its business."""

    def test_subnet(self) -> None:
        """A question with a client's subnet may be held under many keys."""
        query = question()
        query.subnet = Subnet.from_option(b"\0\1\x18\0\xc0\0\2")
        self.shelf.ask(query)
        self.turn()
        self.assertGreater(self.looked(), 1)

    def test_followed(self) -> None:
        """A question that an operator follows takes all the stations, which tell him."""
        self.lay(positive())
        query = question()
        query.trace = Trace(self.clock.seconds)
        asked = self.shelf.ask(query)
        self.turn()
        self.assertEqual(self.successResultOf(asked).origin, "redis")
        self.assertEqual([note["station"] for note in query.trace.notes], ["once", "redis"])
