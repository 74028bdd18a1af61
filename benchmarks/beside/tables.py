"""The numbers of a run as tables for people, with medians and spread, and whether they reach what they must."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any, Final

from attrs import frozen

from benchmarks.beside.peers import COMPILED, CONTESTANTS

Runs = Sequence[Mapping[str, Any]]
Works = Mapping[str, Mapping[str, Runs]]

TEXTS: Final = {one.name: one.text for one in CONTESTANTS}


def middle(runs: Runs, what: str) -> float:
    """Return the median of a figure over all rounds."""
    return float(median(run[what] for run in runs))


def spread(runs: Runs, what: str) -> str:
    """Return the least and the most of a figure."""
    found = [run[what] for run in runs]
    return f"{min(found):,.0f}–{max(found):,.0f}"


def a_core(run: Mapping[str, Any]) -> float:
    """Return the answers that a second of CPU gives."""
    return 1e6 / run["cpu"] if run["cpu"] else 0.0


def text(name: str) -> str:
    """Return what to call somebody who took part."""
    plain, _, threads = name.partition(" x")
    return TEXTS.get(plain, plain) + (f", {threads} workers" if threads not in ("", "1") else "")


COLUMNS: Final[Mapping[str, tuple[str, Callable[[Runs], str]]]] = {
    "Answers a second": ("rate", lambda runs: f"{middle(runs, 'rate'):,.0f}"),
    "least–most": ("rate", lambda runs: spread(runs, "rate")),
    "CPU an answer, us": ("cpu", lambda runs: f"{middle(runs, 'cpu'):.1f}"),
    "user": ("user", lambda runs: f"{middle(runs, 'user'):.1f}"),
    "system": ("system", lambda runs: f"{middle(runs, 'system'):.1f}"),
    "A core-second": ("cpu", lambda runs: f"{median(map(a_core, runs)):,.0f}"),
    "Median, ms": ("median", lambda runs: f"{middle(runs, 'median'):.2f}"),
    "p99": ("p99", lambda runs: f"{middle(runs, 'p99'):.2f}"),
    "p99.9": ("p999", lambda runs: f"{middle(runs, 'p999'):.2f}"),
    "longest": ("most", lambda runs: f"{max(run['most'] for run in runs):.2f}"),
    "In memory": ("known", lambda runs: f"{min(run['known'] for run in runs):.2%}"),
    "Lost": ("lost", lambda runs: f"{sum(run['lost'] + run.get('half_lost', 0) for run in runs):,}"),
    "Memory, MB": ("resident", lambda runs: f"{middle(runs, 'resident') / 1e6:,.0f}"),
}
"""What a table may tell of somebody: the figure that it takes, and how it is told. *In memory* is the share of answers
for which the upstream was not asked, the least of all rounds: so nobody is measured on something else unseen."""


def work(found: Mapping[str, Runs]) -> str:
    """Return the table of one workload, in Markdown, with the columns that somebody has figures for."""
    heads = [head for head, (figure, _) in COLUMNS.items() if any(figure in runs[0] for runs in found.values())]
    cells: list[Sequence[object]] = []
    for name, runs in found.items():
        told = [COLUMNS[head] for head in heads]
        cells.append([text(name), *(tell(runs) if figure in runs[0] else "" for figure, tell in told)])
    return aligned(("", *heads), cells)


def aligned(heads: Sequence[str], cells: Sequence[Sequence[object]]) -> str:
    """Return a table in Markdown whose columns stand below each other."""
    rows = [list(map(str, row)) for row in (heads, *cells)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(heads))]
    lines = [
        "| "
        + " | ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in rows
    ]
    rule = "| " + " | ".join("-" * max(width - 1, 2) + (":" if at else "-") for at, width in enumerate(widths)) + " |"
    return "\n".join([lines[0], rule, *lines[1:]])


@frozen
class Mark:
    """Something to reach: what it is, the least, what we want, and what it is here, with what it was in each round."""

    text: str
    floor: float
    goal: float
    here: float
    each: Sequence[float] = ()

    @property
    def verdict(self) -> str:
        """How far we are."""
        more = self.goal >= self.floor
        if self.here >= self.goal if more else self.here <= self.goal:
            return "goal"
        return "floor" if (self.here >= self.floor if more else self.here <= self.floor) else "SHORT"

    @property
    def span(self) -> str:
        """Its least and its most in a round, if there were rounds."""
        return f"{min(self.each):.2f}–{max(self.each):.2f}" if self.each else ""

    def __str__(self) -> str:
        span = f" ({self.span})" if self.each else ""
        return f"{self.verdict:6} {self.text}: {self.here:.2f}{span}, floor {self.floor:g}, goal {self.goal:g}"


def ratio(what: str, ours: Runs, theirs: Runs) -> tuple[float, list[float]]:
    """Return how many times theirs our figure is: in the median round, and in each; ``core`` is what CPU gives.

    A round is a few seconds, the whole an hour: what a machine is slowed down by meanwhile is in both figures of one.
    """
    numbers = [[a_core(run) if what == "core" else run[what] for run in runs] for runs in (ours, theirs)]
    each = [one / other for one, other in zip(*numbers, strict=False)]
    return median(each), each


AGAINST: Final = (
    ("memory", "unbound", "core", 0.85, 1.1),
    ("memory", "bind", "core", 1.0, 1.2),
    ("memory", "dnsmasq", "core", 1.0, 1.2),
    ("miss", "dnsmasq", "rate", 0.7, 1.0),
    ("miss", "unbound", "rate", 1.5, 1.5),
    ("l2", "redis-benchmark", "rate", 0.7, 1.0),
    ("mix", "unbound", "core", 1.0, 2.0),
)
"""Workload, whom we are measured against, in what, the least that we must be times as good, and what we want."""


def marks(result: Mapping[str, Any]) -> Iterator[Mark]:
    """Yield what is to be reached, of all workloads that were run."""
    works: Works = result["works"]
    for name, other, what, floor, goal in AGAINST:
        found = works.get(name, {})
        for ours, how in (("heimdall", ""), (COMPILED, ", compiled")):
            if ours in found and other in found:
                unit = "answers a core-second" if what == "core" else "answers a second"
                here, each = ratio(what, found[ours], found[other])
                yield Mark(f"{name}{how}: {unit}, times those of {text(other)}", floor, goal, here, each)
    two = works.get("workers", {})
    if "heimdall x2" in two:
        here, each = ratio("rate", two["heimdall x2"], two["heimdall x1"])
        yield Mark("workers: answers a second of two, times those of one", 1.6, 1.9, here, each)
    if "heimdall" in works.get("spread", {}):
        runs = works["spread"]["heimdall"]
        each = [run["p999"] for run in runs]
        yield Mark("spread: p99.9 at half load with a million answers and Redis, ms", 5, 1, median(each), each)


def reach(found: Iterable[Mark]) -> str:
    """Return a table of what is to be reached, in Markdown."""
    cells = [(one.text, one.floor, one.goal, f"{one.here:.2f}", one.span, one.verdict) for one in found]
    return aligned(("What", "Floor", "Goal", "Here", "least–most", "Reached"), cells)


def setting(result: Mapping[str, Any]) -> str:
    """Return what was compared, where, and how often."""
    versions = ", ".join(f"{text(name)} {version}".strip() for name, version in result["versions"].items())
    return (
        f"{versions}. {result['machine']}, {result['cores']} cores, load {result['load_before']:g} before; "
        f"{result['rounds']} rounds, {result['seconds']:g} s each."
    )
