"""What is read off a cluster: answers by origin, memory, and the traffic of Redis."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from attrs import frozen

from tests.cluster import Cluster, counts
from tests.load import Told, quantile


@frozen
class Reading:
    """One reading of everything."""

    nodes: list[dict[str, float]]
    resident: list[int]
    redis_memory: int
    redis_bytes: int
    redis_commands: int

    @classmethod
    def of(cls, cluster: Cluster) -> Reading:
        """Read a cluster. What reading costs Redis itself is taken off."""
        nodes = [counts(node) for node in cluster.nodes]
        resident = [node.resident for node in cluster.nodes]
        if cluster.redis is None:
            return cls(nodes, resident, 0, 0, 0)
        first, second = (info(cluster) for _ in range(2))
        own = second["traffic"] - first["traffic"]
        memory = int(info(cluster, "memory")["used_memory"])
        return cls(nodes, resident, memory, first["traffic"] - own, first["total_commands_processed"])


def info(cluster: Cluster, section: str = "stats") -> dict[str, int]:
    """Return the numbers of a section of INFO; ``traffic`` is the bytes in and out."""
    assert cluster.redis is not None
    text: bytes = cluster.redis.command("INFO", section)
    pairs = [line.split(":", 1) for line in text.decode().splitlines() if ":" in line]
    found = {name: int(number) for name, number in pairs if number.isdigit()}
    found["traffic"] = found.get("total_net_input_bytes", 0) + found.get("total_net_output_bytes", 0)
    return found


def times(told: Sequence[Told]) -> dict[str, Any]:
    """Return how many, and mean, median and 99th percentile in milliseconds."""
    took = [one.took for one in told]
    if not took:
        return {"count": 0}
    numbers = {"mean": statistics.fmean(took), "median": quantile(took, 0.5), "p99": quantile(took, 0.99)}
    return {"count": len(took), **{name: round(1000 * number, 3) for name, number in numbers.items()}}


def tell(told: Sequence[Told]) -> dict[str, list[Told]]:
    """Return the queries by where their answer must have been, as the order of asking says.

    ``memory``: this node had it; ``redis``: another had; ``flight``: it was being asked for; ``upstream``: nobody
    had asked.
    """
    here: dict[tuple[int, str], float] = {}
    anywhere: dict[str, float] = {}
    found: dict[str, list[Told]] = {"memory": [], "redis": [], "flight": [], "upstream": []}
    for one in sorted(told, key=lambda one: one.sent):
        text, node = one.ask.text, one.ask.node
        if here.get((node, text), one.sent) < one.sent:
            where = "memory"
        elif text not in anywhere:
            where = "upstream"
        else:
            # What was stored in this very moment may be found or not.
            where = "redis" if anywhere[text] + 0.005 < one.sent else "flight"
        found[where].append(one)
        came = one.sent + one.took
        here[node, text] = min(here.get((node, text), came), came)
        anywhere[text] = min(anywhere.get(text, came), came)
    return found


def ideal(told: Sequence[Told], upstream: float, memory: float) -> float:
    """Return the mean time of the answers, had one cache known at once what any node was told; in milliseconds.

    The first who asks waits for the upstream, who asks meanwhile for the rest of that, and everybody else for memory.

    :param upstream: milliseconds that the upstream takes; ``memory`` those of an answer from memory.
    """
    known: dict[str, float] = {}
    total = 0.0
    for one in sorted(told, key=lambda one: one.sent):
        left = 1000 * (known.setdefault(one.ask.text, one.sent + upstream / 1000) - one.sent)
        total += max(left, memory)
    return total / len(told)
