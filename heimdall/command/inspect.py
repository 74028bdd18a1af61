"""``heimdall inspect NAME [TYPE]``: see what Redis and the memory of each node hold for a name."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from heimdall.command.client import OK, Node
from heimdall.command.tables import NOTHING, number, plain, seconds, size, table

ABOUT = "see what Redis and each node hold for a name"

_HEAD = ("WHERE", "TYPE", "FOR", "STATE", " TTL", " AGE", "FROM", " USES", " BYTES", "ANSWER")


def options(parser: ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("name", metavar="NAME", help="the name to look for, such as www.example.com")
    parser.add_argument(
        "type", metavar="TYPE", nargs="?", default="", help="one type, such as AAAA; else all common ones"
    )
    parser.add_argument(
        "--all", action="store_true", help="search every key: uncommon types, and answers for a client's subnet"
    )


def ask(node: Node, arguments: Namespace) -> Mapping[str, Any]:
    """Look it up."""
    asked = {"name": arguments.name}
    if arguments.type:
        asked["type"] = arguments.type
    if arguments.all:
        asked["all"] = "1"
    return node.get("/api/v1/cache", **asked)


def show(told: Mapping[str, Any], arguments: Namespace) -> Iterator[str]:
    """Yield a table of what is held where, and the records of each answer once."""
    redis = told.get("redis", {})
    rows = [_row("redis", held) for held in redis.get("held", ())] or [_nothing("redis", redis.get("reason", ""))]
    records = {line: None for held in redis.get("held", ()) for line in _records(held)}
    for node in told.get("nodes", ()):
        where = str(node.get("node")) + ("*" if node.get("own") else "")
        rows += [_row(where, held) for held in node.get("held", ())] or [_nothing(where, "")]
        records |= {line: None for held in node.get("held", ()) for line in _records(held)}
    rows += [_nothing(str(node), "no reply") for node in told.get("silent", ())]
    yield from table(_HEAD, rows)
    if records:
        yield ""
        yield from sorted(records)
    if told.get("reason"):
        yield ""
        yield f"Only this node was asked: {plain(told['reason'])}"
    if not redis.get("complete", True) and not redis.get("reason"):
        yield ""
        yield "There is more than is shown here."


def code(told: Mapping[str, Any]) -> int:
    """Return the exit code."""
    return OK


def _row(where: str, held: Mapping[str, Any]) -> tuple[str, ...]:
    whose = " ".join([*held.get("flags", ()), *([held["subnet"]] if held.get("subnet") else [])])
    state = str(held.get("state")) + (f" ({held['reason']})" if held.get("reason") else "")
    return (
        where, str(held.get("type")), whose, state, seconds(held.get("ttl")), seconds(held.get("age")),
        str(held.get("origin", NOTHING)), number(held.get("uses")), size(held.get("size", held.get("bytes"))),
        _answer(held),
    )  # fmt: skip


def _answer(held: Mapping[str, Any]) -> str:
    if "rcode" not in held:
        return ""
    validated = ", validated" if held.get("ad") else ""
    return f"{held['rcode']}, {number(held.get('count'))} records{validated}"


def _nothing(where: str, why: str) -> tuple[str, ...]:
    return (where, "", "", why or "nothing", *[""] * (len(_HEAD) - 4))


def _records(held: Mapping[str, Any]) -> Iterator[str]:
    """Yield the records without their TTLs, which differ from place to place."""
    for record in held.get("records", ()):
        name, _, rest = str(record).partition(" ")
        yield plain(f"{name} {rest.partition(' ')[2]}")
