"""The Helm chart knows every key of the configuration."""

from __future__ import annotations

import json

from tests.deploy.helm.keys import KNOWN, known, sections, written
from tests.house.tree import House


class Chart(House):
    """deploy/helm/heimdall/values.schema.json"""

    def test_configuration(self) -> None:
        """Section config has every key of the configuration that is for an operator to set, and says what it may be."""
        self.assertEqual(
            written()["properties"]["config"],
            sections(),
            "the keys of the configuration have changed: python -m tests.deploy.helm.keys",
        )

    def test_checked(self) -> None:
        """What the templates check of each key is what the server does."""
        kept = json.loads(KNOWN.read_text(encoding="utf-8"))
        self.assertEqual(kept, known(), "python -m tests.deploy.helm.keys")
