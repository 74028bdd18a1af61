"""Forgetting what was flushed: nobody is given it from then on, however long it takes until all of it has left."""

from __future__ import annotations

import dns.edns
from twisted.trial.unittest import SynchronousTestCase

from heimdall.cache.flushed import MOST, Flush, Several
from heimdall.cache.forget import JUDGED, SIZE, Forgetting
from heimdall.cache.memory import STEP, Memory
from heimdall.message import query
from heimdall.message.query import NXDOMAIN
from heimdall.message.wire import from_text
from heimdall.slices import LONGEST, REST
from tests.busy import Busy
from tests.cache.questions import negative, positive, question, scoped
from tests.message.messages import query_wire

MANY = 5 * SIZE
"""Answers that are not looked through in one go, where that takes long."""

ANSWER = positive(ttl=3600)


def name(number: int) -> str:
    """One of many names, a tenth of them in another domain."""
    return f"n{number}.{'other' if number % 10 == 0 else 'example'}"


def flush(text: str, subtree: bool = False) -> Flush:
    """Return the flush of a name."""
    return Flush(b"id" * 4, 1.0, from_text(text), subtree)


class Case(SynchronousTestCase):
    """A memory with many answers, from a time ago."""

    def setUp(self) -> None:
        self.clock = Busy()
        self.memory = Memory(100_000_000, stale_window=3600)
        for number in range(MANY):
            self.memory.put(question(name(number)), ANSWER, 0.0)
        self.clock.advance(10)
        self.forgetting = Forgetting(self.memory, self.clock)

    def gives(self, text: str) -> bool:
        """Whether memory gives an answer."""
        return self.memory.get(question(text), self.clock.rightNow) is not None

    def slowly(self, takes: float = 0.002) -> None:
        """Let a look at :data:`SIZE` answers take so long."""
        self.clock.takes = takes

    def go_on(self) -> int:
        """Go on until nothing is left to do; return how many turns that took."""
        turns = 0
        while self.clock.getDelayedCalls():
            self.clock.turn()
            turns += 1
        return turns


class AtOnce(Case):
    """What a flush means, from the moment it is known."""

    def test_quickly_looked_through(self) -> None:
        """What can be looked through in a moment is forgotten at once."""
        self.forgetting.forget(flush(name(7)))
        self.assertEqual((len(self.memory), self.clock.getDelayedCalls()), (MANY - 1, []))
        self.forgetting.forget(Several((flush(name(8)), flush("other", subtree=True))))
        self.assertEqual((len(self.memory), self.clock.getDelayedCalls()), (MANY - 2 - MANY // 10, []))

    def test_not_given(self) -> None:
        """What was flushed is not given in any way before it was come to; all else is given, as ever."""
        self.slowly()
        gone, left = question(name(MANY - 1)), question(name(MANY - 2))
        self.forgetting.forget(flush("example", subtree=True))
        self.assertLess(MANY - SIZE, len(self.memory))
        now = self.clock.rightNow
        self.assertIsNone(self.memory.get(gone, now))
        self.assertIsNone(self.memory.held(gone, now + 4000))
        self.assertIsNone(self.memory.note(gone.key))
        self.assertIsNone(self.memory.life(gone.key))
        self.assertEqual(list(self.memory.inspect([gone.key], now)), [])
        self.assertIsNone(self.memory.get(left, now))
        self.assertTrue(self.gives(name(MANY - 10)))
        self.go_on()
        self.assertEqual((len(self.memory), self.gives(name(0)), self.gives(name(1))), (MANY // 10, True, False))

    def test_no_such_name(self) -> None:
        """Nor is an answer that the name does not exist."""
        self.memory.put(question("no.example"), negative(), self.clock.rightNow)
        self.slowly()
        self.forgetting.forget(flush("no.example"))
        self.assertFalse(self.gives("no.example"))
        self.assertIsNone(self.memory.held(question("no.example"), self.clock.rightNow))

    def test_same_image(self) -> None:
        """An image that was given in this second already is not given again; when all is done, others are as before."""
        found = [self.memory.get(question(name(number)), 10.0) for number in (MANY - 1, MANY - 2)]
        places = [(~place, body) for known in found if known for _, body, place in (known,)]
        self.slowly()
        self.forgetting.forget(flush(name(MANY - 1)))
        self.assertEqual([self.memory.again(place, body, 10.1) for place, body in places], [False, False])
        self.go_on()
        self.assertEqual([self.memory.again(place, body, 10.1) for place, body in places], [False, True])

    def test_asked_anew(self) -> None:
        """What is learnt after the flush is given, and stays."""
        self.slowly()
        self.forgetting.forget(flush("example", subtree=True))
        for number in (1, MANY - 1):
            self.memory.put(question(name(number)), ANSWER, self.clock.seconds())
            self.assertTrue(self.gives(name(number)))
        self.go_on()
        self.assertEqual((self.gives(name(1)), self.gives(name(MANY - 1)), self.gives(name(2))), (True, True, False))

    def test_another_key(self) -> None:
        """What is learnt after the flush is given though what was flushed is held under a closer key."""
        self.slowly()
        self.forgetting.forget(flush("example", subtree=True))
        asked = question(name(MANY - 1))
        self.memory.put(asked, negative(name(MANY - 1)), self.clock.seconds())
        self.assertIsNotNone(self.memory.life(asked.key))
        known = self.memory.get(asked, self.clock.rightNow)
        assert known is not None
        self.assertEqual(known[0].rcode, NXDOMAIN)

    def test_subnets(self) -> None:
        """Nor does a flushed answer for a client's subnet hide a new one for everybody."""
        asked = query.read(query_wire("a.example.", options=[dns.edns.ECSOption("192.0.2.1", 24)]), subnets=True)
        assert isinstance(asked, query.Query)
        self.memory.put(asked, scoped(ANSWER, 24), self.clock.seconds())
        self.slowly()
        self.forgetting.forget(flush("a.example"))
        self.assertIsNone(self.memory.get(asked, self.clock.rightNow))
        self.memory.put(asked, scoped(ANSWER, 0), self.clock.seconds())
        self.assertIsNotNone(self.memory.get(asked, self.clock.rightNow))

    def test_doubt(self) -> None:
        """Memory that is in doubt meanwhile gives nothing, and is asked to be sure of itself; then it goes on."""
        doubts: list[None] = []
        self.memory.doubted = lambda: doubts.append(None)
        self.slowly()
        self.forgetting.forget(flush(name(1)))
        self.memory.sure_until = 0.0
        self.assertFalse(self.gives(name(2)))
        self.assertEqual(len(doubts), 1)
        self.memory.sure_until = self.clock.rightNow + 1000
        self.assertTrue(self.gives(name(2)))
        self.assertFalse(self.gives(name(1)))


class Meanwhile(Case):
    """What becomes of queries while memory is looked through."""

    def test_turns(self) -> None:
        """Queries have four fifths of the time, and are never kept waiting for long."""
        self.slowly()
        self.forgetting.forget(flush(name(1)))
        began = self.clock.rightNow
        (call,) = self.clock.getDelayedCalls()
        self.assertGreater(call.getTime() - began, 0.002 * REST * 0.9)
        self.assertGreater(self.go_on(), 3)

    def test_stood_still(self) -> None:
        """If a look took very long, as in a process that was frozen, the next one comes soon all the same."""
        self.slowly(5.0)
        self.forgetting.forget(flush(name(1)))
        (call,) = self.clock.getDelayedCalls()
        self.assertLessEqual(call.getTime(), self.clock.rightNow + 5.0 + LONGEST)

    def test_flood(self) -> None:
        """All that is flushed during a look has the next one together; each is flushed at once all the same."""
        self.slowly()
        for number in range(200):
            self.forgetting.forget(flush(name(number)))
            self.assertFalse(self.gives(name(number)), number)
            self.assertTrue(self.gives(name(number + 1)), number)
        self.assertLess(self.go_on(), 3 * MANY // SIZE)
        self.assertEqual(len(self.memory), MANY - 200)
        self.assertTrue(self.gives(name(200)))

    def test_flood_and_asked_anew(self) -> None:
        """What is learnt between two flushes of a flood is given and stays, unless it was flushed again."""
        self.slowly()
        self.forgetting.forget(flush(name(0)))
        self.forgetting.forget(flush("example", subtree=True))
        for number in (MANY - 1, MANY - 2):
            self.memory.put(question(name(number)), ANSWER, self.clock.seconds())
        self.forgetting.forget(flush(name(10)))
        self.forgetting.forget(flush(name(MANY - 2)))
        self.assertEqual((self.gives(name(MANY - 1)), self.gives(name(MANY - 2))), (True, False))
        self.go_on()
        self.assertEqual((self.gives(name(MANY - 1)), self.gives(name(MANY - 2))), (True, False))

    def test_too_many(self) -> None:
        """More than can be kept apart are one of everything: nothing of them is given, and they take no more room."""
        self.slowly()
        self.forgetting.forget(flush(name(1)))
        self.forgetting.forget(Several(flush(f"m{number}.example") for number in range(MOST)))
        self.assertTrue(self.gives(name(2)))
        self.forgetting.forget(flush("one.more.example"))
        self.assertFalse(self.gives(name(2)))
        self.go_on()
        self.assertEqual(len(self.memory), 0)

    def test_trim(self) -> None:
        """A limit that has fallen is kept in turns: of many answers some leave in each of them."""
        held = self.memory.used
        self.memory.keep(held // 10, stale_window=3600, refresh_share=0.0)
        self.slowly()
        self.forgetting.trim()
        self.forgetting.trim()
        self.assertGreater(self.memory.used, held - 2 * STEP)
        self.assertGreater(self.go_on(), 0.9 * held / STEP - 2)
        self.assertLessEqual(self.memory.used, held // 10)
        self.memory.keep(held // 100, stale_window=3600, refresh_share=0.0)
        self.forgetting.trim()
        self.forgetting.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop(self) -> None:
        """When it is stopped nothing is left to do, and what was flushed is not given after all."""
        self.slowly()
        self.forgetting.forget(flush(name(MANY - 1)))
        self.forgetting.stop()
        self.forgetting.stop()
        self.assertFalse(self.gives(name(MANY - 1)))
        self.forgetting.forget(flush(name(1)))
        self.assertEqual((self.gives(name(1)), self.gives(name(2))), (False, True))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Judging(Case):
    """What policies refuse that let it pass before."""

    def setUp(self) -> None:
        super().setUp()
        self.asked: list[bytes] = []
        self.refused = {question(name(number)).key for number in range(0, MANY, 10)}

    def refuses(self, key: bytes) -> bool:
        """Say what the policies of the test say."""
        self.asked.append(key)
        return key in self.refused

    def test_at_once(self) -> None:
        """What they refuse is not given from then on, though it was not come to; all else is given, and stays."""
        self.slowly()
        self.forgetting.judge(self.refuses)
        self.assertEqual(len(self.memory), MANY - JUDGED // 10)
        for number in (MANY - 10, MANY - 20):
            self.assertFalse(self.gives(name(number)))
        self.assertTrue(self.gives(name(MANY - 1)))
        self.go_on()
        self.assertEqual((len(self.memory), self.gives(name(1))), (MANY * 9 // 10, True))
        self.asked.clear()
        self.assertTrue(self.gives(name(2)))
        self.assertEqual(self.asked, [])

    def test_asked_once(self) -> None:
        """Of a hot name they are asked once in a look, however often that is given meanwhile."""
        self.slowly()
        self.forgetting.judge(self.refuses)
        self.asked.clear()
        for _ in range(100):
            self.assertTrue(self.gives(name(MANY - 1)))
        self.assertEqual(len(self.asked), 1)

    def test_came_later(self) -> None:
        """What came after that is given without asking them: who asked for it met them."""
        self.slowly()
        self.forgetting.judge(self.refuses)
        self.memory.put(question(name(MANY - 10)), ANSWER, self.clock.seconds())
        self.assertTrue(self.gives(name(MANY - 10)))
        self.go_on()
        self.assertTrue(self.gives(name(MANY - 10)))

    def test_since(self) -> None:
        """What came before a time is not judged, if that was said; but where all was to be judged, it is."""
        early = name(MANY - 10)
        for alone in (True, False):
            self.slowly()
            self.forgetting.forget(flush(name(1)))
            if not alone:
                self.forgetting.judge(self.refuses)
            self.forgetting.judge(self.refuses, since=self.clock.rightNow + 1)
            self.assertEqual(self.gives(early), alone)
            self.go_on()
            self.assertEqual((self.gives(early), bool(self.asked)), (alone, not alone))

    def test_again(self) -> None:
        """Where they change their minds again and again, one more look follows, by what they said last."""
        self.slowly()
        for number in range(100):
            self.refused = {question(name(number)).key}
            self.forgetting.judge(self.refuses)
            self.assertFalse(self.gives(name(number)))
        self.assertLess(self.go_on(), 3 * MANY // JUDGED)
        self.assertEqual([self.gives(name(number)) for number in (99, 101)], [False, True])

    def test_and_flushed(self) -> None:
        """What is flushed meanwhile, and what they refuse while flushes are looked through, is not given either."""
        self.slowly()
        self.forgetting.forget(flush(name(1)))
        self.forgetting.judge(self.refuses)
        self.forgetting.forget(flush(name(3)))
        self.assertEqual([self.gives(name(number)) for number in (1, 3, MANY - 10, 5)], [False, False, False, True])
        self.go_on()
        self.assertEqual(len(self.memory), MANY * 9 // 10 - 2)

    def test_turns(self) -> None:
        """No turn of the reactor looks at many: to ask a policy takes far longer than to compare a name."""
        self.slowly()
        self.forgetting.judge(self.refuses)
        self.assertIn(len(self.asked), range(1, JUDGED + 1))
