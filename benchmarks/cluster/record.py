"""The record's table for real: 10,000 queries over three nodes, with Redis and without."""

from __future__ import annotations

from typing import Any, Final

from benchmarks.cluster.loads import NODES, Zipf
from benchmarks.cluster.meters import Reading, ideal, tell, times
from tests.cluster import Cluster, origins
from tests.load import GOOD, Ask, start

DELAY: Final = 0.075
"""Seconds of the upstream, as in the record."""

FIRST: Final = 1000
"""Queries by which a node that has just started is judged."""


def run(load: Zipf, queries: int, rate: float, *, redis: bool, cold: bool = False) -> dict[str, Any]:
    """Run a load once.

    :param rate: queries a second, over all nodes.
    :param cold: start a fourth node at the end, and see how warm it is.
    """
    with Cluster(NODES, redis=redis, delay=DELAY) as cluster:
        asks = load.asks(queries, rate)
        far = start([cluster.upstream.port], [Ask(n / 200, 0, f"far{n}.example") for n in range(200)]).end()
        cluster.upstream.reset()
        before = Reading.of(cluster)
        shown = f"{load.text}, {'with' if redis else 'without'} Redis"
        told = cluster.ask(asks, shown=shown)
        after = Reading.of(cluster)
        upstream = cluster.upstream.counts()
        seconds = told[-1].sent - told[0].sent
        classes = tell(told)
        questions = len({ask.text for ask in asks})
        memory = times(classes["memory"])
        least = ideal(told, times(far)["median"], memory["median"])
        result = {
            "load": load.text,
            "names": load.names,
            "skew": round(load.skew, 3),
            "redis": redis,
            "queries": queries,
            "rate": rate,
            "bad": sum(one.verdict != GOOD for one in told),
            "origins": origins(before.nodes, after.nodes),
            "distinct": questions,
            "upstream": upstream["asked"],
            "duplicates": upstream["again"],
            "all": times(told),
            "least_mean": round(least, 3),
            "upstream_itself": times(far),
            "by_place": {where: times(some) for where, some in classes.items()},
            "resident": after.resident,
            "grown": [new - old for old, new in zip(before.resident, after.resident, strict=True)],
            "redis_memory_an_answer": round((after.redis_memory - before.redis_memory) / max(questions, 1)),
            "redis_memory": after.redis_memory,
            "redis_bytes_a_minute_and_node": round((after.redis_bytes - before.redis_bytes) / seconds * 60 / NODES),
            "redis_bytes_a_look_up": round(
                (after.redis_bytes - before.redis_bytes) / max(queries - len(classes["memory"]), 1)
            ),
            "trouble": cluster.trouble()[:3],
        }
        if cold:
            result["cold"] = fourth(cluster, load, rate)
        return result


def fourth(cluster: Cluster, load: Zipf, rate: float) -> dict[str, Any]:
    """Start a fourth node and ask it, and an old one, the same queries."""
    node = cluster.add()
    cluster.wait(cluster.linked)
    before = Reading.of(cluster).nodes
    asks = load.asks(FIRST, rate / 2, nodes=1, seed=2)
    both = [Ask(one.at, at, one.text) for one in asks for at in (0, len(cluster.nodes) - 1)]
    cluster.ask(both, shown="a fourth node")
    after = Reading.of(cluster).nodes
    found = {
        name: origins(before[at : at + 1 or None], after[at : at + 1 or None]) for name, at in (("old", 0), ("new", -1))
    }
    return {
        "queries": FIRST,
        **found,
        "told": [line.split("] ", 1)[-1] for line in node.log.splitlines() if "warm" in line.lower()][:5],
    }
