"""Loads of names, some asked often and most seldom, with a skew that gives a node alone the hits one wants."""

from __future__ import annotations

import random
from itertools import accumulate
from typing import Final

from attrs import frozen

from tests.load import Ask

NODES: Final = 3


def weights(names: int, skew: float) -> list[float]:
    """Return the share of the queries that each name has: that of rank k is as 1 / k ** skew."""
    parts = [rank**-skew for rank in range(1, names + 1)]
    total = sum(parts)
    return [part / total for part in parts]


def distinct(names: int, skew: float, queries: int) -> float:
    """Return how many different names so many queries ask for, on average."""
    return sum(1 - (1 - share) ** queries for share in weights(names, skew))


def solve(names: int, hits: float, queries: int) -> float:
    """Return the skew with which a node that gets so many queries finds this share of them in its memory.

    :raises ValueError: no skew gives that.
    """
    low, high = 0.0, 8.0
    if not 1 - distinct(names, low, queries) / queries <= hits < 1 - distinct(names, high, queries) / queries:
        raise ValueError(f"{queries} queries for {names} names cannot have {hits:.0%} hits")
    for _ in range(40):
        middle = (low + high) / 2
        if 1 - distinct(names, middle, queries) / queries < hits:
            low = middle
        else:
            high = middle
    return (low + high) / 2


@frozen
class Zipf:
    """A load: so many names, and how skewed they are asked for."""

    text: str
    names: int
    skew: float

    @classmethod
    def of(cls, text: str, names: int, hits: float, queries: int) -> Zipf:
        """Return the load of which a node alone, with its part of the queries, has this share in memory."""
        return cls(text, names, solve(names, hits, queries // NODES))

    def asks(self, queries: int, rate: float, *, nodes: int = NODES, seed: int = 1) -> list[Ask]:
        """Return queries at random times, so many a second on average, each at a random node."""
        chance = random.Random(seed)
        sums = list(accumulate(weights(self.names, self.skew)))
        ranks = chance.choices(range(self.names), cum_weights=sums, k=queries)
        at, asks = 0.0, []
        for rank in ranks:
            at += chance.expovariate(rate)
            asks.append(Ask(at, chance.randrange(nodes), f"n{rank}.example"))
        return asks


def loads(queries: int) -> tuple[Zipf, ...]:
    """Return the load of the record, one more skewed, and one that is nearly even."""
    return (
        Zipf.of("60 % in memory", 10_000, 0.6, queries),
        Zipf.of("more skewed", 10_000, 0.8, queries),
        # So few names that their sum of hits can be the record's: 60 % in memory, 15 % nowhere.
        Zipf.of("nearly even", max(int(queries * 0.15), 1), 0.6, queries),
    )
