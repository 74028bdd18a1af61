"""What is written holds: links lead somewhere, and nothing names the machine it was written on."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from tests.house.tree import ROOT, House, tracked, written

LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)|^\[[^\]]+\]:\s*(\S+)", re.M)

# Put together here, so that this file does not find itself.
FOLDERS = ("/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/")
HOSTS = (r"py" + r"pi\.org", r"python" + r"hosted\.org", r"deb\.deb" + r"ian\.org", r"npm" + r"js\.", "index" + "-url")
FORBIDDEN = re.compile("|".join([*(rf"(?<![\w.-]){re.escape(folder)}" for folder in FOLDERS), *HOSTS]))


def anchors(page: Path) -> set[str]:
    """Return the names that the headings of a page can be linked by."""
    headings = re.findall(r"^#+\s+(.*?)\s*$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


class Pages(House):
    """What holds of every page."""

    def test_links(self) -> None:
        """Every relative link leads to a file, and to a heading in it where it names one."""
        wrong = []
        for page in written():
            for match in LINK.finditer(page.read_text(encoding="utf-8")):
                link = unquote(match[1] or match[2])
                if re.match(r"[a-z][a-z0-9+.-]*:", link):
                    continue
                path, _, anchor = link.partition("#")
                target = (page.parent / path).resolve() if path else page
                if not target.exists() or not target.is_relative_to(ROOT):
                    wrong.append(f"{page.relative_to(ROOT)}: {link} is not there")
                elif anchor and target.suffix == ".md" and anchor not in anchors(target):
                    wrong.append(f"{page.relative_to(ROOT)}: {link} has no such heading")
        self.assertNone(wrong)

    def test_no_machine(self) -> None:
        """No file names a folder of somebody's machine, or the host of a package registry."""
        wrong = []
        for path in tracked():
            try:
                text = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
            for number, line in enumerate(text.splitlines(), 1):
                if FORBIDDEN.search(line):
                    wrong.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
        self.assertNone(wrong)

    def test_decisions(self) -> None:
        """Every record of a decision is in the index, and is short."""
        folder = ROOT / "docs" / "decisions"
        index = (folder / "README.md").read_text(encoding="utf-8")
        for record in sorted(folder.glob("[0-9]*.md")):
            self.assertIn(f"({record.name})", index)
            self.assertLess(len(record.read_text(encoding="utf-8").splitlines()), 40, record.name)
