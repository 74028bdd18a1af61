"""TTLs between a floor and a ceiling."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from heimdall.cache.bounds import Bounds
from heimdall.interfaces import ISource
from heimdall.message.answer import Answer
from heimdall.message.query import Query
from tests.cache.questions import failure, negative, positive, question


@implementer(ISource)
class Source:
    """A source that knows one answer."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def ask(self, query: Query) -> Deferred[Answer]:
        """Give it."""
        return succeed(self.answer)


class Bounded(SynchronousTestCase):
    """What comes through."""

    def test_bounds(self) -> None:
        """TTLs are raised to the floor and cut to the ceiling; answers that say no have a ceiling of their own."""
        for answer, ttl in ((positive(ttl=1), 10), (positive(ttl=1000), 100), (positive(ttl=20), 20), (negative(), 50)):
            bounds = Bounds(Source(answer), floor=10, ceiling=100, negative=50)
            self.assertTrue(verifyObject(ISource, bounds))
            self.assertEqual(self.successResultOf(bounds.ask(question())).ttl, ttl)

    def test_same(self) -> None:
        """Whatever the bounds are, what comes through is what the answer itself says it is within them."""
        one = positive(ttl=70)
        two = one.replace(counts=(2, 0, 0), body=one.body + positive(ttl=200).body, spots=(6, 6 + len(one.body)))
        answers = [
            *(positive(ttl=ttl) for ttl in (0, 9, 10, 49, 50, 51, 100, 101)),
            *(negative().with_ttls(ttl, "redis") for ttl in (40, 60, 300)),
            failure(),
            two,
        ]
        for floor, ceiling, lowest in ((0, 100, 50), (10, 100, 50), (10, 50, 100), (100, 10, 50), (60, 100, 50)):
            for answer in answers:
                found = self.successResultOf(
                    Bounds(Source(answer), floor=floor, ceiling=ceiling, negative=lowest).ask(question())
                )
                right = answer.bounded(floor, ceiling, lowest)
                self.assertEqual((found.ttl, found.body), (right.ttl, right.body), (floor, ceiling, lowest, answer.ttl))

    def test_failures(self) -> None:
        """What must not be kept passes as it is."""
        answer = failure()
        self.assertIs(self.successResultOf(Bounds(Source(answer), floor=10).ask(question())), answer)
