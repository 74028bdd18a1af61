"""What a value from Redis is worth to a query."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from heimdall.cache.entry import to_bytes
from heimdall.cache.seal import Seal
from heimdall.cache.worth import Worth, never
from heimdall.message import response
from tests.cache.questions import SOA, negative, positive, question
from tests.message.messages import reply_wire

NOW = 1_767_225_600.0


class Judging(SynchronousTestCase):
    """Values of nodes with other rules."""

    def test_ceilings(self) -> None:
        """What a node with a higher ceiling stored is held to ours, a no to its own."""
        worth = Worth(Seal(), never, 0, (100, 50))
        chain = response.read(
            reply_wire("www.example.", "AAAA", "www.example. 300 CNAME a.example.", authority=(SOA,)),
        )
        for answer, asked, most in (
            (positive(ttl=5000), question(), 100),
            (negative(), question("no.example"), 50),
            (negative(rcode=0), question("no.example"), 50),
            (chain, question("www.example", 28), 50),
        ):
            value = to_bytes(answer, asked.key, NOW, Seal())
            result, found = worth.judge(asked, asked.key, value, NOW)
            assert found is not None
            self.assertEqual((result, found.ttl), ("hit", most))

    def test_stale_and_past(self) -> None:
        """Behind its TTL a value is stale for the window, and nothing after that."""
        worth = Worth(Seal(), never, 60, (86400, 3600))
        asked = question()
        value = to_bytes(positive(ttl=10), asked.key, NOW, Seal())
        self.assertEqual([worth.judge(asked, asked.key, value, NOW + age)[0] for age in (5, 30, 100)],
                         ["hit", "stale", "miss"])  # fmt: skip
