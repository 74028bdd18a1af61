"""resolv.conf is read as the C library reads it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from heimdall.config.resolv import MOST, parse


def servers(text: str) -> list[str]:
    """Return the servers in the text of a resolv.conf."""
    return [str(upstream) for upstream in parse(text).upstreams]


class ResolvConfTests(SynchronousTestCase):
    """What is taken from the file."""

    def test_servers(self) -> None:
        """Name servers come in their order, each once, on port 53, whatever else stands in the file."""
        text = """
            # nameserver 192.0.2.9
            ; nameserver 192.0.2.9
            search example.com
            nameserver 192.0.2.1
            nameserver\t2001:db8::1 # ours
            nameserver fe80::1%eth0
            nameserver 192.0.2.1
            nameserver
            nameserver dns.example
            """
        self.assertEqual(servers(text), ["192.0.2.1:53", "[2001:db8::1]:53", "[fe80::1%eth0]:53"])

    def test_unspecified(self) -> None:
        """The unspecified address is this machine, as the C library takes it; so it is known for ourselves."""
        self.assertEqual(servers("nameserver 0.0.0.0\nnameserver ::"), ["127.0.0.1:53", "[::1]:53"])

    def test_trust_ad(self) -> None:
        """The option trust-ad is seen among others, and in any options line."""
        self.assertTrue(parse("options edns0 trust-ad\noptions ndots:2").trust_ad)
        self.assertFalse(parse("options edns0\n# options trust-ad").trust_ad)

    def test_bounded(self) -> None:
        """Of a file with endless servers, the first few count."""
        self.assertEqual(len(servers("\n".join(f"nameserver 192.0.2.{n}" for n in range(200)))), MOST)

    @given(st.text())
    def test_any_text(self, text: str) -> None:
        """No text is an error."""
        parse(text)
