"""Bytes between a node and Redis: a minute of doing nothing, a name asked first, and one that another node knows.

Run as ``python -m benchmarks.traffic [SECONDS]``. Two nodes as an operator runs them, a real Redis that counts, and NSD
as their upstream. The record that this project began with reckoned 1 KB a minute for heartbeats and 20 KB for answers.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Mapping

from attrs import frozen

from benchmarks.size import Store
from benchmarks.zones import Asked, Zones, answers
from tests.running import Running

HEARTBEATS, ANSWERS = 1000, 20_000
"""Bytes a minute and node in the record."""

NAMES = 2000
ALONE = 500
"""Names asked one at a time: their look-ups do not share a command."""

QUERIES, FROM_REDIS, FROM_UPSTREAM, NODES = 10_000, 0.25, 0.15, 3
"""The load of the record's table: all queries, the parts of them that Redis and the upstream answer, and the nodes."""


@frozen
class Counted:
    """What Redis has counted: bytes in both directions, and calls of each command."""

    taken: int
    sent: int
    calls: Mapping[str, int]


def count(store: Store) -> Counted:
    """Return what Redis has counted so far, our own questions among it."""
    stats = store.info("stats")
    calls = {name[8:]: int(re.findall(r"calls=(\d+)", text)[0]) for name, text in store.info("commandstats").items()}
    return Counted(int(stats["total_net_input_bytes"]), int(stats["total_net_output_bytes"]), calls)


def between(one: Counted, other: Counted, own: tuple[int, int]) -> tuple[int, int]:
    """Return the bytes that Redis took and sent between two counts, less those of the counting."""
    return other.taken - one.taken - own[0], other.sent - one.sent - own[1]


def idle(store: Store, nodes: list[Running], seconds: float) -> tuple[float, float]:
    """Watch nodes that are asked nothing; return the bytes to and from Redis that each takes a minute."""
    time.sleep(6)
    first, second = count(store), count(store)
    before = count(store)
    sys.stderr.write(f"watching idle nodes for {seconds:g} s ...\n")
    time.sleep(seconds)
    after = count(store)
    minutes = len(nodes) * seconds / 60
    calls = {name: (number - before.calls.get(name, 0)) / minutes for name, number in after.calls.items()}
    used = sorted((calls[name], name) for name in calls if calls[name] > 0 and name != "info")
    sys.stdout.write("calls a minute: " + ", ".join(f"{name} {number:.0f}" for number, name in reversed(used)) + "\n")
    taken, sent = between(before, after, between(first, second, (0, 0)))
    return taken / minutes, sent / minutes


def row(what: str, taken: float, sent: float) -> None:
    """Print a line of the table."""
    sys.stdout.write(f"{what:44} {taken:9,.0f} {sent:9,.0f} {taken + sent:9,.0f}\n")


def recorded(what: str, number: int) -> None:
    """Print what the record has."""
    sys.stdout.write(f"{'  the record: ' + what:44} {'':9} {'':9} {number:9,}\n")


def main() -> None:
    """Measure, and print it beside the record's numbers."""
    options = argparse.ArgumentParser(description="Bytes between a node and Redis.")
    options.add_argument("seconds", nargs="?", type=float, default=60.0, help="how long to watch idle nodes")
    seconds = options.parse_args().seconds
    store, zones = Store(), Zones(NAMES)
    nodes: list[Running] = []
    try:
        questions = [asked for asked in zones.questions() if asked.kind == "A"]
        alone = [[asked] for asked in zones.questions() if asked.kind == "AAAA"][:ALONE]
        list(zones.answers(questions[:1]))
        arguments = (f"--redis={store.server.url}", f"--upstream=127.0.0.1:{zones.port}")
        quiet = {"HEIMDALL_PEERS_HEARTBEAT": "3600", "HEIMDALL_PEERS_EXPIRY": "7200"}
        nodes.append(Running(*arguments, environ=quiet))
        silent = idle(store, nodes, seconds)
        nodes.pop().clean()
        nodes += [Running(*arguments, f"--node=node-{number}") for number in range(2)]
        taken, sent = idle(store, nodes, seconds)
        sys.stdout.write(f"{'bytes':44} {'to Redis':>9} {'from it':>9} {'together':>9}\n")
        row("heartbeats, a node and minute", taken - silent[0], sent - silent[1])
        recorded("heartbeats", HEARTBEATS)
        row("all else of an idle node, a minute", *silent)
        costs = []
        for what, asks in (("", [questions]), (", one at a time", alone)):
            for whose, node in (("a name asked first", nodes[0]), ("a name that Redis has", nodes[1])):
                before, began = count(store), time.monotonic()
                for some in asks:
                    ask(node, some)
                time.sleep(0.5)  # what is written is written later
                part = len(nodes) * (time.monotonic() - began) / 60
                to, back = between(before, count(store), (0, 0))
                size = sum(map(len, asks))
                to_redis, from_redis = (to - taken * part) / size, (back - sent * part) / size
                costs.append(to_redis + from_redis)
                row(whose + what, to_redis, from_redis)
        hits = nodes[1].metric("heimdall_accept_answers_total", origin="redis")
        if hits != NAMES + ALONE:
            raise RuntimeError(f"only {hits:.0f} of {NAMES + ALONE} names came from Redis")
        load = QUERIES * (FROM_UPSTREAM * costs[0] + FROM_REDIS * costs[1]) / NODES
        sys.stdout.write(f"{'the 10,000 queries of the record, a node':44} {'':9} {'':9} {load:9,.0f}\n")
        recorded("answers, a minute", ANSWERS)
        sys.stdout.write(f"{ANSWERS:,} bytes are {ANSWERS / costs[1]:.0f} names that Redis has, ")
        sys.stdout.write(f"or {ANSWERS / costs[0]:.0f} asked first\n")
    finally:
        for node in nodes:
            node.clean()
        zones.stop()
        store.server.stop()


def ask(node: Running, questions: list[Asked]) -> None:
    """Ask a node all questions."""
    for asked, wire in answers(node.port, questions):
        if wire[3] & 15:
            raise RuntimeError(f"{asked.name} was answered with code {wire[3] & 15}")


if __name__ == "__main__":
    main()
