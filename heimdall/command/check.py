"""``heimdall check``: read a configuration as the server does, and reach for all that it names."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from heimdall.command.client import FAILED, OK, USAGE, Node, Trouble
from heimdall.command.progress import waiting
from heimdall.command.tables import table

ABOUT = "check a configuration, and all that it reaches"

_HEAD = ("PART", "WHICH", "STATE", "FOUND")
_SERVERS = (
    ("--config", "-c", "FILE", "the TOML file to read (or that of HEIMDALL_CONFIG)"),
    ("--redis", "", "URL", "the Redis to share answers through, or embedded"),
    ("--http", "", "HOST:PORT", "where metrics, probes and the API would be served"),
    ("--node", "", "NAME", "the name of the node in the cluster"),
    ("--workers", "-w", "N", "serve with so many processes"),
)
_MANY = (
    ("--listen", "HOST:PORT", "an address to serve DNS on; may be given again"),
    ("--upstream", "HOST[:PORT]", "a DNS server to ask; may be given again"),
)


def options(parser: ArgumentParser) -> None:
    """Say what the command takes: what ``twistd heimdall`` takes."""
    for name, short, metavar, text in _SERVERS:
        parser.add_argument(name, *([short] if short else []), metavar=metavar, help=text)
    for name, metavar, text in _MANY:
        parser.add_argument(name, metavar=metavar, action="append", default=[], help=text)
    parser.add_argument("--no-redis", action="store_true", help="Redis is not used")
    parser.add_argument("--no-http", action="store_true", help="no HTTP is served")


def ask(node: Node, arguments: Namespace) -> Mapping[str, Any]:
    """Check; no node is asked.

    :raises Trouble: the configuration is wrong.
    """
    # A command that asks a node needs none of the server, and should start at once.
    from twisted.internet.task import react

    from heimdall.config.faults import Misconfigured
    from heimdall.dry_run import Unusable, build, load_all
    from heimdall.probe.everything import everything
    from heimdall.probe.found import FAIL, Found

    given = {name.replace("_", "-"): value for name, value in vars(arguments).items()}
    try:
        loaded = load_all(given, os.environ)
    except Misconfigured as error:
        raise Trouble(str(error), USAGE) from None
    found: list[Found] = []
    unusable: list[str] = []

    async def check(reactor: Any) -> None:
        try:
            built = await build(loaded, reactor, os.environ)
        except Unusable as error:
            unusable.append(str(error))
        else:
            found.extend(await everything(built, reactor))

    with waiting("Reaching for upstreams, Redis and ports"):
        try:
            react(check)
        except SystemExit as end:
            if unusable:
                raise Trouble(unusable[0], USAGE) from None
            if end.code or not found:
                raise Trouble("the check itself failed; this is a bug", FAILED) from None
    checks = [
        {"part": each.part, "which": each.what, "state": each.state, "found": each.said, **each.facts} for each in found
    ]
    return {"ok": all(each.state != FAIL for each in found), "checks": checks}


def show(told: Mapping[str, Any], arguments: Namespace) -> Iterator[str]:
    """Yield a table of what was found, and what that comes to."""
    checks = told["checks"]
    yield from table(
        _HEAD, [(each["part"], each["which"], each["state"], each["found"]) for each in checks], give=3, fold=True
    )
    yield ""
    fails, notes = (sum(each["state"] == state for each in checks) for state in ("FAIL", "note"))
    yield f"{len(checks)} checks: {fails} failed, {notes} to look at"


def code(told: Mapping[str, Any]) -> int:
    """Return the exit code."""
    return OK if told.get("ok") else FAILED
