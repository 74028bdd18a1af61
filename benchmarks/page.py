"""Write the tables of docs/performance.md, and its pictures, from the numbers that are kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.beside import tables as beside
from benchmarks.beside.pictures import pictures
from benchmarks.beside.works import WORKS
from benchmarks.cluster import tables
from benchmarks.micro import tables as micro
from benchmarks.micro.steps import steps
from tests.chaos.table import ratios, table

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "performance.md"
MEASURED = DOCS / "measured"
PICTURES = DOCS / "performance"


def kept(name: str) -> Mapping[str, Any]:
    """Return the numbers that are kept under a name."""
    found: Mapping[str, Any] = json.loads((MEASURED / f"{name}.json").read_text())
    return found


def parts() -> dict[str, str]:
    """Return what stands between each pair of marks of the page."""
    cluster, chaos, others, small = kept("cluster"), kept("chaos"), kept("beside"), kept("micro")
    reached = [*beside.marks(others), *micro.marks(small)]
    found = {
        "reach": beside.reach(reached),
        "setting": beside.setting(others),
        "steps": micro.steps(list(steps()), small["steps"]),
        "record": tables.record(cluster["record"]),
        "places": tables.places(cluster["record"]),
        "cold": tables.cold(cluster["record"]),
        "flight": tables.flights(cluster),
        "steady": tables.steady(cluster["steady"]),
        "marks": "\n".join(f"- {mark}" for mark in tables.marks(cluster)),
        "faults": table(chaos["rows"]),
        "hung": "\n".join(f"- {line}" for line in ratios(chaos["rows"])),
    }
    shown = dict(pictures(others))
    for work in WORKS:
        runs = others["works"].get(work.name)
        names = [name for name in (work.name, f"{work.name}-times") if name in shown]
        images = [f"![{work.text}](performance/{name}.svg)" for name in names]
        found[f"beside {work.name}"] = "\n\n".join([beside.work(runs) if runs else "Not measured here.", *images])
    return found


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


def drawn() -> dict[Path, str]:
    """Return the files of all pictures, and what is to be in them."""
    return {PICTURES / f"{name}.svg": svg for name, svg in pictures(kept("beside"))}


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    for path, svg in drawn().items():
        path.write_text(svg)
    PAGE.write_text(written(PAGE.read_text()))
