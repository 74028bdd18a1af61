"""Flushes: a log that all nodes share, and values that are older than a flush."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from heimdall.cache.assure import FROZEN, GRACE, PATIENCE, TICK, Assurance
from heimdall.cache.flush import AT_ONCE, KEPT, ONLY_READS, OVERLAP, PAGE, SLACK, TOLD, Flushes, Unlogged
from heimdall.cache.flushed import MOST, Flush, Several
from heimdall.cache.forget import Forgetting
from heimdall.cache.memory import Memory
from heimdall.cache.once import Once
from heimdall.message.wire import Malformed, from_text
from heimdall.peers.notices import Notices
from tests.cache.questions import positive, question
from tests.cache.test_once import Source
from tests.fakelink import FakeLink

NAME = from_text("www.a.example")


class LoggingLink(FakeLink):
    """A link that knows sorted sets."""

    def __init__(self, clock: Clock, beside: LoggingLink | None = None) -> None:
        super().__init__(clock, beside)
        self.sets: dict[str, dict[bytes, float]] = beside.sets if beside else {}

    def _result(self, command: tuple[bytes | str | int, ...]) -> Deferred[object]:
        name, key = str(command[0]), str(command[1])
        if self.refusal:
            return super()._result(command)
        if name == "ZADD":
            for score, member in zip(command[2::2], command[3::2], strict=True):
                if isinstance(member, bytes):
                    self.sets.setdefault(key, {})[member] = float(score)
        elif name == "ZREVRANGEBYSCORE":
            high, low, first, count = (float(command[at]) for at in (2, 3, 5, 6))
            found = [(score, member) for member, score in self.sets.get(key, {}).items() if low <= score <= high]
            members = [member for _, member in sorted(found, reverse=True)]
            return succeed(members[int(first) : int(first + count)])
        elif name == "ZCARD":
            return succeed(len(self.sets.get(key, {})))
        elif name == "PUBLISH":
            return super()._result(command)
        return succeed(1)


class Node:
    """A node, as far as flushes go."""

    def __init__(self, clock: Clock, beside: Node | None = None) -> None:
        self.link: LoggingLink = LoggingLink(clock, beside.link if beside else None)
        self.notices = Notices(self.link, clock)
        self.flushes = Flushes(self.link, self.notices, clock)
        self.memory = Memory(1_000_000, stale_window=3600)
        self.source = Source()
        self.once = Once(self.memory, self.source, clock)
        self.flushes.forgets += [
            Forgetting(self.memory, clock).forget,
            lambda flush: self.once.forget(flush.matches),
        ]
        self.assurance = Assurance(self.link, self.notices, self.flushes, self.memory, clock)


class Case(SynchronousTestCase):
    """Two nodes on one Redis."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.one = Node(self.clock)
        self.two = Node(self.clock, self.one)

    def now(self) -> float:
        """The time of Redis."""
        return self.one.link.now() or 0.0

    def hold(self, node: Node, *names: str) -> None:
        """Have a node hold answers."""
        for name in names:
            node.memory.put(question(name), positive(name, ttl=3600), self.clock.seconds())

    def holds(self, node: Node, name: str) -> bool:
        """Whether a node gives an answer from memory."""
        return node.memory.get(question(name), self.clock.seconds()) is not None


class Facts(SynchronousTestCase):
    """A flush, as it is told and logged."""

    @given(st.binary(min_size=8, max_size=8), st.integers(0, 1 << 50), st.booleans())
    def test_there_and_back(self, identity: bytes, milliseconds: int, subtree: bool) -> None:
        """A flush is read as it was written."""
        flush = Flush(identity, milliseconds / 1000, NAME, subtree)
        self.assertEqual(Flush.from_bytes(flush.to_bytes()), flush)

    @given(st.binary(max_size=60))
    def test_rubbish(self, data: bytes) -> None:
        """Rubbish is Malformed, or a flush of a whole name; nothing else is raised."""
        try:
            flush = Flush.from_bytes(data)
        except Malformed:
            return
        self.assertEqual(flush.name[-1:], b"\0")

    def test_matches(self) -> None:
        """A flush concerns the keys of its name, with subtree those below it as well, and no others."""
        exact, below = (Flush(b"i" * 8, 1.0, from_text("a.example"), subtree) for subtree in (False, True))
        for name, wanted in (
            ("a.example", (True, True)),
            ("www.a.example", (False, True)),
            ("x.www.a.example", (False, True)),
            ("aa.example", (False, False)),
            ("example", (False, False)),
            ("a.example.com", (False, False)),
        ):
            key = question(name).key
            self.assertEqual((exact.matches(key), below.matches(key)), wanted, name)
        everything = Flush(b"i" * 8, 1.0, b"\0", subtree=True)
        self.assertTrue(everything.matches(question().key))

    def test_matches_whole_labels(self) -> None:
        """Bytes within a label are no name below another; a flush of no name is none."""
        flush = Flush(bytes(8), 1.0, b"\1a\0", True)
        self.assertTrue(flush.matches(b"\1b\1a\0"))
        self.assertFalse(flush.matches(b"\3b\1a\0"))
        self.assertRaises(Malformed, Flush.from_bytes, flush.to_bytes()[: -len(flush.name)])

    @given(st.sets(st.tuples(st.sampled_from(["a", "b.a", "c.b.a", "d", "."]), st.booleans()), max_size=4))
    def test_several(self, some: set[tuple[str, bool]]) -> None:
        """Several flushes concern just what each of them concerns."""
        flushes = [Flush(b"i" * 8, 1.0, from_text(name), subtree) for name, subtree in some]
        for name in ("a", "b.a", "x.b.a", "y.x.b.a", "aa", "d", "x.d", "."):
            key = question(name).key
            self.assertEqual(Several(flushes).matches(key), any(flush.matches(key) for flush in flushes), name)
        self.assertFalse(Several(flushes).matches(b"\3abc"))


class Flushing(Case):
    """A name is flushed."""

    def test_everywhere(self) -> None:
        """A flush reaches the memory of every node: all types of the name, and nothing else."""
        for node in (self.one, self.two):
            self.hold(node, "www.a.example", "a.example", "b.example")
        flush = self.successResultOf(self.one.flushes.flush(NAME, False))
        for node in (self.one, self.two):
            held = [self.holds(node, name) for name in ("www.a.example", "a.example", "b.example")]
            self.assertEqual((held, node.flushes.known()[0].id), ([False, True, True], flush.id))

    def test_subtree(self) -> None:
        """With subtree all names below go as well."""
        self.hold(self.two, "www.a.example", "a.example", "b.example")
        self.one.flushes.flush(from_text("a.example"), True)
        held = [self.holds(self.two, name) for name in ("www.a.example", "a.example", "b.example")]
        self.assertEqual(held, [False, False, True])

    def test_values(self) -> None:
        """A value is covered when its upstream was asked before the flush, by a margin for clocks that differ."""
        self.one.flushes.flush(NAME, False)
        now = self.now()
        for asked, covered in ((now - 60, True), (now, True), (now + SLACK * 2, False)):
            self.assertEqual(self.two.flushes.covers(NAME, asked), covered)
        self.assertFalse(self.two.flushes.covers(from_text("b.example"), 0.0))
        self.assertFalse(self.two.flushes.covers(from_text("x.www.a.example"), now - 60))
        self.one.flushes.flush(from_text("a.example"), True)
        self.assertTrue(self.two.flushes.covers(from_text("x.www.a.example"), now))

    def test_vague_clock(self) -> None:
        """A flush is dated later by what its node does not know of Redis's clock: so much is covered."""
        self.one.link.vague = 0.3
        self.one.flushes.flush(NAME, False)
        asked = self.now() + 0.3
        self.assertEqual([self.two.flushes.covers(NAME, at) for at in (asked, asked + SLACK * 2)], [True, False])

    def test_in_flight(self) -> None:
        """What is being asked during the flush is asked anew: the old answer is heard by nobody."""
        asked = self.two.once.ask(question("www.a.example"))
        _, old = self.two.source.asked[0]
        self.one.flushes.flush(NAME, False)
        self.assertEqual((len(self.two.source.asked), self.two.source.cancelled), (2, 1))
        if not old.called:
            old.callback(positive("www.a.example", data="192.0.2.1"))
        self.assertNoResult(asked)
        self.two.source.give(positive("www.a.example", data="192.0.2.2"))
        self.assertIn(bytes((192, 0, 2, 2)), self.successResultOf(asked).body)
        self.two.once.close()

    def test_without_redis(self) -> None:
        """Without Redis the flush counts here, fails so that people are told, and is logged when Redis is back."""
        self.one.link.become(up=False)
        self.hold(self.one, "www.a.example")
        self.failureResultOf(self.one.flushes.flush(NAME, False))
        self.assertFalse(self.holds(self.one, "www.a.example"))
        self.one.link.become(up=True)
        self.assertTrue(self.successResultOf(self.one.flushes.sync()))
        self.successResultOf(self.two.flushes.sync())
        self.assertEqual(len(self.two.flushes.known()), 1)

    def test_forgetting(self) -> None:
        """After an hour a flush is forgotten: Redis was swept of what it concerned long ago."""
        self.one.flushes.flush(NAME, False)
        self.clock.advance(KEPT + 1)
        self.successResultOf(self.one.flushes.sync())
        self.assertEqual(self.one.flushes.known(), [])
        self.assertFalse(self.one.flushes.covers(NAME, 0.0))

    def test_reader(self) -> None:
        """What is flushed at a node that only reads concerns it alone, is told to nobody, and stays known there."""
        reader = Flushes(self.two.link, self.two.notices, self.clock, reader=True)
        forgotten: list[object] = []
        reader.forgets.append(forgotten.append)
        reader.made.append(lambda flush: self.fail("another region was told"))
        error = self.failureResultOf(reader.flush(NAME, False), Unlogged).value
        self.assertEqual((str(error), error.flush, error.later), (ONLY_READS, None, False))
        self.assertEqual((len(forgotten), reader.covers(NAME, self.now())), (1, True))
        self.assertTrue(self.successResultOf(reader.sync()))
        self.assertEqual((self.one.link.sets, self.one.flushes.known()), ({}, []))
        self.successResultOf(self.one.flushes.flush(from_text("b.example"), False))
        self.successResultOf(reader.sync())
        self.assertEqual(len(reader.known()), 2)

    def test_merged_once(self) -> None:
        """What gave way to a flush of everything is not taken in again from a log that has it still."""
        flushes = self.one.flushes
        for number in range(MOST + 1):
            self.clock.advance(0.001)
            flushes.flush(from_text(f"n{number}.example"), False)
        self.clock.advance(1)
        self.hold(self.one, "a.example")
        for _ in range(3):
            self.clock.advance(5)
            self.successResultOf(flushes.sync())
        self.assertTrue(self.holds(self.one, "a.example"))
        self.assertLess(len(flushes.known()), MOST)
        self.assertTrue(flushes.covers(from_text("n7.example"), self.now() - 30))

    def test_before_redis(self) -> None:
        """What is flushed before Redis was ever reached has no time there; it is flushed anew once it is reached."""
        self.hold(self.one, "www.a.example")
        self.hold(self.two, "www.a.example")
        now, self.one.link.now = self.one.link.now, lambda: None  # type: ignore[method-assign]
        self.failureResultOf(self.one.flushes.flush(NAME, False))
        self.assertEqual([self.holds(node, "www.a.example") for node in (self.one, self.two)], [False, True])
        self.assertFalse(self.successResultOf(self.one.flushes.sync()))
        self.one.link.now = now  # type: ignore[method-assign]
        self.assertTrue(self.successResultOf(self.one.flushes.sync()))
        self.assertFalse(self.holds(self.two, "www.a.example"))
        self.assertTrue(self.one.flushes.covers(NAME, self.now()))

    def test_redis_away_for_long(self) -> None:
        """A flush that Redis was away for is flushed anew, be it that it came back only when it was forgotten."""
        self.one.link.become(up=False)
        self.failureResultOf(self.one.flushes.flush(NAME, False))
        self.clock.advance(KEPT + 1)
        self.one.link.become(up=True)
        for _ in range(2):
            self.assertTrue(self.successResultOf(self.one.flushes.sync()))
        self.assertTrue(self.two.flushes.covers(NAME, self.now()))
        self.assertEqual(len(self.two.flushes.known()), 1)

    def test_many_missed(self) -> None:
        """Many flushes that were missed are applied in one go."""
        self.two.link.become(up=False, hearing=False)
        names = [f"n{number}.a.example" for number in range(500)]
        self.hold(self.two, *names, "b.example")
        for name in names:
            self.one.flushes.flush(from_text(name), False)
        looked: list[object] = []
        self.two.flushes.forgets.append(looked.append)
        self.two.link.become(up=True, hearing=True)
        self.successResultOf(self.two.flushes.sync())
        self.assertEqual((len(looked), len(self.two.memory), self.holds(self.two, "b.example")), (1, 1, True))

    def test_hostile(self) -> None:
        """A flush from the far future or past, or one that is none, is counted and not applied."""
        self.hold(self.two, "www.a.example")
        for data in (
            b"rubbish",
            Flush(b"i" * 8, self.now() + 2 * KEPT, NAME, False).to_bytes(),
            Flush(b"j" * 8, self.now() - 2 * KEPT, NAME, False).to_bytes(),
        ):
            self.one.notices.tell(b"F", data)
            self.one.link.sets.setdefault(self.two.flushes.log_key, {})[data] = 1e18
        self.successResultOf(self.two.flushes.sync())
        self.assertEqual((self.two.flushes.known(), self.holds(self.two, "www.a.example")), ([], True))

    def test_bounded(self) -> None:
        """Past the most that are remembered one flush of everything stands for the oldest; nothing is lost."""
        self.one.link.become(up=False)
        first = self.now()
        for number in range(MOST + 1):
            self.one.flushes.flush(from_text(f"n{number}.example"), False).addErrback(lambda _: None)
            self.clock.advance(0.001)
        self.assertLessEqual(len(self.one.flushes.known()), MOST)
        self.assertTrue(self.one.flushes.covers(from_text("n0.example"), first - 1))

    def test_rubbish_reply(self) -> None:
        """A log that cannot be read leaves what is known as it is."""
        self.one.link.refusal = {"ZREVRANGEBYSCORE": "WRONGTYPE"}
        self.assertFalse(self.successResultOf(self.one.flushes.sync()))
        self.one.link.refusal = {}
        self.one.link.run = lambda *command: succeed(None)  # type: ignore[method-assign]
        self.assertTrue(self.successResultOf(self.one.flushes.sync()))


class Log(Case):
    """What a log of many flushes costs."""

    many = 3 * PAGE

    def setUp(self) -> None:
        super().setUp()
        for number in range(self.many):
            self.one.flushes.flush(from_text(f"n{number}.example"), False)
            self.clock.advance(0.001)
        self.settle()

    def settle(self) -> None:
        """Have both nodes read all there is, long after it was written: the next reading begins behind it."""
        for _ in range(2):
            for node in (self.one, self.two):
                self.successResultOf(node.flushes.sync())
            self.clock.advance(2 * OVERLAP)

    def sync(self, node: Node, whole: bool = False) -> tuple[int, int]:
        """Have a node read the log; return how many commands that took, and how many flushes were told or written."""
        node.link.commands.clear()
        self.told = 0
        result = node.link._result

        def count(reply: object) -> object:
            self.told += len(reply) if isinstance(reply, list) else 0
            return reply

        def counted(command: tuple[bytes | str | int, ...]) -> Deferred[object]:
            done = result(command)
            done.addCallback(count)
            return done

        node.link._result = counted  # type: ignore[method-assign]
        self.successResultOf(node.flushes.sync(whole))
        node.link._result = result  # type: ignore[method-assign]
        written = sum(len(command) // 2 - 1 for command in node.link.commands if command[0] == "ZADD")
        return len(node.link.commands), self.told + written

    def test_read_on(self) -> None:
        """What is new in a long log is read, and no more of it, however often."""
        for _ in range(3):
            self.successResultOf(self.one.flushes.sync(False))
            self.assertEqual(self.sync(self.two), (2, 0))
            self.clock.advance(2 * OVERLAP)

    def test_written_late(self) -> None:
        """A flush that came into the log long after it was ordered is found, though nobody told of it."""
        self.sync(self.two)
        late = Flush(b"late" * 2, self.now() - 1000, from_text("late.example"), False)
        self.one.link.sets[self.one.flushes.log_key][late.to_bytes()] = self.now() * 1000
        self.clock.advance(5)
        self.assertEqual(self.sync(self.two), (2, 1))
        self.assertTrue(self.two.flushes.knows(late.id))

    def test_away(self) -> None:
        """What a node ordered while it was cut off is found by others that were not, once it is back."""
        self.sync(self.two)
        self.one.link.become(up=False)
        self.one.flushes.flush(NAME, False).addErrback(lambda _: None)
        self.clock.advance(1000)
        self.sync(self.two)
        self.one.link.become(up=True)
        self.sync(self.one)
        self.clock.advance(5)
        self.sync(self.two)
        self.assertTrue(self.two.flushes.covers(NAME, self.now() - 2000))

    def test_new_redis(self) -> None:
        """A Redis that lost the log gets it back by few commands, one step behind the other."""
        self.one.link.sets.clear()
        commands, told = self.sync(self.one)
        self.assertEqual(told, 2 * self.many)
        self.assertLessEqual(commands, 2 + 4 * (self.many // AT_ONCE + 1))
        longest = max(len(command) for command in self.one.link.commands)
        self.assertLessEqual(longest, 2 + 2 * AT_ONCE)
        self.assertEqual(len(self.one.link.sets[self.one.flushes.log_key]), self.many)
        self.settle()
        self.assertEqual(self.sync(self.one), (2, 0))

    def test_slow_redis(self) -> None:
        """The next step waits until Redis took the one before: its queue is not filled."""
        self.one.link.sets.clear()
        self.successResultOf(self.one.flushes.sync(False).addCallback(lambda _: None))
        self.one.link.sets.clear()
        run = self.one.link.run

        def slowly(*command: bytes | str | int) -> Deferred[object]:
            self.one.link.holding = command[0] == "ZADD"
            return run(*command)

        self.one.link.run = slowly  # type: ignore[method-assign]
        self.one.link.commands.clear()
        self.successResultOf(self.one.flushes.sync(False))
        self.assertEqual(self.one.link.names().count("ZADD"), 2)
        self.successResultOf(self.one.flushes.sync(False))
        self.assertEqual(self.one.link.names().count("ZADD"), 2, "one is under way")
        self.one.link.run = run  # type: ignore[method-assign]
        self.one.link.release()
        self.assertEqual(len(self.one.link.sets[self.one.flushes.log_key]), self.many)

    def test_clock_set_back(self) -> None:
        """Where the clock of Redis was set back, the log is read whole: what is new may seem older."""
        self.one.link.offset -= 300
        self.assertEqual(self.sync(self.one)[1], self.many)

    def test_owed(self) -> None:
        """Many flushes that had no time yet are made some at a time; the first are told of, the others are logged."""
        now, self.one.link.now = self.one.link.now, lambda: None  # type: ignore[method-assign]
        for number in range(2 * PAGE):
            self.failureResultOf(self.one.flushes.flush(from_text(f"owed{number}.example"), False), Unlogged)
        self.one.link.now = now  # type: ignore[method-assign]
        before = len(self.one.flushes)
        self.sync(self.one)
        self.assertEqual(len(self.one.flushes) - before, PAGE)
        self.assertEqual(self.one.link.names().count("PUBLISH"), TOLD)
        self.clock.advance(5)
        self.sync(self.one)
        self.sync(self.two)
        self.assertTrue(self.two.flushes.covers(from_text("owed7.example"), self.now() - 60))
        self.assertEqual(len(self.two.flushes) - before, 2 * PAGE)

    def test_inherited(self) -> None:
        """Who takes the place of another knows what that knew, and which names are flushed by it."""
        heir = Flushes(self.one.link, self.one.notices, self.clock)
        heir.inherit(self.one.flushes)
        self.assertEqual(len(heir), self.many)
        self.assertTrue(heir.covers(from_text("n7.example"), self.now() - 1000))


class Missing(Case):
    """Nodes that may have missed a flush."""

    def setUp(self) -> None:
        super().setUp()
        for node in (self.one, self.two):
            node.assurance.start()
            self.addCleanup(node.assurance.stop)
        self.clock.advance(TICK)

    def test_cut_off(self) -> None:
        """A node that did not hear forgets what it missed before it answers from memory again."""
        self.hold(self.two, "www.a.example", "b.example")
        self.two.link.become(up=False, hearing=False)
        self.one.flushes.flush(NAME, False)
        self.assertTrue(self.holds(self.two, "www.a.example"), "cut off, it cannot know")
        self.two.link.become(up=True, hearing=True)
        self.assertEqual([self.holds(self.two, name) for name in ("www.a.example", "b.example")], [False, True])

    def test_deaf(self) -> None:
        """A node that Redis is back for reads the log at once, though it hears nothing yet, and again once it does."""
        self.hold(self.two, "www.a.example", "b.example")
        self.two.link.become(up=False, hearing=False)
        self.one.flushes.flush(NAME, False)
        self.two.link.become(up=True)
        self.assertEqual([self.holds(self.two, name) for name in ("www.a.example", "b.example")], [False, True])
        self.one.flushes.flush(from_text("b.example"), False)
        self.assertTrue(self.holds(self.two, "b.example"), "deaf, it cannot know")
        self.two.link.become(hearing=True)
        self.assertFalse(self.holds(self.two, "b.example"))

    def test_frozen(self) -> None:
        """A node that was frozen answers nothing from memory before it has read the log."""
        self.hold(self.two, "b.example")
        self.two.link.holding = True
        for call in self.clock.getDelayedCalls():
            call.reset(FROZEN * 2)  # it was not only we who were frozen
        self.clock.advance(FROZEN + TICK)
        self.assertFalse(self.holds(self.two, "b.example"))
        self.two.link.release()
        self.assertTrue(self.holds(self.two, "b.example"))

    def test_frozen_found_by_the_timer(self) -> None:
        """If no query comes first, the timer finds out."""
        self.two.link.holding = True
        self.clock.rightNow += FROZEN + TICK
        self.clock.advance(0)
        self.assertEqual(self.two.memory.sure_until, 0.0)
        self.two.link.release()

    def test_no_reply(self) -> None:
        """When the log cannot be read in time, memory is believed: no answer would be worse."""
        self.hold(self.two, "b.example")
        self.two.link.become(hearing=False)
        self.two.link.holding = True
        self.two.link.become(hearing=True)
        self.assertFalse(self.holds(self.two, "b.example"))
        self.clock.advance(PATIENCE)
        self.assertTrue(self.holds(self.two, "b.example"))
        self.two.link.holding = False
        self.two.link._held.clear()

    def test_late_reply(self) -> None:
        """A log that is read later than that is obeyed all the same."""
        self.hold(self.two, "www.a.example", "b.example")
        self.two.link.become(hearing=False)
        self.one.flushes.flush(NAME, False)
        self.two.link.holding = True
        self.two.link.become(hearing=True)
        self.clock.advance(PATIENCE)
        self.assertTrue(self.holds(self.two, "www.a.example"), "believed all the same")
        self.two.link.release()
        self.assertEqual([self.holds(self.two, name) for name in ("www.a.example", "b.example")], [False, True])

    def test_restarted_empty(self) -> None:
        """A Redis that lost its log gets it back from the nodes, so that one that was cut off learns of it."""
        self.two.link.become(up=False, hearing=False)
        self.one.flushes.flush(NAME, False)
        self.one.link.sets.clear()
        self.one.link.become(hearing=False)
        self.one.link.become(hearing=True)
        self.hold(self.two, "www.a.example")
        self.two.link.become(up=True, hearing=True)
        self.assertFalse(self.holds(self.two, "www.a.example"))

    def test_frozen_and_cut_off(self) -> None:
        """A node whose connection died in a freeze waits for the next one, and for the log, but not for ever."""
        for back in (True, False):
            self.hold(self.two, "b.example")
            self.two.link.holding = True
            self.clock.rightNow += 30
            self.assertFalse(self.holds(self.two, "b.example"))
            self.two.link.holding = False
            self.two.link.break_down("it died while we were frozen")
            self.clock.advance(0.1)
            self.assertFalse(self.holds(self.two, "b.example"), "the log was not read yet")
            if back:
                self.two.link.become(up=True, hearing=True)
            else:
                self.clock.pump([TICK] * round(GRACE / TICK))
            self.assertTrue(self.holds(self.two, "b.example"))

    def test_end_heard_first(self) -> None:
        """So does one that hears of the end of its connection before anything else."""
        self.hold(self.two, "b.example")
        self.clock.rightNow += 30
        self.two.link.break_down("it died while we were frozen")
        self.assertFalse(self.holds(self.two, "b.example"))
        self.clock.pump([TICK] * 5)
        self.assertFalse(self.holds(self.two, "b.example"), "the log was not read yet")
        self.two.link.become(up=True, hearing=True)
        self.assertTrue(self.holds(self.two, "b.example"))

    def test_frozen_without_redis(self) -> None:
        """A node that was cut off before it was frozen believes its memory at once: it knows no less than before."""
        self.hold(self.two, "b.example")
        self.two.link.become(up=False, hearing=False)
        self.clock.rightNow += 30
        self.holds(self.two, "b.example")
        self.assertTrue(self.holds(self.two, "b.example"))

    def test_stopped_while_reading(self) -> None:
        """Stopped in the middle of reading the log, and with Redis coming back later, it leaves memory as it is."""
        self.hold(self.two, "b.example")
        self.two.link.holding = True
        self.two.link.become(up=False, hearing=False)
        self.two.link.become(up=True, hearing=True)
        self.assertFalse(self.holds(self.two, "b.example"))
        self.two.assurance.stop()
        self.two.link.release()
        self.assertTrue(self.holds(self.two, "b.example"))
        self.two.link.become(up=False, hearing=False)
        self.two.link.become(up=True, hearing=True)
        self.clock.advance(60)
        self.assertTrue(self.holds(self.two, "b.example"))

    def test_stopped(self) -> None:
        """Once stopped, memory is believed."""
        self.two.assurance.stop()
        self.hold(self.two, "b.example")
        self.clock.advance(600)
        self.assertTrue(self.holds(self.two, "b.example"))
