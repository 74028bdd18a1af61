"""Play one fault: stand the cluster up, load it, do the fault to it, undo it, and judge.

``make chaos`` plays a fault for as long as it says, and tells figures; the tests play it for as many queries, and until
all is well again, on whatever machine.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final

from tests.chaos.faults import Fault
from tests.chaos.stage import LAST, RATE, Stage
from tests.chaos.verdict import Row, judge
from tests.load import PATIENT
from tests.running import ANSWERING, constants

BEFORE: Final = 2.5
START: Final = 0.5
"""Seconds of load before a fault, and those before them that do not count."""

SLACK: Final = 20.0
"""Seconds that doing and undoing a fault may take on top."""


def play(fault: Fault, *, shown: bool = False, seconds: float = 0.0, before: float = BEFORE, after: float = 0.0) -> Row:
    """Play a fault.

    :param shown: tell progress on the standard error.
    :param seconds: how long it lasts, and ``after`` how long the load goes on, instead of its own times.
    """

    def say(what: str) -> None:
        if shown:
            print(f"{fault.text}: {what}", file=sys.stderr, flush=True)

    lasts, after = seconds or fault.seconds, after or fault.after
    say("three nodes, a Redis and an upstream start")
    with Stage(**fault.stage) as stage:
        stage.lasts = lasts
        longest = START + before + lasts + after + SLACK
        stage.warm(START + before + lasts + after)
        load = stage.load(longest)
        try:
            time.sleep(START + before)
            say(f"now, for {lasts:g} s")
            began = time.monotonic()
            with fault.inflict(stage):
                time.sleep(max(began + lasts - time.monotonic(), 0.0))
            ended = time.monotonic()
            say("over")
            time.sleep(after)
        finally:
            told = load.end(now=True)
        first = min(one.sent for one in told) + START
        told = [one for one in told if one.sent >= first]
        row = judge(
            fault.text,
            told,
            began,
            ended,
            healing=began if fault.heals else ended,
            changed=stage.changed,
            victim=LAST if fault.nodes else None,
            trouble=stage.trouble(),
        )
    say(f"{row.asked} asked, {row.lost} lost, {row.failed} failed, {row.wrong} wrong, full use after {row.full} s")
    return row


QUERIES: Final = 400, 800, 1200
"""Of a load, before a fault, during it, and behind it."""

MOST: Final = 600
"""Of them without an answer at once: more than a node in trouble is asked, and no more than the others bear."""

LASTS: Final = 60.0
"""Seconds that the load goes on at most, for a machine that is slow."""


def play_counted(fault: Fault, well: Callable[[Stage], Callable[[], object]]) -> Row:
    """Play a fault for some queries, whose clients wait as long as it takes.

    :param well: given the stage when the fault is over, returns what says whether all is as before.
    """
    before, during, behind = QUERIES
    # Woken, a node may have to wait for its Redis longer than a second, as the machine for all of us.
    with Stage(**fault.stage, environ=ANSWERING | constants(cache__assure__GRACE=60.0)) as stage:
        stage.lasts = during / RATE
        stage.warm(sum(QUERIES) / RATE)
        load = stage.load(LASTS, most=MOST, **PATIENT)
        try:
            load.pass_queries(before)
            began = time.monotonic()
            with fault.inflict(stage):
                load.pass_queries(during)
            ended = time.monotonic()
            true = well(stage)
            load.pass_queries(behind)
            stage.wait(true)
        finally:
            told = load.end(now=True)
        return judge(
            fault.text,
            told,
            began,
            ended,
            healing=began if fault.heals else ended,
            changed=stage.changed,
            victim=LAST if fault.nodes else None,
            trouble=stage.trouble(),
        )
