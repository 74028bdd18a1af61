"""What a process and its children have taken: CPU and memory, by the kernel's own accounting."""

from __future__ import annotations

import os
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGESIZE")


def family(pid: int) -> list[int]:
    """Return a process and all that it has started, and they."""
    found = [pid]
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += family(int(child))
    except OSError:
        pass  # it ended meanwhile
    return found


def spent(pid: int) -> tuple[float, float]:
    """Return the seconds of CPU, user and system, that a process and its children have taken, also those that ended."""
    user = system = 0
    for one in family(pid):
        try:
            told = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        user += int(told[11]) + int(told[13])
        system += int(told[12]) + int(told[14])
    return user / _TICK, system / _TICK


def each(pid: int) -> list[float]:
    """Return the seconds of CPU of each of them."""
    children = {one: set(family(one)) - {one} for one in family(pid)}
    return [sum(spent(one)) - sum(sum(spent(child)) for child in under) for one, under in children.items()]


def resident(pid: int) -> int:
    """Return the bytes of memory that they have in use together."""
    total = 0
    for one in family(pid):
        try:
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * _PAGE
        except OSError:
            continue
    return total
