"""``heimdall inspect NAME [TYPE]``: see what Redis and the memory of each node hold for a name."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from heimdall.command.client import OK, Node
from heimdall.command.tables import plain, table
from heimdall.units import NOTHING, number, seconds, size

ABOUT = "see what Redis and each node hold for a name"

NO_REDIS = "Redis is not in use"
"""What a node says that has none."""

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
    """Yield a table of what is held where, the records of each answer once, and what may be missing."""
    redis = told["redis"]
    alone = redis["reason"] == told["reason"] == NO_REDIS
    places = [] if alone else [("redis", redis["held"], redis["complete"] or redis["reason"])]
    places += [(node["node"] + "*" * node["own"], node["held"], node["whole"]) for node in told["nodes"]]
    rows: list[tuple[str, ...]] = []
    records: set[str] = set()
    for where, all_held, whole in places:
        rows += [_row(where, held) for held in all_held] or [_empty(where, "nothing" if whole is True else "unknown")]
        records.update(record for held in all_held for record in _records(held))
    yield from table(_HEAD, [*rows, *(_empty(node, "no reply") for node in told["silent"])])
    if records:
        yield ""
        yield from sorted(records)
    less = [f"{plain(where)} holds more than is shown." for where, _, whole in places if not whole]
    if alone:
        less.append(f"{NO_REDIS}: the node that was asked is all there is.")
    elif redis["reason"]:
        less.append(f"Redis could not be asked: {plain(redis['reason'])}")
    if told["reason"] and not alone:
        less.append(f"Other nodes were not asked: {plain(told['reason'])}")
    if less:
        yield ""
        yield from less


def code(told: Mapping[str, Any]) -> int:
    """Return the exit code."""
    return OK


def _row(where: str, held: Mapping[str, Any]) -> tuple[str, ...]:
    whose = " ".join([*held["flags"], *([held["subnet"]] if held["subnet"] else [])])
    state = held["state"] + (f" ({held['reason']})" if "reason" in held else "")
    return (
        where, held["type"], whose or NOTHING, state, seconds(held.get("ttl")), seconds(held.get("age")),
        held.get("node") or held.get("origin", NOTHING), number(held.get("uses")),
        size(held.get("size", held.get("bytes"))), _answer(held),
    )  # fmt: skip


def _answer(held: Mapping[str, Any]) -> str:
    if "rcode" not in held:
        return ""
    records = f"{number(held.get('count'))} record" + "s" * (held.get("count") != 1)
    return f"{held['rcode']}, {records}" + ", validated" * bool(held.get("ad"))


def _empty(where: str, why: str) -> tuple[str, ...]:
    return (where, "", "", why, *[""] * (len(_HEAD) - 4))


def _records(held: Mapping[str, Any]) -> Iterator[str]:
    """Yield the records without their TTLs, which differ from place to place."""
    for record in held.get("records", ()):
        name, _, rest = record.partition(" ")
        yield plain(f"{name} {rest.partition(' ')[2]}")
