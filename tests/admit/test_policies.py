"""The examples of docs/policies.md, run as they stand."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

import heimdall
from heimdall.admit.lifecycle import CannotStart, Host, Lifecycle
from heimdall.admit.policy import ClientPolicy, NamePolicy, policy
from heimdall.interfaces import DROP, Drop, IGate
from heimdall.message.answer import Answer
from heimdall.message.passed import Changes
from heimdall.message.query import Query
from heimdall.message.wire import from_text
from tests.admit.asking import asking, extended_errors, rcode, rows, told
from tests.rediscase import really_until as until

PAGE = Path(heimdall.__file__).parent.parent / "docs" / "policies.md"
BLOCKED = 15


def own(made: object) -> NamePolicy | ClientPolicy:
    """Return the gate for a policy of the page."""
    return policy("school.Policy", made, Clock(), Changes())


class Page(SynchronousTestCase):
    """The page about a policy of one's own."""

    def setUp(self) -> None:
        """Run every example of the page, one after the other; the last one holds assertions of its own."""
        self.blocks: list[str] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
        self.names: dict[str, Any] = {"__name__": "school"}
        for block in self.blocks:
            exec(compile(block, str(PAGE), "exec"), self.names)

    def test_gate(self) -> None:
        """The gate of the page is an IGate, and says what the page promises, in a form a client can read."""
        gate = self.names["School"](hour=lambda: 9)
        verifyObject(IGate, gate)
        reply = told(gate, asking("www.games.example"))
        self.assertEqual((rcode(reply), extended_errors(reply)), ("NXDOMAIN", [BLOCKED]))
        self.assertIsNone(gate.judge(asking("games.example.com")))

    def test_called_without_arguments(self) -> None:
        """The class of the page can be named in the configuration: it is called without arguments."""
        verifyObject(IGate, self.names["School"]())

    def test_records(self) -> None:
        """The answer with records of the page is one that a client can read."""
        nowhere: Callable[..., Answer] = self.names["nowhere"]

        @implementer(IGate)
        class Nowhere:
            """A gate that says so of every query."""

            def judge(self, query: Query) -> Answer | Drop | None:
                return nowhere(query)

        self.assertEqual(rows(told(Nowhere(), asking("www.example"))), ["www.example. 60 IN A 192.0.2.1"])

    def test_by_client(self) -> None:
        """The policy of the page that judges by the client can be loaded, stands before memory, and drops strangers."""
        gate = own(self.names["Inner"]())
        self.assertIsInstance(gate, ClientPolicy)
        for client, name, verdict in (
            ("192.0.2.7", "www.corp.example", DROP), ("10.0.0.7", "www.corp.example", None), ("192.0.2.7", "b", None),
        ):  # fmt: skip
            self.assertIs(gate.judge(asking(name, client=client)), verdict)

    def test_to_the_second(self) -> None:
        """The policy of the page that says how long its verdict holds says so until the next full hour that matters."""
        for hour, seconds in ((7, 1800), (9, 19800), (16, 57600 - 1800)):
            moment = time.struct_time((2026, 11, 30, hour, 30, 0, 0, 334, 0))
            self.patch(time, "localtime", lambda moment=moment: moment)
            bell = self.names["Bell"](hour=lambda hour=hour: hour)
            query = asking("www.games.example")
            verdict = own(bell).judge(query)
            self.assertEqual((verdict is None, bell.left()), (not 8 <= hour < 15, seconds))
            self.assertEqual(query.passed and query.passed.until, None if verdict else seconds)

    def test_life(self) -> None:
        """The policy of the page that reads a list can be loaded, and refuses what is listed."""
        listed = self.names["Listed"]()
        wanted: list[object] = []
        listed.host = Host(None, wanted.append)
        listed.take(frozenset((from_text("a.example"),)))
        self.assertEqual(rcode(told(own(listed), asking("www.a.example"))), "REFUSED")
        self.assertIsNone(own(listed).judge(asking("b.example")))
        listed.take(listed.names)
        self.assertEqual(wanted, [[from_text("a.example")]])

    def test_twenty_lines(self) -> None:
        """The gate of the page takes twenty lines, blank ones aside."""
        self.assertLessEqual(len([line for line in self.blocks[0].splitlines() if line.strip()]), 20)


class ListedLife(TestCase):
    """The policy of the page that reads a list, from its start to its stop, with real threads and a file."""

    def setUp(self) -> None:
        self.file = Path(self.mktemp())
        names: dict[str, Any] = {"__name__": "school", "open": lambda _: self.file.open()}
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
            exec(compile(block, str(PAGE), "exec"), names)
        self.listed = names["Listed"]()
        self.clock = Clock()
        self.life = Lifecycle([own(self.listed)], self.clock, Changes())

    def refused(self, name: str) -> bool:
        """Return whether it refuses a name."""
        return self.listed.judge(asking(name)) is not None

    def write(self, name: str) -> None:
        """Write a list of one name."""
        self.file.write_text(f"{name}\n")

    async def test_read_again(self) -> None:
        """It looks once a minute; a file that cannot be read keeps the list of before, and the next look comes."""
        self.write("a.example")
        await self.life.start()
        self.assertTrue(self.refused("a.example"))
        self.file.unlink()
        errors: list[str] = []
        keep = self.listed.keep

        def note(failure: Failure) -> None:
            errors.append(failure.getErrorMessage())
            keep(failure)

        self.listed.keep = note
        self.clock.advance(60)
        await until(lambda: len(errors) == 1)
        self.assertTrue(self.refused("a.example"))
        self.write("b.example")
        await until(lambda: self.clock.getDelayedCalls())
        self.clock.advance(60)
        await until(lambda: self.refused("b.example"))
        self.assertFalse(self.refused("a.example"))
        await self.life.stop()
        self.assertEqual((self.clock.getDelayedCalls(), self.flushLoggedErrors()), ([], []))

    async def test_not_there(self) -> None:
        """Where the first read fails it does not start, and no look comes later."""
        await self.assertFailure(self.life.start(), CannotStart)
        await self.life.stop()
        self.assertFalse(self.listed.loop.running)
        self.assertEqual([call for call in self.clock.getDelayedCalls() if call.active()], [])

    async def test_stopped_early(self) -> None:
        """It can be stopped while the first read is under way; then it never looks."""
        self.write("a.example")
        starting = self.life.start().addErrback(lambda _: None)
        told: list[str] = []
        self.patch(Lifecycle, "_log", type("Log", (), {"error": lambda _, text, **__: told.append(text)})())
        await self.life.stop()
        await starting
        self.assertEqual((told, self.listed.loop.running, self.clock.getDelayedCalls()), ([], False, []))
