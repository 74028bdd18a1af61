"""One flight per cluster: 300 clients want one cold name at once, and the node that asks for it is killed."""

from __future__ import annotations

import statistics
import time
from typing import Any, Final

from tests.cluster import Cluster
from tests.load import GOOD, Ask, Told, quantile

CLIENTS: Final = 100
"""Clients a node."""

DELAY: Final = 0.075
NODES: Final = 3


def together(rounds: int) -> dict[str, Any]:
    """Let all clients ask for one cold name at once, again and again with another name."""
    asks = [
        Ask(number * 0.4, client % NODES, f"cold{number}.example")
        for number in range(rounds)
        for client in range(CLIENTS * NODES)
    ]
    with Cluster(NODES, delay=DELAY) as cluster:
        told = cluster.ask(asks, sockets=CLIENTS, shown="300 clients, one cold name")
        upstream = cluster.upstream.counts()
    behind, spread = [], []
    for number in range(rounds):
        some = [one for one in told if one.ask.text == f"cold{number}.example"]
        first = min(some, key=came)
        behind += [came(one) - came(first) for one in some if one.ask.node != first.ask.node]
        spread += [came(one) - came(first) for one in some if one.ask.node == first.ask.node]
    return {
        "names": rounds,
        "clients": CLIENTS * NODES,
        "bad": sum(one.verdict != GOOD for one in told),
        "upstream": upstream["asked"],
        "behind_median": round(1000 * statistics.median(behind), 2),
        "behind_p99": round(1000 * quantile(behind, 0.99), 2),
        "same_node_median": round(1000 * statistics.median(spread), 2),
        "slowest": round(1000 * max(one.took for one in told), 1),
    }


def came(one: Told) -> float:
    """Return when an answer came."""
    return one.sent + one.took


def leader_killed(rounds: int) -> dict[str, Any]:
    """Kill the node that asks while the others wait for it."""
    told: list[Told] = []
    asked = 0
    with Cluster(NODES, delay=DELAY) as cluster:
        for number in range(rounds):
            leader = number % NODES
            text = f"lost{number}.example"
            others = [node for node in range(NODES) if node != leader]
            asks = [Ask(0.0, leader, text)]
            asks += [Ask(0.01, others[client % 2], text) for client in range(CLIENTS * 2)]
            cluster.upstream.reset()
            load = cluster.start(asks, sockets=CLIENTS, shown=f"the leader is killed, {number + 1} of {rounds}")
            while not cluster.upstream.counts()["asked"]:
                time.sleep(0.002)
            time.sleep(0.04)
            cluster.nodes[leader].process.kill()
            cluster.nodes[leader].process.wait()
            told += [one for one in load.end() if one.ask.node != leader]
            asked += cluster.upstream.counts()["asked"]
            cluster.nodes[leader].again()
            cluster.wait(cluster.linked)
    return {
        "rounds": rounds,
        "clients": CLIENTS * 2,
        "bad": sum(one.verdict != GOOD for one in told),
        "retried": sum(one.retries > 0 for one in told),
        "upstream": asked,
        "late_median": round(1000 * (statistics.median(one.took for one in told) - DELAY), 1),
        "late_most": round(1000 * (max(one.took for one in told) - DELAY), 1),
    }
