"""``heimdall import FILE``: put the answers of a file into a node, or into Redis."""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from heimdall.command.client import FAILED, OK, USAGE, Node, Trouble
from heimdall.command.export import STREAM
from heimdall.command.progress import Bar
from heimdall.command.tables import plain, table
from heimdall.message.bundle import Broken, Reader, record
from heimdall.units import number, seconds, size

ABOUT = "put the answers of a file into a node, or into Redis"

PART: Final = 90_000
"""Bytes that are sent at once: what a node takes in one request."""

_BAD: Final = ("damaged", "forged", "future", "malformed", "short", "version")
_WHY: Final = {
    "loaded": "taken",
    "held": "it is there already",
    "expired": "it is past its TTL and the stale window",
    "flushed": "the name was flushed since",
    "refused": "a rule of the node answers the name",
    "full": "there is no more room",
    "foreign": "it is for a client's subnet, or no question",
    "damaged": "it is not as it was written",
    "forged": "it was not sealed with the secret of this node",
    "future": "it comes from the future: look at the clocks",
    "malformed": "it is no answer",
    "short": "it is no answer",
    "version": "it was written by another version",
}


def options(parser: ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("file", metavar="FILE", help="a file of heimdall export; - for the input")
    parser.add_argument(
        "--into", dest="tier", choices=("memory", "redis"), default="memory",
        help="where to put it: the memory of the node that is asked, or Redis for all",
    )  # fmt: skip


def ask(node: Node, arguments: Namespace) -> Mapping[str, Any]:
    """Put it there: nothing of a file that is not whole.

    :raises Trouble: it is no file of answers, or the node takes none.
    """
    began = time.monotonic()
    try:
        with _opened(arguments.file) as opened:
            begin = opened.tell()
            whole = opened.seek(0, io.SEEK_END) or 1
            opened.seek(begin)
            reader = Reader(opened.read)
            with Bar("Looking through", "answers") as bar:
                for _ in reader:
                    bar.show(reader.at / whole, reader.count, reader.at)
            opened.seek(begin)
            results = _sent(node, Reader(opened.read), arguments.tier, whole)
    except Broken as error:
        raise Trouble(f"{arguments.file}: {error} (nothing of it was taken)", FAILED) from None
    told = {"file": arguments.file, "into": arguments.tier, "answers": reader.count, "bytes": reader.at}
    return {**told, "begun": reader.head.begun, "results": results, "seconds": round(time.monotonic() - began, 3)}


def show(told: Mapping[str, Any], arguments: Namespace) -> Iterator[str]:
    """Yield what came of it."""
    volume, took = size(told["bytes"]), seconds(told["seconds"])
    age = seconds(max(time.time() - told["begun"], 0.0))
    results = told["results"]
    yield (
        f"Put {number(results.get('loaded', 0))} of {number(told['answers'])} answers from {plain(told['file'])}, "
        f"written {age} ago, into {told['into']}: {volume}B in {took}"
    )
    left = [(result, count) for result, count in results.items() if result != "loaded" and count]
    if left:
        yield ""
        rows = [(number(count), result, _WHY.get(result, "")) for result, count in sorted(left)]
        yield from table((" LEFT OUT", "AS", "WHICH MEANS"), rows)


def code(told: Mapping[str, Any]) -> int:
    """Return the exit code: it failed where some of it is not what it should be."""
    return FAILED if any(told["results"].get(bad) for bad in _BAD) else OK


@contextmanager
def _opened(file: str) -> Iterator[IO[bytes]]:
    if file == STREAM:
        with tempfile.TemporaryFile() as kept:  # it is read twice
            shutil.copyfileobj(sys.stdin.buffer, kept)
            kept.seek(0)
            yield kept
        return
    try:
        with Path(file).open("rb") as opened:
            yield opened
    except OSError as error:
        raise Trouble(f"{file} cannot be read: {error.strerror or error}", USAGE) from None


def _sent(node: Node, reader: Reader, tier: str, whole: int) -> dict[str, int]:
    """Send the answers part by part, each after the one before was taken; return how many came to what."""
    results: dict[str, int] = {}
    part = bytearray()

    def send() -> None:
        if part:
            told = node.post("/api/v1/import", bytes(part), into=tier)
            part.clear()
            for result, count in told["results"].items():
                results[str(result)] = results.get(str(result), 0) + int(count)

    with Bar(f"Into {tier}", "answers") as bar:
        for key, value in reader:
            one = record(key, value)
            if len(part) + len(one) > PART:
                send()
            part += one
            bar.show(reader.at / whole, reader.count, reader.at)
        send()
    return results
