"""Who may ask."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from heimdall.admit import acl
from heimdall.admit.acl import Acl
from heimdall.config.settings import Admit
from heimdall.interfaces import IGate
from tests.admit.asking import asking, extended_errors, rcode, told

PROHIBITED = 18

# Few addresses close together, so that networks and clients meet.
V4 = st.integers(0xC0000200, 0xC00005FF).map(IPv4Address)
V6 = st.integers(0, 0xFFFF).map(lambda n: IPv6Address(0x20010DB8 << 96 | n << 60 | n))
NETWORKS = st.one_of(
    st.builds(lambda address, bits: IPv4Network((address, bits), strict=False), V4, st.integers(20, 32)),
    st.builds(lambda address, bits: IPv6Network((address, bits), strict=False), V6, st.integers(30, 128)),
)


def may(gate: Acl, client: str) -> bool:
    """Whether a client passes the gate."""
    return gate.judge(asking("www.example", client=client)) is None


class Who(SynchronousTestCase):
    """The verdict on a client."""

    def test_is_a_gate(self) -> None:
        """An Acl is an IGate."""
        verifyObject(IGate, Acl([]))

    def test_private_networks_by_default(self) -> None:
        """With the default networks, private and loopback clients may ask, and public ones may not."""
        gate = Acl(Admit().allow)
        for client in ("127.0.0.1", "10.1.2.3", "172.31.255.255", "192.168.0.1", "100.64.0.1", "::1", "fd00::1"):
            self.assertTrue(may(gate, client), client)
        for client in ("8.8.8.8", "172.32.0.0", "192.169.0.0", "100.128.0.0", "2001:db8::1", "::", "128.0.0.0"):
            self.assertFalse(may(gate, client), client)

    def test_refused_with_a_reason(self) -> None:
        """Who may not ask is told REFUSED and the extended error Prohibited, and is counted."""
        gate = Acl(["192.0.2.0/24"])
        for _ in range(2):
            reply = told(gate, asking("www.example", client="198.51.100.1"))
            self.assertEqual((rcode(reply), extended_errors(reply)), ("REFUSED", [PROHIBITED]))
        self.assertEqual(gate._refused.total(), 2)

    def test_zone_of_an_address(self) -> None:
        """The zone of a link-local address makes no difference."""
        self.assertTrue(may(Acl(["fe80::/10"]), "fe80::1%eth0"))
        self.assertFalse(may(Acl(["fc00::/7"]), "fe80::1%eth0"))

    def test_mapped_addresses(self) -> None:
        """An IPv4 address inside an IPv6 one is judged as IPv4, in clients and in networks."""
        self.assertTrue(may(Acl(["192.0.2.0/24"]), "::ffff:192.0.2.1"))
        self.assertFalse(may(Acl(["::/0"]), "::ffff:192.0.2.1"))
        self.assertTrue(may(Acl(["::ffff:192.0.2.0/120"]), "192.0.2.255"))
        self.assertFalse(may(Acl(["::ffff:192.0.2.0/120"]), "192.0.3.0"))

    def test_our_own_queries(self) -> None:
        """A query without a client address passes, whatever the networks."""
        self.assertTrue(may(Acl([]), ""))

    def test_no_address(self) -> None:
        """A client whose address cannot be read may not ask."""
        self.assertFalse(may(Acl(["0.0.0.0/0", "::/0"]), "somewhere"))

    def test_bits_behind_the_prefix(self) -> None:
        """A network written with the address of a host in it is that network."""
        self.assertTrue(may(Acl(["192.0.2.77/24"]), "192.0.2.1"))

    def test_what_is_no_network(self) -> None:
        """A text that is no network is named in the error."""
        self.assertIn("'192.0.2.0/33'", str(self.assertRaises(ValueError, Acl, ["192.0.2.0/33"])))

    @given(st.lists(NETWORKS, max_size=8), st.one_of(V4, V6))
    def test_as_the_standard_library_says(
        self, networks: list[IPv4Network | IPv6Network], client: IPv4Address | IPv6Address
    ) -> None:
        """However networks overlap and touch, a client may ask exactly when it is in one of them."""
        gate = Acl(map(str, networks))
        self.assertEqual(may(gate, str(client)), any(client in network for network in networks))

    def test_memory_is_bounded(self) -> None:
        """However many clients come, no more than a bound are remembered, and each gets its right verdict."""
        self.patch(acl, "MOST_KNOWN", 10)
        gate = Acl(["10.0.0.0/30"])
        inside = ip_network("10.0.0.0/30")
        for number in range(200):
            client = f"10.0.0.{number % 100}"
            self.assertEqual(may(gate, client), ip_address(client) in inside)
            self.assertLessEqual(len(gate._known), 10)
        self.assertTrue(may(gate, ""))
