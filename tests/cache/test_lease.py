"""One flight per question in the cluster."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from heimdall.cache.entry import to_bytes
from heimdall.cache.flight import AGAIN, MOST
from heimdall.cache.lease import LASTS, LONGEST, SHORTEST, TRY_AGAIN, Leases
from heimdall.cache.seal import Seal
from heimdall.interfaces import NoAnswer
from heimdall.message.answer import Answer
from heimdall.message.edns import ExtendedError
from heimdall.message.query import Query
from heimdall.peers.notices import Notices
from heimdall.tally import Count
from tests.cache.leasing import Member
from tests.cache.questions import failure, positive, question
from tests.fakelink import FakeLink

KEY = b"heimdall:c1:" + question().key
LEASE = b"heimdall:l1:" + question().key


class Case(SynchronousTestCase):
    """Three nodes on one Redis."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.one = Member(self.clock)
        self.two, self.three = Member(self.clock, self.one), Member(self.clock, self.one)

    def ask(self, node: Member, query: Query | None = None) -> Deferred[Answer]:
        """Ask a node, and let its look-up go out."""
        asked = node.shared.ask(query or question())
        self.turn()
        return asked

    def turn(self, seconds: float = 0.0) -> None:
        """Let time pass, and what was put off to the next turn be done."""
        self.clock.advance(0)
        self.clock.advance(seconds)
        for _ in range(3):
            self.clock.advance(0)

    def pass_time(self, seconds: float) -> None:
        """Let time pass in steps of some milliseconds."""
        for _ in range(round(seconds / 0.005)):
            self.turn(0.005)

    def questions(self) -> int:
        """How often upstreams were asked."""
        return sum(len(node.source.asked) for node in (self.one, self.two, self.three))

    def tearDown(self) -> None:
        """No lease is left in Redis, and nobody is left waiting."""
        self.turn(10)
        for node in (self.one, self.two, self.three):
            self.assertEqual(node.leases._waiting, {})
        left = [key for key, value in self.one.link.values.items() if value[:1] == b"\0"]
        self.assertEqual(left, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Flights(Case):
    """A question that no node knows."""

    def test_one_for_all(self) -> None:
        """One node asks; the others are woken with its answer, from Redis, and know it is the same."""
        asked = [self.ask(node) for node in (self.one, self.two, self.three)]
        self.assertEqual(self.questions(), 1)
        self.turn(0.1)
        self.one.source.give(positive())
        self.turn()
        origins = [self.successResultOf(each).origin for each in asked]
        self.assertEqual((origins, self.questions()), (["upstream", "redis", "redis"], 1))
        self.assertNotEqual(self.one.link.values[KEY][0], 0)

    def test_counted(self) -> None:
        """A lease that is given up is counted as that, and not as something that was stored."""
        for told in (failure(), positive()):
            asked = self.ask(self.one)
            self.one.source.give(told)
            self.turn()
            self.successResultOf(asked)
        [writes] = [tally for tally in self.one.shared.tallies if tally.name == "heimdall_cache_redis_writes_total"]
        assert isinstance(writes, Count)
        self.assertEqual(writes.counts, {("released",): 1, ("stored",): 1})

    def test_leader_dies(self) -> None:
        """When nobody renews a lease one follower takes the leader's place, within half a second."""
        dead = self.ask(self.one)
        self.one.link.become(up=False, hearing=False)
        asked = [self.ask(node) for node in (self.two, self.three)]
        self.pass_time(LASTS - 0.01)
        self.assertEqual(self.questions(), 1)
        self.pass_time(AGAIN + 0.01)
        self.assertEqual(self.questions(), 2)
        leader = self.two if self.two.source.asked else self.three
        leader.source.give(positive())
        self.turn()
        self.assertEqual(sorted(self.successResultOf(each).origin for each in asked), ["redis", "upstream"])
        self.assertEqual(self.questions(), 2)
        dead.cancel()
        self.failureResultOf(dead, CancelledError)

    def test_slow_upstream(self) -> None:
        """A leader that is alive is waited for as long as the upstream usually takes: one question, however slow."""
        for usual, data in ((None, "192.0.2.1"), (1.5, "192.0.2.2")):
            for node in (self.one, self.two, self.three):
                if usual is not None:
                    node.leases.took(usual)
                node.source.asked.clear()
            self.one.link.values.clear()
            asked = [self.ask(node) for node in (self.one, self.two, self.three)]
            self.pass_time(1.5)
            self.assertEqual(self.questions(), 1)
            self.one.source.give(positive(data=data))
            self.turn()
            self.assertEqual([self.successResultOf(each).origin for each in asked], ["upstream", "redis", "redis"])

    def test_impatient(self) -> None:
        """A leader that is alive and takes longer than the upstream usually does is not waited for."""
        for _ in range(20):
            self.two.leases.took(0.02)
        self.ask(self.one)
        asked = self.ask(self.two)
        self.pass_time(self.two.leases.patience + 0.01)
        self.two.source.give(positive())
        self.assertEqual(self.successResultOf(asked).origin, "upstream")
        self.one.source.give(positive())
        self.turn()

    def test_many_hang(self) -> None:
        """When upstreams hang only so many leases are renewed: Redis is not flooded with looks at them."""
        waiting = [self.ask(self.one, question(f"host{number}.example")) for number in range(MOST + 50)]
        self.pass_time(LASTS - AGAIN)
        self.one.link.commands.clear()
        self.pass_time(AGAIN)
        self.assertEqual(sum(int(command[2]) for command in self.one.link.commands if command[0] == "EVALSHA"), MOST)
        for asked in waiting:
            asked.cancel()
            self.failureResultOf(asked, CancelledError)

    def test_wake_is_lost(self) -> None:
        """A follower that is not woken finds the answer when it looks again."""
        self.ask(self.one)
        asked = self.ask(self.two)
        self.two.link.become(hearing=False)
        self.one.source.give(positive())
        self.turn()
        self.assertNoResult(asked)
        self.pass_time(2 * AGAIN + 0.01)
        self.assertEqual(self.successResultOf(asked).origin, "redis")

    def test_lease_is_lost(self) -> None:
        """A leader whose lease was lost takes it again, or the answer that was stored in its place."""
        asked = self.ask(self.one)
        self.one.link.values.clear()
        self.pass_time(2 * AGAIN + 0.01)
        self.assertEqual(self.one.link.values[KEY], b"\0" + self.one.leases.token)
        now = self.one.link.now() or 0.0
        self.one.link.values[KEY] = to_bytes(positive(), question().key, now, Seal())
        self.pass_time(AGAIN + 0.01)
        self.assertEqual(self.successResultOf(asked).origin, "redis")

    def test_leader_fails(self) -> None:
        """A leader that learnt nothing says so at once: a failure is not shared, the others ask for themselves."""
        for told in (failure(), NoAnswer("silent", ExtendedError(22)), positive(ttl=0)):
            first, second = self.ask(self.one), self.ask(self.two)
            self.assertEqual(len(self.two.source.asked), 0)
            self.one.source.give(told)
            self.turn()
            self.two.source.give(positive(ttl=0))
            self.assertEqual(self.successResultOf(second).origin, "upstream")
            if isinstance(told, Answer):
                self.successResultOf(first)
            else:
                self.failureResultOf(first, NoAnswer)
            self.two.source.asked.clear()
            self.turn()

    def test_leader_gives_up(self) -> None:
        """When the leader's question is called off one of the followers takes its place at once."""
        first, *others = (self.ask(node) for node in (self.one, self.two, self.three))
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.turn()
        self.assertEqual(self.questions(), 2)
        self.two.source.give(positive())
        self.turn()
        self.assertEqual([self.successResultOf(each).origin for each in others], ["upstream", "redis"])

    def test_leader_again(self) -> None:
        """A node that asks again for what it asks already goes ahead: it would wait for itself."""
        first, again = self.ask(self.one), self.ask(self.one)
        self.assertEqual(self.questions(), 2)
        for _, waiting in self.one.source.asked:
            waiting.callback(positive())
        self.successResultOf(first)
        self.successResultOf(again)
        self.turn()

    def test_deaf(self) -> None:
        """A node that would not hear that it is woken asks for itself at once."""
        self.ask(self.one)
        self.two.link.become(hearing=False)
        asked = self.ask(self.two)
        self.two.source.give(positive())
        self.assertEqual(self.successResultOf(asked).origin, "upstream")
        self.one.source.give(positive())
        self.turn()

    def test_follower_leaves(self) -> None:
        """A follower that is called off waits for nothing."""
        self.ask(self.one)
        asked = self.ask(self.two)
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.one.source.give(positive())
        self.turn()
        self.assertEqual(len(self.two.source.asked), 0)

    def test_woken_too_late(self) -> None:
        """A follower that asks for itself already takes whichever answer comes first."""
        self.ask(self.one)
        asked = self.ask(self.two)
        self.pass_time(LONGEST + 0.01)
        self.assertEqual(len(self.two.source.asked), 1)
        self.two.source.give(positive(data="192.0.2.9"))
        self.assertEqual(self.successResultOf(asked).origin, "upstream")
        self.one.source.give(positive())
        self.turn()

    def test_forged_wake(self) -> None:
        """A wake with a value that is no answer makes the follower ask for itself."""
        self.ask(self.one)
        asked = self.ask(self.two)
        payload = len(KEY).to_bytes(2, "big") + KEY + b"\1rubbish"
        self.three.notices.tell(b"W", payload, self.two.notices.token)
        self.turn()
        self.two.source.give(positive())
        self.assertEqual(self.successResultOf(asked).origin, "upstream")
        self.one.source.give(positive())
        self.turn()

    def test_scripts_not_allowed(self) -> None:
        """Where a user may run no scripts, every node asks for itself, and answers are shared all the same.

        Now and then they are tried again: the right may have been given.
        """
        self.one.link.refusal = {"EVALSHA": "NOPERM this user has no permissions to run the 'evalsha' command"}
        asked = self.ask(self.one)
        self.one.source.give(positive())
        self.successResultOf(asked)
        self.turn()
        self.ask(self.one, question("b.example"))
        self.assertIn("MGET", self.one.link.names())
        self.one.source.give(positive("b.example"))
        self.turn()
        self.assertIn("SET", self.one.link.names())
        self.assertFalse(self.one.leases.usable)
        self.clock.advance(TRY_AGAIN)
        self.assertTrue(self.one.leases.usable)

    def test_another_right(self) -> None:
        """Where it is not scripts that a user may not run, leases are taken all the same."""
        self.one.leases.refused("NOPERM this user has no permissions to access one of the keys used as arguments")
        self.assertTrue(self.one.leases.usable)

    def test_unknown_script(self) -> None:
        """A Redis that does not know a script, since it was restarted, is sent the whole of it."""
        self.one.link.refusal = {"EVALSHA": "NOSCRIPT No matching script"}
        asked = self.ask(self.one)
        self.assertIn("EVAL", self.one.link.names())
        self.one.source.give(positive())
        self.successResultOf(asked)
        self.one.link.refusal = {}
        self.one.link.values.clear()
        self.turn()


class Better(Case):
    """A question to which Redis has an answer that is not good enough."""

    def setUp(self) -> None:
        super().setUp()
        self.ask(self.one)
        self.one.source.give(positive(ttl=60))
        self.turn()
        for node in (self.one, self.two, self.three):
            node.source.asked.clear()

    def test_refresh(self) -> None:
        """A refresh is one question of one node, and what it brings reaches the other that wanted it."""
        self.turn(55)
        first = self.ask(self.one, question().again(5.0))
        second = self.ask(self.two, question().again(5.0))
        self.assertEqual(self.questions(), 1)
        self.one.source.give(positive(ttl=60))
        self.turn()
        self.assertEqual([self.successResultOf(each).origin for each in (first, second)], ["upstream", "redis"])

    def test_old_look(self) -> None:
        """Who saw the old answer, and comes for the lease when a new one was stored, finds the new one."""
        self.turn(55)
        first = self.ask(self.one, question().again(5.0))
        self.two.link.holding = True
        second = self.ask(self.two, question().again(5.0))
        self.two.link.release()
        self.two.link.holding = True
        self.turn()
        self.one.source.give(positive(ttl=60))
        self.turn()
        self.two.link.release()
        self.turn()
        self.assertEqual([self.successResultOf(each).origin for each in (first, second)], ["upstream", "redis"])
        self.assertEqual(self.questions(), 1)

    def test_stale(self) -> None:
        """A stale answer is renewed by one node; if that takes too long, the others give what is stale."""
        self.turn(100)
        first, second = self.ask(self.one), self.ask(self.two)
        self.assertEqual(self.questions(), 1)
        self.turn(1.8)
        self.assertEqual([self.successResultOf(each).origin for each in (first, second)], ["stale", "stale"])
        self.one.source.give(positive())
        if self.two.source.asked:
            self.two.source.give(positive())
        self.turn()

    def test_stale_and_nothing_better(self) -> None:
        """When the leader learns nothing, the others ask, and give what is stale when they learn nothing either."""
        self.turn(100)
        first, second = self.ask(self.one), self.ask(self.two)
        self.one.source.give(failure())
        self.turn()
        self.two.source.give(failure())
        self.assertEqual([self.successResultOf(each).origin for each in (first, second)], ["stale", "stale"])
        self.assertNotIn(LEASE, self.one.link.values)


class Patience(SynchronousTestCase):
    """How long a follower waits."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.leases = Leases(Notices(FakeLink(self.clock), self.clock), self.clock)

    def test_unknown(self) -> None:
        """While nothing is known of the upstream, a follower waits as long as it may."""
        self.assertEqual(self.leases.patience, LONGEST)

    def test_learnt(self) -> None:
        """It waits a little longer than the upstream usually takes, within bounds."""
        for _ in range(50):
            self.leases.took(0.05)
        self.assertTrue(0.1 <= self.leases.patience < 0.15, self.leases.patience)
        for _ in range(100):
            self.leases.took(0.001)
        self.assertEqual(self.leases.patience, SHORTEST)
        for _ in range(100):
            self.leases.took(3.0)
        self.assertEqual(self.leases.patience, LONGEST)

    def test_little_time(self) -> None:
        """Where a query has little time a follower waits for a part of it only, whatever the upstream does."""
        leases = Leases(Notices(FakeLink(self.clock), self.clock), self.clock, longest=1.0)
        self.assertEqual(leases.patience, 1.0)
        for _ in range(100):
            leases.took(3.0)
        self.assertEqual(leases.patience, 1.0)


class Rubbish(Case):
    """A question under whose key something lies that is no answer."""

    def test_one_asks(self) -> None:
        """One node asks for an answer in place of the rubbish; the others are woken with it."""
        self.one.link.values[KEY] = b"\1rubbish"
        asked = [self.ask(node) for node in (self.one, self.two, self.three)]
        self.assertEqual(self.questions(), 1)
        self.one.source.give(positive())
        self.turn()
        origins = [self.successResultOf(each).origin for each in asked]
        self.assertEqual((origins, self.questions()), (["upstream", "redis", "redis"], 1))

    def test_thrown_away(self) -> None:
        """Rubbish in place of an answer that may not be kept is gone, and not looked at again and again."""
        self.one.link.values[KEY] = b"\1rubbish"
        asked = self.ask(self.one)
        self.one.source.give(positive(ttl=0))
        self.successResultOf(asked)
        self.turn()
        self.assertNotIn(KEY, self.one.link.values)
