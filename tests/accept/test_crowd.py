"""Who may connect, and who has to go for it."""

from __future__ import annotations

from attrs import define
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from heimdall.accept.crowd import Crowd
from heimdall.accept.engine import Faults
from heimdall.episodes import EVERY
from heimdall.message.query import Client


@define(eq=False)
class Visitor:
    """A connection that only remembers what it was told."""

    crowd: Crowd
    client: Client
    since: float
    busy: bool = False
    gone: bool = False
    finishing: bool = False
    aborted: bool = False

    def finish(self) -> None:
        self.finishing = True
        if not self.busy:
            self.crowd.leave(self)

    def abort(self) -> None:
        self.aborted = True
        self.crowd.leave(self)


class CrowdTests(SynchronousTestCase):
    """Places for connections."""

    def setUp(self) -> None:
        self.clock = Clock()

    def crowd(self, most: int = 4, most_per_client: int = 3) -> Crowd:
        return Crowd(self.clock, Faults(self.clock), most=most, most_per_client=most_per_client)

    def come(self, crowd: Crowd, host: str, busy: bool = False) -> Visitor:
        self.clock.advance(1)
        visitor = Visitor(crowd, (host, 1), self.clock.seconds(), busy)
        if not crowd.admit(visitor):
            visitor.aborted = True
        return visitor

    def test_a_client_pushes_out_its_own_idle_connection(self) -> None:
        """One more than a client may have takes the place of its connection that is idle for longest."""
        crowd = self.crowd()
        busy, old, young = self.come(crowd, "a", busy=True), self.come(crowd, "a"), self.come(crowd, "a")
        new = self.come(crowd, "a")
        self.assertEqual([v.aborted for v in (busy, old, young, new)], [False, True, False, False])
        self.assertEqual(len(crowd), 3)
        self.assertEqual(crowd.events.total("evicted"), 1)

    def test_told(self) -> None:
        """That a client has as many as it may is told once, and once when it is over."""
        crowd = self.crowd()
        with capturedLogs() as logged:
            for _ in range(6):
                self.come(crowd, "a")
            self.clock.advance(EVERY)
            self.clock.advance(EVERY)
            self.come(crowd, "b")
        self.assertEqual([formatEvent(event) for event in logged], [
            "As many TCP connections as one client may have: a; of more, the idle ones have to go",
            "Fewer TCP connections than one client may have: a, after 3 too many",
        ])  # fmt: skip

    def test_a_client_that_has_closed_some_pushes_out_none(self) -> None:
        """The places of connections that a client has closed are free, though nobody was told of it so far."""
        crowd = self.crowd()
        old, first, second = (self.come(crowd, "a") for _ in range(3))
        first.gone = second.gone = True
        new = self.come(crowd, "a")
        self.assertEqual([v.aborted for v in (old, first, second, new)], [False] * 4)
        self.assertEqual([v.finishing for v in (old, first, second, new)], [False, True, True, False])
        self.assertEqual(len(crowd), 2)
        self.assertEqual(crowd.events.total("evicted"), 0)

    def test_a_client_with_nothing_idle_is_refused(self) -> None:
        """A client whose connections are all busy gets no more than it may have."""
        crowd = self.crowd(most_per_client=1)
        busy, new = self.come(crowd, "a", busy=True), self.come(crowd, "a")
        self.assertEqual((busy.aborted, new.aborted), (False, True))
        self.assertEqual(crowd.events.total("refused"), 1)
        self.assertEqual(len(crowd), 1)

    def test_the_client_with_most_makes_room(self) -> None:
        """When all places are taken, the client that has the most loses the one idle for longest."""
        crowd = self.crowd()
        good = self.come(crowd, "good")
        first, second, third = (self.come(crowd, "greedy") for _ in range(3))
        new = self.come(crowd, "new")
        self.assertEqual([v.aborted for v in (good, first, second, third, new)], [False, True, False, False, False])

    def test_the_greedy_cannot_push_out_the_modest(self) -> None:
        """A newcomer never takes the place of a client that has fewer connections than the newcomer's."""
        crowd = self.crowd(most=3)
        good = self.come(crowd, "good")
        busy = [self.come(crowd, "greedy", busy=True) for _ in range(2)]
        new = self.come(crowd, "greedy")
        self.assertEqual([v.aborted for v in (good, *busy, new)], [False, False, False, True])

    def test_the_busy_go_when_their_client_has_more(self) -> None:
        """Where nothing is idle, a busy connection of the greediest goes for a client that has fewer."""
        crowd = self.crowd(most=3)
        old, young, single = (self.come(crowd, host, busy=True) for host in ("greedy", "greedy", "single"))
        new = self.come(crowd, "new")
        self.assertEqual([v.aborted for v in (old, young, single, new)], [True, False, False, False])

    def test_equals_do_not_push_each_other_out(self) -> None:
        """Where all are busy and nobody has more than the newcomer would, the newcomer goes."""
        crowd = self.crowd(most=2)
        here = [self.come(crowd, host, busy=True) for host in ("a", "b")]
        new = self.come(crowd, "c")
        self.assertEqual([v.aborted for v in (*here, new)], [False, False, True])

    def test_a_client_may_replace_its_own_when_all_is_full(self) -> None:
        """When all places are taken, a client's own idle connection can make room for its new one."""
        crowd = self.crowd(most=2)
        own, other = self.come(crowd, "a"), self.come(crowd, "b", busy=True)
        new = self.come(crowd, "a")
        self.assertEqual([v.aborted for v in (own, other, new)], [True, False, False])

    def test_it_says_once_that_it_is_full(self) -> None:
        """That all places are taken is one line in the log, and that there are some again is another."""
        crowd = self.crowd(most=10, most_per_client=10)
        with capturedLogs() as logs:
            visitors = [self.come(crowd, f"{n}") for n in range(15)]
            for visitor in visitors:
                crowd.leave(visitor)
                crowd.leave(visitor)
        self.assertEqual([event["log_level"].name for event in logs], ["warn", "info"])
        self.assertEqual(len(crowd), 0)

    def test_finish_waits_for_the_busy(self) -> None:
        """At the end idle connections go at once, busy ones when they are done, and nobody new comes in."""
        crowd = self.crowd()
        idle, busy = self.come(crowd, "a"), self.come(crowd, "b", busy=True)
        done, again = crowd.finish(5), crowd.finish(5)
        self.assertTrue(idle.finishing and busy.finishing)
        self.assertTrue(self.come(crowd, "c").aborted)
        self.assertNoResult(done)
        crowd.leave(busy)
        self.assertIsNone(self.successResultOf(done))
        self.assertIsNone(self.successResultOf(again))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_finish_ends(self) -> None:
        """Connections that are not done in time are cut off."""
        crowd = self.crowd()
        busy = self.come(crowd, "b", busy=True)
        done = crowd.finish(5)
        self.clock.advance(5)
        self.assertTrue(busy.aborted)
        self.successResultOf(done)

    def test_finish_of_an_empty_crowd(self) -> None:
        """Where nobody is connected the end comes at once."""
        self.successResultOf(self.crowd().finish(5))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_gauge(self) -> None:
        """The gauge tells how many connections are open."""
        crowd = self.crowd()
        self.come(crowd, "a")
        (gauge,) = (tally for tally in crowd.tallies if tally.name == "heimdall_accept_open_connections")
        self.assertEqual(gauge.read(), 1)  # type: ignore[union-attr]
