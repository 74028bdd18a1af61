"""The rows of the faults as a table for people, and the rules that they may not break."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from operator import add
from statistics import median
from typing import Any, Final

WORSE: Final = 1.2
"""How much the 99th percentile with Redis hung may be above that without Redis."""

HEADS: Final = (
    "Fault", "Asked", "Lost", "SERVFAIL", "Wrong", "Flushed", "Asked again", "p99 held, before → during",
    "p99 new, before → during", "Slowest", "In full use after",
)  # fmt: skip


def merged(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return several rows of one fault as one: counts added up, the median of times, the worst of the worst."""
    row = dict(rows[0])
    for what in ("asked", "lost", "failed", "wrong", "old", "retried", "trouble", "evidence"):
        row[what] = reduce(add, [one[what] for one in rows])
    for what in ("before", "during", "later"):
        row[what] = {kind: round(median(one[what][kind] for one in rows), 2) for kind in row[what]}
    for what in ("worst", "ages"):
        row[what] = max(one[what] for one in rows)
    full = [one["full"] for one in rows]
    row["full"] = None if None in full else max(full)
    return row


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as a table in Markdown; times in milliseconds, but the last in seconds."""
    lines = ["| " + " | ".join(HEADS) + " |", "| --- |" + " ---: |" * (len(HEADS) - 1)]
    for row in rows:
        before, during = row["before"], row["during"]
        cells = [
            row["text"], f"{row['asked']:,}", row["lost"], row["failed"], row["wrong"], row["old"], row["retried"],
            f"{before['held']:.1f} → {during['held']:.1f}", f"{before['new']:.1f} → {during['new']:.1f}",
            f"{row['worst']:.0f}", _full(row),
        ]  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def _full(row: Mapping[str, Any]) -> str:
    if row["full"] is not None:
        return f"{row['full']:.2f} s"
    return "not seen" if any(row["hits"]) else "–"


def broken(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each rule that was broken."""
    wrong = []
    for row in rows:
        wrong += [
            f"{row['text']}: {row[what]} {what}: {'; '.join(row['evidence'])}"
            for what in ("lost", "failed", "wrong", "old", "trouble")
            if row[what]
        ]
        if row["ages"] > 1:
            wrong.append(f"{row['text']}: ages wrong by {row['ages']} s")
    return wrong + never_worse(rows)


def never_worse(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return where a hung Redis cost more than it may, against no Redis at all: the first row."""
    return [f"{text} is {ratio:.2f} times that without Redis" for text, ratio in _against(rows) if ratio > WORSE]


def ratios(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return how the times with a hung Redis stand beside those without Redis."""
    return [f"{text}: {ratio:.2f} times that without Redis, at most {WORSE}" for text, ratio in _against(rows)]


def _against(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    for row in rows[1:]:
        if "hung" in row["text"]:
            for what, names in (("held", "that are held"), ("new", "that are new")):
                yield f"{row['text']}: p99 of names {names}", row["later"][what] / rows[0]["during"][what]
