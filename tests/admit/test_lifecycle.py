"""Policies from their start to their end, and what they may ask of the server in between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock, LoopingCall
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from heimdall.admit.lifecycle import MOST_NAMES, START, STOP, CannotStart, Lifecycle
from heimdall.admit.policy import Policy, policy
from heimdall.interfaces import IHost, IPolicy
from heimdall.message.passed import Changes
from heimdall.message.query import Query
from tests.admit.asking import logged


@implementer(IPolicy)
class Bare:
    """A policy without a life of its own."""

    def judge(self, query: Query) -> None:
        """Let everything pass."""


class Lives(Bare):
    """One with both hooks, of which the test says what they return."""

    def __init__(self, start: Any = None, stop: Any = None) -> None:
        self.calls: list[str] = []
        self.host: Any = None
        self._start, self._stop = start, stop

    def start(self, host: Any) -> Any:
        self.calls.append("start")
        self.host = host
        if isinstance(self._start, Exception):
            raise self._start
        return self._start

    def stop(self) -> Any:
        self.calls.append("stop")
        if isinstance(self._stop, Exception):
            raise self._stop
        return self._stop


class Alone(Lives):
    """One that has no need of the host."""

    def start(self) -> Any:  # type: ignore[override]
        return super().start(None)


class Coroutine(Lives):
    """One that waits in a coroutine."""

    async def start(self, host: Any) -> None:
        await super().start(host)


class Loops(Bare):
    """One that looks now and then."""

    def __init__(self) -> None:
        self.looks = 0
        self.loop = LoopingCall(self.look)

    def look(self) -> None:
        self.looks += 1

    def start(self, host: Any) -> None:
        self.loop.clock = host.reactor
        self.loop.start(1.0)

    def stop(self) -> None:
        self.loop.stop()


class Case(SynchronousTestCase):
    """The policies of a path."""

    def setUp(self) -> None:
        self.clock, self.changes = Clock(), Changes()
        self.wanted: list[Sequence[bytes] | None] = []

    def lifecycle(self, *owns: Bare) -> Lifecycle:
        """Return that of some policies, which lead."""
        gates: list[Policy] = [
            policy(f"house.P{number}", own, self.clock, self.changes) for number, own in enumerate(owns)
        ]
        policies = Lifecycle(gates, self.clock, self.changes)
        policies.leads = True
        policies.heard.append(self.wanted.append)
        return policies


class Starting(Case):
    """The start."""

    def test_order(self) -> None:
        """Each is started once; those that have no hook, want no host, or wait in a coroutine are no special case."""
        ready: Deferred[None] = Deferred()
        lives, alone, waits = Lives(), Alone(), Coroutine(ready)
        started = self.lifecycle(Bare(), lives, alone, waits).start()
        self.assertNoResult(started)
        ready.callback(None)
        self.assertIsNone(self.successResultOf(started))
        self.assertEqual([own.calls for own in (lives, alone, waits)], [["start"]] * 3)
        verifyObject(IHost, lives.host)

    def test_waits(self) -> None:
        """All of those that say that they are not ready are waited for."""
        waits: list[Deferred[None]] = [Deferred(), Deferred()]
        started = self.lifecycle(*map(Lives, waits)).start()
        waits[1].callback(None)
        self.assertNoResult(started)
        waits[0].callback(None)
        self.successResultOf(started)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_bound(self) -> None:
        """One that takes too long is asked all the same; once it is ready, all is judged again."""
        ready: Deferred[None] = Deferred()
        policies = self.lifecycle(Lives(ready))
        started = policies.start()
        lines = logged(self)
        self.clock.advance(START)
        self.successResultOf(started)
        self.assertIn("house.P0 is not ready after 10 s", lines[-1])
        ready.callback(None)
        self.assertIn("house.P0 is ready now", lines[-1])
        self.assertEqual((self.wanted, self.changes.number), ([None], 1))

    def test_late_failure(self) -> None:
        """One that fails when it is asked already is told of in a line, and not stopped."""
        ready: Deferred[None] = Deferred()
        own = Lives(ready)
        policies = self.lifecycle(own)
        policies.start()
        self.clock.advance(START)
        lines = logged(self)
        ready.errback(OSError("no list"))
        self.assertIn("house.P0 could not start: no list (OSError)", lines[-1])
        self.successResultOf(policies.stop())
        self.assertEqual(own.calls, ["start"])

    def test_failure(self) -> None:
        """One that raises, at once or later, fails the start, with its name and what it said; the others stop."""
        for start in (ZeroDivisionError("too small"), fail(ZeroDivisionError("too small"))):
            waiting: Deferred[None] = Deferred()
            fine, waits, wrong = Lives(), Lives(waiting), Lives(start)
            policies = self.lifecycle(fine, waits, wrong)
            error = self.failureResultOf(policies.start(), CannotStart).value
            self.assertEqual(str(error), "the policy house.P2 could not start: too small (ZeroDivisionError)")
            self.assertIsInstance(error, ValueError)
            self.successResultOf(policies.stop())
            self.assertEqual([own.calls for own in (fine, waits, wrong)], [["start", "stop"]] * 2 + [["start"]])
            self.assertTrue(waiting.called)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_given_up(self) -> None:
        """A start that is given up waits for nobody, and what comes of it later is of no interest."""
        ready: Deferred[None] = Deferred(lambda _: None)
        own = Lives(ready)
        policies = self.lifecycle(own)
        started = policies.start()
        started.cancel()
        self.failureResultOf(started, CancelledError)
        self.successResultOf(policies.stop())
        self.assertEqual((own.calls, self.clock.getDelayedCalls()), (["start", "stop"], []))


class Stopping(Case):
    """The end."""

    def test_once(self) -> None:
        """The last that started is stopped first, each of them once; what they did by themselves is over."""
        one, two = Loops(), Loops()
        policies = self.lifecycle(one, Bare(), two)
        self.successResultOf(policies.start())
        self.clock.pump([1.0] * 3)
        self.assertEqual((one.looks, two.looks), (4, 4))
        for _ in range(2):
            self.successResultOf(policies.stop())
        self.clock.pump([1.0] * 3)
        self.assertEqual((one.looks, two.looks, self.clock.getDelayedCalls()), (4, 4, []))

    def test_bound(self) -> None:
        """One that does not stop in time, or fails to, is told of in a line; nobody waits for it any longer."""
        owns = Lives(stop=Deferred()), Lives(stop=ZeroDivisionError("never")), Lives()
        policies = self.lifecycle(*owns)
        policies.start()
        lines = logged(self)
        stopped = policies.stop()
        self.assertNoResult(stopped)
        self.clock.advance(STOP)
        self.successResultOf(stopped)
        said = "\n".join(lines)
        for part in ("house.P0 did not stop: it takes more than 5 s", "house.P1 did not stop: never (ZeroDiv"):
            self.assertIn(part, said)
        self.assertEqual([own.calls for own in owns], [["start", "stop"]] * 3)


class Changing(Case):
    """Policies that change their minds."""

    def start(self) -> tuple[Lifecycle, Any]:
        """Return the lifecycle of a policy, and what that is given."""
        own = Lives()
        policies = self.lifecycle(own)
        self.successResultOf(policies.start())
        return policies, own.host

    def test_names(self) -> None:
        """Names are taken as texts or as on the wire, one alone too, in any case, each once."""
        _, host = self.start()
        host.changed(["A.Example", b"\1b\7EXAMPLE\0", "a.example"])
        host.changed("c.example")
        host.changed()
        self.assertEqual(self.wanted, [[b"\1a\7example\0", b"\1b\7example\0"], [b"\1c\7example\0"], None])
        self.assertEqual(self.changes.number, 3)

    def test_no_names(self) -> None:
        """What is no name is an error of the policy, and changes nothing."""
        _, host = self.start()
        for wrong in ("a..b", b"\1a", b"", b"\1a\0\0", b"\xc0\x0c"):
            self.assertRaises(ValueError, host.changed, [wrong])
        self.assertEqual((self.wanted, self.changes.number), ([], 0))

    def test_many(self) -> None:
        """Where there are too many names to be flushed one by one, all that is held is judged."""
        _, host = self.start()
        for number in (MOST_NAMES, MOST_NAMES + 1):
            host.changed(f"n{each}.example" for each in range(number))
        self.assertEqual([wanted and len(wanted) for wanted in self.wanted], [MOST_NAMES, None])

    def test_not_asked(self) -> None:
        """A policy that nobody asks, not yet or not any more, has nothing judged."""
        policies, host = self.start()
        policies.rest()
        host.changed()
        self.assertEqual(self.wanted, [])
