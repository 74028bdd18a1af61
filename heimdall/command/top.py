"""``heimdall top``: the names that the whole cluster is asked for most."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from typing import Any, Final

from heimdall.command.client import OK, Node
from heimdall.command.tables import number, seconds, share, table

ABOUT = "see the names that the cluster is asked for most"

EVERY: Final = 2.0
"""Seconds between two looks."""

_HEAD = ("NAME", "TYPE", " ASKED", " NODES", " MEMORY", " REDIS", " UPSTREAM", " TTL")


def options(parser: ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument(
        "--most", "-n", type=int, default=0, metavar="N", help="show so many; else what fits the screen"
    )
    parser.add_argument("--once", action="store_true", help="look once, as it does when its output is no terminal")


def ask(node: Node, arguments: Namespace) -> Mapping[str, Any]:
    """Look."""
    return node.get("/api/v1/top")


def show(told: Mapping[str, Any], arguments: Namespace) -> Iterator[str]:
    """Yield a table, the most asked first."""
    names = told["names"]
    most = arguments.most if arguments.most > 0 else len(names)
    yield from table(_HEAD, [_row(name) for name in names[:most]])
    if not names:
        yield "Nothing was counted yet."


def code(told: Mapping[str, Any]) -> int:
    """Return the exit code."""
    return OK


def _row(name: Mapping[str, Any]) -> tuple[str, ...]:
    asked = sum(name.get(tier) or 0 for tier in ("memory", "redis", "upstream"))
    return (
        name["name"], name["type"], number(name.get("asked")), number(name.get("nodes")),
        *(share(name.get(tier), asked) for tier in ("memory", "redis", "upstream")),
        seconds(name.get("ttl")),
    )  # fmt: skip
