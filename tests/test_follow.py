"""A question that is followed, where a gate ends it, and what is noted then."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from heimdall.admit.rules import Blocked
from heimdall.cache.memory import Memory
from heimdall.fetch.nowhere import Nowhere
from heimdall.follow import Follow, Followed
from heimdall.interfaces import DROP, Drop, IGate, ISource
from heimdall.message.answer import Answer
from heimdall.message.query import Query
from heimdall.message.trace import MOST_NOTES, Trace
from tests.cache.questions import positive, question


@implementer(IGate)
class Silence:
    """Drops everything."""

    def judge(self, query: Query) -> Answer | Drop | None:
        return DROP


@implementer(ISource)
class Late:
    """Answers when it is told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: Query | None = None
        self.answer: Deferred[Answer] = Deferred()

    def ask(self, query: Query) -> Deferred[Answer]:
        self.asked = query
        return self.answer


class Following(SynchronousTestCase):
    """What the stations before the sources note."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.memory = Memory(1_000_000, stale_window=100)

    def follow(self, clients: Any = (), names: Any = (), source: ISource | None = None) -> Deferred[Followed]:
        """Ask a question on such a path."""
        return Follow(clients, self.memory, names, source or Nowhere(), self.clock).ask(question())

    def said(self, followed: Followed) -> list[tuple[str, str]]:
        """Return who said what."""
        return [(note["station"], note["said"]) for note in followed.trace.notes]

    def test_dropped(self) -> None:
        """Where a gate drops the question there is no answer, and nobody behind it is asked."""
        followed = self.successResultOf(self.follow([Silence()]))
        self.assertEqual((followed.answer, self.said(followed)), (None, [("gate", "drops")]))
        self.assertEqual(followed.trace.notes[0]["gate"], "Silence")
        followed = self.successResultOf(self.follow(names=[Silence()]))
        self.assertEqual((followed.answer, self.said(followed)), (None, [("memory", "miss"), ("gate", "drops")]))

    def test_answered(self) -> None:
        """Where a gate answers, that is the answer; memory is asked before those for names."""
        blocked = Blocked(["a.example"], [], "nxdomain")
        followed = self.successResultOf(self.follow(names=[blocked]))
        assert followed.answer is not None
        self.assertEqual((followed.answer.origin, self.said(followed)[-1]), ("blocked", ("gate", "answers")))
        self.memory.put(question(), positive(), 0.0)
        followed = self.successResultOf(self.follow(names=[blocked]))
        self.assertEqual(self.said(followed), [("memory", "hit")])

    def test_stale(self) -> None:
        """What memory holds past its TTL is noted as stale, and the sources are asked."""
        self.memory.put(question(), positive(ttl=60), 0.0)
        self.clock.advance(61)
        source = Late()
        following = self.follow(source=source)
        self.assertNoResult(following)
        source.answer.callback(positive())
        self.assertEqual(self.said(self.successResultOf(following)), [("memory", "stale")])

    def test_times(self) -> None:
        """Each note tells when it was, and what it took since the one before, or what its station says."""
        trace = Trace(self.clock.seconds)
        self.clock.advance(1)
        trace.note("one", "first")
        self.clock.advance(2)
        trace.note("two", "second", server="a")
        trace.note("two", "third", took=0.5)
        self.assertEqual([(note["at"], note["took"]) for note in trace.notes], [(1, 1), (3, 2), (3, 0.5)])
        self.assertEqual((trace.notes[1]["server"], trace.seconds), ("a", 3.0))
        for _ in range(2 * MOST_NOTES):
            trace.note("many", "more")
        self.assertEqual(len(trace.notes), MOST_NOTES)

    def test_others(self) -> None:
        """No other question is followed: not the one that a client asks, nor what a followed one is refreshed by."""
        source = Late()
        self.follow(source=source)
        assert source.asked is not None
        self.assertIsNotNone(source.asked.trace)
        self.assertEqual(
            (source.asked.key, source.asked.again(5.0).trace, question().trace), (question().key, None, None)
        )
