"""What the server would refuse the chart refuses, in the same words: no pod ends at once for want of a right value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from heimdall.admit.lists import name
from heimdall.admit.local import read_record
from heimdall.config.faults import Unfit
from heimdall.config.keys import KEYS, Key
from heimdall.config.values import kind_of, read
from tests.deploy.helm.chart import CHART, Refused, render
from tests.deploy.helm.keys import OURS

DEFAULT = CHART / "ci" / "default.yaml"

SERVERS = ("192.0.2.1", "192.0.2.1:5353", "tcp://192.0.2.1", "[2001:db8::1]", "tcp://[2001:db8::1]:53", "[::ffff:1:2]")
NO_SERVERS = (
    "dns.example", "192.0.2.300", "192.0.2.1:0", "192.0.2.1:70000", "2001:db8::1", "[2001:db8::1", "udp://192.0.2.1",
    "0.0.0.0", "224.0.0.1", "255.255.255.255", "[::]", "[ff02::1]", "[1::2::3]", "192.0.2.1:", "https://192.0.2.1/x",
)  # fmt: skip

GOOD: dict[str, tuple[Any, ...]] = {
    "upstream": SERVERS,
    "network": (
        "192.0.2.0/24", "0.0.0.0/0", "192.0.2.1", "192.0.2.128/25", "10.0.0.0/8", "2001:db8::/32", "::/0", "::1",
        "fc00::/7", "2001:db8:0:8000::/49", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8/128",
    ),
    "name": ("example.com", "*.ads.example.", "_x.example", "bücher.example", "a.1x"),
    "dotted": ("policies.school.Hours", "a.b"),
    "record": (
        "a.example 300 A 192.0.2.1", "a A 192.0.2.1", "a 1h IN AAAA 2001:db8::1", 'a TXT "x y"', "a CNAME b.example.",
    ),
    "file": ("/lists/blocked.txt", "lists/blocked.txt"),
    "url": ("redis://eu.example", "rediss://heimdall@eu.example:6380/0", "unix:///run/redis.sock"),
    "seconds": ("1s",), "size": ("50MB", "64MiB", 1000, "1000"), "word": ("blue:1",),
}  # fmt: skip
"""Values that the server takes, by the kind of the key."""

BAD: dict[str, tuple[Any, ...]] = {
    "upstream": NO_SERVERS,
    "network": (
        "192.0.2.1/24", "192.0.2.0/33", "2001:db8::1/32", "2001:db8:0:8001::/49", "fc01::/7", "here", "::/129",
    ),
    "name": ("a..example", "a b", f"{'x' * 64}.example", "192.0.2.1", "."),
    "dotted": ("policies", "policies:Hours", "1.x", "a.b.", "a-b.c"),
    "record": (
        "a.example A", "a A 192.0.2.300", "a AAAA 192.0.2.1", "a 300 BROKEN x", "*.a A 192.0.2.1", "a 5x A 192.0.2.1",
    ),
    "url": ("http://eu.example", "redis://", "redis://eu.example:0", "redis+sentinel://eu.example", "redis://a,b"),
    "seconds": ("10d", "0.0000001ms"), "size": ("0", "lots", "9999T", "1.5MB", "MB"), "word": ("a b", "x" * 65),
}  # fmt: skip
"""Values that it refuses."""

NUMBERS = (-1, 1e18)
"""So it does of these as numbers of anything but a size, and of most without a bound above."""


FURTHER: dict[str, Callable[[str], object]] = {"admit.block": name, "admit.records": read_record}
"""What a start does with a value beside reading it."""


def kind(key: Key) -> str:
    """Return the kind of a key."""
    return key.kind.partition(":")[0]


def keys() -> Iterator[Key]:
    """Yield the keys that an operator may set."""
    yield from (key for key in KEYS.values() if key.path not in OURS)


def takes(key: Key, value: Any) -> bool:
    """Say whether the server takes a value; of lists and routes, as one of theirs."""
    try:
        if isinstance(key.default, dict):
            read(key, {"a.example": [value]})
        else:
            read(key, [value] if isinstance(key.default, tuple) else value)
        if key.path in FURTHER:
            FURTHER[key.path](value)
    except (Unfit, ValueError):
        return False
    return True


class Same(SynchronousTestCase):
    """The verdicts of both."""

    def said(self, **values: Any) -> str:
        """Return what helm says of values; nothing where it takes them."""
        try:
            render(DEFAULT, **values)
        except Refused as error:
            return str(error)
        return ""

    def samples(self, table: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Key, tuple[Any, ...]]]:
        """Return the values to try by the path of the key."""
        return {key.path: (key, table[kind(key)]) for key in keys() if kind(key) in table}

    def test_lists(self) -> None:
        """Each wrong item of each list is refused by both, and each right one taken."""
        for path, (key, bad) in self.samples(BAD).items():
            if not isinstance(key.default, tuple):
                continue
            section, _, option = path.partition(".")
            good = GOOD[kind(key)]
            self.assertEqual([value for value in bad if takes(key, value)], [], path)
            self.assertEqual([value for value in good if not takes(key, value)], [], path)
            self.assertEqual(self.said(config={section: {option: list(good)}}), "")
            said = self.said(config={section: {option: [*good, *bad]}})
            for value in bad:
                self.assertIn(f'config.{path} = "{value}": expected {kind_of(key).expected}', said, path)
            self.assertEqual(said.count(f"config.{path} = "), len(bad))

    def test_routes(self) -> None:
        """So it is with routes, whose suffixes are names, each once, with servers or one source."""
        key = KEYS["fetch.routes"]
        servers = [*SERVERS, "import:a.b"]
        self.assertTrue(all(takes(key, value) for value in servers))
        self.assertFalse(any(takes(key, value) for value in (*NO_SERVERS, "import:a")))
        routes = {f"n{number}.example": [server] for number, server in enumerate(servers)}
        self.assertEqual(self.said(config={"fetch": {"routes": routes}}), "")
        routes = {f"n{number}.example": [server] for number, server in enumerate((*NO_SERVERS, "import:a"))}
        said = self.said(config={"fetch": {"routes": routes}})
        for suffix, (server,) in routes.items():
            self.assertIn(f'config.fetch.routes.{suffix} = "{server}": expected', said)
        for wrong, named in (
            ({"a..b": ["192.0.2.1"]}, "a domain name"),
            ({"a.example": ["192.0.2.1"], "A.example.": ["192.0.2.1"]}, "each suffix once"),
            ({"cluster.local.": ["192.0.2.1"]}, "each suffix once"),
            ({"a.example": ["192.0.2.1", "import:a.b"]}, "servers for a suffix, or one source"),
            ({"a.example": []}, "minItems"),
        ):
            self.assertIn(named, self.said(config={"fetch": {"routes": wrong}}), wrong)

    def test_texts(self) -> None:
        """Each wrong text that stands for a time, a size or a word is refused by both, for each key."""
        longest = max(len(values) for values in BAD.values())
        for turn in range(longest):
            config: dict[str, dict[str, Any]] = {}
            for path, (key, bad) in self.samples(BAD).items():
                if turn < len(bad) and not isinstance(key.default, tuple):
                    section, _, option = path.partition(".")
                    if path in ("admit.block", "cache.ttl_floor") or isinstance(key.default, dict):
                        continue
                    if not takes(key, bad[turn]):
                        config.setdefault(section, {})[option] = bad[turn]
            if config:
                said = self.said(config=config)
                for section, values in config.items():
                    for option in values:
                        self.assertRegex(said, rf"config[./]{section}[./]{option}\b")
        for path, (key, good) in self.samples(GOOD).items():
            if isinstance(key.default, (tuple, dict)) or kind(key) == "seconds":
                continue
            section, _, option = path.partition(".")
            for value in good:
                self.assertTrue(takes(key, value), path)
                self.assertEqual(self.said(config={section: {option: value}}), "", path)

    def test_numbers(self) -> None:
        """Each number out of its bounds is refused by both, whole ones with a fraction as well."""
        for number in NUMBERS:
            config: dict[str, dict[str, Any]] = {}
            for key in keys():
                if (
                    isinstance(key.default, (int, float))
                    and not isinstance(key.default, bool)
                    and not takes(key, number)
                ):
                    config.setdefault(key.section, {})[key.name] = number
            self.assertGreater(sum(map(len, config.values())), 25)
            said = self.said(config=config)
            for section, values in config.items():
                for option in values:
                    self.assertRegex(said, rf"config[./]{section}[./]{option}\b")
        self.assertRegex(self.said(config={"cache": {"failure_ttl": 1.5}}), "config/cache/failure_ttl|failure_ttl")
        self.assertIn("config.cache.failure_ttl", self.said(config={"cache": {"failure_ttl": "1500ms"}}))

    def test_together(self) -> None:
        """A value that does not go with another is refused, also where that one is a default."""
        local = {"kind": "DaemonSet", "nodeLocal": {"address": "169.254.20.10"}}
        cert = {"url": "rediss://r.example", "tls": {"secret": "s", "cert": "tls.crt"}}
        for config, named in (
            ({"peers": {"heartbeat": "30s"}}, "config.peers.heartbeat = 30: expected less than peers.expiry, 10"),
            ({"peers": {"expiry": 5}}, "config.peers.heartbeat = 5: expected less than peers.expiry, 5"),
            ({"cache": {"ttl_floor": "1h", "ttl_ceiling": 60}}, "config.cache.ttl_floor = 3600: expected at most"),
            ({"redis": {"read_budget": "5s"}}, "config.redis.read_budget = 5: expected less than fetch.deadline"),
            ({"fetch": {"deadline": "20ms"}}, "config.redis.read_budget = 0.02: expected less than"),
            ({"admit": {"rate": 0.2}}, "config.admit.burst = 0.4: expected at least 1"),
            ({"admit": {"rate": 5, "burst": 0.5}}, "config.admit.burst = 0.5: expected at least 1"),
        ):
            self.assertIn(named, self.said(config=config), config)
        for external, named in (
            ({"url": "redis+sentinel://s.example/main", "sentinel": {"user": "heimdall"}}, "sentinel.secret beside it"),
            ({"url": "redis://r.example", "sentinel": {"secret": "s"}}, r"\+sentinel://"),
            (
                {"url": "redis+cluster://r.example", "replicaUrl": "redis://x"},
                "expected none, as redis.external.url is",
            ),
            ({"url": "redis://r.example:99999"}, "config.redis.url"),
            ({"url": "redis://r.example", "resolver": ["2001:db8::1"]}, 'config.redis.resolver = "2001:db8::1"'),
            (cert, "expected cert and key"),
        ):
            self.assertIn(named, self.said(redis={"external": external}), external)
        for address, upstream in (("169.254.20.10", "169.254.20.10"), ("10.96.0.10", "192.0.2.1")):
            values = local | {"nodeLocal": {"address": address}, "config": {"fetch": {"upstreams": [upstream]}}}
            self.assertIn("expected another address than", self.said(**values))

    def test_all_at_once(self) -> None:
        """All that is wrong is told at once, after one line that says what these lines are."""
        said = self.said(config={"fetch": {"upstreams": ["dns.example"]}, "peers": {"heartbeat": "30s"}})
        self.assertIn("the server would refuse this:", said)
        self.assertIn("dns.example", said)
        self.assertIn("peers.heartbeat", said)
