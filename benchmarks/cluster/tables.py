"""The numbers of the cluster as tables for people, beside the record's, and whether they reach what they must."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import frozen

Result = Mapping[str, Any]

MOST_UPSTREAM: Final = 1.01
MOST_MEAN: Final = 1.05
MOST_L2: Final = 1.0
MOST_BEHIND: Final = 5.0
MOST_LATE: Final = 500.0

KILOBYTE: Final = 1000


@frozen
class Mark:
    """Something to reach: what it is, how it is here, at most what, and whether that is so."""

    text: str
    here: float
    most: float

    @property
    def reached(self) -> bool:
        """Whether it is."""
        return self.here <= self.most

    def __str__(self) -> str:
        return f"{'reached' if self.reached else 'MISSED '}  {self.text}: {self.here:g}, at most {self.most:g}"


def rows(heads: Sequence[str], cells: Sequence[Sequence[object]]) -> str:
    """Return a table in Markdown."""
    lines = ["| " + " | ".join(heads) + " |", "| --- |" + " ---: |" * (len(heads) - 1)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in cells])


def shares(origins: Mapping[str, int]) -> list[str]:
    """Return the shares of memory, Redis and the upstream."""
    total = sum(origins.values()) or 1
    return [f"{100 * origins.get(origin, 0) / total:.1f} %" for origin in ("memory", "redis", "upstream")]


def record(runs: Sequence[Result]) -> str:
    """Return the record's table, with what it estimated on top."""
    heads = (
        "10,000 queries, 3 nodes", "Memory (L1)", "Redis (L2)", "Upstream", "Mean", "Least mean", "Median", "p99",
        "Asked upstream", "Distinct", "Again within the TTL",
    )  # fmt: skip
    cells: list[Sequence[object]] = [
        ("*the record, without Redis*", "60 %", "–", "40 %", "30.1 ms", "", "", "", "4,000", "", ""),
        ("*the record, with Redis*", "60 %", "25 %", "15 %", "11.8 ms", "", "", "", "1,500", "", ""),
    ]
    for run in runs:
        told = run["all"]
        name = (
            f"{run['load']} ({run['names']:,} names, skew {run['skew']:.2f}), {'with' if run['redis'] else 'without'}"
        )
        cells.append((
            name, *shares(run["origins"]), f"{told['mean']:.2f} ms", f"{run['least_mean']:.2f} ms",
            f"{told['median']:.2f} ms", f"{told['p99']:.1f} ms", f"{run['upstream']:,}", f"{run['distinct']:,}",
            f"{run['duplicates']:,}",
        ))  # fmt: skip
    return rows(heads, cells)


def places(runs: Sequence[Result]) -> str:
    """Return how long an answer took by where it came from, and what it cost."""
    heads = (
        "With Redis", "Memory, median", "Redis, median", "Redis, p99", "Upstream, median", "A node's memory",
        "Redis, an answer", "Redis traffic, a look-up", "a minute and node",
    )  # fmt: skip
    cells: list[Sequence[object]] = [
        ("*the record*", "0.00025 ms", "2.1 ms", "", "75 ms", "+5 MB", "", "", "20 KB"),
    ]
    for run in runs:
        if run["redis"]:
            by = run["by_place"]
            cells.append((
                run["load"], f"{by['memory']['median']:.2f} ms", f"{by['redis']['median']:.2f} ms",
                f"{by['redis']['p99']:.2f} ms", f"{by['upstream']['median']:.1f} ms",
                f"{max(run['resident']) / 1e6:.0f} MB", f"{run['redis_memory_an_answer']} B",
                f"{run['redis_bytes_a_look_up']} B", f"{run['redis_bytes_a_minute_and_node'] / KILOBYTE:.0f} KB",
            ))  # fmt: skip
    return rows(heads, cells)


def flights(result: Result) -> str:
    """Return what one flight per cluster comes to."""
    one, dead = result["flight"], result["leader_killed"]
    return rows(
        ("One cold name", "Clients", "Times", "Asked upstream", "Not answered well", "Median", "p99", "Most"),
        [
            ("behind the first answer, at other nodes", one["clients"], one["names"], one["upstream"], one["bad"],
             f"{one['behind_median']:.1f} ms", f"{one['behind_p99']:.1f} ms", ""),
            ("later than the upstream's 75 ms, the leader killed", dead["clients"], dead["rounds"], dead["upstream"],
             dead["bad"], f"{dead['late_median']:.0f} ms", "", f"{dead['late_most']:.0f} ms"),
        ],
    )  # fmt: skip


def cold(runs: Sequence[Result]) -> str:
    """Return how warm a node is that has just started."""
    cells = []
    for run in runs:
        if "cold" in run:
            for name, text in (("old", "a node that has run"), ("new", "a fourth node, just started")):
                cells.append((f"{run['load']}: {text}", *shares(run["cold"][name])))
    return rows(("The first 1,000 queries", "Memory", "Redis", "Upstream"), cells)


def steady(runs: Sequence[Result]) -> str:
    """Return what sharing is worth where it is worth least."""
    cells = [
        (f"{'with' if run['redis'] else 'without'} Redis", *shares(run["origins"]), f"{run['all']['mean']:.2f} ms",
         f"{run['all']['p99']:.1f} ms", f"{run['upstream'] / run['seconds'] * 60:,.0f}")
        for run in runs
    ]  # fmt: skip
    heads = ("100 clients a node, TTL 20 s", "Memory", "Redis", "Upstream", "Mean", "p99", "Asked upstream a minute")
    return rows(heads, cells)


def marks(result: Result) -> list[Mark]:
    """Return what is to be reached, of all parts that were run."""
    found = []
    for run in result.get("record", ()):
        if run["redis"]:
            upstream, mean = run["upstream"] / run["distinct"], run["all"]["mean"] / run["least_mean"]
            found += [
                Mark(f"{run['load']}: upstream queries to distinct questions", round(upstream, 4), MOST_UPSTREAM),
                Mark(f"{run['load']}: mean latency to the least there can be", round(mean, 3), MOST_MEAN),
                Mark(f"{run['load']}: median of an answer from Redis, ms", run["by_place"]["redis"]["median"], MOST_L2),
            ]
        found.append(Mark(f"{run['load']}: queries without a good answer", run["bad"], 0))
    if "flight" in result:
        one, dead = result["flight"], result["leader_killed"]
        found += [
            Mark("one cold name: upstream queries a name", one["upstream"] / one["names"], 1),
            Mark("one cold name: followers behind the leader, median ms", one["behind_median"], MOST_BEHIND),
            Mark("one cold name: not answered well", one["bad"], 0),
            Mark("leader killed: not answered well", dead["bad"], 0),
            Mark("leader killed: late at most, ms", dead["late_most"], MOST_LATE),
        ]
    if "idle" in result:
        idle = result["idle"]["redis_bytes_a_minute_and_node"] / KILOBYTE
        found.append(Mark("nobody asks: Redis traffic a minute and node, KB (the record: 1 of heartbeats)", idle, 20))
    return found
