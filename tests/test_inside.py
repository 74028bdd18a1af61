"""The path for questions that come from inside a program."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from heimdall.cache.memory import Memory
from heimdall.fetch.nowhere import Nowhere
from heimdall.inside import Inside
from tests.cache.questions import positive, question, ttls


class FromMemory(SynchronousTestCase):
    """What memory knows."""

    def test_ttl(self) -> None:
        """An answer from memory says how long it still lives: who keeps it in turn must not keep it longer."""
        clock = Clock()
        memory = Memory(1_000_000)
        memory.put(question(), positive(ttl=60), 0.0)
        clock.advance(50)
        answer = self.successResultOf(Inside(memory, (), Nowhere(), clock).ask(question()))
        self.assertEqual((answer.ttl, ttls(answer.body, answer)), (10, [10]))
