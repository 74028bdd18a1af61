"""The names that are answered here because no upstream may be asked for them."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from heimdall.admit.special import Special
from heimdall.interfaces import IGate
from tests.admit.asking import asking, owner_of_soa, rcode, rows, told

ZEROS = "0." * 31

# What each name is answered: nothing here means that it passes on to the upstreams.
ADDRESSES = """
    localhost                   A     127.0.0.1     RFC 6761, 6.3
    localhost                   AAAA  ::1           RFC 6761, 6.3
    LocalHost                   A     127.0.0.1     RFC 4343
    www.localhost               A     127.0.0.1     RFC 6761, 6.3
    a.b.localhost               AAAA  ::1           RFC 6761, 6.3
    localhost                   TXT   NODATA        RFC 6761, 6.3
    www.localhost               MX    NODATA        RFC 6761, 6.3
    www.localhost               SOA   NODATA        RFC 6761, 6.3
    1.0.0.127.in-addr.arpa      PTR   localhost.    RFC 6761, 6.3
    1.0.0.127.in-addr.arpa      A     NODATA        RFC 6761, 6.3
    0.0.127.in-addr.arpa        PTR   NODATA        RFC 8020: a name below it exists
    2.0.0.127.in-addr.arpa      PTR   NXDOMAIN      RFC 6303, 4.2

    invalid                     A     NXDOMAIN      RFC 6761, 6.4
    www.invalid                 A     NXDOMAIN      RFC 6761, 6.4
    invalid                     SOA   NXDOMAIN      RFC 6761, 6.4
    www.invalid                 ANY   NXDOMAIN      RFC 6761, 6.4
    test                        A     NXDOMAIN      RFC 6761, 6.2
    www.test                    AAAA  NXDOMAIN      RFC 6761, 6.2
    example                     A     passes        RFC 6761, 6.5
    www.example.com             A     passes        RFC 6761, 6.5
    local                       A     NXDOMAIN      RFC 6762, 22.1
    printer.local               A     NXDOMAIN      RFC 6762, 22.1
    x.onion                     A     NXDOMAIN      RFC 7686, 2
    onion                       DS    NXDOMAIN      RFC 7686, 2
    x.alt                       A     NXDOMAIN      RFC 9476

    home.arpa                   A     NODATA        RFC 8375, 4
    home.arpa                   NS    home.arpa.    RFC 6303, 3
    nas.home.arpa               A     NXDOMAIN      RFC 8375, 4
    home.arpa                   DS    passes        RFC 8375, 4
    nas.home.arpa               DS    NXDOMAIN      RFC 8375, 4
    default.service.arpa        PTR   NXDOMAIN      RFC 9665
    resolver.arpa               A     NODATA        RFC 9462, 4
    _dns.resolver.arpa          SVCB  NODATA        RFC 9462, 4
    x.y.resolver.arpa           A     NODATA        RFC 9462, 4
    ipv4only.arpa               AAAA  passes        RFC 8880: whoever has a NAT64 answers it

    10.in-addr.arpa             A     NODATA        RFC 6303, 3
    10.in-addr.arpa             DS    passes        its parent proves that it is not signed
    10.in-addr.arpa             ANY   HINFO         RFC 8482
    3.2.1.10.in-addr.arpa       PTR   NXDOMAIN      RFC 6303, 4.1
    3.2.1.10.in-addr.arpa       ANY   NXDOMAIN      RFC 6303, 4.1
    3.2.1.10.in-addr.arpa       SOA   NXDOMAIN      RFC 6303, 4.1
    arpa                        NS    passes
    in-addr.arpa                NS    passes
    172.in-addr.arpa            NS    passes

    com                         A     passes
    www.example.com             ANY   HINFO         RFC 8482, 4.2
    .                           ANY   HINFO         RFC 8482, 4.2
    .                           NS    passes
    mylocalhost                 A     passes
    local.example.com           A     passes
    nottest                     A     passes
"""

# The networks whose reverse zones are served here, and what RFC says so.
NETWORKS = """
    10.0.0.0/8          RFC 6303, 4.1
    172.16.0.0/12       RFC 6303, 4.1
    192.168.0.0/16      RFC 6303, 4.1
    0.0.0.0/8           RFC 6303, 4.2
    127.0.0.0/8         RFC 6303, 4.2
    169.254.0.0/16      RFC 6303, 4.2; RFC 6762, 22.1
    192.0.2.0/24        RFC 6303, 4.2
    198.51.100.0/24     RFC 6303, 4.2
    203.0.113.0/24      RFC 6303, 4.2
    255.255.255.255/32  RFC 6303, 4.2
    100.64.0.0/10       RFC 7793
    ::/128              RFC 6303, 4.3
    ::1/128             RFC 6303, 4.3
    fd00::/8            RFC 6303, 4.4
    fe80::/10           RFC 6303, 4.5; RFC 6762, 22.1
    2001:db8::/32       RFC 6303, 4.6
"""

HAVE_DATA = ("127.0.0.1", "::1", "::", "255.255.255.255")


class Names(SynchronousTestCase):
    """Each name and what it is answered."""

    def test_is_a_gate(self) -> None:
        """Special is an IGate."""
        verifyObject(IGate, Special())

    def test_table(self) -> None:
        """Every name of the table is answered what the table says."""
        gate = Special()
        for line in filter(str.strip, ADDRESSES.splitlines()):
            name, kind, expected = line.split()[:3]
            with self.subTest(name=name, kind=kind):
                self.assertEqual(said(gate, name, kind), expected)

    def test_reverse_zones(self) -> None:
        """The first and the last address of each network of the table are not looked up; their neighbours are."""
        gate = Special()
        networks = [ip_network(line.split()[0]) for line in filter(str.strip, NETWORKS.splitlines())]
        for network in networks:
            first, last = int(network.network_address), int(network.broadcast_address)
            for number in (first - 1, first, last, last + 1):
                if not 0 <= number < 2**network.max_prefixlen:
                    continue
                address = type(network.network_address)(number)
                inside = any(address in other for other in networks)
                answer = said(gate, ip_address(address).reverse_pointer, "PTR")
                with self.subTest(address=address):
                    if str(address) not in HAVE_DATA:
                        self.assertEqual(answer, "NXDOMAIN" if inside else "passes")
                    self.assertEqual(answer == "passes", not inside)

    def test_loopback_in_reverse(self) -> None:
        """The IPv6 loopback address is localhost in reverse, and the top of its zone besides."""
        name = "1." + ZEROS + "ip6.arpa"
        self.assertEqual(said(Special(), name, "PTR"), "localhost.")
        self.assertEqual(said(Special(), name, "NS"), name + ".")

    def test_negative_answers(self) -> None:
        """A no carries the SOA of its zone, with the TTL that the SOA itself gives for a no (RFC 2308, 6303)."""
        for name, zone in (("a.b.10.in-addr.arpa", "10.in-addr.arpa"), ("a.test", "test"), ("localhost", "localhost")):
            reply = told(Special(), asking(name, "MX"))
            self.assertEqual(owner_of_soa(reply), zone)
            soa = reply.authority[0]
            self.assertEqual(soa.to_text(), f"{zone}. 10800 IN SOA {zone}. nobody.invalid. 1 3600 1200 604800 10800")

    def test_top_of_a_zone(self) -> None:
        """The SOA of an empty zone is an answer when it is what was asked for."""
        reply = told(Special(), asking("10.in-addr.arpa", "SOA"))
        self.assertEqual((len(reply.answer), len(reply.authority)), (1, 0))

    def test_any(self) -> None:
        """ANY gets one HINFO record with a long TTL (RFC 8482, 4.2)."""
        reply = told(Special(), asking("www.example.com", "ANY"))
        self.assertEqual(rows(reply), ['www.example.com. 3600 IN HINFO "RFC8482" ""'])

    def test_counted(self) -> None:
        """What is answered here is counted, and what passes is not."""
        gate = Special()
        for name, kind in (("localhost", "A"), ("x.test", "A"), ("example.com", "ANY"), ("home.arpa", "ANY")):
            self.assertIsNotNone(gate.judge(asking(name, kind)))
        for name, kind in (("example.com", "A"), ("home.arpa", "DS")):
            self.assertIsNone(gate.judge(asking(name, kind)))
        self.assertEqual(gate._special.total(), 4)


class Exceptions(SynchronousTestCase):
    """Names that somebody else knows."""

    def test_below_a_zone(self) -> None:
        """A name below a zone passes with all below it, and the rest of the zone is still answered."""
        gate = Special(["Cluster.Local."])
        self.assertEqual(said(gate, "cluster.local"), "passes")
        self.assertEqual(said(gate, "db.default.svc.cluster.local"), "passes")
        self.assertEqual(said(gate, "printer.local"), "NXDOMAIN")

    def test_above_it(self) -> None:
        """A name above one that passes exists, so that nobody concludes that there is nothing below (RFC 8020)."""
        gate = Special(["svc.cluster.local"])
        self.assertEqual(said(gate, "cluster.local"), "NODATA")
        self.assertEqual(said(gate, "local"), "NODATA")

    def test_a_zone_itself(self) -> None:
        """A zone that passes passes whole, its top and its DS too."""
        gate = Special(["10.in-addr.arpa", "local"])
        for name in ("10.in-addr.arpa", "1.10.in-addr.arpa", "local", "printer.local"):
            self.assertEqual(said(gate, name, "SOA"), "passes")
        self.assertEqual(said(gate, "1.168.192.in-addr.arpa"), "NXDOMAIN")

    def test_above_zones(self) -> None:
        """A name above several zones takes them all."""
        gate = Special(["in-addr.arpa"])
        for name in ("10.in-addr.arpa", "1.0.0.127.in-addr.arpa", "1.2.168.192.in-addr.arpa"):
            self.assertEqual(said(gate, name, "PTR"), "passes")
        self.assertEqual(said(gate, "a.d.f.ip6.arpa"), "NXDOMAIN")

    def test_root(self) -> None:
        """That other upstreams know the root, which is every name, takes nothing away."""
        self.assertEqual(said(Special(["."]), "x.test"), "NXDOMAIN")

    def test_elsewhere(self) -> None:
        """A name outside all zones passes as it did; ANY of it is still minimal."""
        gate = Special(["corp.example"])
        self.assertEqual(said(gate, "www.corp.example"), "passes")
        self.assertEqual(said(gate, "www.corp.example", "ANY"), "HINFO")

    def test_no_name(self) -> None:
        """What is no domain name is an error."""
        self.assertRaises(ValueError, Special, ["a..b"])


def said(gate: Special, name: str, kind: str = "A") -> str:
    """What a gate says of a name: passes, NXDOMAIN, NODATA, HINFO, or the data of the one record."""
    asked = asking(name, kind)
    if gate.judge(asked) is None:
        return "passes"
    reply = told(gate, asked)
    if rcode(reply) != "NOERROR":
        assert not reply.answer
        return rcode(reply)
    if not reply.answer:
        return "NODATA"
    ((_, _, _, found, data),) = (row.split(maxsplit=4) for row in rows(reply))
    return found if found == "HINFO" else data
