"""The page on the commands says what the commands are."""

from __future__ import annotations

import re

from heimdall.command import client
from heimdall.command.completion import spoken
from heimdall.command.main import parser
from tests.house.tree import ROOT, House


class Page(House):
    """docs/commands.md, with what it links to."""

    def setUp(self) -> None:
        pages = [(ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("commands.md", "operating.md")]
        self.first, self.both = pages[0], "".join(pages)

    def test_commands(self) -> None:
        """Every command stands in its table, with a link to where there is more of it."""
        listed = re.findall(r"^\| \[`(\w+)[^`]*`\]\([\w.#-]+\) \|", self.first, re.M)
        self.assertEqual(listed, [name for name in spoken(parser()) if name])

    def test_options(self) -> None:
        """Every option is told of somewhere."""
        names = {
            name
            for said in spoken(parser()).values()
            for each in said.options
            for name in each.names
            if name[:2] == "--"
        }
        self.assertNone(sorted(name for name in names - {"--help", "--version"} if name not in self.both))

    def test_codes(self) -> None:
        """Every exit code has its row."""
        codes = {getattr(client, name) for name in ("OK", "FAILED", "USAGE", "AWAY", "ANSWERED_NO", "INTERRUPTED")}
        self.assertEqual({int(code) for code in re.findall(r"^\| (\d+) \|", self.first, re.M)}, codes)
