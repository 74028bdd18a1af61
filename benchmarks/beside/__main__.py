"""Heimdall beside Unbound, dnsmasq, BIND, PowerDNS Recursor and twistd dns, on the same work in one run."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.beside import tables
from benchmarks.beside.ground import cores, machine
from benchmarks.beside.peers import CONTESTANTS, Contestant
from benchmarks.beside.play import Run, Stage, entrants, say
from benchmarks.beside.quiet import Quiet
from benchmarks.beside.works import WORKS, Work

QUICK = ("memory", "miss", "l2")


def main() -> int:
    """Run all workloads, or some; print the tables."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=beside", description=__doc__)
    parser.add_argument("--only", action="append", choices=[work.name for work in WORKS], help="may be repeated")
    names = [one.name for one in CONTESTANTS]
    parser.add_argument("--servers", type=lambda text: text.split(","), default=names, help=f"of {','.join(names)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement")
    parser.add_argument("--quick", action="store_true", help=f"{', '.join(QUICK)} alone, three rounds of 0.7 s")
    parser.add_argument("--json", metavar="FILE", type=Path, help="keep the numbers in a file")
    parser.add_argument("--add", action="store_true", help="keep what the file has of other workloads")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 3, 0.7
    wanted = options.only or (QUICK if options.quick else [work.name for work in WORKS])
    here = [one for one in CONTESTANTS if one.name in options.servers and one.there]
    for one in CONTESTANTS:
        if one.name in options.servers and not one.there:
            remedy = f"make bench-peers, or apt-get install {one.package}" if one.package else "make compiled"
            say(f"{one.text} is not installed: {remedy}")
    os.sched_setaffinity(0, {cores()[1]})  # and with us all that we start; the measured servers move away
    result: dict[str, Any] = {
        "machine": machine(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "versions": {one.name: one.version() for one in here},
        "works": {},
    }
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # takes down what was started
    began = time.monotonic()
    quiet = Quiet(cores())
    for work in WORKS:
        if work.name in wanted:
            say(f"{work.name}: {work.text} ({time.monotonic() - began:.0f} s)")
            result["works"][work.name] = played(work, here, options.rounds, options.seconds, quiet)
            print(f"\n{work.text}\n{tables.work(result['works'][work.name])}\n", flush=True)
    if options.json:
        if options.add and options.json.exists():
            result["works"] = json.loads(options.json.read_text())["works"] | result["works"]
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    print("\n".join(map(str, tables.marks(result))))
    say(f"{time.monotonic() - began:.0f} s in all, {quiet.waited:.0f} s of that until the machine was quick again")
    return 0


def played(
    work: Work, contestants: Sequence[Contestant], rounds: int, seconds: float, quiet: Quiet
) -> dict[str, list[Run]]:
    """Run a workload for some rounds; return what each server did in each."""
    runs: dict[str, list[Run]] = {}
    with Stage(work, entrants(work, contestants), seconds, quiet) as stage:
        for number in range(rounds):
            for name, run in stage.round():
                runs.setdefault(name, []).append(run)
                cost = f", {run['cpu']} us each" if "cpu" in run else ""
                say(f"{work.name}: round {number + 1} of {rounds}, {name}: {run['rate']:,.0f} answers a second{cost}")
    return runs


if __name__ == "__main__":
    sys.exit(main())
