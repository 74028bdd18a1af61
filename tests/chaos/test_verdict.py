"""What is concluded from the queries that a fault met."""

from __future__ import annotations

from math import inf
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.chaos.stage import AGAIN, HOT, NEW, TTL, plan
from tests.chaos.table import broken, merged, table
from tests.chaos.verdict import NEAR, Row, judge
from tests.load import FAILED, GOOD, NEVER, WRONG, Ask, Told


def asked(at: float, kind: str = HOT, *, node: int = 0, text: str = "", took: float = 0.001, **more: Any) -> Told:
    """Return a query that was answered well, but for what is said of it."""
    told = Told(Ask(at, node, text or f"{kind}{at}", kind), at, took, GOOD, TTL, 0)
    return evolve(told, **more)


def row(told: list[Told], victim: int | None = None, trouble: tuple[str, ...] = (), *, changed: bool = False) -> Row:
    """Judge queries of 30 s; the fault is from 10 to 20, and all is flushed at 15, if it is."""
    return judge(
        "fault", told, 10.0, 20.0, healing=20.0, changed=15.0 if changed else inf, victim=victim, trouble=trouble
    )


class Verdicts(SynchronousTestCase):
    """A fault from second 10 to second 20."""

    def test_counts(self) -> None:
        """What was lost, failed, wrong or asked again is counted, with evidence, and breaks a rule."""
        told = [
            asked(1, verdict=NEVER),
            asked(11, verdict=WRONG),
            asked(12, verdict=FAILED),
            asked(13, retries=1),
            asked(14),
        ]
        found = row(told, trouble=("Traceback",))
        self.assertEqual((found.asked, found.lost, found.wrong, found.failed, found.retried), (5, 1, 1, 1, 1))
        self.assertEqual(found.answered, 0.75)
        self.assertEqual(len(found.evidence), 4)
        self.assertEqual(len(broken([found.as_json()])), 4)
        self.assertIn("| fault | 5 | 1 | 1 | 1 | 0 | 1 |", table([found.as_json()]))

    def test_old(self) -> None:
        """An answer with flushed data, asked for more than 100 ms behind the flush, breaks a rule."""
        found = row([asked(15.05), asked(15.2, age=1), asked(15.2)], changed=True)
        self.assertEqual(found.old, 1)
        self.assertEqual(len(broken([found.as_json()])), 1)

    def test_times(self) -> None:
        """Times are told apart: before and during, with and without the first moments, of names held and new."""
        told = [asked(5, took=0.001), asked(5, NEW, took=0.04), asked(10.05, took=0.5), asked(11, took=0.002)]
        found = row(told)
        self.assertEqual((found.before.held, found.before.new), (1.0, 40.0))
        self.assertEqual((found.during.held, found.later.held, found.worst), (500.0, 2.0, 500.0))

    def test_never_worse(self) -> None:
        """With Redis hung the 99th percentile may be 1.2 times that without Redis, and no more."""
        without = row([asked(15, took=0.001), asked(15, NEW, took=0.04)]).as_json()
        for took, wrong in ((0.047, 0), (0.049, 1)):
            hung = evolve(row([asked(15), asked(15, NEW, took=took)]), text="hung").as_json()
            self.assertEqual(len(broken([without, hung])), wrong)

    def test_merged(self) -> None:
        """Rounds of one fault are added up; of their times the median counts, and the worst of the worst."""
        rounds = [row([asked(15, took=took, verdict=verdict)]) for took, verdict in ((1, GOOD), (2, NEVER), (3, GOOD))]
        found = merged([one.as_json() for one in rounds])
        self.assertEqual((found["asked"], found["lost"], found["worst"]), (3, 1, 3000.0))
        self.assertEqual(found["during"]["held"], 2000.0)
        self.assertEqual(len(found["evidence"]), 1)

    def again(self, at: float, took: float) -> list[Told]:
        """A name that one node learns and another is asked for just behind."""
        return [asked(at, NEW, text=f"n{at}", took=0.04), asked(at + 0.15, AGAIN, text=f"n{at}", node=1, took=took)]

    def test_full_use(self) -> None:
        """Redis is in full use from when on what one node learnt reaches another without the upstream."""
        told = [one for n in range(60) for one in self.again(20 + n / 10, NEAR / 2 if n >= 10 else NEAR * 2)]
        self.assertAlmostEqual(row(told).full or 0.0, 1.15, places=2)
        never = [one for n in range(60) for one in self.again(20 + n / 10, NEAR * 2)]
        self.assertIsNone(row(never).full)
        self.assertEqual(row(never).hits, (0.0, 0.0))

    def test_full_use_of_a_node(self) -> None:
        """A node is in full use from when on its clients need no other."""
        told = [asked(20 + n / 10, node=2, retries=int(n < 5)) for n in range(40)]
        self.assertAlmostEqual(row(told, victim=2).full or 0.0, 0.5, places=2)

    def test_ages(self) -> None:
        """An answer of Redis whose TTL is not that of its age, by more than a second, breaks a rule."""
        for ttl, wrong in ((TTL - 1, 0), (TTL, 0), (TTL - 3, 1), (TTL + 3, 1)):
            told = [asked(5, NEW, text="n", took=0.04), asked(5.2, AGAIN, text="n", node=1, ttl=ttl)]
            self.assertEqual(len(broken([row(told).as_json()])), wrong, ttl)

    def test_plan(self) -> None:
        """The load asks each new name at one node first, and soon behind that at another."""
        asks = plan(10.0, 100)
        first = {ask.text: ask for ask in asks if ask.kind == NEW}
        again = [ask for ask in asks if ask.kind == AGAIN]
        self.assertGreater(len(again), 500)
        for ask in again:
            self.assertNotEqual(ask.node, first[ask.text].node)
            self.assertTrue(0.149 < ask.at - first[ask.text].at < 0.5)
        self.assertEqual(sorted(asks, key=lambda ask: ask.at), asks)
