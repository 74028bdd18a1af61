"""What is drawn again and again on a terminal, at real nodes."""

from __future__ import annotations

import json
import time

from twisted.trial.unittest import SynchronousTestCase

from heimdall.command.client import AWAY, OK
from tests.cluster import Cluster
from tests.command.typed import Terminal, typed

LONG = "a-name-that-is-much-too-long-for-a-narrow-terminal.in-a-zone-of-the-same-kind.example"


class Top(SynchronousTestCase):
    """A node that knows what is hot."""

    def setUp(self) -> None:
        self.cluster = self.enterContext(Cluster(1, delay=0.0))
        node = self.cluster.nodes[0]
        self.where = f"127.0.0.1:{node.http}"

        def hot() -> bool:
            for name in (LONG, "www.a.example"):
                for _ in range(5):
                    node.ask(name)
            return bool(json.loads(node.get("/api/v1/top")[1])["names"])

        self.cluster.wait(hot, 60)

    def test_redraws(self) -> None:
        """It looks again every two seconds and ends by q, with 0; the page before is there again, with its cursor."""
        with Terminal("top", "--server", self.where) as terminal:
            began = time.monotonic()
            terminal.wait_for("\x1b[H", 3)
            self.assertGreater(time.monotonic() - began, 3.5)
            terminal.press("q")
            self.assertEqual(terminal.end(), OK)
            self.assertGreaterEqual(terminal.heard.count("www.a.example"), 2)
            self.assertTrue(terminal.heard.startswith("\x1b[?1049h\x1b[?25l"))
            self.assertTrue(terminal.heard.endswith("\x1b[?25h\x1b[?1049l"))

    def test_interrupted(self) -> None:
        """Control and C end it as well; that is no failure, and the terminal is as it was."""
        with Terminal("top", "--server", self.where) as terminal:
            terminal.wait_for("q ends")
            terminal.interrupt()
            self.assertEqual(terminal.end(), OK)
            self.assertTrue(terminal.heard.endswith("\x1b[?1049l"))
            self.assertNotIn("Traceback", terminal.heard)

    def test_fits(self) -> None:
        """Long names are cut to the width, and drawn in full at once when the terminal is made wider."""
        with Terminal("top", "--server", self.where, columns=70, lines=8) as terminal:
            terminal.wait_for("q ends")
            self.assertIn("…", terminal.text)
            lines = terminal.text.replace("\r", "").split("\n")
            self.assertLessEqual(max(map(len, lines)), 70)
            self.assertEqual(len(lines), 8)
            began = time.monotonic()
            terminal.resize(160, 24)
            terminal.wait_for(LONG)
            self.assertLess(time.monotonic() - began, 20)
            terminal.press("q")
            self.assertEqual(terminal.end(), OK)

    def test_away(self) -> None:
        """A node that goes away while it is looked at is told in the last line, and waited for; there at no time: 3."""
        with Terminal("top", "--server", self.where, columns=120) as terminal:
            terminal.wait_for("q ends")
            self.cluster.nodes[0].end()
            terminal.wait_for("No node answers at")
            self.cluster.nodes[0].again()
            drawn = terminal.heard.count("q ends")
            terminal.wait_for("q ends", drawn + 1)
            terminal.press("q")
            self.assertEqual(terminal.end(), OK)
        self.cluster.nodes[0].end()
        with Terminal("top", "--server", self.where) as terminal:
            self.assertEqual(terminal.end(), AWAY)
            self.assertNotIn("\x1b[?1049h", terminal.heard)

    def test_no_terminal(self) -> None:
        """Where its output is no terminal, or it is told so, it looks once."""
        done = typed("top", "--server", self.where)
        self.assertEqual((done.code, done.lines[2].split()[0]), (OK, "NAME"))
        self.assertNotIn("\x1b", done.out)
        self.assertIn(LONG, done.out)
        with Terminal("top", "--once", "--server", self.where) as terminal:
            self.assertEqual(terminal.end(), OK)
            self.assertNotIn("\x1b[H", terminal.heard)

    def test_colours(self) -> None:
        """The head is painted on a terminal, unless NO_COLOR is set; in a pipe nothing is."""
        for environ, painted in (({}, True), ({"NO_COLOR": "1"}, False)):
            with Terminal("members", "--server", self.where, columns=150, environ=environ) as terminal:
                self.assertEqual(terminal.end(), OK)
                self.assertEqual("\x1b[1mNODE" in terminal.heard, painted)
                self.assertEqual("\x1b[32mhealthy" in terminal.heard, painted)
        self.assertNotIn("\x1b", typed("members", "--server", self.where).out)
