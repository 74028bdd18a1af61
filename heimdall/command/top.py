"""``heimdall top``: the names that the whole cluster is asked for most."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from heimdall.command.client import OK, Node
from heimdall.command.tables import plain, table
from heimdall.units import NOTHING, number, seconds, share

ABOUT = "see the names that the cluster is asked for most"

_HEAD = ("NAME", "TYPE", " ASKED", " NODES", " MEMORY", " REDIS", " UPSTREAM", " TTL")
_TIERS = ("memory", "redis", "upstream")
_NODES = ("NODE", " QUERIES", " MEMORY", " REDIS", " UPSTREAM", " STALE")
_ALL_TIERS = (*_TIERS, "stale")


def options(parser: ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("--single", action="store_true", help="the names that one node alone is asked for")
    parser.add_argument("--nodes", action="store_true", help="where each node had its answers from, instead of names")
    parser.add_argument("--short", action="store_true", help="the names whose TTL is too short to be of use to a cache")
    parser.add_argument(
        "--most", "-n", type=int, default=0, metavar="N", help="show so many; else what fits the screen"
    )
    parser.add_argument("--once", action="store_true", help="look once, as it does when its output is no terminal")


def ask(node: Node, arguments: Namespace) -> Mapping[str, Any]:
    """Look."""
    return node.get("/api/v1/top")


def show(told: Mapping[str, Any], arguments: Namespace) -> Iterator[str]:
    """Yield what the whole cluster answered from where, and a table of names, the most asked first."""
    shares = told.get("shares", {})
    if arguments.nodes:
        nodes = sorted(shares["nodes"].items(), key=lambda node: -node[1]["queries"])
        yield from table(_NODES, [_shares(*node) for node in (*nodes, ("all", shares["cluster"]))])
        yield from _alone(told)
        return
    cluster = shares.get("cluster")
    if cluster is not None:
        tiers = ", ".join(f"{share(cluster[tier], 1)} {tier}" for tier in _ALL_TIERS)
        asked = cluster["queries"]
        yield f"{number(asked)} {'query' if asked == 1 else 'queries'}: {tiers}"
        yield from _alone(told)
        yield ""
    names = told["single" if arguments.single else "short" if arguments.short else "names"]
    most = arguments.most if arguments.most > 0 else len(names)
    yield from table((*_HEAD, "NODE") if arguments.single else _HEAD, [_row(name) for name in names[:most]], give=0)
    if not names:
        yield "There is none so far."


def _alone(told: Mapping[str, Any]) -> Iterator[str]:
    """Say where these are the counts of one node."""
    if not told.get("shared", True):
        yield f"Only the node that was asked has counted: {plain(told['reason'])}"


def code(told: Mapping[str, Any]) -> int:
    """Return the exit code."""
    return OK


def _shares(node: str, told: Mapping[str, Any]) -> tuple[str, ...]:
    return (node, number(told["queries"]), *(share(told[tier], 1) for tier in _ALL_TIERS))


def _row(name: Mapping[str, Any]) -> tuple[str, ...]:
    asked = sum(name.get(tier) or 0 for tier in _TIERS)
    alone = (name["node"] or NOTHING,) if "node" in name else ()
    return (
        name["name"], name["type"], number(name.get("asked")), number(name.get("nodes")),
        *(share(name.get(tier), asked) for tier in _TIERS),
        seconds(name.get("ttl")), *alone,
    )  # fmt: skip
