"""What a node tells by itself where there is no Redis: every command of the terminal, and what it says of Redis."""

from __future__ import annotations

import json
from pathlib import Path

from tests.command.typed import Typed, typed
from tests.live.test_reload import Case, wait
from tests.live.test_workers import dealt
from tests.redisserver import RedisServer


class Alone(Case):
    """A node of one process."""

    def typed(self, *command: str) -> Typed:
        """Type a command that asks the node."""
        return typed(*command, "--server", f"127.0.0.1:{self.node.http}")

    def ask_names(self) -> None:
        """Ask for some names, one more often than the other."""
        dealt(lambda number: self.node.ask("rare.example" if number == 7 else "often.example"), 20)

    def names(self, *options: str) -> list[list[str]]:
        """Return the rows of ``heimdall top``: name, type and asks."""
        done = self.typed("top", "--once", *options)
        self.assertEqual((done.code, done.complaint), (0, ""))
        rows = [line.split() for line in done.lines if ".example" in line]
        return [[name, kind, asked] for name, kind, asked, *_ in rows]

    def check_top(self, reason: str) -> None:
        """Check what is asked for most, at once, and that only this node has counted."""
        self.ask_names()
        self.assertEqual(self.names(), [["often.example", "A", "19"], ["rare.example", "A", "1"]])
        self.assertEqual(self.names("--single"), self.names())
        for options in ((), ("--nodes",)):
            self.assertIn(f"Only the node that was asked has counted: {reason}", self.typed("top", *options).out)
        self.assertIn("20 queries: ", self.typed("top").out)

    def test_top(self) -> None:
        """One node alone knows what it is asked for most, as soon as it was asked; a reload forgets none of it."""
        self.start()
        self.check_top("Redis is not in use")
        self.assertTrue(json.loads(self.node.get("/api/v1/overview")[1])["counted"])
        self.reload("[cache]\nttl_floor = 1\n")
        self.assertEqual(self.names()[0], ["often.example", "A", "19"])
        self.ask_names()
        wait(lambda: self.names()[0] == ["often.example", "A", "38"], "both are added up")

    def test_away(self) -> None:
        """While Redis is away it is the node alone as well, and the command says why."""
        redis = RedisServer().start()
        self.addCleanup(redis.stop)
        self.start("", f"--redis={redis.url}")
        wait(lambda: self.node.metric("heimdall_redislink_connection_up"), "Redis")
        redis.kill()
        wait(lambda: not self.node.metric("heimdall_redislink_connection_up"), "no Redis")
        self.check_top("Connection refused")

    def test_not_counted(self) -> None:
        """Where nothing is counted, that is said, and which key says so."""
        self.start("[cache]\nhot_names = 0\n")
        done = self.typed("top")
        self.assertEqual((done.code, done.out), (1, ""))
        self.assertIn("nothing is counted, as cache.hot_names is 0", done.complaint)

    def test_commands(self) -> None:
        """Every command does what one node can do; what needs Redis says so, and nothing speaks of a version."""
        self.start()
        self.ask_names()
        file = str(Path(self.mktemp()).absolute())
        alone = "Redis is not in use: the node that was asked is all there is."
        for command, code, said in (
            (("members",), 0, "Only the node that was asked is listed: Redis is not in use"),
            (("inspect", "often.example"), 0, alone),
            (("ask", "often.example"), 0, "NOERROR, 1 record"),
            (("export", file), 0, r"Wrote \d answers of memory"),
            (("flush", "often.example"), 0, alone),
            (("import", file), 0, r"Put \d of \d answers"),
            (("export", file, "--from", "redis"), 1, "this needs Redis, which is not in use"),
            (("import", file, "--into", "redis"), 1, "this needs Redis, which is not in use"),
            (("top", "--short"), 0, "There is none so far."),
        ):
            done = self.typed(*command)
            self.assertEqual(done.code, code, (command, done))
            self.assertRegex(done.out + done.complaint, said)
            self.assertNotIn("version", done.out + done.complaint)
            self.assertNotIn("unknown", done.out, command)
        self.assertEqual(self.node.trouble(), [])


class Workers(Alone):
    """A node of two, whose counts are added up."""

    arguments = ("--workers=2",)
