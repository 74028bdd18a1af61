"""The small steps as a table for people, and whether they reach what they must."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.beside.tables import Mark, aligned
from benchmarks.micro.steps import Step

Found = Mapping[str, Mapping[str, float]]


def steps(all_steps: Sequence[Step], found: Found, kept: Found | None = None) -> str:
    """Return the table of the steps, in Markdown, beside what was written down if that is given."""
    cells = []
    for step in all_steps:
        one = found[step.name]
        row = [step.text, f"{one['ns']:,.0f} ns", f"{one['ratio']:.2f}"]
        if kept is not None:
            row.append(f"{kept[step.name]['ratio']:.2f}" if step.name in kept else "–")
        cells.append(row)
    return aligned(("Step", "Time", "Times the loop", "when written down")[: len(cells[0])], cells)


def marks(result: Mapping[str, Any]) -> Iterator[Mark]:
    """Yield what is to be reached."""
    yield Mark("look-up in memory, hot, expiry checked, ns", 300, 200, result["steps"]["memory"]["ns"])
    if "bytes" in result:
        yield Mark(
            f"memory an A answer, everything counted, {result['answers']:,} answers, bytes", 600, 400, result["bytes"]
        )
    if "start" in result:
        yield Mark("start to first answer, s", 1.0, 0.4, result["start"], result["starts"])
