"""URLs of Redis: what they mean, and what is refused without giving a secret away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from heimdall.redislink import Address, connect_to
from tests.redisserver import make_certificates


class Urls(SynchronousTestCase):
    """What a URL means."""

    def test_parts(self) -> None:
        """Host, port, user, password and database come from their places, percent signs undone."""
        for url, meant in (
            ("redis://cache", Address("cache")),
            ("redis://cache:7000/3", Address("cache", 7000, database=3)),
            ("redis://cache/", Address("cache")),
            ("redis://cache?db=4", Address("cache", database=4)),
            ("rediss://u:p@cache", Address("cache", tls=True, user="u", password="p")),
            ("redis://:p%40ss%2F@[::1]:7", Address("::1", 7, password="p@ss/")),
            ("unix:///run/r.sock", Address(path="/run/r.sock")),
            ("unix://u:p@/run/r.sock?db=2", Address(path="/run/r.sock", user="u", password="p", database=2)),
        ):
            self.assertEqual(Address.parse(url), meant)

    def test_shown(self) -> None:
        """What is logged of an address names the place and never the password."""
        for url, shown in (
            ("redis://u:secret@cache/3", "redis://cache:6379/3"),
            ("rediss://:secret@[::1]:7", "rediss://[::1]:7/0"),
            ("unix://:secret@/run/r.sock", "unix:///run/r.sock"),
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
            "redis://:secret@cache/-1",
            "redis://:secret@cache/99999999999999",
            "redis://:secret@cache/²",
            "redis://:secret@cache?timeout=3",
            "unix://secret/run/r.sock",
            "unix:///",
        ):
            error = self.assertRaises(ValueError, Address.parse, url)
            self.assertNotIn("secret", str(error))


class Ways(SynchronousTestCase):
    """The way to an address."""

    def endpoint(self, url: str, ca_file: str = "") -> Any:
        clock: Any = Clock()
        return Address.parse(url).endpoint(clock, ca_file)

    def test_unix(self) -> None:
        """A Unix socket is reached as such."""
        self.assertIsInstance(self.endpoint("unix:///run/r.sock"), UNIXClientEndpoint)

    def test_foreign_host(self) -> None:
        """A host name outside ASCII is asked for in Punycode."""
        self.assertIn("xn--mnchen-3ya", repr(self.endpoint("redis://münchen").__dict__))

    def test_trust(self) -> None:
        """Without certificates of our own the system's are trusted; with a file, those in it."""
        self.endpoint("rediss://cache")
        folder = Path(self.mktemp())
        folder.mkdir()
        make_certificates(folder)
        self.endpoint("rediss://cache", str(folder / "ca.pem"))

    def test_bad_certificates(self) -> None:
        """A file that is missing, without certificates or with broken ones is named in the refusal."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "empty").write_bytes(b"nothing")
        (folder / "broken").write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        for name in ("missing", "empty", "broken"):
            error = self.assertRaises(ValueError, self.endpoint, "rediss://cache", str(folder / name))
            self.assertIn(str(folder / name), str(error))

    def test_connect_to(self) -> None:
        """A link is made from a URL, and does nothing before it is started."""
        clock: Any = Clock()
        link = connect_to(clock, "redis://cache", time_limit=0.5)
        self.assertEqual((link.up, clock.getDelayedCalls()), (False, []))
