"""The check of a configuration, as an operator runs it before a start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from heimdall.command.client import FAILED, OK, USAGE
from tests import nsd
from tests.command.typed import Terminal, typed
from tests.nsd import Nsd
from tests.ports import free_port
from tests.redisserver import RedisServer

CONFIG = """
[accept]
listen = ["127.0.0.1:{dns}"]
[fetch]
upstreams = []
resolv_conf = "/dev/null"
routes = {{ "a.example" = ["{upstream}"] }}
[redis]
url = "{redis}"
secret_file = "secret"
[watch]
http = "127.0.0.1:{http}"
"""


class Checking(SynchronousTestCase):
    """A configuration with a real upstream and a real Redis."""

    skip = nsd.SKIP

    def setUp(self) -> None:
        self.nsd = Nsd(names=1, zone="a.example").start()
        self.addCleanup(self.nsd.stop)
        self.redis = RedisServer().start()
        self.addCleanup(self.redis.stop)
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "secret").write_text("0123456789abcdef0123456789abcdef")
        (folder / "secret").chmod(0o600)
        self.config = folder / "heimdall.toml"
        self.write()

    def write(self) -> None:
        """Write the configuration."""
        text = CONFIG.format(dns=free_port(), http=free_port(), upstream=self.nsd.text, redis=self.redis.url)
        self.config.write_text(text)

    def check(self, *arguments: str, code: int = OK) -> list[dict[str, Any]]:
        """Check it, and return what was found."""
        done = typed("check", "--config", str(self.config.absolute()), "--json", *arguments)
        self.assertEqual((done.code, done.complaint), (code, ""))
        told = json.loads(done.out)
        self.assertEqual(told["ok"], code == OK)
        checks: list[dict[str, Any]] = told["checks"]
        return checks

    def test_good(self) -> None:
        """Everything is reached for, and it ends with 0; what should be looked at does not change that."""
        checks = self.check()
        found = {(each["part"], each["which"]): each["state"] for each in checks}
        self.assertEqual(found[("file", "redis.secret_file")], "ok")
        self.assertEqual(found[("upstream", self.nsd.text)], "note")  # it does not recurse
        self.assertIn(found[("redis", f"{self.redis.url}")], ("ok", "note"))  # on a slow machine it is late
        self.assertEqual(found[("redis", "rights")], "ok")
        self.assertEqual(found[("redis", "secret")], "ok")
        self.assertEqual([state for (part, _), state in found.items() if part == "port"], ["ok", "ok"])

    def test_away(self) -> None:
        """An upstream or a Redis that is not there ends it with 1, each named with why."""
        self.nsd.kill()
        self.redis.kill()
        checks = self.check(code=FAILED)
        failed = {each["part"]: each["found"] for each in checks if each["state"] == "FAIL"}
        self.assertEqual(sorted(failed), ["redis", "upstream"])
        self.assertIn("start Redis", failed["redis"])

    def test_options(self) -> None:
        """It takes the options of the server: they beat the file here as well."""
        self.redis.kill()
        other = f"127.0.0.1:{free_port()}"
        checks = self.check("--no-redis", "--no-http", "--listen", other)
        self.assertEqual([each["which"] for each in checks if each["part"] == "port"], [other])
        self.assertIn("not in use", next(each["found"] for each in checks if each["part"] == "redis"))

    def test_wrong(self) -> None:
        """A configuration that is wrong ends with 2 and a line for each fault, and nothing is reached for."""
        self.config.write_text("[fetch]\ndeadline = -1\n[cache]\nmemori = 1\n")
        done = typed("check", "--config", str(self.config.absolute()))
        self.assertEqual((done.code, done.out), (USAGE, ""))
        self.assertIn("fetch.deadline", done.complaint)
        self.assertIn("did you mean cache.memory?", done.complaint)

    def test_screen(self) -> None:
        """On a terminal it says what it waits for, takes that back, paints the states and fits the width."""
        with Terminal("check", "--config", str(self.config.absolute()), columns=72) as terminal:
            self.assertEqual(terminal.end(), OK)
            self.assertIn("Reaching for upstreams, Redis and ports", terminal.heard)
            self.assertIn("\x1b[32mok", terminal.heard)
            table = terminal.text.rpartition("PART")[2].splitlines()
            self.assertLessEqual(max(map(len, table)), 72)
            self.assertRegex(terminal.text, r"\d+ checks: 0 failed, \d+ to look at")

    def test_no_colour(self) -> None:
        """With NO_COLOR, or on a dumb terminal, nothing is painted."""
        for environ in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            with Terminal("check", "--config", str(self.config.absolute()), environ=environ) as terminal:
                self.assertEqual(terminal.end(), OK)
                self.assertNotIn("\x1b[3", terminal.heard)
