"""The files of the page: what they may not do, and how they are written."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from heimdall.watch.files import load

MOST_LINES = 300

MARKUP = (
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|setHTML|"
    r"\beval\b|new Function"
)

STORED = r"localStorage|sessionStorage|document\.cookie|indexedDB"


class Files(SynchronousTestCase):
    """What holds of every file."""

    def setUp(self) -> None:
        """Read them."""
        self.texts = {path.decode(): page.body.decode() for path, page in load().items()}
        self.code = {path: text for path, text in self.texts.items() if path.endswith(".js")}
        self.assertGreater(len(self.code), 5)

    def test_text_only(self) -> None:
        """No code makes markup out of a text, or code, or stores anything."""
        for path, text in self.code.items():
            self.assertEqual(re.findall(f"{MARKUP}|{STORED}", text), [], path)

    def test_nobody_else(self) -> None:
        """Nothing leads to another host, and nothing stands in the page that its policy forbids."""
        for path, text in self.texts.items():
            hosts = set(re.findall(r"https?://[^\"' ]+", text)) - {"http://www.w3.org/2000/svg"}
            self.assertEqual(hosts, set(), path)
        page = self.texts["/"]
        self.assertEqual(re.findall(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", page), [])

    def test_short(self) -> None:
        """Each module says in its first line what it does, and is short."""
        for path, text in self.code.items():
            self.assertRegex(text, r"\A// [A-Z][^\n]+[.:]\n", path)
            self.assertLess(len(text.splitlines()), MOST_LINES, path)
            self.assertLess(max(map(len, text.splitlines())), 121, path)

    def test_ids(self) -> None:
        """Every id that the code looks for is in the page, and each is there once."""
        ids = re.findall(r'\sid="([^"]+)"', self.texts["/"])
        self.assertEqual(len(ids), len(set(ids)))
        wanted = {name for text in self.code.values() for name in re.findall(r'\bat\("([^"]+)"\)', text)}
        self.assertGreater(len(wanted), 20)
        self.assertLessEqual(wanted, set(ids))
