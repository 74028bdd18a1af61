"""Rights that Redis does not give: named, told once, forgotten when they are given."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from heimdall.redislink import rights
from heimdall.redislink.rights import HOLD, MOST, Rights, right
from tests.rediscase import RedisCase, until

AT = "redis://redis:6379/0"


class Named(SynchronousTestCase):
    """What an error says."""

    def test_words(self) -> None:
        """In the words of every Redis, of commands, keys and channels, in scripts and out of them."""
        for text, named in (
            ("NOPERM this user has no permissions to run the 'evalsha' command", "the command evalsha"),
            ("NOPERM this user has no permissions to run the 'zadd' command or its subcommand", "the command zadd"),
            ("NOPERM User heimdall has no permissions to run the 'cluster|slots' command", "the command cluster|slots"),
            ("NOPERM this user has no permissions to access one of the keys used as arguments", "the keys"),
            ("NOPERM No permissions to access a key", "the keys"),
            ("NOPERM this user has no permissions to access one of the channels used as arguments", "the channels"),
            ("NOPERM No permissions to access a channel", "the channels"),
            ("ERR The user executing the script can't run this command or", "a command that our scripts run"),
            ("ERR ACL failure in script: User u has no permissions to run the 'set' command", "the command set"),
            ("ERR The user executing the script can't publish to the channel mentioned in the command", "the channels"),
            ("NOPERM whatever", "a command that our scripts run"),
            ("WRONGTYPE Operation against a key holding the wrong kind of value", ""),
            ("READONLY You can't write against a read only replica.", ""),
            ("", ""),
        ):
            self.assertEqual(right(text), named, text)


class Kept(RedisCase):
    """What is kept in mind."""

    def test_told_once(self) -> None:
        """Each right is told once, however often it is refused; that none is refused any more, as well."""
        kept = Rights()
        for now in range(0, 300, 10):
            kept.refused("NOPERM this user has no permissions to run the 'set' command", float(now), AT)
        kept.refused("NOPERM this user has no permissions to access a key", 290.0, AT)
        kept.refused("ERR no", 290.0, AT)
        kept.refused("NOPERM No permissions to access a channel", 290.0)
        self.assertEqual(kept.missing(290.0), ["the channels", "the command set", "the keys"])
        self.assertEqual(kept.missing(289.0 + HOLD), ["the channels", "the command set", "the keys"])
        self.assertEqual(kept.missing(290.0 + HOLD), [])
        self.assertEqual(kept.missing(300.0 + HOLD), [])
        self.assertEqual(self.events, [
            f"Redis at {AT} does not let its user use the command set; give it what docs/redis.md lists",
            f"Redis at {AT} does not let its user use the keys; give it what docs/redis.md lists",
            "Redis refuses nothing that we need any more",
        ])  # fmt: skip

    def test_bounded(self) -> None:
        """A server that makes rights up has us keep few of them."""
        kept = Rights()
        for number in range(2 * MOST):
            kept.refused(f"NOPERM no permissions to run the 'x{number}' command", 0.0)
        self.assertEqual(len(kept.missing(0.0)), MOST)

    async def test_real(self) -> None:
        """A real Redis gives a right that it refused: it is missing no more; what the greeting tries may be refused."""
        self.patch(rights, "HOLD", 0.3)
        server = self.server()
        server.command("ACL", "SETUSER", "u", "on", ">p", "~*", "+ping", "+time", "+get")
        link = self.linked(server.url.replace("//", "//u:p@"))
        await until(lambda: link.up)
        self.assertEqual(list(link.missing), [])
        link.run("SET", "a", "b").addErrback(lambda _: None)
        await until(lambda: list(link.missing) == ["the command set"])
        server.command("ACL", "SETUSER", "u", "+set")
        await link.run("SET", "a", "b")
        await until(lambda: not link.missing)
        self.assertEqual(self.events[-1], "Redis refuses nothing that we need any more")
