"""Tests of how one server's replies are weighed."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from heimdall.fetch.health import LAST_PROBE, LONGEST, LOOK, SHORTEST, UNKNOWN, Health


class RoundTrips(SynchronousTestCase):
    """The round-trip time, and what follows from it."""

    def test_smoothed(self) -> None:
        """The round-trip time follows RFC 6298: the first as it is, each later one by an eighth."""
        health = Health()
        health.replied(0.08)
        self.assertEqual(health.rtt, 0.08)
        health.replied(0.16)
        self.assertAlmostEqual(health.rtt or 0, 0.09)

    def test_after_a_pause(self) -> None:
        """What is heard after a long pause counts for more: a server that was slow once is not slow for ever."""
        health = Health()
        health.replied(2.0)
        for look in range(1, 5):
            health.asked(look * LOOK)
            health.replied(0.01)
        self.assertLess(health.rtt or 0, 0.2)
        health.asked(4 * LOOK + 0.1)
        health.replied(1.0)
        self.assertLess(health.rtt or 0, 0.3)

    def test_patience(self) -> None:
        """A server is waited for three round-trips, but never less or more than the bounds."""
        health = Health()
        self.assertEqual(health.patience, UNKNOWN)
        health.replied(0.001)
        self.assertEqual(health.patience, SHORTEST)
        for _ in range(50):
            health.replied(0.07)
        self.assertAlmostEqual(health.patience, 0.21, places=2)
        for _ in range(50):
            health.replied(3.0)
        self.assertEqual(health.patience, LONGEST)

    def test_uneven(self) -> None:
        """A server whose times vary is waited for longer."""
        even, uneven = Health(), Health()
        for number in range(40):
            even.replied(0.05)
            uneven.replied(0.01 if number % 2 else 0.09)
        self.assertGreater(uneven.patience, even.patience)

    def test_score(self) -> None:
        """The faster of two servers is the better one, until it misses a question or says it cannot answer."""
        fast, slow = Health(), Health()
        fast.replied(0.01)
        slow.replied(0.02)
        self.assertLess(fast.score, slow.score)
        fast.missed(0, 0.1)
        self.assertGreater(fast.score, slow.score)
        fast.replied(0.01)
        self.assertLess(fast.score, slow.score)
        fast.failed()
        fast.failed()
        self.assertGreater(fast.score, slow.score)
        fast.succeeded()
        self.assertLess(fast.score, slow.score)


class UpAndDown(SynchronousTestCase):
    """When a server counts as down, and when it is looked at again."""

    def test_down(self) -> None:
        """Three questions in vain over 1.5 s and no reply between them make a server down, and that is told once."""
        health = Health()
        self.assertFalse(health.missed(0.0, 0.25))
        self.assertFalse(health.missed(0.1, 0.3))
        self.assertFalse(health.missed(0.2, 0.5))
        self.assertTrue(health.up)
        self.assertTrue(health.missed(1.0, 1.6))
        self.assertFalse(health.up)
        self.assertFalse(health.missed(2.0, 2.6))

    def test_few_misses(self) -> None:
        """Two questions in vain make no server down, however long ago the first was."""
        health = Health()
        self.assertFalse(health.missed(0.0, 0.25))
        self.assertFalse(health.missed(60.0, 60.25))

    def test_reply_between(self) -> None:
        """A reply wipes out all that was missed before it."""
        health = Health()
        for sent in (0.0, 1.0):
            health.missed(sent, sent + 0.4)
        self.assertFalse(health.replied(0.01))
        self.assertFalse(health.missed(2.0, 2.4))
        self.assertTrue(health.up)

    def test_up_again(self) -> None:
        """The first reply after a silence is told, the next is not."""
        health = Health()
        for sent in (0.0, 1.0, 2.0):
            health.missed(sent, sent + 0.4)
        self.assertTrue(health.replied(0.01))
        self.assertFalse(health.replied(0.01))

    def test_looks(self) -> None:
        """A server is due for a look at once, then whenever it was not asked for ten seconds."""
        health = Health()
        self.assertTrue(health.due(0.0))
        health.asked(0.0)
        health.replied(0.01)
        self.assertFalse(health.due(LOOK - 0.1))
        self.assertTrue(health.due(LOOK))

    def test_probes(self) -> None:
        """A server that is down is probed after a second, and twice as late each time, up to half a minute."""
        health = Health()
        now = 0.0
        for _ in range(3):
            health.asked(now)
            now += 1
            health.missed(now - 1, now)
        waits = []
        for _ in range(8):
            began = now
            while not health.due(now):
                now += 0.25
            waits.append(now - began)
            health.asked(now)
            health.missed(now, now + 0.5)
        self.assertEqual(waits[1:], [2, 4, 8, 16, LAST_PROBE, LAST_PROBE, LAST_PROBE])
        health.replied(0.01)
        health.missed(now, now)
        self.assertTrue(health.due(now + 1))
