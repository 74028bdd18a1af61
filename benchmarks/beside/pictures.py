"""The pictures of docs/performance: what each workload came to, and how long answers took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any, Final

from benchmarks.beside.chart import Row, bars, ranges
from benchmarks.beside.tables import Runs, a_core, middle, text
from benchmarks.beside.works import WORKS

RATE: Final = "answers a second"
CORE: Final = "answers a second of CPU"

FIGURES: Final = {"miss": RATE, "l2": RATE}
"""What counts in a workload, where it is not what CPU gives."""


def pictures(result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the name of each picture, and its SVG."""
    for work in WORKS:
        found: Mapping[str, Runs] = result["works"].get(work.name, {})
        if not found or work.threads > 1:
            continue
        figure = FIGURES.get(work.name, CORE)
        if not work.abused:
            rows = []
            for name, runs in found.items():
                each = [run["rate"] if figure == RATE else a_core(run) for run in runs]
                rows.append(Row(text(name), (median(each), min(each), max(each)), name.startswith("heimdall")))
            note = "more is better; the line is the spread of the rounds"
            yield work.name, bars(f"{work.text}: {figure}", note, rows)
        timed = {name: runs for name, runs in found.items() if "p999" in runs[0]}
        if timed and not work.streams:
            load = "beside an attack" if work.abused else "at half load"
            rows = [
                Row(text(name), [max(middle(runs, at), 0.001) for at in ("median", "p99", "p999")], name == "heimdall")
                for name, runs in timed.items()
            ]
            note = "milliseconds: median, 99 %, 99.9 %; less is better"
            yield f"{work.name}-times", ranges(f"{work.text}: how long an answer takes {load}", note, rows)
