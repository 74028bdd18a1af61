"""Tests of a group of servers on a clock of our own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from heimdall.fetch.health import FAILURES, LOOK, SILENCE
from heimdall.fetch.judgement import Unusable, judge, silent, unreachable
from heimdall.fetch.upstream import Group
from heimdall.interfaces import Exchanging, IExchange, ISource, NoAnswer
from heimdall.message.answer import Answer
from heimdall.message.edns import NETWORK_ERROR, NO_REACHABLE_AUTHORITY, ExtendedError, opt
from heimdall.message.query import AD, FORMERR, NOTIMP, NXDOMAIN, REFUSED, SERVFAIL, WITH_OPT, Query
from heimdall.message.query import make as question
from heimdall.message.trace import Trace
from heimdall.message.wire import from_text

WWW = question(from_text("www.example"), 1)

Outcome = Answer | Unusable


class Asked:
    """A question to a fake."""

    def __init__(self, asked: Deferred[Any], heard: float | None) -> None:
        self.heard = heard
        self.cancel = asked.cancel


@implementer(IExchange)
class Fake:
    """A server that replies after ``delay`` seconds, at once for 0, never for None, and refuses below 0."""

    def __init__(self, clock: Clock, delay: float | None, rcode: int = 0) -> None:
        self.clock, self.delay, self.rcode = clock, delay, rcode
        self.flags = 0
        self.heard: float | None = None
        self.times: list[float] = []
        self.waiting: dict[Deferred[Outcome], IDelayedCall] = {}
        self.error: Exception | None = None

    def tell(self, query: Query, timeout: float, told: Callable[[Any], object]) -> Exchanging:
        asked: Deferred[Any] = self._ask(timeout, query)
        return Asked(asked.addBoth(told), None if self.heard is None else self.clock.seconds() + self.heard)

    def _ask(self, timeout: float, query: Query) -> Deferred[Outcome]:
        self.times.append(self.clock.seconds())
        if self.delay is not None and self.delay < 0:
            return fail(self.error) if self.error else succeed(unreachable(query, "the port is closed"))
        said = judge(self._response(query), query, WITH_OPT)
        if self.delay == 0:
            return succeed(said)
        deferred: Deferred[Outcome] = Deferred(self._cancel)
        outcome: Outcome | NoAnswer = said
        wait = self.delay
        if wait is None or wait >= timeout:
            wait, outcome = timeout, silent()
        self.waiting[deferred] = self.clock.callLater(wait, self._end, deferred, outcome)
        return deferred

    def _response(self, query: Query) -> bytes:
        """Return what the server sends: its code, and no records."""
        flags = 0x8180 | self.flags | self.rcode & 15
        return bytes(2) + flags.to_bytes(2, "big") + b"\0\1\0\0\0\0\0\1" + query.key[:-1] + opt(rcode=self.rcode)

    def _end(self, deferred: Deferred[Outcome], outcome: Outcome | NoAnswer) -> None:
        del self.waiting[deferred]
        if isinstance(outcome, NoAnswer):
            deferred.errback(outcome)
        else:
            deferred.callback(outcome)

    def _cancel(self, deferred: Deferred[Outcome]) -> None:
        self.waiting.pop(deferred).cancel()

    def close(self) -> None:
        while self.waiting:
            deferred, timer = next(iter(self.waiting.items()))
            timer.cancel()
            self._end(deferred, silent("closed"))


class Case(SynchronousTestCase):
    """A group of fake servers."""

    def group(self, *delays: float | None, **more: Any) -> Group:
        self.clock = Clock()
        self.fakes = [Fake(self.clock, delay) for delay in delays]
        return Group([(f"192.0.2.{at + 1}:53", fake) for at, fake in enumerate(self.fakes)], self.clock, **more)

    def wait(self, deferred: Deferred[Answer], most: float = 10.0, step: float = 0.005) -> float:
        """Let time pass until it has fired; return the seconds it took."""
        began = self.clock.seconds()
        while not deferred.called and self.clock.seconds() - began < most:
            self.clock.advance(step)
        return self.clock.seconds() - began

    def rcode(self, group: Group) -> int:
        deferred = group.ask(WWW)
        self.wait(deferred)
        return self.successResultOf(deferred).rcode

    def settle(self, group: Group, queries: int = 5) -> None:
        """Ask a few questions, so that the servers are known, and wait for all replies."""
        for _ in range(queries):
            self.wait(group.ask(WWW))
        self.clock.advance(1)

    def sent(self) -> list[int]:
        """Return how many questions each server got."""
        return [len(fake.times) for fake in self.fakes]


class OneServer(Case):
    """A group of one."""

    def test_seams(self) -> None:
        """A group is a source, and it counts."""
        group = self.group(0.01)
        self.assertTrue(verifyObject(ISource, group))
        self.assertTrue(verifyObject(IExchange, self.fakes[0]))
        self.assertIs(group.tallies, group.ledger.tallies)

    def test_no_server(self) -> None:
        """A group without servers cannot be made."""
        self.assertRaises(ValueError, Group, [], Clock())

    def test_answer(self) -> None:
        """An answer comes after one round-trip and one question, and leaves nothing behind."""
        group = self.group(0.02)
        deferred = group.ask(WWW)
        self.assertAlmostEqual(self.wait(deferred), 0.02, places=2)
        self.assertEqual(self.successResultOf(deferred).origin, "upstream")
        self.assertEqual(self.sent(), [1])
        self.assertEqual(len(group.flights), 0)
        self.assertEqual(group.ledger.queries.counts, {("answer",): 1})
        self.assertEqual(group.flights, set())

    def test_silent(self) -> None:
        """A silent server is asked five times with growing pauses; at the deadline nothing is known."""
        group = self.group(None)
        deferred = group.ask(WWW)
        self.assertAlmostEqual(self.wait(deferred), 4.5, places=1)
        error = self.failureResultOf(deferred, NoAnswer).value
        self.assertEqual(error.error.code, NO_REACHABLE_AUTHORITY)
        self.assertEqual([round(when, 1) for when in self.fakes[0].times], [0.0, 0.4, 1.0, 1.9, 3.3])
        self.assertEqual(group.ledger.queries.counts, {("none",): 1})
        self.assertEqual(len(group.flights), 0)

    def test_silence_traced(self) -> None:
        """An operator who follows a question is told which servers said nothing."""
        group = self.group(None)
        query = question(from_text("www.example"), 1)
        query.trace = Trace(self.clock.seconds)
        self.wait(deferred := group.ask(query))
        self.failureResultOf(deferred, NoAnswer)
        self.clock.advance(5)
        told = [note["said"] for note in query.trace.notes]
        self.assertIn("did not answer", told)

    def test_long_deadline(self) -> None:
        """With a deadline far away a silent server is asked no more often than five times."""
        group = self.group(None, deadline=30.0)
        deferred = group.ask(WWW)
        self.assertAlmostEqual(self.wait(deferred, most=40), 30.0, places=1)
        self.failureResultOf(deferred, NoAnswer)
        self.assertEqual(self.sent(), [5])

    def test_lost_once(self) -> None:
        """A lost datagram costs less than half a second."""
        group = self.group(None)
        deferred = group.ask(WWW)
        self.clock.advance(0.1)
        self.fakes[0].delay = 0.01
        self.assertLess(self.wait(deferred), 0.45)
        self.successResultOf(deferred)
        self.assertEqual(group.ledger.asked.counts, {("first",): 1, ("retry",): 1})

    def test_late_first_reply(self) -> None:
        """A reply to the first of several questions counts, whenever it comes before the deadline."""
        group = self.group(2.0)
        deferred = group.ask(WWW)
        self.assertAlmostEqual(self.wait(deferred), 2.0, places=1)
        self.successResultOf(deferred)

    def test_refused(self) -> None:
        """A closed port is a failure at once: the client is told whose. Nobody is there: it counts as silence."""
        group = self.group(-1)
        answer = self.successResultOf(group.ask(WWW))
        self.assertEqual(answer.rcode, SERVFAIL)
        self.assertEqual(answer.errors, (ExtendedError(NETWORK_ERROR, "192.0.2.1:53: the port is closed"),))
        self.assertEqual(self.sent(), [1])
        self.assertEqual(len(group.flights), 0)
        self.assertEqual((group.servers[0].health.misses, group.servers[0].health.up), (1, True))
        for _ in range(2):
            self.clock.advance(SILENCE / 2)
            self.successResultOf(group.ask(WWW))
        self.assertFalse(group.servers[0].health.up)

    def test_failure_is_a_value(self) -> None:
        """A failure of the only server is the answer, at once; an extended error names the server and the reason."""
        for rcode, name in ((SERVFAIL, "SERVFAIL"), (REFUSED, "REFUSED"), (NOTIMP, "NOTIMP"), (FORMERR, "FORMERR")):
            group = self.group(0.01)
            self.fakes[0].rcode = rcode
            deferred = group.ask(WWW)
            self.clock.advance(0.01)
            answer = self.successResultOf(deferred)
            self.assertEqual(answer.rcode, rcode)
            self.assertEqual(answer.errors, (ExtendedError(NO_REACHABLE_AUTHORITY, f"192.0.2.1:53: {name}"),))
            self.assertEqual(self.sent(), [1])
            self.assertEqual(group.ledger.queries.counts, {("failure",): 1})
            self.assertEqual(group.ledger.unusable.counts, {(name.lower(),): 1})

    def test_bug(self) -> None:
        """An exchange that fails in a way it must not is logged once, and treated as a server that does not answer."""
        group = self.group(-1)
        self.fakes[0].error = ZeroDivisionError("ours")
        deferred = group.ask(WWW)
        self.wait(deferred)
        self.failureResultOf(deferred, NoAnswer)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_raises(self) -> None:
        """An exchange that raises, before or behind what it tells, leaves no question in flight."""
        for tells in (False, True):
            group = self.group(0)
            tell = self.fakes[0].tell

            def raising(query: Query, timeout: float, told: Any, tells: bool = tells, tell: Any = tell) -> Exchanging:
                if tells:
                    tell(query, timeout, told)
                raise ZeroDivisionError

            self.patch(self.fakes[0], "tell", raising)
            deferred = group.ask(WWW)
            self.wait(deferred)
            if tells:
                self.successResultOf(deferred)
            else:
                self.failureResultOf(deferred, NoAnswer)
                self.flushLoggedErrors(ZeroDivisionError)
            self.assertEqual((group.servers[0].inflight, len(group.flights)), (0, 0))

    def test_asked_by_a_bug(self) -> None:
        """What raises when it is told an answer is logged, and neither the server nor the next question pays for it."""
        group = self.group(0.01)
        group.tell(WWW, lambda outcome: 1 // 0)  # type: ignore[arg-type]
        self.clock.advance(0.01)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((group.servers[0].inflight, group.servers[0].health.misses, group.flights), (0, 0, set()))
        self.assertEqual(self.rcode(group), 0)


class SeveralServers(Case):
    """Choice, hedges and failures among several."""

    def test_first_question(self) -> None:
        """With one of two silent, the very first question is answered by the other in its own time."""
        for delays in ((None, 0.02), (0.02, None)):
            group = self.group(*delays)
            self.assertLess(self.wait(group.ask(WWW)), 0.05)

    def test_one_silent(self) -> None:
        """With one of two silent, every one of many questions at once is answered within 0.8 s."""
        group = self.group(None, 0.15)
        asked = [group.ask(WWW) for _ in range(200)]
        self.clock.pump([0.005] * 159)
        for deferred in asked:
            self.successResultOf(deferred)
        self.assertLess(self.wait(group.ask(WWW)), 0.2)

    def test_falls_silent(self) -> None:
        """When the better of two falls silent, a question is answered within 0.8 s, and soon without a delay."""
        group = self.group(0.02, 0.1)
        self.settle(group)
        self.fakes[0].delay = None
        times = [self.wait(group.ask(WWW)) for _ in range(50)]
        self.assertLess(max(times), 0.8)
        self.assertLess(max(times[10:]), 0.15)

    def test_known_at_once(self) -> None:
        """When the best server's answer is there at once, no other is troubled."""
        group = self.group(0, 0.1)
        self.assertEqual(self.successResultOf(group.ask(WWW)).rcode, 0)
        self.assertEqual(self.sent(), [1, 0])

    def test_no_double_load(self) -> None:
        """With two servers that answer, only one question in ten seconds is sent to both."""
        group = self.group(0.01, 0.03)
        for _ in range(1000):
            self.wait(group.ask(WWW), step=0.01)
        first, second = self.sent()
        self.assertEqual(first, 1000)
        self.assertLess(second, 4)

    def test_fastest(self) -> None:
        """The fastest is asked first, also when the order changes."""
        group = self.group(0.1, 0.02, 0.05)
        self.settle(group)
        self.assertEqual([server.text for server in group.order()], ["192.0.2.2:53", "192.0.2.3:53", "192.0.2.1:53"])
        self.fakes[0].delay = 0.001
        for _ in range(3000):
            self.wait(group.ask(WWW), step=0.01)
            self.clock.advance(0.05)
        self.assertEqual(group.order()[0].text, "192.0.2.1:53")

    def test_hedge(self) -> None:
        """A late server's answer still counts if it is the first; the other one was asked as well meanwhile."""
        group = self.group(0.02, 0.3)
        self.settle(group)
        self.fakes[0].delay = 0.15
        deferred = group.ask(WWW)
        self.assertAlmostEqual(self.wait(deferred), 0.15, places=1)
        self.assertEqual(group.ledger.asked.total("hedge"), 1)
        self.clock.advance(5)
        self.assertEqual(len(group.flights), 0)

    def test_next_after_failure(self) -> None:
        """A server that says it cannot answer is followed by the next at once."""
        for rcode in (SERVFAIL, REFUSED, NOTIMP, FORMERR):
            group = self.group(0.01, 0.02)
            self.settle(group)
            self.fakes[0].rcode = rcode
            deferred = group.ask(WWW)
            self.assertLess(self.wait(deferred), 0.04)
            self.assertEqual(self.successResultOf(deferred).rcode, 0)
            self.assertEqual(group.ledger.asked.total("next"), 1)

    def test_nxdomain_is_an_answer(self) -> None:
        """NXDOMAIN is an answer: no other server is asked."""
        group = self.group(0.01, 0.02)
        self.settle(group)
        before = self.sent()[1]
        self.fakes[0].rcode = NXDOMAIN
        self.assertEqual(self.rcode(group), NXDOMAIN)
        self.assertEqual(self.sent()[1], before)

    def test_best_failure(self) -> None:
        """When all servers say they cannot answer, the answer is the one that tells most: SERVFAIL before REFUSED."""
        for first, second in ((REFUSED, SERVFAIL), (SERVFAIL, REFUSED)):
            group = self.group(0.01, 0.02)
            self.fakes[0].rcode, self.fakes[1].rcode = first, second
            self.settle(group)
            self.assertEqual(self.rcode(group), SERVFAIL)

    def test_failure_and_silence(self) -> None:
        """One server that cannot answer and one that is silent: the failure is told when patience is over."""
        group = self.group(0.01, None)
        self.settle(group)
        self.fakes[0].rcode = SERVFAIL
        deferred = group.ask(WWW)
        self.assertLess(self.wait(deferred), 0.8)
        self.assertEqual(self.successResultOf(deferred).rcode, SERVFAIL)

    def test_refused_and_failure(self) -> None:
        """One server whose port is closed and one that cannot answer: the failure is told at once."""
        group = self.group(0.01, 0.02)
        self.settle(group)
        self.fakes[0].delay, self.fakes[1].rcode = -1, REFUSED
        self.assertEqual(self.rcode(group), REFUSED)

    def test_port_closed(self) -> None:
        """A closed port costs no time: the next server is asked at once."""
        group = self.group(0.01, 0.02)
        self.settle(group)
        self.fakes[0].delay = -1
        self.assertLess(self.wait(group.ask(WWW)), 0.03)

    def test_heard_of_in_time(self) -> None:
        """A server that said in time that there is more to say is not silent, however long the rest takes."""
        group = self.group(0.01)
        self.settle(group)
        self.fakes[0].delay, self.fakes[0].heard = 3.0, 0.01
        asked = []
        for _ in range(10):
            asked.append(group.ask(WWW))
            self.clock.pump([0.01] * 25)
        health = group.servers[0].health
        self.assertEqual((health.up, health.misses), (True, 0))
        self.clock.pump([0.01] * 400)
        self.assertEqual([self.successResultOf(one).rcode for one in asked], [0] * 10)
        self.assertEqual((health.up, health.misses), (True, 0))
        self.assertAlmostEqual(health.rtt or 0.0, 0.01, places=2)

    def test_failure_waits_for_hedge(self) -> None:
        """A failure does not end a question while another server that was asked may still answer."""
        group = self.group(0.02, 0.06)
        self.settle(group)
        self.fakes[0].delay, self.fakes[0].rcode = 0.12, SERVFAIL
        self.fakes[1].delay = 0.1
        deferred = group.ask(WWW)
        self.wait(deferred)
        self.assertEqual(self.successResultOf(deferred).rcode, 0)

    def test_refuser_is_avoided(self) -> None:
        """A server that only ever refuses is not asked first for long."""
        group = self.group(0.01, 0.02)
        self.fakes[0].rcode = REFUSED
        self.settle(group)
        before = self.sent()[0]
        self.settle(group, 50)
        self.assertLess(self.sent()[0] - before, 3)

    def test_all_silent(self) -> None:
        """With all servers silent every one is tried more than once, and the question ends at the deadline."""
        group = self.group(None, None, deadline=3.0)
        deferred = group.ask(WWW)
        self.assertAlmostEqual(self.wait(deferred), 3.0, places=1)
        self.failureResultOf(deferred, NoAnswer)
        self.assertTrue(all(2 <= sent <= 4 for sent in self.sent()), self.sent())
        self.clock.advance(0.01)
        self.assertEqual(len(group.flights), 0)


class Ends(Case):
    """Cancelling, closing, and what is told."""

    def test_cancel(self) -> None:
        """Cancelling stops everything: no timer is left, nothing is in flight, no server is blamed."""
        group = self.group(None, None)
        deferred = group.ask(WWW)
        self.clock.advance(0.3)
        deferred.cancel()
        self.failureResultOf(deferred, CancelledError)
        self.assertEqual(len(group.flights), 0)
        self.assertEqual([state["inflight"] for state in group.state()], [0, 0])
        self.assertEqual(group.ledger.queries.counts, {("cancelled",): 1})

    def test_close(self) -> None:
        """Closing fails what is under way, also what waits for its next attempt, and leaves no timer."""
        group = self.group(None, None)
        waiting = group.ask(WWW)
        group.close()
        self.failureResultOf(waiting, NoAnswer)
        alone = self.group(None)
        paused = alone.ask(WWW)
        self.clock.advance(0.3)
        alone.close()
        self.failureResultOf(paused, NoAnswer)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close_after_a_failure(self) -> None:
        """A question that one server has refused, while another is silent, ends with that refusal at closing."""
        group = self.group(0.01, 0.02)
        self.settle(group)
        self.fakes[0].rcode, self.fakes[1].delay = REFUSED, None
        asked = group.ask(WWW)
        self.clock.advance(0.05)
        self.assertNoResult(asked)
        group.close()
        self.assertEqual(self.successResultOf(asked).rcode, REFUSED)

    def test_close_a_deaf_exchange(self) -> None:
        """Closing ends every question, also where the way to a server does not say that it is closed."""
        group = self.group(None)
        self.patch(self.fakes[0], "close", lambda: None)
        asked = group.ask(WWW)
        group.close()
        self.failureResultOf(asked, NoAnswer)
        self.fakes[0].delay = None
        for deferred, timer in list(self.fakes[0].waiting.items()):
            timer.cancel()
            deferred.callback(judge(self.fakes[0]._response(WWW), WWW, WITH_OPT))
        self.assertEqual((group.flights, self.clock.getDelayedCalls()), (set(), []))

    def test_answered_before_a_look(self) -> None:
        """Where the first server answers at once nobody else is asked along with it, though one is due."""
        group = self.group(0, 0.01)
        self.successResultOf(group.ask(WWW))
        self.clock.advance(LOOK)
        self.successResultOf(group.ask(WWW))
        self.assertEqual(self.sent(), [2, 0])

    def test_told_once(self) -> None:
        """A change of health is one line in the log, each way."""
        group = self.group(None, 0.02)
        with capturedLogs() as logs:
            for _ in range(200):
                self.wait(group.ask(WWW))
                self.clock.advance(0.1)
        self.assertEqual([event["log_level"].name for event in logs], ["warn"])
        self.assertEqual(logs[0]["server"], "192.0.2.1:53")
        self.assertFalse(group.state()[0]["up"])
        self.fakes[0].delay = 0.01
        with capturedLogs() as logs:
            for _ in range(400):
                self.wait(group.ask(WWW))
                self.clock.advance(0.1)
        self.assertEqual([event["log_level"].name for event in logs], ["info"])
        self.assertTrue(group.state()[0]["up"])

    def test_down_is_spared(self) -> None:
        """A server that is down gets a probe now and then, and no question waits for it."""
        group = self.group(None, 0.02)
        for _ in range(100):
            self.wait(group.ask(WWW))
            self.clock.advance(0.1)
        before = self.sent()[0]
        times = []
        for _ in range(600):
            times.append(self.wait(group.ask(WWW)))
            self.clock.advance(0.1)
        self.assertLess(self.sent()[0] - before, 6)
        self.assertLess(max(times), 0.05)

    def test_all_down(self) -> None:
        """When all are down all are tried, and the first reply brings a server back."""
        group = self.group(None, None)
        for _ in range(3):
            deferred = group.ask(WWW)
            self.wait(deferred)
            self.failureResultOf(deferred, NoAnswer)
        self.assertEqual([state["up"] for state in group.state()], [False, False])
        self.fakes[1].delay = 0.02
        self.assertLess(self.wait(group.ask(WWW)), 0.8)
        self.assertEqual([state["up"] for state in group.state()], [False, True])

    def test_ad(self) -> None:
        """The AD bit is passed on only where the way to the servers is trusted (RFC 6840, 5.8)."""
        for trust in (False, True):
            group = self.group(0.01, trust_ad=trust)
            self.fakes[0].flags = AD
            deferred = group.ask(WWW)
            self.wait(deferred)
            self.assertEqual(bool(self.successResultOf(deferred).flags & AD), trust)

    def test_gauges(self) -> None:
        """The gauges tell by server whether it is up, its round-trip time, and what waits for it."""
        group = self.group(0.02, None)
        self.wait(group.ask(WWW))
        read = {tally.name: tally.read() for tally in group.tallies if hasattr(tally, "read")}
        self.assertEqual(read["heimdall_fetch_upstream_up"], {"192.0.2.1:53": 1.0, "192.0.2.2:53": 1.0})
        self.assertEqual(read["heimdall_fetch_inflight_queries"], {"192.0.2.1:53": 0.0, "192.0.2.2:53": 1.0})
        rtts = read["heimdall_fetch_upstream_rtt_seconds"]
        assert not isinstance(rtts, float)
        self.assertAlmostEqual(rtts["192.0.2.1:53"], 0.02, places=2)

    def test_failing(self) -> None:
        """A server that fails again and again is asked last, with one line in the log; so is its first answer told."""
        group = self.group(0.01, 0.02)
        self.settle(group)
        self.fakes[0].rcode = REFUSED
        with capturedLogs() as logs:
            for _ in range(FAILURES * 20):
                self.rcode(group)
                self.clock.advance(1)
        self.assertEqual([event["log_level"].name for event in logs], ["warn"])
        self.assertEqual((logs[0]["server"], logs[0]["reason"]), ("192.0.2.1:53", "REFUSED"))
        self.assertTrue(group.state()[0]["up"])
        self.fakes[0].rcode = 0
        with capturedLogs() as logs:
            for _ in range(20):
                self.rcode(group)
                self.clock.advance(1)
        self.assertEqual([event["log_level"].name for event in logs], ["info"])

    def test_name_in_trouble(self) -> None:
        """FORMERR to one name does not count against the server: it may be the name (RFC 6891, 6.2.2)."""
        group = self.group(0.01)
        self.fakes[0].rcode = FORMERR
        self.rcode(group)
        self.assertEqual(group.servers[0].health.errors, 0)

    def test_unusual_codes(self) -> None:
        """A code that is no answer to a question sends it to the next server, and means nothing to a client."""
        for rcode, told in ((9, SERVFAIL), (16, SERVFAIL), (23, SERVFAIL)):
            group = self.group(0.01, 0.02)
            self.settle(group)
            self.fakes[0].rcode = rcode
            self.assertEqual(self.rcode(group), 0)
            self.fakes[1].rcode = rcode
            self.assertEqual(self.rcode(group), told)
            self.clock.advance(10)

    def test_frozen(self) -> None:
        """A process that stood still past the deadline asks nobody else: the question is over."""
        group = self.group(0.05, 0.06)
        self.settle(group)
        before = self.sent()
        deferred = group.ask(WWW)
        self.fakes[0].waiting[next(iter(self.fakes[0].waiting))].cancel()
        self.clock.rightNow += 6
        self.fakes[0]._end(next(iter(self.fakes[0].waiting)), silent("too late"))
        self.failureResultOf(deferred, NoAnswer)
        self.assertEqual(self.sent(), [before[0] + 1, before[1]])
        self.clock.advance(10)

    def test_close_and_cancel(self) -> None:
        """Who cancels another question when his own fails at the end keeps nobody from being told."""
        group = self.group(None)
        asked = [group.ask(WWW) for _ in range(3)]
        asked[0].addErrback(lambda _: asked[1].cancel())
        told = [each.addErrback(lambda failure: None) for each in asked]
        group.close()
        for each in told:
            self.successResultOf(each)
