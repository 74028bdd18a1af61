"""Counters as plain integers: counting costs a dictionary look-up, the scrape does the rest.

Each part of the path keeps its own and lists them in its attribute ``tallies``; ``watch/metrics`` reads them
at a scrape. Names are ``heimdall_<leg>_<what>_<unit|total>``, and labels take values from closed sets only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

SECONDS: Final[Sequence[float]] = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
)  # fmt: skip
"""The upper bounds of the buckets that times are sorted into."""


class Cell:
    """One number of a :class:`Count`: ``n`` so far."""

    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 0


class Count:
    """A number that only rises, by the values of its labels.

    :param name: the metric's name, ended by ``_total``.
    :param text: what is counted, in a few words.
    :param labels: the names of its labels; ``add`` and ``cell`` take their values in that order.
    """

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self.name, self.text, self.labels = name, text, labels
        self._cells: dict[tuple[str, ...], Cell] = {}
        if not labels:
            self.cell()

    @property
    def counts(self) -> dict[tuple[str, ...], int]:
        """The numbers so far, by the values of the labels; with labels, those that are not 0."""
        return {values: cell.n for values, cell in self._cells.items() if cell.n or not values}

    def cell(self, *values: str) -> Cell:
        """Return the number of some values: who counts the same for each query adds to its ``n``."""
        cell = self._cells.get(values)
        if cell is None:
            cell = self._cells[values] = Cell()
        return cell

    def add(self, *values: str, by: int = 1) -> None:
        """Count ``by`` more."""
        cell = self._cells.get(values)
        if cell is None:
            cell = self._cells[values] = Cell()
        cell.n += by

    def total(self, *values: str) -> int:
        """Return the number so far, of all that have these values in their first labels."""
        size = len(values)
        return sum(cell.n for labels, cell in self._cells.items() if labels[:size] == values)


class Gauge:
    """A number that is read when somebody asks.

    :param read: called at the scrape; returns the number, or numbers by the value of the one label.
    :param across: how those of several parts or processes become one: sum, max or min.
    """

    def __init__(
        self,
        name: str,
        text: str,
        read: Callable[[], float | Mapping[str, float]],
        label: str = "",
        *,
        across: str = "sum",
    ) -> None:
        self.name, self.text, self.read, self.label, self.across = name, text, read, label, across


class Times:
    """How long something took, sorted into buckets of seconds."""

    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text
        self.buckets = [0] * (len(SECONDS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float, by: int = 1) -> None:
        """Count one more that took so long, or ``by`` more that each did."""
        self.buckets[bisect_left(SECONDS, seconds)] += by
        self.sum += seconds * by


Tally = Count | Gauge | Times


class Tallied(Protocol):
    """A part that counts."""

    tallies: list[Tally]
