"""What the steps took when it was last written down, as ratios to the fixed loop, and whether they are slower now."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.micro.clock import least, operations, unit
from benchmarks.micro.steps import Step

FILE = Path(__file__).resolve().parent.parent.parent / "docs" / "measured" / "micro.json"


def load() -> dict[str, Any]:
    """Return what was written down."""
    kept: dict[str, Any] = json.loads(FILE.read_text())
    return kept


def measure(steps: Sequence[Step], repeats: int, seconds: float) -> dict[str, dict[str, float]]:
    """Time each step between two of the loop; return nanoseconds, ratio, and operations of the interpreter."""
    found = {}
    for step in steps:
        before = unit(repeats, seconds)
        took = least(step.call, repeats, seconds) / step.times
        loop = min(before, unit(repeats, seconds))
        found[step.name] = {"ns": round(took * 1e9, 1), "ratio": round(took / loop, 3), "operations": counted(step)}
    return found


def counted(step: Step) -> float:
    """Return how many operations of the interpreter a step takes."""
    return round(operations(step.call) / step.times, 1)


def slower(found: Mapping[str, Mapping[str, float]], kept: Mapping[str, Mapping[str, float]], most: float) -> list[str]:
    """Return a line for each step that takes more than ``most`` times what it took, or of which nothing is kept."""
    lines = []
    for name, one in found.items():
        before = kept.get(name)
        if before is None:
            lines.append(f"{name}: not written down; make bench ARGS='micro --keep'")
        elif one["ratio"] > most * kept[name]["ratio"]:
            lines.append(
                f"{name}: {one['ratio']:.2f} times the loop, {kept[name]['ratio']:.2f} when it was written down"
            )
    return lines
