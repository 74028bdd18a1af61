"""How much one network may ask."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from heimdall.admit import limit
from heimdall.admit.limit import Limit
from heimdall.interfaces import DROP, IGate
from heimdall.tally import Gauge
from tests.admit.asking import asking, extended_errors, rcode, told

PROHIBITED = 18


def passed(gate: Limit, times: int, client: str = "192.0.2.7") -> int:
    """How many of some queries, asked at this moment, the gate lets pass."""
    return sum(gate.judge(asking("www.example", client=client)) is None for _ in range(times))


class Rate(SynchronousTestCase):
    """A bucket and its tokens."""

    def setUp(self) -> None:
        """Begin at some time."""
        self.clock = Clock()
        self.clock.advance(1000)

    def test_is_a_gate(self) -> None:
        """A Limit is an IGate."""
        verifyObject(IGate, Limit(self.clock, 1))

    def test_burst_then_rate(self) -> None:
        """A client may ask a burst at once, and after that as many a second as the rate says."""
        gate = Limit(self.clock, rate=10, burst=30)
        self.assertEqual(passed(gate, 50), 30)
        self.clock.advance(1)
        self.assertEqual(passed(gate, 50), 10)
        self.clock.advance(0.5)
        self.assertEqual(passed(gate, 50), 5)

    def test_no_more_than_a_burst(self) -> None:
        """Who was silent for long has a burst, and not more."""
        gate = Limit(self.clock, rate=10, burst=30)
        passed(gate, 30)
        self.clock.advance(86400)
        self.assertEqual(passed(gate, 50), 30)

    def test_steady_client(self) -> None:
        """Who keeps to the rate is never limited, even without a burst to spend."""
        gate = Limit(self.clock, rate=7, burst=1)
        for _ in range(500):
            self.assertEqual(passed(gate, 1), 1)
            self.clock.advance(1 / 7)

    def test_over_the_limit_takes_no_token(self) -> None:
        """Queries over the limit do not push the next good one further away."""
        gate = Limit(self.clock, rate=1, burst=1)
        passed(gate, 1000)
        self.clock.advance(1)
        self.assertEqual(passed(gate, 1), 1)

    def test_burst_by_default(self) -> None:
        """A burst of 0 is twice the rate, and never less than one query."""
        self.assertEqual(passed(Limit(self.clock, rate=10), 100), 20)
        self.assertEqual(passed(Limit(self.clock, rate=0.1), 100), 1)

    def test_silence_over_udp(self) -> None:
        """Over UDP a query over the limit gets no reply: its sender may be forged."""
        gate = Limit(self.clock, rate=1, burst=1)
        passed(gate, 1)
        self.assertIs(gate.judge(asking("www.example")), DROP)

    def test_refused_over_a_stream(self) -> None:
        """Over a stream a query over the limit is told REFUSED and why; both kinds are counted."""
        gate = Limit(self.clock, rate=1, burst=1)
        passed(gate, 2)
        reply = told(gate, asking("www.example", stream=True))
        self.assertEqual((rcode(reply), extended_errors(reply)), ("REFUSED", [PROHIBITED]))
        self.assertEqual(gate._limited.total(), 2)

    def test_loopback_is_no_exception(self) -> None:
        """This machine is limited as any other; only our own queries, which have no address, pass."""
        gate = Limit(self.clock, rate=1, burst=1)
        self.assertEqual(passed(gate, 5, "127.0.0.1"), 1)
        self.assertEqual(passed(gate, 5, ""), 5)

    def test_clock_set_back(self) -> None:
        """A clock that is set back by a day locks nobody out."""
        gate = Limit(self.clock, rate=1, burst=5)
        self.clock.advance(86400)
        passed(gate, 10)
        self.clock.rightNow -= 86400
        self.assertEqual(passed(gate, 10), 5)

    def test_no_rate(self) -> None:
        """A rate of nothing is no limit to install."""
        self.assertRaises(ValueError, Limit, self.clock, 0)


class Prefixes(SynchronousTestCase):
    """Who counts as one client."""

    @given(
        st.integers(0, 2**32 - 1), st.integers(0, 31), st.integers(0, 128), st.integers(1, 32), st.sampled_from([4, 6])
    )
    def test_as_the_standard_library_says(self, base: int, flip4: int, flip6: int, bits: int, version: int) -> None:
        """Two clients share a bucket exactly when they are in one network of the length of the prefix."""
        clock = Clock()
        if version == 4:
            gate = Limit(clock, 1, 1, prefix4=bits)
            one, other = ip_address(base), ip_address(base ^ 1 << flip4)
            network: IPv4Network | IPv6Network = IPv4Network((base, bits), strict=False)
        else:
            gate = Limit(clock, 1, 1, prefix6=bits * 4)
            # The lowest numbers are not read as addresses of the first kind, and ::ffff:0:0/96 is.
            wide = base << 90 | 1 << 80
            one, other = IPv6Address(wide), IPv6Address(wide ^ (1 << flip6 if flip6 < 128 else 0))
            network = IPv6Network((wide, bits * 4), strict=False)
        passed(gate, 1, str(one))
        self.assertEqual(passed(gate, 1, str(other)) == 0, other in network)

    def test_families_are_apart(self) -> None:
        """An IPv4 and an IPv6 client never share a bucket, however short the prefixes."""
        gate = Limit(Clock(), 1, 1, prefix4=1, prefix6=1)
        self.assertEqual([passed(gate, 1, client) for client in ("1.2.3.4", "::1", "1.2.3.4", "::1")], [1, 1, 0, 0])

    def test_mapped_and_zoned(self) -> None:
        """Spellings of one address share its bucket; what is no address has one for all."""
        gate = Limit(Clock(), 1, 1)
        clients = ("192.0.2.1", "::ffff:192.0.2.9", "fe80::1%eth0", "fe80::2%eth1", "some", "where")
        self.assertEqual([passed(gate, 1, client) for client in clients], [1, 0, 1, 0, 1, 0])

    def test_many_prefixes(self) -> None:
        """A flood from many prefixes neither grows memory past its bound nor frees a client in use of its limit."""
        self.patch(limit, "MOST_BUCKETS", 100)
        self.patch(limit, "MOST_KNOWN", 30)
        gate = Limit(Clock(), rate=1, burst=3)
        passed(gate, 3, "198.51.100.1")
        count, clients = [tally for tally in gate.tallies if isinstance(tally, Gauge)]
        for number in range(1000):
            self.assertEqual(passed(gate, 1, f"10.{number // 250}.{number % 250}.1"), 1)
            if number % 40 == 0:  # in use: it comes by more often than half the buckets change
                self.assertEqual(passed(gate, 1, "198.51.100.1"), 0)
            held = count.read()
            assert isinstance(held, int)
            self.assertLessEqual(held, 100)
            self.assertLessEqual(len(gate._prefixes), 30)
        self.assertEqual(clients.read(), 30)
        gate.forget(Clock())
        self.assertEqual((count.read(), clients.read()), (0, 0))

    def test_forgotten_prefix(self) -> None:
        """A prefix is forgotten once two halves of the table came after it, and begins anew with a burst."""
        self.patch(limit, "MOST_BUCKETS", 100)
        gate = Limit(Clock(), rate=1, burst=3)
        passed(gate, 3, "198.51.100.1")
        for number in range(101):
            passed(gate, 1, f"10.0.{number}.1")
        self.assertEqual(passed(gate, 9, "198.51.100.1"), 3)
