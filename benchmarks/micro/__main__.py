"""The small steps that every query takes, memory for an answer, and a start: beside what they took before."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.beside.ground import machine
from benchmarks.micro import baseline, tables
from benchmarks.micro.steps import steps
from benchmarks.micro.whole import bytes_an_answer, starts

MOST = 1.25
"""A step that takes so many times what was written down is too slow."""


def main() -> int:
    """Measure, compare, print; return 1 when something is slower than it was."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=micro", description=__doc__)
    parser.add_argument("--keep", action="store_true", help=f"write down what is found, in {baseline.FILE.name}")
    parser.add_argument("--answers", type=int, default=1_000_000, help="in memory, to see what one takes; 0 for none")
    parser.add_argument("--starts", type=int, default=5, help="0 for none")
    parser.add_argument("--json", metavar="FILE", type=Path, help="keep the numbers in a file")
    options = parser.parse_args()
    say("timing the steps")
    all_steps = list(steps())
    result: dict[str, Any] = {"machine": machine(), "python": sys.version.split()[0]}
    result["steps"] = found = baseline.measure(all_steps, 15, 0.05)
    kept = baseline.load() if baseline.FILE.exists() else {"steps": {}}
    if options.answers:
        say(f"{options.answers:,} answers in memory")
        result["answers"], result["bytes"] = options.answers, round(bytes_an_answer(options.answers), 1)
    if options.starts:
        say(f"{options.starts} starts")
        result["starts"] = [round(one, 3) for one in starts(options.starts)]
        result["start"] = median(result["starts"])
    print(tables.steps(all_steps, found, kept["steps"]))
    print("\n".join(map(str, tables.marks(result))))
    for file in ([options.json] if options.json else []) + ([baseline.FILE] if options.keep else []):
        file.write_text(json.dumps({**kept, **result} if file == baseline.FILE else result, indent=1) + "\n")
    wrong = [] if options.keep else baseline.slower(found, kept["steps"], MOST)
    print("\n".join(wrong))
    return int(bool(wrong))


def say(what: str) -> None:
    """Tell how far it is."""
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
