"""Tallies of processes: as they tell them to each other, and added up with those of what is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from heimdall.tally import Count, Gauge, Tally, Times


def told(tallies: Iterable[Tally]) -> list[Any]:
    """Return tallies as JSON has them; a gauge that cannot be read is left out."""
    rows: list[Any] = []
    for tally in tallies:
        if isinstance(tally, Count):
            counts = [[list(values), number] for values, number in tally.counts.items()]
            rows.append(["count", tally.name, tally.text, list(tally.labels), counts])
        elif isinstance(tally, Times):
            rows.append(["times", tally.name, tally.text, list(tally.buckets), tally.sum])
        else:
            with suppress(Exception):  # it reads other people's code
                numbers = tally.read()
                number = dict(numbers) if isinstance(numbers, Mapping) else numbers
                rows.append(["gauge", tally.name, tally.text, tally.label, tally.across, number])
    return rows


def heard(rows: Sequence[Any]) -> list[Tally]:
    """Return the tallies that :func:`told` told of; raises ValueError, TypeError or KeyError where it did not."""
    return [_READ[row[0]](*row[1:]) for row in rows]


def _count(name: str, text: str, labels: Sequence[str], counts: Sequence[Any]) -> Count:
    count = Count(name, text, *labels)
    for values, number in counts:
        count.add(*values, by=int(number))
    return count


def _times(name: str, text: str, buckets: Sequence[int], total: float) -> Times:
    times = Times(name, text)
    times.buckets, times.sum = list(map(int, buckets)), float(total)
    return times


def _gauge(name: str, text: str, label: str, across: str, number: float | Mapping[str, float]) -> Gauge:
    return Gauge(name, text, lambda: number, label, across=across)


_READ: Mapping[str, Callable[..., Tally]] = {"count": _count, "times": _times, "gauge": _gauge}


class Live:
    """Tallies that are looked for anew each time they are gone through."""

    def __init__(self, *read: Callable[[], Iterable[Tally]]) -> None:
        self._read = read

    def __iter__(self) -> Iterator[Tally]:
        for read in self._read:
            yield from read()


Kind = TypeVar("Kind", Count, Times)


class Past:
    """What was counted by those that are gone: no counter of the node falls for want of them."""

    def __init__(self) -> None:
        self.tallies: list[Tally] = []
        self._named: dict[str, Count | Times] = {}

    def keep(self, tallies: Iterable[Tally]) -> None:
        """Keep what the counters say now; a gauge tells of what is, and is over."""
        for tally in tallies:
            if isinstance(tally, Count):
                count = self._same(tally, Count(tally.name, tally.text, *tally.labels))
                for values, number in tally.counts.items():
                    count.add(*values, by=number)
            elif isinstance(tally, Times):
                times = self._same(tally, Times(tally.name, tally.text))
                times.buckets = [old + new for old, new in zip(times.buckets, tally.buckets, strict=True)]
                times.sum += tally.sum

    def _same(self, tally: Kind, empty: Kind) -> Kind:
        """Return what is kept under the name of a tally, at first nothing."""
        kept = self._named.get(tally.name)
        if not isinstance(kept, type(empty)):
            self._named[tally.name] = kept = empty
            self.tallies.append(kept)
        return kept


def total(tallies: Iterable[Tally], name: str, *values: str) -> float:
    """Return what all tallies of one name say together, of those that have these values in their first labels."""
    found = 0.0
    for tally in tallies:
        if tally.name != name:
            continue
        if isinstance(tally, Count):
            found += tally.total(*values)
        elif isinstance(tally, Gauge):
            number = tally.read()
            found += sum(number.values()) if isinstance(number, Mapping) else number
    return found
