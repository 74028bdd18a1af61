"""URLs of Redis: what they mean, and what is refused without giving a secret away."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from heimdall.interfaces import ILink
from heimdall.redislink import Address, Link, ReadOnly, ReadSplit, connect_to
from heimdall.redislink.cluster import Cluster
from heimdall.redislink.sentinel import SentinelLink


class Urls(SynchronousTestCase):
    """What a URL means."""

    def test_parts(self) -> None:
        """Host, port, user, password and database come from their places, percent signs undone."""
        for url, meant in (
            ("redis://cache", Address((("cache", 6379),))),
            ("redis://cache:7000/3", Address((("cache", 7000),), database=3)),
            ("redis://cache/", Address((("cache", 6379),))),
            ("redis://cache?db=4", Address((("cache", 6379),), database=4)),
            ("rediss://u:p@cache", Address((("cache", 6379),), tls=True, user="u", password="p")),
            ("redis://:p%40ss%2F@[::1]:7", Address((("::1", 7),), password="p@ss/")),
            (
                "redis+sentinel://u:p@a,b:1,[::1]/main/2",
                Address(
                    (("a", 26379), ("b", 1), ("::1", 26379)),
                    user="u",
                    password="p",
                    database=2,
                    kind="sentinel",
                    service="main",
                ),
            ),
            ("rediss+sentinel://a/m%2F", Address((("a", 26379),), tls=True, kind="sentinel", service="m/")),
            ("redis+cluster://a,b:1", Address((("a", 6379), ("b", 1)), kind="cluster")),
            ("rediss+cluster://a/0", Address((("a", 6379),), tls=True, kind="cluster")),
            ("unix:///run/r.sock", Address(path="/run/r.sock")),
            ("embedded:/var/lib/redis", Address(path="/var/lib/redis/redis.sock")),
            ("unix://u:p@/run/r.sock?db=2", Address(path="/run/r.sock", user="u", password="p", database=2)),
        ):
            self.assertEqual(Address.parse(url), meant)

    def test_shown(self) -> None:
        """What is logged of an address names the place and never the password."""
        for url, shown in (
            ("redis://u:secret@cache/3", "redis://cache:6379/3"),
            ("rediss://:secret@[::1]:7", "rediss://[::1]:7/0"),
            ("unix://:secret@/run/r.sock", "unix:///run/r.sock"),
            ("embedded:/var/lib/redis", "unix:///var/lib/redis/redis.sock"),
            ("redis+sentinel://:secret@a,b/main", "redis+sentinel://a:26379,b:26379/main/0"),
            ("rediss+cluster://:secret@[::1],b:7", "rediss+cluster://[::1]:6379,b:7"),
        ):
            self.assertEqual(str(Address.parse(url)), shown)
            self.assertNotIn("secret", repr(Address.parse(url)))

    def test_refused(self) -> None:
        """What is no URL of Redis is refused, and the refusal does not repeat it."""
        for url in (
            "",
            "cache:6379",
            "http://u:secret@cache",
            "redis://",
            "redis://u:secret@",
            "redis://:secret@cache:port",
            "redis://:secret@cache:70000",
            "redis://:sec]ret@[cache",
            "redis://:secret@cache/one",
            "redis://:secret@one,two",
            "redis+secret://cache",
            "unix+sentinel:///secret",
            "redis+sentinel://:secret@a,b",
            "redis+sentinel://:secret@a,,b/main",
            "redis+sentinel://:secret@a,b:port/main",
            "redis+sentinel://a/main/secret",
            "redis+cluster://:secret@a/1",
            "redis+cluster://secret@" + "a," * 64 + "a",
            "redis://:secret@cache/-1",
            "redis://:secret@cache/99999999999999",
            "redis://:secret@cache/²",
            "redis://:secret@cache?timeout=3",
            "unix://secret/run/r.sock",
            "unix:///",
        ):
            error = self.assertRaises(ValueError, Address.parse, url)
            self.assertNotIn("secret", str(error))


class Connecting(SynchronousTestCase):
    """A link of the right kind for each URL."""

    def test_kinds(self) -> None:
        """A link is made from a URL, and does nothing before it is started."""
        clock: Any = Clock()
        for url, kind in (
            ("redis://127.0.0.1", Link),
            ("unix:///run/r.sock", Link),
            ("redis+sentinel://127.0.0.1/main", SentinelLink),
            ("redis+cluster://127.0.0.1", Cluster),
        ):
            link = connect_to(clock, url, time_limit=0.5)
            self.assertIs(type(link), kind)
            self.assertEqual((link.up, link.hearing, clock.getDelayedCalls()), (False, False, []))
            self.assertTrue(verifyObject(ILink, link))
            self.successResultOf(link.close())

    def test_fronts(self) -> None:
        """With a replica look-ups go there; a node that only reads has its writes refused."""
        clock: Any = Clock()
        link = connect_to(clock, "redis://127.0.0.1", replica_url="redis://127.0.0.2")
        self.assertIsInstance(link, ReadSplit)
        self.assertIsInstance(connect_to(clock, "redis://127.0.0.1", reads_only=True), ReadOnly)
