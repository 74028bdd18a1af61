"""Every kind of value is read strictly, and refused with what was expected."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from heimdall.config.faults import Unfit
from heimdall.config.keys import KEYS
from heimdall.config.values import kind_of, raw_of, read

PATHS = st.sampled_from(list(KEYS))
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.dates())
RAW = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


class ValueTests(SynchronousTestCase):
    """Values as TOML gives them."""

    def takes(self, path: str, raw: object, expected: object) -> None:
        """Check that a value is read as another."""
        value = read(KEYS[path], raw)
        self.assertEqual(value, expected)
        self.assertIs(type(value), type(expected))

    def refuses(self, path: str, *raws: object, why: str = "") -> None:
        """Check that values are refused."""
        for raw in raws:
            error = self.assertRaises(Unfit, read, KEYS[path], raw)
            self.assertIn(why, " ".join(fault.why + fault.expected for fault in error.faults), str(raw))

    def test_defaults(self) -> None:
        """Every default is a value that its own key takes unchanged."""
        for key in KEYS.values():
            raw: Any = list(key.default) if isinstance(key.default, tuple) else key.default
            self.assertEqual(read(key, raw), key.default, key.path)
            self.assertTrue(kind_of(key).expected)

    def test_size(self) -> None:
        """A size is a number of bytes, or one with a unit of a thousand or of 1024."""
        for raw, expected in {
            5: 5,
            "50000000": 50_000_000,
            "50MB": 50_000_000,
            "50 MB": 50_000_000,
            "50M": 50_000_000,
            "64MiB": 64 << 20,
            "64Mi": 64 << 20,
            "1GiB": 1 << 30,
            "2kB": 2000,
            "2KB": 2000,
            "1TB": 10**12,
            "7B": 7,
        }.items():
            self.takes("cache.memory", raw, expected)
        self.refuses(
            "cache.memory", 0, -1, 1.5, True, "", "MB", "5XB", "5iB", "1.5MB", "-5MB", 1 << 60, "9999999T", [5]
        )

    def test_seconds(self) -> None:
        """A time is a number of seconds, or one with a unit."""
        for raw, expected in {
            5: 5.0,
            0.25: 0.25,
            "5": None,
            "5s": 5.0,
            "200ms": 0.2,
            "1500us": 0.0015,
            "2m": 120.0,
            "1h": 3600.0,
        }.items():
            if expected is None:
                self.refuses("accept.tcp_idle", raw)
            else:
                self.takes("accept.tcp_idle", raw, expected)
        self.refuses("accept.tcp_idle", 0, -1, math.nan, math.inf, True, "", "s", "5 weeks", "1e3s", "8d", [1])

    def test_whole_seconds(self) -> None:
        """A TTL is whole seconds within its bounds, also when it is written with a unit."""
        self.takes("cache.stale_window", "1d", 86400)
        self.takes("cache.stale_window", 0, 0)
        self.refuses("cache.stale_window", 1.5, "500ms", "8d", -1, why="whole seconds from 0 to 604800")

    def test_ranges(self) -> None:
        """A number is within its bounds, and whole where the key counts things."""
        self.takes("accept.udp_size", 1232, 1232)
        self.refuses("accept.udp_size", 511, 1233, 1232.0, "1232", True, why="a whole number from 512 to 1232")
        self.takes("admit.rate", 3, 3.0)
        self.refuses("admit.rate", -1, math.inf, math.nan, False, why="a number of at least 0")
        self.takes("cache.refresh_share", 0.9, 0.9)
        self.refuses("cache.refresh_share", 0.91)

    def test_truth(self) -> None:
        """Truth is true or false, and no number or text."""
        self.takes("cache.stale", False, False)
        self.refuses("cache.stale", 0, 1, "true", None)

    def test_choice(self) -> None:
        """A choice is one of those named."""
        self.takes("watch.log", "json", "json")
        self.refuses("watch.log", "JSON", "xml", 1, ["text"], {}, why="text, json")

    def test_network(self) -> None:
        """A network has no bits behind its prefix, and the right one is proposed; a lone address is a network."""
        self.takes(
            "admit.allow", ["10.0.0.0/8", "2001:DB8::/32", "192.0.2.1"], ("10.0.0.0/8", "2001:db8::/32", "192.0.2.1/32")
        )
        self.refuses("admit.allow", ["10.0.0.1/8"], why='did you mean "10.0.0.0/8"')
        self.refuses("admit.allow", ["10.0.0.0/33"], ["example"], [5], "10.0.0.0/8")

    def test_name(self) -> None:
        """A name is a domain name, kept in one spelling: lower case, Punycode, no final dot."""
        self.takes(
            "admit.block",
            ["Ads.Example.", ".", "bücher.example", r"a\.b."],
            ("ads.example", ".", "xn--bcher-kva.example", r"a\.b"),
        )
        self.refuses("admit.block", ["a" * 64 + ".example"], ["a..b"], ["x\ny"], [""], [None])

    def test_word(self) -> None:
        """The name of a node is short and plain, since it goes into keys and pages."""
        self.takes("peers.node", "dns-0.example:1", "dns-0.example:1")
        self.takes("peers.node", "", "")
        self.refuses("peers.node", "a b", "*", "x" * 65, "é", 5)

    def test_dotted(self) -> None:
        """Code of the user's own is named by module and name."""
        self.takes("admit.gates", ["house.policy.Curfew"], ("house.policy.Curfew",))
        self.refuses("admit.gates", ["policy"], ["a..b"], ["a.b()"], ["1.2"], [7])

    def test_records(self) -> None:
        """A record has at least a name, a type and data."""
        self.takes("admit.records", ["a.example\t300 A 192.0.2.1"], ("a.example\t300 A 192.0.2.1",))
        self.refuses("admit.records", ["a.example A"], [""])

    def test_address(self) -> None:
        """Addresses and servers are kept in one spelling."""
        self.takes("accept.listen", ["[0:0::1]:53"], ("[::1]:53",))
        self.takes("fetch.upstreams", ["192.0.2.1", "tcp://[2001:DB8::1]"], ("192.0.2.1:53", "tcp://[2001:db8::1]:53"))
        self.refuses("accept.listen", ["127.0.0.1"], why="the port is missing")
        self.refuses("fetch.upstreams", ["dns.example"], why="looked up")

    def test_url(self) -> None:
        """The URL of Redis is well formed."""
        self.takes("redis.url", "redis://h", "redis://h")
        self.refuses("redis.url", "h", 5)

    def test_all_items(self) -> None:
        """Every wrong item of a list is named."""
        error = self.assertRaises(Unfit, read, KEYS["accept.listen"], ["a", "127.0.0.1:53", "b"])
        self.assertEqual([fault.value for fault in error.faults], ["a", "b"])
        self.assertIn("HOST:PORT", str(error))

    def test_routes(self) -> None:
        """A route leads from a suffix to servers, or to a source of the user's own."""
        self.takes(
            "fetch.routes",
            {"Cluster.local.": ["10.96.0.10"], "odd.example": ["import:house.Source"]},
            {"cluster.local": ("10.96.0.10:53",), "odd.example": ("import:house.Source",)},
        )
        self.refuses("fetch.routes", [], why="a table")
        self.refuses("fetch.routes", {"a": ["192.0.2.1"], "A.": ["192.0.2.1"]}, why="each suffix once")
        self.refuses("fetch.routes", {"a": []}, why="at least one server")
        self.refuses("fetch.routes", {"a": ["192.0.2.1", "import:a.b"]}, why="or one source")
        self.refuses("fetch.routes", {"a": "192.0.2.1"}, {"a..b": ["192.0.2.1"]}, {"a": ["import:x"]}, {"a": ["x"]})

    @given(PATHS, RAW)
    def test_anything(self, path: str, raw: object) -> None:
        """Whatever stands in the file, it is taken or refused; nothing else happens."""
        try:
            value = read(KEYS[path], raw)
        except Unfit as error:
            self.assertTrue(error.faults)
        else:
            self.assertIs(type(value), type(KEYS[path].default))


class TextTests(SynchronousTestCase):
    """Values as the environment gives them."""

    def raw(self, path: str, text: str) -> object:
        """Return the text of a variable as TOML would have given it."""
        return raw_of(KEYS[path], text)

    def test_texts(self) -> None:
        """A variable is read by what its key holds: truth, number, text, list or routes."""
        self.assertIs(self.raw("cache.stale", " On"), True)
        self.assertIs(self.raw("cache.stale", "0"), False)
        self.assertEqual(self.raw("cache.stale", "maybe"), "maybe")
        self.assertEqual(self.raw("cache.memory", "5"), 5)
        self.assertEqual(self.raw("cache.memory", "5MB"), "5MB")
        self.assertEqual(self.raw("accept.tcp_idle", "2.5 "), 2.5)
        self.assertEqual(self.raw("accept.tcp_idle", "2.5.1"), "2.5.1")
        self.assertEqual(self.raw("peers.node", " a "), "a")
        self.assertEqual(self.raw("fetch.upstreams", "192.0.2.1, 192.0.2.2,"), ["192.0.2.1", "192.0.2.2"])
        self.assertEqual(
            self.raw("fetch.routes", "a=192.0.2.1 192.0.2.2, b = x,"), {"a": ["192.0.2.1", "192.0.2.2"], "b": ["x"]}
        )

    @given(PATHS, st.text(max_size=30))
    def test_any_text(self, path: str, text: str) -> None:
        """Whatever stands in a variable, it is taken or refused; nothing else happens."""
        try:
            read(KEYS[path], self.raw(path, text))
        except Unfit as error:
            self.assertTrue(error.faults)
