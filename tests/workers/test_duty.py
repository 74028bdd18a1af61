"""What a worker does for its parent: exports that go on side by side."""

from __future__ import annotations

from typing import Any, ClassVar

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from heimdall.cache.carry import AT_ONCE
from heimdall.config.settings import Admit, Fetch, Redis, Settings
from heimdall.interfaces import IPolicy
from heimdall.message.query import Query
from heimdall.pipeline import lay
from heimdall.station import Station
from heimdall.workers.duty import ENDS, MOST_EXPORTS, Duty
from heimdall.workers.shares import share, to_json
from tests.cache.questions import positive, question
from tests.rediscase import reactor, really_until

HELD = 3 * AT_ONCE
SETTINGS = Settings(fetch=Fetch(upstreams=("127.0.0.1:1",)), redis=Redis(enabled=False))


@implementer(IPolicy)
class NeverReady:
    """A policy that is never ready, and notes what happens to it."""

    happened: ClassVar[list[str]] = []

    def start(self) -> Deferred[None]:
        self.happened.append("start")
        return Deferred()

    def stop(self) -> None:
        self.happened.append("stop")

    def judge(self, query: Query) -> None:
        """Say nothing."""


class Ending(TestCase):
    """A worker that is told to end while its configuration is being changed."""

    def setUp(self) -> None:
        path = lay(SETTINGS, reactor)
        self.ended: list[str] = []
        self.duty = Duty(Clock(), lambda: self.ended.append("ended"))
        self.duty._station = Station(path, reactor, (), "one")
        NeverReady.happened.clear()

    async def test_change_under_way(self) -> None:
        """The change is given up, its policies are stopped, and the parent is told why."""
        admit = Admit(gates=(f"{__name__}.NeverReady",))
        wanted = to_json(share(evolve(SETTINGS, admit=admit), 1))
        changing: Deferred[Any] = self.duty.change(wanted)
        await really_until(lambda: NeverReady.happened)
        ending = self.duty.end()
        refused = await self.assertFailure(changing, ValueError)
        await ending
        self.assertEqual((str(refused), NeverReady.happened), (ENDS, ["start", "stop"]))
        self.assertRaises(ValueError, self.duty.change, wanted)


class Exports(TestCase):
    """A worker that holds more than is told in one go."""

    def setUp(self) -> None:
        path = lay(SETTINGS, reactor)
        self.addCleanup(path.close)
        for number in range(HELD):
            path.memory.put(question(f"n{number}.example"), positive(f"n{number}.example"), reactor.seconds())
        self.duty = Duty(Clock(), lambda: None)
        self.duty._station = Station(path, reactor, (), "one")

    async def begin(self, number: int) -> list[Any]:
        """Begin an export; return the first of what it tells."""
        return await self.told(number, "memory")

    async def told(self, number: int, tier: str | None = None) -> list[Any]:
        """Return some more of what an export tells."""
        some = await self.duty.out({"export": number, "tier": tier})
        return [] if some is None else list(some)

    async def test_side_by_side(self) -> None:
        """Two exports at once both tell all that is held: neither begins the other again, nor ends it."""
        found: dict[int, list[Any]] = {number: await self.begin(number) for number in (1, 2)}
        while some := {number: await self.told(number) for number in (1, 2) if number in self.duty._exports}:
            for number, records in some.items():
                found[number] += records
        for records in found.values():
            self.assertEqual((len(records), len({key for key, _ in records})), (HELD, HELD))
        self.assertEqual(self.duty._exports, {})

    def test_never_left_out(self) -> None:
        """That a policy changed its mind, or that a worker leaves, reaches a parent that is slow to read as well."""
        wire = StringTransport()
        self.duty.channel.makeConnection(wire)
        self.duty.channel.pauseProducing()
        self.duty._changed(None)
        self.duty.channel.tell("log", "a line")
        self.assertEqual(wire.value().count(b'"changed"'), 1)
        self.assertEqual(self.duty.channel.unsaid.total(), 1)
        self.duty.channel.connectionLost()

    async def test_unknown(self) -> None:
        """An export that did not begin here, or is over, has no end that could be taken for one."""
        await self.assertFailure(self.deferred(7), ValueError)
        await self.begin(7)
        while 7 in self.duty._exports:
            await self.told(7)
        await self.assertFailure(self.deferred(7), ValueError)

    def deferred(self, number: int) -> Any:
        """Go on with an export."""
        return Deferred.fromCoroutine(self.told(number))

    async def test_bounded(self) -> None:
        """Exports that nobody goes on with are let go of: of too many the oldest has ended."""
        for number in range(MOST_EXPORTS + 3):
            await self.begin(number)
        self.assertEqual(list(self.duty._exports), list(range(3, MOST_EXPORTS + 3)))
        await self.assertFailure(self.deferred(0), ValueError)
        self.assertEqual(len(await self.told(3)), AT_ONCE)
