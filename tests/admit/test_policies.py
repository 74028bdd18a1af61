"""The examples of docs/policies.md, run as they stand."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

import heimdall
from heimdall.interfaces import Drop, IGate
from heimdall.message.answer import Answer
from heimdall.message.query import Query
from tests.admit.asking import asking, extended_errors, rcode, rows, told

PAGE = Path(heimdall.__file__).parent.parent / "docs" / "policies.md"
BLOCKED = 15


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

    def test_twenty_lines(self) -> None:
        """The gate of the page takes twenty lines, blank ones aside."""
        self.assertLessEqual(len([line for line in self.blocks[0].splitlines() if line.strip()]), 20)
