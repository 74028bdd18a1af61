"""Addresses are read strictly and written in one spelling."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from heimdall.config.address import Upstream, address, ip, join, upstream


class ListenTests(SynchronousTestCase):
    """Where to listen."""

    def test_good(self) -> None:
        """HOST:PORT is an IP address and a port; IPv6 stands in brackets; port 0 lets the system choose."""
        for text, expected in {
            "127.0.0.1:53": ("127.0.0.1", 53),
            "[::1]:1053": ("::1", 1053),
            "[2001:DB8:0:0::1]:53": ("2001:db8::1", 53),
            "[fe80::1%eth0]:53": ("fe80::1%eth0", 53),
            "0.0.0.0:0": ("0.0.0.0", 0),
        }.items():
            self.assertEqual(address(text), expected)

    def test_bad(self) -> None:
        """Whatever else is refused, with the reason."""
        for text, why in {
            "127.0.0.1": "port is missing",
            "127.0.0.1:": "port is missing",
            ":53": "not an IP address",
            "": "port is missing",
            "localhost:53": "not an IP address",
            "::1:53": "brackets",
            "[::1]": "port is missing",
            "[::1": "brackets",
            "[::1]53": "brackets",
            "[::1]:": "brackets",
            "[127.0.0.1]:53": "brackets",
            "127.0.0.1:65536": "from 0 to 65535",
            "127.0.0.1:-1": "from 0 to 65535",
            "127.0.0.1:５３": "from 0 to 65535",
            "127.0.0.1:999999999999999999": "from 0 to 65535",
            "127.0.0.01:53": "not an IP address",
        }.items():
            self.assertIn(why, str(self.assertRaises(ValueError, address, text)), text)


class UpstreamTests(SynchronousTestCase):
    """Whom to ask."""

    def test_good(self) -> None:
        """The port is 53 where none is given, and tcp:// asks for TCP."""
        for text, expected in {
            "192.0.2.1": Upstream("192.0.2.1", 53),
            "192.0.2.1:5353": Upstream("192.0.2.1", 5353),
            "[2001:db8::1]": Upstream("2001:db8::1", 53),
            "[2001:db8::1]:54": Upstream("2001:db8::1", 54),
            "tcp://192.0.2.1": Upstream("192.0.2.1", 53, tcp=True),
            "tcp://[2001:db8::1]:54": Upstream("2001:db8::1", 54, tcp=True),
            "[::ffff:192.0.2.1]": Upstream("192.0.2.1", 53),
        }.items():
            self.assertEqual(upstream(text), expected)
            self.assertEqual(upstream(str(expected)), expected)

    def test_no_names(self) -> None:
        """A host name is refused, and the reason given: nobody could look it up for us."""
        for text in ("dns.example", "dns.example:53", "tcp://localhost"):
            self.assertIn("looked up", str(self.assertRaises(ValueError, upstream, text)))

    def test_bad(self) -> None:
        """What cannot be one server is refused, with the reason."""
        for text, why in {
            "udp://192.0.2.1": "only scheme",
            "://192.0.2.1": "only scheme",
            "192.0.2.1:0": "from 1 to 65535",
            "192.0.2.1:x": "from 1 to 65535",
            "2001:db8::1": "brackets",
            "0.0.0.0": "no one server",
            "[::]:53": "no one server",
            "224.0.0.1": "no one server",
            "255.255.255.255": "no one server",
        }.items():
            self.assertIn(why, str(self.assertRaises(ValueError, upstream, text)), text)

    @given(st.text(alphabet="0123456789abcdef.:[]/%tcp", max_size=30))
    def test_only_value_errors(self, text: str) -> None:
        """Any text is a server, whose canonical spelling is the same server, or a ValueError."""
        try:
            server = upstream(text)
        except ValueError:
            return
        self.assertEqual(upstream(str(server)), server)

    def test_join(self) -> None:
        """An IPv6 address goes into brackets."""
        self.assertEqual(join("::1", 53), "[::1]:53")
        self.assertEqual(join("192.0.2.1", "53"), "192.0.2.1:53")
        self.assertIn('"x" is not', str(self.assertRaises(ValueError, ip, "x")))
