"""``heimdall flush NAME``: make every node, and Redis, forget a name."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from heimdall.command.client import FAILED, OK, Node
from heimdall.command.inspect import NO_REDIS
from heimdall.command.tables import plain

ABOUT = "make every node, and Redis, forget a name"


def options(parser: ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("name", metavar="NAME", help="the name to forget, such as www.example.com")
    parser.add_argument("--subtree", action="store_true", help="and every name below it; of . everything there is")


def ask(node: Node, arguments: Namespace) -> Mapping[str, Any]:
    """Have it flushed, and return what the node says of it."""
    return node.delete("/api/v1/cache", name=arguments.name, **({"subtree": "1"} if arguments.subtree else {}))


def show(told: Mapping[str, Any], arguments: Namespace) -> Iterator[str]:
    """Yield in lines what was done."""
    nodes = [plain(node) for node in told["nodes"]]
    below = " and every name below it" if told["subtree"] else ""
    yield f"Flushed {plain(told['name'])}{below} on {_counted(nodes)}: {', '.join(nodes)}"
    if told["reason"] == NO_REDIS:
        yield f"{NO_REDIS}: the node that was asked is all there is."
    elif not told["shared"]:
        yield f"Redis: not told, {plain(told['reason'])}"
        if told["later"]:
            yield "  This node tells the others as soon as Redis is back; until then they may give this name."
            yield "  Should this node end before that, flush again."
        elif code(told):
            yield "  The other nodes go on with what they have: flush it at one that shares."
    elif told["swept"]:
        yield "Redis: its answers are deleted"
    else:
        yield "Redis: its answers are being deleted, and nobody gives them any more"
    if told["silent"]:
        yield f"No word from: {', '.join(plain(node) for node in told['silent'])}"
        yield "  These forget it before they answer from memory again."
    for region in told["regions"]:
        if region["told"]:
            yield f"Region {plain(region['region'])}: told"
        else:
            yield f"Region {plain(region['region'])}: not told, {plain(region['reason'])}"
            yield "  It is told as soon as it answers; until then its nodes may give this name."


def code(told: Mapping[str, Any]) -> int:
    """Return the exit code: it failed where there is a Redis, here or in another region, that could not be told."""
    regions = all(region["told"] for region in told.get("regions", ()))
    return OK if regions and (told.get("shared") or told.get("reason") == NO_REDIS) else FAILED


def _counted(nodes: list[str]) -> str:
    return "1 node" if len(nodes) == 1 else f"{len(nodes)} nodes"
