"""What sharing is worth: three nodes with a Redis and without, an upstream 75 ms away, a load of skewed names."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.cluster import flight, record, steady, tables
from benchmarks.cluster.loads import Zipf, loads

PARTS = ("record", "flight", "steady", "idle")


def main() -> int:
    """Run all parts, or some; print the tables; return 1 when something was not reached."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=cluster", description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append", help="run this part; may be repeated")
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=500.0, help="queries a second over all nodes")
    parser.add_argument("--json", metavar="FILE", type=Path, help="keep the numbers in a file")
    options = parser.parse_args()
    began = time.monotonic()
    result: dict[str, Any] = {"cores": os.cpu_count(), "load_before": round(os.getloadavg()[0], 2)}
    for part in options.only or PARTS:
        say(f"{part} ({time.monotonic() - began:.0f} s)")
        if part == "record":
            result["record"] = recorded(options.queries, options.rate)
        elif part == "flight":
            result |= {"flight": flight.together(20), "leader_killed": flight.leader_killed(5)}
        elif part == "steady":
            load = Zipf("steady", 10_000, 1.0)
            result["steady"] = [steady.run(load, 30, redis=redis) for redis in (False, True)]
        else:
            result["idle"] = steady.idle(30)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    marks = tables.marks(result)
    print("\n\n".join([*printed(result), "\n".join(map(str, marks))]))
    missed = sum(not mark.reached for mark in marks)
    print(f"\n{len(marks)} marks, {missed} missed, {time.monotonic() - began:.0f} s")
    return int(missed > 0)


def recorded(queries: int, rate: float) -> list[dict[str, Any]]:
    """Run the record's load and the others, each without Redis and with it."""
    runs = []
    for load in loads(queries):
        for redis in (False, True):
            runs.append(record.run(load, queries, rate, redis=redis, cold=redis))
            told = runs[-1]["all"]
            say(f"mean {told['mean']} ms, {runs[-1]['upstream']} asked upstream, {runs[-1]['distinct']} distinct")
    return runs


def printed(result: dict[str, Any]) -> list[str]:
    """Return the tables of the parts that were run."""
    found = []
    if "record" in result:
        runs = result["record"]
        found += [tables.record(runs), tables.places(runs), tables.cold(runs)]
    if "flight" in result:
        found.append(tables.flights(result))
    if "steady" in result:
        found.append(tables.steady(result["steady"]))
    return found


def say(what: str) -> None:
    """Tell how far it is."""
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
