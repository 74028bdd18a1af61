"""``heimdall members``: who is in the cluster, and how each node does."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from heimdall.command.client import OK, Node
from heimdall.command.tables import plain, table
from heimdall.units import NOTHING, number, seconds, share, size

ABOUT = "see who is in the cluster, and how each node does"

_HEAD = ("NODE", "STATUS", "HOST", "ADDRESS", " UP", " QUERIES", " MEMORY", " REDIS", " UPSTREAM", " HELD", " BYTES")
_ORIGINS = ("memory", "redis", "upstream", "stale", "local", "blocked")


def options(parser: ArgumentParser) -> None:
    """Say what the command takes: nothing of its own."""


def ask(node: Node, arguments: Namespace) -> Mapping[str, Any]:
    """List them."""
    return node.get("/api/v1/members")


def show(told: Mapping[str, Any], arguments: Namespace) -> Iterator[str]:
    """Yield a table of the members; its shares are those of the answers that each gave since it started."""
    yield from table(_HEAD, [_row(member) for member in told["members"]])
    if not told["shared"]:
        yield ""
        yield f"Only the node that was asked is listed: {plain(told['reason'])}"


def code(told: Mapping[str, Any]) -> int:
    """Return the exit code."""
    return OK


def _row(member: Mapping[str, Any]) -> tuple[str, ...]:
    stats = member["stats"]
    answers = sum(stats.get(origin) or 0 for origin in _ORIGINS)
    return (
        member["id"], member["status"], member["hostname"], member["pod_ip"] or NOTHING,
        seconds(stats.get("uptime_seconds")), number(stats.get("queries")),
        *(share(stats.get(origin), answers) for origin in ("memory", "redis", "upstream")),
        number(stats.get("memory_entries")), size(stats.get("memory_bytes")),
    )  # fmt: skip
