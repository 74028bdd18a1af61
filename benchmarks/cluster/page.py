"""Write the tables of docs/performance.md from the numbers that are kept: ``python -m benchmarks.cluster.page``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.cluster import tables
from tests.chaos.table import ratios, table

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
PAGE = DOCS / "performance.md"
MEASURED = DOCS / "measured"


def parts() -> dict[str, str]:
    """Return what stands between each pair of marks of the page."""
    cluster: Mapping[str, Any] = json.loads((MEASURED / "cluster.json").read_text())
    chaos: Mapping[str, Any] = json.loads((MEASURED / "chaos.json").read_text())
    return {
        "record": tables.record(cluster["record"]),
        "places": tables.places(cluster["record"]),
        "cold": tables.cold(cluster["record"]),
        "flight": tables.flights(cluster),
        "steady": tables.steady(cluster["steady"]),
        "marks": "\n".join(f"- {mark}" for mark in tables.marks(cluster)),
        "faults": table(chaos["rows"]),
        "hung": "\n".join(f"- {line}" for line in ratios(chaos["rows"])),
    }


def written(page: str) -> str:
    """Return the page with its tables as they should be.

    :raises ValueError: a pair of marks is missing.
    """
    for name, text in parts().items():
        before, mark, rest = page.partition(f"<!-- {name} -->\n")
        _, end, behind = rest.partition("<!-- end -->")
        if not mark or not end:
            raise ValueError(f"the page has no marks for {name}")
        page = f"{before}{mark}\n{text}\n\n{end}{behind}"
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
