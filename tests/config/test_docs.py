"""The documentation of the configuration is true."""

from __future__ import annotations

import io
import runpy
import sys
import warnings
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from heimdall.config.keys import KEYS
from heimdall.config.load import load
from heimdall.config.machine import Machine
from heimdall.config.reference import reference
from heimdall.config.show import toml

DOCS = Path(__file__).parents[2] / "docs"


class DocsTests(SynchronousTestCase):
    """Reference and examples against the code."""

    def test_reference(self) -> None:
        """docs/configuration.md is what ``python -m heimdall.config.reference`` prints."""
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        with warnings.catch_warnings(action="ignore"):  # runpy's, of a module that is imported already
            runpy.run_module("heimdall.config.reference", run_name="__main__")
        self.assertEqual((DOCS / "configuration.md").read_text(encoding="utf-8"), out.getvalue())

    def test_every_key(self) -> None:
        """The reference names every key's variable and says what the key means."""
        text = reference()
        for key in KEYS.values():
            self.assertIn(f"`{key.variable}`", text)
            self.assertTrue(key.text.endswith("."), key.path)

    def test_examples(self) -> None:
        """Every example loads without a warning, and every link to one leads somewhere."""
        examples = sorted((DOCS / "examples").glob("*.toml"))
        self.assertGreaterEqual(len(examples), 4)
        for path in examples:
            loaded = load({"config": str(path), "upstream": ["192.0.2.1"]}, {}, Machine())
            self.assertEqual(loaded.warnings, (), path)
            self.assertIn(f"# file {path}", toml(loaded))
            self.assertIn(f"(examples/{path.name})", reference())
        self.assertEqual(reference().count("(examples/"), len(examples))
