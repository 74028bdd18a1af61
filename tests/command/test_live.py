"""What is drawn again and again on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from unittest import mock

from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from heimdall.command import live
from heimdall.command.client import AWAY, OK
from tests.command.test_command import TOP, Case
from tests.command.typed import Terminal, typed

NAME = TOP["names"][0]["name"]
LONG = "a-name-that-is-much-too-long-for-a-narrow-terminal.in-a-zone-of-the-same-kind.example"


class Top(Case):
    """A node that says what is hot, and the command in a process of its own, on a terminal of its own."""

    timeout = 600

    def setUp(self) -> None:
        super().setUp()
        self.counted = {**TOP, "names": [*TOP["names"], {**TOP["names"][1], "name": LONG}]}
        self.where = f"127.0.0.1:{self.port}"

    async def on(self, terminal: Callable[[], Terminal], work: Callable[[Terminal], None]) -> None:
        """Work at a terminal, in a thread: the node is served in this one."""

        def working() -> None:
            with terminal() as opened:
                work(opened)

        await deferToThread(working)

    async def test_redraws(self) -> None:
        """It looks again and again, and ends by q, with 0; the page before is there again, with its cursor."""

        def work(terminal: Terminal) -> None:
            terminal.wait_for("\x1b[H", 3)
            terminal.press("q")
            self.assertEqual(terminal.end(), OK)
            self.assertGreaterEqual(terminal.heard.count(NAME), 2)
            self.assertTrue(terminal.heard.startswith("\x1b[?1049h\x1b[?25l"))
            self.assertTrue(terminal.heard.endswith("\x1b[?25h\x1b[?1049l"))

        await self.on(lambda: Terminal("top", "--server", self.where), work)

    def test_every_two_seconds(self) -> None:
        """Between two looks are two seconds, however long a look takes; a key ends the wait."""
        clock, looks = Clock(), list[float]()

        def look() -> list[str]:
            looks.append(clock.seconds())
            clock.advance(0.5)
            return []

        def wait(read: list[object], _write: object, _error: object, seconds: float) -> tuple[list[object], ...]:
            clock.advance(seconds if len(looks) < 3 else 0.1)
            return read[:1] if len(looks) == 3 else [], [], []

        self.patch(live, "time", mock.Mock(monotonic=clock.seconds, strftime=time.strftime))
        self.patch(live, "select", mock.Mock(select=wait))
        self.patch(live, "os", mock.Mock(read=lambda *_: b"q"))
        self.patch(live, "_page", lambda: nullcontext(0))
        self.patch(live, "_draw", lambda *_: None)
        live.live(look, "here")
        self.assertEqual((looks, clock.seconds()), ([0.0, 2.5, 5.0], 5.6))

    async def test_interrupted(self) -> None:
        """Control and C end it as well; that is no failure, and the terminal is as it was."""

        def work(terminal: Terminal) -> None:
            terminal.wait_for("q ends")
            terminal.interrupt()
            self.assertEqual(terminal.end(), OK)
            self.assertTrue(terminal.heard.endswith("\x1b[?1049l"))
            self.assertNotIn("Traceback", terminal.heard)

        await self.on(lambda: Terminal("top", "--server", self.where), work)

    async def test_fits(self) -> None:
        """Long names are cut to the width, and drawn in full when that grows; lines that do not fit are left out."""

        def work(terminal: Terminal) -> None:
            terminal.wait_for("q ends")
            self.assertIn("…", terminal.text)
            lines = terminal.text.replace("\r", "").split("\n")
            self.assertLessEqual(max(map(len, lines)), 70)
            self.assertEqual(len(lines), 8)
            terminal.resize(160, 24)
            terminal.wait_for(LONG)
            terminal.press("q")
            self.assertEqual(terminal.end(), OK)

        await self.on(lambda: Terminal("top", "--server", self.where, columns=70, lines=8), work)

    async def test_away(self) -> None:
        """A node that fails while it is looked at is told in the last line, and asked again until it is well."""

        def work(terminal: Terminal) -> None:
            terminal.wait_for("q ends")
            self.counted = None
            terminal.wait_for("The node answers 503: Redis cannot be asked: Redis is away (tried again)")
            self.assertIn(NAME, terminal.text.rpartition("503")[0][-2000:])
            self.counted = TOP
            drawn = terminal.heard.count("q ends")
            terminal.wait_for("q ends", drawn + 1)
            terminal.press("q")
            self.assertEqual(terminal.end(), OK)

        await self.on(lambda: Terminal("top", "--server", self.where, columns=120), work)

    async def test_never_there(self) -> None:
        """Where no node is at all, it does not begin, and ends with 3."""

        def work(terminal: Terminal) -> None:
            self.assertEqual(terminal.end(), AWAY)
            self.assertNotIn("\x1b[?1049h", terminal.heard)
            self.assertIn("To start one: twistd", terminal.heard)

        await self.on(lambda: Terminal("top", "--server", "127.0.0.1:1"), work)

    async def test_no_terminal(self) -> None:
        """Where its output is no terminal it looks once, and cuts nothing; so it does where it is told."""
        done = await deferToThread(typed, "top", "--server", self.where)
        self.assertEqual((done.code, done.lines[0].split()[0]), (OK, "NAME"))
        self.assertNotIn("\x1b", done.out)
        self.assertIn(LONG, done.out)

        def work(terminal: Terminal) -> None:
            self.assertEqual(terminal.end(), OK)
            self.assertNotIn("\x1b[H", terminal.heard)

        await self.on(lambda: Terminal("top", "--once", "--server", self.where), work)

    async def test_colours(self) -> None:
        """Heads and states are painted on a terminal, unless NO_COLOR is set; in a pipe nothing is."""
        for environ, painted in (({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False)):

            def work(terminal: Terminal, painted: bool = painted) -> None:
                self.assertEqual(terminal.end(), OK)
                self.assertEqual("\x1b[1mNODE" in terminal.heard, painted)
                self.assertEqual("\x1b[32mhealthy" in terminal.heard, painted)

            opens = partial(Terminal, "members", "--server", self.where, columns=150, environ=environ)
            await self.on(opens, work)
        self.assertNotIn("\x1b", (await deferToThread(typed, "members", "--server", self.where)).out)
