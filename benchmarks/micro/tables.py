"""The small steps as a table for people, and whether they reach what they must."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.beside.tables import Mark, aligned
from benchmarks.micro.steps import Step

Found = Mapping[str, Mapping[str, float]]


def steps(all_steps: Sequence[Step], found: Found, kept: Found) -> str:
    """Return the table of the steps, in Markdown."""
    cells = []
    for step in all_steps:
        one, before = found[step.name], kept.get(step.name)
        cells.append(
            (step.text, f"{one['ns']:,.0f} ns", f"{one['ratio']:.2f}", f"{before['ratio']:.2f}" if before else "–")
        )
    return aligned(("Step", "Time", "Times the loop", "when written down"), cells)


def marks(result: Mapping[str, Any]) -> Iterator[Mark]:
    """Yield what is to be reached."""
    yield Mark("look-up in memory, hot, expiry checked, ns", 300, 200, result["steps"]["memory"]["ns"])
    if "bytes" in result:
        yield Mark(
            f"memory an A answer, everything counted, {result['answers']:,} answers, bytes", 600, 400, result["bytes"]
        )
    if "start" in result:
        yield Mark("start to first answer, s", 1.0, 0.4, result["start"], result["starts"])
