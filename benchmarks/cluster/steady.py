"""A steady state with 100 clients a node, where sharing gains least; and what Redis costs nodes that nobody asks."""

from __future__ import annotations

import time
from typing import Any, Final

from benchmarks.cluster.loads import NODES, Zipf
from benchmarks.cluster.meters import Reading, times
from tests.cluster import Cluster, origins
from tests.load import GOOD

CLIENTS: Final = 100
TTL: Final = 20
"""Seconds: short, so that a state in which answers end as fast as they come is reached soon."""


def run(load: Zipf, seconds: float, *, redis: bool) -> dict[str, Any]:
    """Let 100 clients a node ask once a second each, first for a TTL that does not count, then for some seconds."""
    rate = float(CLIENTS * NODES)
    shown = f"100 clients a node, {'with' if redis else 'without'} Redis"
    with Cluster(NODES, redis=redis, ttl=TTL) as cluster:
        cluster.ask(load.asks(int(rate * TTL * 1.2), rate, seed=3), shown=f"{shown}, until steady")
        cluster.upstream.reset()
        before = Reading.of(cluster)
        told = cluster.ask(load.asks(int(rate * seconds), rate, seed=4), shown=shown)
        after = Reading.of(cluster)
        upstream = cluster.upstream.counts()
    return {
        "redis": redis,
        "clients": CLIENTS,
        "ttl": TTL,
        "seconds": seconds,
        "queries": len(told),
        "bad": sum(one.verdict != GOOD for one in told),
        "origins": origins(before.nodes, after.nodes),
        "upstream": upstream["asked"],
        "all": times(told),
    }


def idle(seconds: float) -> dict[str, Any]:
    """Measure the traffic of nodes that nobody asks: heartbeats, and whatever else they say."""
    with Cluster(NODES) as cluster:
        time.sleep(2)
        before, began = Reading.of(cluster), time.monotonic()
        print(f"  nobody asks for {seconds:g} s", flush=True)
        time.sleep(seconds)
        after, took = Reading.of(cluster), time.monotonic() - began
    return {
        "redis_bytes_a_minute_and_node": round((after.redis_bytes - before.redis_bytes) / took * 60 / NODES),
        "commands_a_minute_and_node": round((after.redis_commands - before.redis_commands) / took * 60 / NODES),
        "resident": after.resident,
    }
