"""Play the faults, all or some, and print a table of what came of them: ``make chaos ARGS="--only hung"``."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
import traceback
from pathlib import Path

from tests.chaos.faults import FAULTS
from tests.chaos.play import play
from tests.chaos.table import broken, merged, table


def main() -> int:
    """Run; return 1 when a rule was broken."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--only", metavar="REGEX", default="", help="the faults whose names match, and the first")
    parser.add_argument("--list", action="store_true", help="list the faults")
    parser.add_argument("--json", metavar="FILE", type=Path, help="keep the numbers in a file")
    options = parser.parse_args()
    if options.list:
        print("\n".join(fault.text for fault in FAULTS))
        return 0
    rows, skipped, failed, began, load = [], [], [], time.monotonic(), os.getloadavg()[0]
    chosen = [FAULTS[0], *(fault for fault in FAULTS[1:] if re.search(options.only, fault.text, re.I))]
    # Rounds in turn: what else the machine does meanwhile shall meet all of them alike.
    turns = sorted(((turn, fault) for fault in chosen for turn in range(fault.rounds)), key=lambda one: one[0])
    for number, (_, fault) in enumerate(turns, 1):
        print(f"[{number} of {len(turns)}, {time.monotonic() - began:.0f} s]", file=sys.stderr)
        if fault.missing:
            skipped.append(f"{fault.text}: not played, it needs {fault.missing}")
            continue
        try:
            rows.append(play(fault, shown=True).as_json())
        except Exception as error:  # the others are played all the same
            traceback.print_exc()
            failed.append(f"{fault.text}: could not be played: {error!r}")
    played = [[row for row in rows if row["text"] == fault.text] for fault in chosen]
    rows = [merged(some) for some in played if some]
    result = {"cores": os.cpu_count(), "load_before": round(load, 2), "rows": rows, "skipped": skipped}
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    wrong = [*failed, *broken(rows)]
    print(table(rows))
    print(
        "\n".join(
            [*skipped, *wrong, f"{len(rows)} faults, {len(wrong)} rules broken, {time.monotonic() - began:.0f} s"]
        )
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
