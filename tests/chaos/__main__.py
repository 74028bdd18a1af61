"""Play the faults, all or some, and print a table of what came of them: ``make chaos ARGS="--only hung"``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from tests.chaos.faults import FAULTS
from tests.chaos.play import play
from tests.chaos.table import broken, table


def main() -> int:
    """Run; return 1 when a rule was broken."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--only", metavar="WORD", default="", help="faults with this in their name, and the first")
    parser.add_argument("--list", action="store_true", help="list the faults")
    parser.add_argument("--json", metavar="FILE", type=Path, help="keep the numbers in a file")
    options = parser.parse_args()
    if options.list:
        print("\n".join(fault.text for fault in FAULTS))
        return 0
    rows, skipped, began, load = [], [], time.monotonic(), os.getloadavg()[0]
    chosen = [FAULTS[0], *(fault for fault in FAULTS[1:] if options.only.lower() in fault.text.lower())]
    for number, fault in enumerate(chosen, 1):
        print(f"[{number} of {len(chosen)}, {time.monotonic() - began:.0f} s]", file=sys.stderr)
        if fault.missing:
            skipped.append(f"{fault.text}: not played, it needs {fault.missing}")
            continue
        rows.append(play(fault, shown=True).as_json())
    result = {"cores": os.cpu_count(), "load_before": round(load, 2), "rows": rows, "skipped": skipped}
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    wrong = broken(rows)
    print(table(rows))
    print(
        "\n".join(
            [*skipped, *wrong, f"{len(rows)} faults, {len(wrong)} rules broken, {time.monotonic() - began:.0f} s"]
        )
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
