"""Time short calls, beside a fixed loop in Python, and count what the interpreter does for them.

The ratio to the loop is nearly the same on any machine, while it has no other work; the count is the same always.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

KEYS: Final = [b"\x03www\x07example%d\0" % number for number in range(100)]
TABLE: Final = {key: (number, key) for number, key in enumerate(KEYS)}


def loop() -> int:
    """Do a hundred times what a name server does all day: find bytes in a table, take them apart, join them."""
    found = 0
    for key in KEYS:
        number, name = TABLE[key]
        found += number + len(name[4:] + key[:4])
        if name[0] << 8 | name[1] == number:
            found += 1
    return found


def least(call: Callable[[], object], repeats: int, seconds: float) -> float:
    """Return the seconds that a call takes: the least of some repeats, each of many calls.

    :param seconds: of each repeat, about.
    """
    clock = time.perf_counter
    call()
    began = clock()
    for _ in range(10):
        call()
    count = max(int(10 * seconds / max(clock() - began, 1e-9)), 1)
    best = float("inf")
    on = gc.isenabled()
    gc.disable()
    try:
        for _ in range(repeats):
            rounds = range(count)
            began = clock()
            for _ in rounds:
                call()
            best = min(best, clock() - began)
    finally:
        if on:
            gc.enable()
    return best / count


def unit(repeats: int, seconds: float) -> float:
    """Return the seconds that one of the hundred turns of the loop takes here and now."""
    return least(loop, repeats, seconds) / len(KEYS)


def operations(call: Callable[[], object]) -> int:
    """Return how many operations of the interpreter a call takes (sys.settrace); what is compiled has none."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    call()
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count
