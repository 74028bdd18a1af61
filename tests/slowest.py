"""Say where the time of the tests goes: ``python -m tests.slowest [--most 40] [tests.cache tests.live ...]``.

Each test runs alone, one after the other. ``CPU`` is what this process and those that it started and waited for have
used; the rest of the seconds a test waits. Where the machine does other work meanwhile, only ``CPU`` says something.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import defaultdict
from typing import Any, Final, NamedTuple

from twisted.trial.reporter import TreeReporter
from twisted.trial.runner import TestLoader, TrialRunner


class Took(NamedTuple):
    """What a test took: seconds, and seconds of CPU."""

    wall: float
    cpu: float


TOOK: Final[dict[str, Took]] = {}
"""What each test took, by its full name."""


def spent() -> Took:
    """Return the seconds until now, and those of the CPU that this process and its ended children have used."""
    times = os.times()
    return Took(time.monotonic(), times.user + times.system + times.children_user + times.children_system)


class Timed(TreeReporter):
    """Notes what each test takes; its own clean-up belongs to it, that of its class to the next one."""

    before = spent()

    def startTestRun(self) -> None:
        """Begin to count."""
        super().startTestRun()
        self.before = spent()

    def stopTest(self, method: Any) -> None:
        """Note what went by since the last test."""
        super().stopTest(method)
        now = spent()
        TOOK[method.id()] = Took(now.wall - self.before.wall, now.cpu - self.before.cpu)
        self.before = now


def table(title: str, rows: dict[str, Took], most: int) -> list[str]:
    """Return the lines of a table of what took most seconds, with the sum of all."""
    lines = ["", title, f"{'seconds':>9} {'CPU':>8} {'waits':>8}"]
    ordered = sorted(rows.items(), key=lambda row: -row[1].wall)
    for name, took in ordered[:most]:
        lines.append(f"{took.wall:9.2f} {took.cpu:8.2f} {max(took.wall - took.cpu, 0.0):8.2f}  {name}")
    total = Took(sum(took.wall for took in rows.values()), sum(took.cpu for took in rows.values()))
    lines.append(f"{total.wall:9.2f} {total.cpu:8.2f} {max(total.wall - total.cpu, 0.0):8.2f}  all {len(rows)}")
    return lines


def main() -> int:
    """Run the tests that are named, and print what they took; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.slowest", description="Say where the time of the tests goes."
    )
    parser.add_argument("--most", type=int, default=40, help="how many tests are listed (40)")
    parser.add_argument("names", nargs="*", default=["tests"], help="tests, as trial takes them (all)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="heimdall-slowest-") as folder:
        runner = TrialRunner(Timed, workingDirectory=os.path.join(folder, "trial"))
        passed = runner.run(TestLoader().loadByNames(asked.names, recurse=True)).wasSuccessful()
    modules: dict[str, Took] = defaultdict(lambda: Took(0.0, 0.0))
    for name, took in TOOK.items():
        module = name.rsplit(".", 2)[0]
        modules[module] = Took(modules[module].wall + took.wall, modules[module].cpu + took.cpu)
    print(*table("modules", modules, len(modules)), *table("tests", TOOK, asked.most), sep="\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
