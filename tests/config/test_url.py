"""The URL of Redis is checked, and never shown with its password."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from heimdall.config.url import SINGLE, check, check_main, folder, has_password, hidden, hosts


class URLTests(SynchronousTestCase):
    """What is a URL of Redis, and what of it may be seen."""

    def test_good(self) -> None:
        """Redis by TCP, by TLS and by Unix socket, with user, password and database number."""
        for text in (
            "redis://heimdall-redis:6379",
            "redis://h",
            "redis://h/",
            "redis://[::1]:6379/15",
            "rediss://user:p%40ss@h:6380/2",
            "redis://:secret@h",
            "redis+sentinel://:s@a,b:26379,[::1]:1/main/2",
            "rediss+sentinel://a/my%2Fmain",
            "redis+cluster://u:p@a:7000,b",
            "rediss+cluster://a/",
            "unix:///run/redis.sock",
            "unix://:secret@/run/redis.sock?db=2",
        ):
            self.assertEqual(check(text), text)

    def test_bad(self) -> None:
        """Whatever else is refused with the reason, and the reason holds no part of it."""
        for text, why in {
            "": "begins with",
            "s3cret": "begins with",
            "http://s3cret@h": "begins with",
            "redis:s3cret": "begins with",
            "redis://": "host is missing",
            "redis://:s3cret@": "host is missing",
            "redis://:s3/cret@h": "malformed",
            "redis://:s3cret@h:port": "malformed",
            "redis://:s3cret@h:70000": "malformed",
            "redis://[s3cret": "malformed",
            "redis://h:0": "from 1 to 65535",
            "redis://:s3#cret@h": "malformed",
            "redis://h/#s3cret": "%23",
            "redis://h#": "%23",
            "redis://h?password=s3cret": "%3F",
            "redis://h/s3cret": "database",
            "redis://h/1/2": "database",
            "redis://:s3cret@a,b": "redis+sentinel://",
            "redis+s3cret://a": "+sentinel or +cluster",
            "redis+sentinel://:s3cret@a,b": "name of the service",
            "redis+sentinel://a/s3/cret": "name of the service",
            "redis+sentinel://:s3cret@a,,b/main": "host is missing",
            "redis+sentinel://:s3cret@a:0/main": "from 1 to 65535",
            "redis+cluster://:s3cret@a,b:port": "malformed",
            "redis+cluster://a/1": "no other database",
            "unix://host/path": "absolute path",
            "unix://a,b/path": "absolute path",
            "unix://": "absolute path",
            "unix:///": "absolute path",
            "unix:///run/redis.sock?password=s3cret": "database",
        }.items():
            message = str(self.assertRaises(ValueError, check, text))
            self.assertIn(why, message, text)
            self.assertNotIn("cret", message)

    def test_single(self) -> None:
        """Where one server is meant, no URL of several will do."""
        self.assertEqual(check("rediss://h", SINGLE), "rediss://h")
        self.assertRaises(ValueError, check, "redis+cluster://h", SINGLE)

    def test_embedded(self) -> None:
        """The main Redis may be an embedded one, with a folder or without; the path is absolute, and not the root."""
        for text, expected in {
            "embedded": "embedded:",
            "embedded:": "embedded:",
            "embedded:/var/lib/redis": "embedded:/var/lib/redis",
            "embedded:/var//lib/x/../redis/": "embedded:/var/lib/redis",
            "redis://h": "redis://h",
        }.items():
            self.assertEqual(check_main(text), expected)
        for text in ("embedded:redis", "embedded:/", "embedded://host/path", "embedded:/..", "embedded:./x"):
            self.assertIn("absolute path of a folder", str(self.assertRaises(ValueError, check_main, text)))
        for text in ("embeddedx", "embedded-redis", "Embedded:"):
            self.assertIn("begins with", str(self.assertRaises(ValueError, check_main, text)))
        self.assertRaises(ValueError, check, "embedded:")
        self.assertEqual([folder(url) for url in ("embedded:", "embedded:/x", "redis://h")], ["", "/x", None])
        self.assertEqual(
            (hosts("embedded:/x"), has_password("embedded:/a@b"), hidden("embedded:/a@b")), ([], False, "embedded:/a@b")
        )

    def test_hosts(self) -> None:
        """The hosts are told without ports and secrets."""
        self.assertEqual(hosts("redis+sentinel://u:p@a:1,[::1],b/main"), ["a", "::1", "b"])
        self.assertEqual((hosts("unix:///run/r"), hosts("")), ([], []))

    def test_hidden(self) -> None:
        """A password is hidden, and a lone user as well, since it may be a password; the rest is shown."""
        for text, expected in {
            "redis://user:secret@h:1/2": "redis://user:***@h:1/2",
            "redis://:secret@h": "redis://:***@h",
            "redis://secret@h": "redis://***@h",
            "unix://:secret@/run/r": "unix://:***@/run/r",
            "redis://h": "redis://h",
        }.items():
            self.assertEqual(hidden(text), expected)

    def test_has_password(self) -> None:
        """A user alone is no password."""
        self.assertTrue(has_password("redis://:x@h"))
        self.assertFalse(has_password("redis://x@h"))

    @given(
        st.text(min_size=1).filter(lambda password: "***" not in password and password not in "redis://user:***@h/1")
    )
    def test_never_seen(self, password: str) -> None:
        """Whatever the password is: a URL that passes the check shows none of it when hidden."""
        url = f"redis://user:{password}@h/1"
        try:
            check(url)
        except ValueError as error:
            self.assertNotIn(repr(password), str(error))
        else:
            self.assertEqual(hidden(url), "redis://user:***@h/1")
