"""What several processes do as one node: flushes that are owed, and counters of workers that ended."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from heimdall.config.settings import Fetch, Redis, Settings
from heimdall.interfaces import Unanswered
from heimdall.message.wire import from_text
from heimdall.tally import Count
from heimdall.totals import heard, told, total
from heimdall.workers.crew import Crew
from tests.cache.questions import question
from tests.virtual_time import CLOCK, VirtualCase

SETTINGS = Settings(fetch=Fetch(upstreams=("127.0.0.1:1",)), redis=Redis(url="redis://127.0.0.1:1"))


class Parent(VirtualCase):
    """The parent of no worker so far, whose Redis is not there."""

    def setUp(self) -> None:
        super().setUp()
        self.crew = Crew(SETTINGS, CLOCK, [[]], "one", {})
        self.addCleanup(lambda: self.crew.path.close())

    async def test_owed_flushes(self) -> None:
        """A flush that Redis could not be told of is still owed when the configuration was loaded again."""
        assert self.crew.path.sharing is not None
        self.crew.path.sharing.flushes.flush(from_text("bank.example"), True).addErrback(lambda _: None)
        former = self.crew.path
        self.addCleanup(former.close)
        await self.crew.change(SETTINGS)
        assert self.crew.path.sharing is not None
        self.assertIsNot(self.crew.path, former)
        self.assertEqual(len(self.crew.path.sharing.flushes._owed), 1)

    async def test_nobody_to_ask(self) -> None:
        """Where no worker serves, a question that an operator wants asked fails with that."""
        failed = await self.assertFailure(self.crew.follow(question("a.example")), Unanswered)
        self.assertEqual(str(failed), "no worker serves")

    def test_flushes_counted_once(self) -> None:
        """A flush that the parent and a worker applied counts once, also when the worker has ended."""
        assert self.crew.path.sharing is not None
        applied = self.crew.path.sharing.flushes.tallies[0]
        assert isinstance(applied, Count)
        applied.add("notice")
        counted = Count(applied.name, "", "told")
        counted.add("notice")
        hand: Any = SimpleNamespace(
            number=0,
            refused="",
            began=0.0,
            process=1,
            why="ended",
            gone=True,
            serves=False,
            tallies=heard(told([counted])),
        )
        self.crew._hands[0] = hand
        self.patch(self.crew, "_reactor", Clock())
        self.crew._started = Deferred()
        self.crew._lost(hand)
        self.assertEqual(total(self.crew.tallies, applied.name), 1)
