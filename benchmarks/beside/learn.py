"""Teach servers more names than one has the patience for: all servers at once, on all cores, with progress told."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Final

from benchmarks.beside.load import Dnsperf, Questions
from benchmarks.beside.meter import family
from benchmarks.beside.peers import Server, pinned

MANY: Final = 50_000
"""Names that are learnt at once; more are learnt by so many at a time."""

TELL: Final = 15.0
"""Seconds between two words on how far it is."""

ENOUGH: Final = 0.999
"""The share of questions that must be answered: some servers lose some when they have much to do."""

_TURNS: Final = 5


def confine(pid: int, cores: Collection[int]) -> None:
    """Have a process, all that it has started, and all their threads run on these cores."""
    for one in family(pid):
        for task in Path(f"/proc/{one}/task").iterdir():
            os.sched_setaffinity(int(task.name), cores)


def teach(servers: Mapping[str, Server], lines: Sequence[str], cores: str, tell: Callable[[str], None]) -> None:
    """Ask every server each question until nearly all are answered.

    :param cores: of those who ask, as taskset takes them.
    :param tell: called every so often with how much of it each server knows.
    :raises RuntimeError: a server does not answer, asked five times.
    """
    known = dict.fromkeys(servers, 0)

    def learn(name: str, server: Server) -> None:
        for start in range(0, len(lines), MANY):
            _ask(server.port, lines[start : start + MANY], cores)
            known[name] = min(start + MANY, len(lines))

    with ThreadPoolExecutor(max(len(servers), 1)) as pool:
        under_way = {pool.submit(learn, name, server) for name, server in servers.items()}
        while under_way:
            done, under_way = wait(under_way, TELL)
            for each in done:
                each.result()
            tell(", ".join(f"{name} {count / len(lines):.0%}" for name, count in known.items()))


def _ask(port: int, lines: Sequence[str], cores: str) -> None:
    with Questions(lines) as questions:
        for _ in range(_TURNS):
            found = Dnsperf(port, questions, before=pinned(cores)).end()
            if found.answered >= len(lines) * ENOUGH:
                return
    raise RuntimeError(f"only {found.answered} of {len(lines)} questions were answered")
