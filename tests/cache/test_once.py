"""One flight per question, stale answers, refresh, remembered failures."""

from __future__ import annotations

from twisted.internet.base import DelayedCall
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import classImplements, implementer
from zope.interface.verify import verifyObject

from heimdall.cache.memory import Memory
from heimdall.cache.once import AGAIN, LATE, Once
from heimdall.episodes import EVERY
from heimdall.interfaces import IHotCache, ISource, ITeller, NoAnswer, Ongoing, Told
from heimdall.message.answer import Answer
from heimdall.message.edns import ExtendedError
from heimdall.message.passed import terms
from heimdall.message.query import SERVFAIL, Query
from tests.cache.questions import failure, negative, positive, question, ttls


@implementer(ISource)
class Source:
    """An upstream whose answers the test gives when it likes."""

    def __init__(self) -> None:
        self.asked: list[tuple[Query, Deferred[Answer]]] = []
        self.cancelled = 0

    def ask(self, query: Query) -> Deferred[Answer]:
        """Note the question."""

        def cancel(_: object) -> None:
            self.cancelled += 1

        answer: Deferred[Answer] = Deferred(cancel)
        self.asked.append((query, answer))
        return answer

    def give(self, answer: Answer | Exception) -> None:
        """Answer the last question."""
        waiting = self.asked[-1][1]
        if isinstance(answer, Answer):
            waiting.callback(answer)
        else:
            waiting.errback(answer)


class Case(SynchronousTestCase):
    """A memory, a source at hand, and a clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.source = Source()
        self.memory = Memory(1_000_000, stale_window=3600.0, refresh_share=0.1)
        self.once = Once(self.memory, self.source, self.clock, most=5)
        self.memory.refresh = self.once.refresh

    def known(self) -> bytes | None:
        """What memory knows now."""
        known = self.memory.get(question(), self.clock.seconds())
        return known and known[1]

    def learn(self, answer: Answer) -> None:
        """Ask and be answered."""
        asked = self.once.ask(question())
        self.source.give(answer)
        self.successResultOf(asked)


class Flights(Case):
    """One flight per question."""

    def test_cancelled_by_another(self) -> None:
        """An asker that is cancelled because another had its answer costs nobody behind it the answer."""
        first, second, third = (self.once.ask(question()) for _ in range(3))
        first.addCallback(lambda _: second.cancel())
        self.source.give(positive())
        self.failureResultOf(second, CancelledError)
        self.assertEqual(self.successResultOf(third).origin, "upstream")

    def test_interface(self) -> None:
        """Once is a source."""
        self.assertTrue(verifyObject(ISource, self.once))

    def test_one_for_all(self) -> None:
        """All who ask the same while it is being asked share one question to the source."""
        waiting = [self.once.ask(question()) for _ in range(3)]
        self.assertEqual(len(self.source.asked), 1)
        answer = positive()
        self.source.give(answer)
        self.assertEqual([self.successResultOf(each) for each in waiting], [answer] * 3)
        self.assertIsNotNone(self.known())

    def test_others_fly_alone(self) -> None:
        """Another question is another flight, and after the landing it is asked anew."""
        self.once.ask(question())
        self.once.ask(question("b.example"))
        self.once.ask(question(qtype=28))
        self.assertEqual(len(self.source.asked), 3)
        self.source.give(failure())
        self.clock.advance(10)
        self.once.ask(question(qtype=28))
        self.assertEqual(len(self.source.asked), 4)

    def test_too_many_are_told(self) -> None:
        """More askers than may wait are told SERVFAIL at once; the log says so when that begins and when it is over."""
        with capturedLogs() as logged:
            waiting = [self.once.ask(question(f"{number}.example")) for number in range(8)]
            refused = [self.successResultOf(each).rcode for each in waiting[5:]]
            self.assertEqual((refused, len(self.source.asked)), ([SERVFAIL] * 3, 5))
            self.clock.advance(10)
            for _ in range(2):
                self.clock.advance(EVERY)
        self.assertEqual([formatEvent(event) for event in logged], [
            "Too many queries wait for upstreams (accept.inflight): more are answered SERVFAIL at once",
            "No longer do too many queries wait for upstreams: it was SERVFAIL for 3",
        ])  # fmt: skip

    def test_answered_at_once(self) -> None:
        """A source that knows at once is no special case."""
        self.source.ask = lambda query: succeed(positive())  # type: ignore[method-assign]
        self.assertEqual(self.successResultOf(self.once.ask(question())).rcode, 0)
        self.assertEqual(len(self.once._flights), 0)

    def test_one_has_a_bug(self) -> None:
        """A bug of one asker is logged, and costs nobody behind it the answer."""

        def broken(outcome: object) -> None:
            raise ZeroDivisionError(outcome)

        first = self.once.ask(question())
        self.once.tell(question(), broken)
        third = self.once.ask(question())
        self.source.give(positive())
        self.assertEqual(self.successResultOf(first).rcode, 0)
        self.assertEqual(self.successResultOf(third).rcode, 0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_one_gives_up(self) -> None:
        """An asker who goes away leaves the flight to the others, and its answer to the memory."""
        first, second = self.once.ask(question()), self.once.ask(question())
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.source.give(positive())
        self.successResultOf(second)
        self.assertEqual(self.once._waiting, 0)

    def test_all_give_up(self) -> None:
        """When all have gone the answer is still kept: it will be wanted again."""
        asked = self.once.ask(question())
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        asked.cancel()
        self.source.give(positive())
        self.assertIsNotNone(self.known())

    def test_deadline(self) -> None:
        """Whatever the source does, the askers are answered by the deadline, and its work is called off."""
        early = self.once.ask(question())
        self.clock.advance(2)
        late = self.once.ask(question("b.example"))
        self.clock.advance(2.5)
        answer = self.successResultOf(early)
        self.assertEqual((answer.rcode, answer.errors[0].code, self.source.cancelled), (2, 22, 1))
        self.assertNoResult(late)
        self.clock.advance(2)
        self.assertEqual(self.successResultOf(late).rcode, 2)
        self.assertEqual((len(self.once._flights), self.once._waiting), (0, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_answer_past_the_deadline(self) -> None:
        """A source that answers when it was called off is not listened to."""
        self.source.ask = lambda query: Deferred(lambda asked: asked.callback(positive()))  # type: ignore[method-assign]
        asked = self.once.ask(question())
        self.clock.advance(5)
        self.assertEqual(self.successResultOf(asked).rcode, 2)

    def test_close(self) -> None:
        """At the end nobody is left waiting, and no timer."""
        asked = self.once.ask(question())
        self.once.close()
        self.assertEqual((self.successResultOf(asked).rcode, self.source.cancelled), (2, 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.once.close()

    def test_too_many(self) -> None:
        """Past the most that may wait, askers are told SERVFAIL at once; it is not remembered."""
        for number in range(5):
            self.once.ask(question(f"n{number}.example"))
        refused = self.successResultOf(self.once.ask(question()))
        self.assertEqual((refused.rcode, len(self.source.asked)), (2, 5))
        self.assertIsNone(self.known())
        self.once.refresh(question(), 1.0)
        self.assertEqual(len(self.source.asked), 5)


@implementer(IHotCache)
class Forgetful:
    """A memory that can hold nothing."""

    def get(self, query: Query, now: float) -> None:
        """Know nothing."""

    def held(self, query: Query, now: float) -> None:
        """Hold nothing."""

    def again(self, place: int, body: bytes, now: float) -> bool:
        """Know nothing."""
        return False

    def put(self, query: Query, answer: Answer, now: float, dies: float | None = None) -> None:
        """Break."""
        raise ZeroDivisionError

    def forget(self, key: bytes) -> None:
        """Nothing."""


class Broken(Case):
    """What breaks on either side of a flight."""

    def test_memory(self) -> None:
        """Where memory meets a bug, who asked is told SERVFAIL at once, and nobody is left waiting."""
        once = Once(Forgetful(), self.source, self.clock)
        waiting = [once.ask(question()) for _ in range(2)]
        self.source.give(positive())
        self.assertEqual([self.successResultOf(one).rcode for one in waiting], [2, 2])
        self.assertEqual((len(once._flights), once._waiting), (0, 0))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_count(self) -> None:
        """A bug in the count of what is hot keeps the answer from nobody, and does not come back to the source."""

        def broken(*_: object) -> None:
            raise ZeroDivisionError

        self.once.landed = broken
        asked = self.once.ask(question())
        self.source.give(positive())
        self.assertEqual(self.successResultOf(asked).rcode, 0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_raises_behind_its_answer(self) -> None:
        """A source that tells and then raises has told; its bug is reported."""

        class Raising(Source):
            def tell(self, query: Query, told: Told) -> Ongoing:
                told(positive())
                raise ZeroDivisionError

        classImplements(Raising, ITeller)
        once = Once(self.memory, Raising(), self.clock)
        self.assertEqual(self.successResultOf(once.ask(question())).rcode, 0)
        self.assertEqual((len(once._flights), once._waiting), (0, 0))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class Flushed(Case):
    """What is being asked while it is flushed."""

    def setUp(self) -> None:
        super().setUp()
        self.once = Once(self.memory, self.source, self.clock, most=10_000)
        self.asked = [self.once.ask(question(f"n{number}.example")) for number in range(10 * AGAIN)]

    def test_turns(self) -> None:
        """Many questions are asked again some at a time; meanwhile no answer to an old one is taken."""
        old = list(self.source.asked)
        self.once.forget(lambda name: True)
        self.assertEqual(len(self.source.asked), len(old) + AGAIN)
        for query, answer in old:
            if not answer.called:
                answer.callback(positive(query.name.decode("latin-1")))
        self.assertEqual([one for one in self.asked if one.called], [])
        before = len(self.source.asked)
        while isinstance(call := self.once._asking_again, DelayedCall):
            again = call.func
            call.cancel()  # the clock of a test makes all calls of the same moment in one go
            again()
            self.assertLessEqual(len(self.source.asked) - before, AGAIN)
            before = len(self.source.asked)
        self.assertEqual(len(self.source.asked), 2 * len(old))
        for query, answer in self.source.asked[len(old) :]:
            answer.callback(positive().replace(question=query.question))
        self.assertEqual([self.successResultOf(one).rcode for one in self.asked], [0] * len(old))

    def test_flushed_again(self) -> None:
        """However often they are flushed meanwhile, each is on the list of what is to be asked once."""
        for _ in range(50):
            self.once.forget(lambda name: True)
        self.assertLessEqual(len(self.once._again), len(self.asked))
        self.once.close()
        self.assertEqual((len(self.once._again), self.once._asking_again), (0, None))


class Keeping(Case):
    """What is kept of what is learnt."""

    def test_ttl_of_nothing(self) -> None:
        """An answer with TTL 0 is passed on and not kept."""
        self.learn(positive(ttl=0))
        self.assertIsNone(self.known())

    def test_negative_without_soa(self) -> None:
        """A no that says not how long it holds is passed on and not kept."""
        self.learn(failure(rcode=3))
        self.assertIsNone(self.known())

    def test_failures_are_remembered(self) -> None:
        """A failure is remembered for 5 s, so that a broken zone is not asked for by every query (RFC 9520)."""
        for told in (failure(), failure(rcode=5), NoAnswer("silence", ExtendedError(22)), RuntimeError("a bug")):
            asked = self.once.ask(question())
            self.source.give(told)
            rcode = self.successResultOf(asked).rcode
            self.assertEqual(rcode, 5 if isinstance(told, Answer) and told.rcode == 5 else 2)
            self.assertIsNotNone(self.known())
            self.clock.advance(4.9)
            self.assertIsNotNone(self.known())
            self.clock.advance(0.2)
            self.assertIsNone(self.known())
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_failed_chain(self) -> None:
        """A chain that is too long says nothing of the names that it passes: who asks for one of these may get it."""
        query = question()
        query.links = 1
        asked = self.once.ask(query)
        self.source.give(failure())
        self.successResultOf(asked)
        self.assertIsNone(self.known())

    def test_a_source_that_raises(self) -> None:
        """A source that raises where it should have failed is a failure like others, logged once a minute."""

        def broken(query: Query) -> Deferred[Answer]:
            raise ZeroDivisionError

        self.source.ask = broken  # type: ignore[method-assign]
        self.assertEqual(self.successResultOf(self.once.ask(question())).rcode, 2)
        self.assertEqual(self.successResultOf(self.once.ask(question("b.example"))).rcode, 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.clock.advance(60)
        self.successResultOf(self.once.ask(question()))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class Stale(Case):
    """Stale answers (RFC 8767)."""

    def setUp(self) -> None:
        super().setUp()
        self.learn(positive(ttl=60))
        self.clock.advance(100)

    def test_behind_a_failure(self) -> None:
        """When the upstream fails, the stale answer is given with a TTL of 30 s and says that it is stale."""
        for told in (failure(), NoAnswer("silence", ExtendedError(22))):
            asked = self.once.ask(question())
            self.source.give(told)
            answer = self.successResultOf(asked)
            self.assertEqual((answer.rcode, answer.ttl, answer.origin, answer.errors[0].code), (0, 30, "stale", 3))
            self.assertEqual(ttls(answer.body, answer), [30])
            self.clock.advance(31)

    def test_no_new_attempt_for_30_seconds(self) -> None:
        """After a failure the stale answer is given at once for 30 s before the upstream is asked again."""
        asked = self.once.ask(question())
        self.source.give(failure())
        self.successResultOf(asked)
        self.clock.advance(29)
        known = self.memory.get(question(), self.clock.seconds())
        assert known is not None
        self.assertEqual(known[0].origin, "stale")
        self.clock.advance(1)
        self.assertIsNone(self.known())

    def test_slow_upstream(self) -> None:
        """After 1.8 s the stale answer is given while the upstream is still being waited for; its answer is kept."""
        first, second = self.once.ask(question()), self.once.ask(question())
        self.clock.advance(1.7)
        self.assertNoResult(first)
        self.clock.advance(0.1)
        self.assertEqual([self.successResultOf(each).origin for each in (first, second)], ["stale", "stale"])
        late = self.once.ask(question())
        self.assertEqual(self.successResultOf(late).origin, "stale")
        self.assertEqual(len(self.source.asked), 2)
        self.source.give(positive(data="192.0.2.9"))
        known = self.known()
        assert known is not None
        self.assertIn(bytes((192, 0, 2, 9)), known)

    def test_many_slow(self) -> None:
        """However many wait, all are told in time, 50 ms late at most."""
        names = [f"n{number}.example" for number in range(40)]
        for name in names:
            self.memory.put(question(name), positive(name, ttl=1), self.clock.seconds())
        self.clock.advance(1)
        self.once = Once(self.memory, self.source, self.clock)
        asked: dict[str, float] = {}
        waited: list[float] = []

        def note(_: Answer) -> None:
            waited.append(self.clock.seconds() - asked[names[len(waited)]])

        for step in range(3000):
            if step < 1000 and not step % 25:
                asked[names[step // 25]] = self.clock.seconds()
                self.once.ask(question(names[step // 25])).addCallback(note)
            self.clock.advance(0.001)
        self.assertEqual(len(waited), len(names))
        self.assertTrue(all(1.8 - 1e-5 < each < 1.8 + LATE + 0.002 for each in waited), waited)

    def test_learnt_meanwhile(self) -> None:
        """What came into memory while an upstream was slow, as another node learnt it, is given as fresh as it is."""
        asked = self.once.ask(question())
        self.clock.advance(1)
        self.memory.put(question(), positive(data="192.0.2.9"), self.clock.seconds())
        self.clock.advance(0.8)
        answer = self.successResultOf(asked)
        self.assertEqual((answer.origin, answer.body[-4:]), ("memory", bytes((192, 0, 2, 9))))

    def test_fresh_in_time(self) -> None:
        """An upstream that answers in time leaves no stale answer and no timer behind."""
        asked = self.once.ask(question())
        self.clock.advance(1)
        self.source.give(positive(data="192.0.2.9"))
        self.assertEqual(self.successResultOf(asked).origin, "upstream")
        self.clock.advance(10)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_denied(self) -> None:
        """NXDOMAIN is an answer, not a failure: nothing stale is given in its place."""
        asked = self.once.ask(question())
        self.source.give(negative("a.example"))
        self.assertEqual(self.successResultOf(asked).rcode, 3)

    def test_window(self) -> None:
        """Past the window what was known is forgotten: a failure is a failure, however often it was given stale."""
        while self.clock.seconds() < 1000 + 60 + 3600:
            asked = self.once.ask(question())
            self.source.give(failure())
            self.assertEqual(self.successResultOf(asked).origin, "stale")
            self.clock.advance(30)
        asked = self.once.ask(question())
        self.source.give(failure())
        self.assertEqual(self.successResultOf(asked).rcode, 2)

    def test_stale_denial(self) -> None:
        """A stale NXDOMAIN says so by its own code (RFC 8914, 4.20)."""
        asked = self.once.ask(question())
        self.source.give(negative("a.example"))
        self.successResultOf(asked)
        self.clock.advance(400)
        asked = self.once.ask(question())
        self.source.give(failure())
        self.assertEqual(self.successResultOf(asked).errors[0].code, 19)

    def test_off(self) -> None:
        """With stale answers off, a failure is a failure."""
        self.once = Once(self.memory, self.source, self.clock, stale_after=None)
        asked = self.once.ask(question())
        self.clock.advance(2)
        self.assertNoResult(asked)
        self.source.give(failure())
        self.assertEqual(self.successResultOf(asked).rcode, 2)

    def test_stale_from_the_source(self) -> None:
        """A stale answer from behind is given, and held for 30 s only."""
        asked = self.once.ask(question("b.example"))
        self.source.give(positive("b.example").with_ttls(30, "stale"))
        self.assertEqual(self.successResultOf(asked).origin, "stale")
        now = self.clock.seconds()
        self.assertIsNotNone(self.memory.get(question("b.example"), now + 29))
        self.assertIsNone(self.memory.held(question("b.example"), now + 30))

    def test_stale_from_the_source_for_what_is_held(self) -> None:
        """A stale answer from behind takes nothing from the time that what is held stale may be used."""
        before = self.memory.held(question(), self.clock.seconds())
        asked = self.once.ask(question())
        self.source.give(positive().with_ttls(30, "stale"))
        self.successResultOf(asked)
        after = self.memory.held(question(), self.clock.seconds())
        assert before and after
        self.assertEqual(after[2], before[2])

    def test_fresh_from_another_flight(self) -> None:
        """Behind a failure, what another flight has learnt for every type meanwhile is given, as fresh as it is."""
        first, second = (self.once.ask(question("no.example", qtype)) for qtype in (1, 28))
        self.source.asked[-2][1].callback(negative())
        self.source.give(failure("no.example"))
        self.assertEqual(self.successResultOf(first).rcode, 3)
        answer = self.successResultOf(second)
        self.assertEqual((answer.rcode, answer.origin, answer.ttl), (3, "memory", 300))


class Refresh(Case):
    """Refreshing ahead of expiry."""

    def setUp(self) -> None:
        super().setUp()
        self.learn(positive(ttl=100))
        self.clock.advance(50)
        self.known()

    def test_ahead(self) -> None:
        """A name in use is asked for before it expires, for something that lives longer, and is never missed."""
        self.clock.advance(45)
        self.assertIsNotNone(self.known())
        self.assertEqual(len(self.source.asked), 2)
        self.assertEqual(self.source.asked[-1][0].least, 5.0)
        self.source.give(positive(ttl=100))
        self.clock.advance(50)
        self.assertIsNotNone(self.known())

    def test_in_vain(self) -> None:
        """A refresh that fails changes nothing: what is held is still fresh."""
        self.clock.advance(95 - 50)
        before = self.known()
        self.source.give(failure())
        self.assertEqual(self.known(), before)
        self.assertEqual(self.successResultOf(succeed(len(self.once._flights))), 0)

    def test_joined(self) -> None:
        """Who asks while a refresh is under way and the answer expired waits for it, and gets stale in time."""
        self.clock.advance(48)
        self.known()
        self.clock.advance(3)
        asked = self.once.ask(question())
        self.assertEqual(len(self.source.asked), 2)
        self.clock.advance(1.8)
        self.assertEqual(self.successResultOf(asked).origin, "stale")

    def test_once_at_a_time(self) -> None:
        """What is being asked already is not asked again for a refresh."""
        self.once.refresh(question(), 1.0)
        self.once.refresh(question(), 1.0)
        self.assertEqual(len(self.source.asked), 2)

    def test_judged(self) -> None:
        """What a policy does not let pass any more is not asked, and is forgotten at once; what it lets pass is."""
        self.learn(positive(ttl=100))
        asked: list[Query] = []
        said: list[bool | None] = [True, None, False]

        def passes(query: Query) -> bool | None:
            asked.append(query)
            return said[len(asked) - 1]

        self.once.passes = passes
        for verdict in said:
            self.clock.advance(91)
            self.known()
            self.assertEqual(self.known() is None, verdict is False)
            self.assertEqual(len(self.source.asked), 3)
            if verdict:
                self.source.give(positive(ttl=100))
            if verdict is None:
                self.memory.put(question(), positive(ttl=100), self.clock.seconds())
        self.assertEqual([query.least for query in asked], [9.0, 9.0, 9.0])
        self.assertEqual(len(self.memory), 0)

    def test_on_terms(self) -> None:
        """What is refreshed is kept on the terms on which it passed this time."""
        self.learn(positive(ttl=100))

        def passes(query: Query) -> bool:
            terms(query).until = self.clock.seconds() + 30.5
            return True

        self.once.passes = passes
        self.clock.advance(91)
        self.known()
        self.known()
        self.source.give(positive(ttl=100))
        self.clock.advance(29.9)
        self.assertIsNotNone(self.known())
        self.clock.advance(0.2)
        self.assertIsNone(self.known())
        self.clock.advance(0.5)
        self.assertIsNone(self.memory.held(question(), self.clock.seconds()))
