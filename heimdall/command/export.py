"""``heimdall export FILE``: write what a node or Redis holds into a file, to warm others with."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

from heimdall.command.client import FAILED, OK, USAGE, Node, Trouble
from heimdall.command.progress import Bar
from heimdall.command.tables import plain
from heimdall.message.bundle import Broken, Reader
from heimdall.units import seconds, size

ABOUT = "write what a node, or Redis, holds into a file"

STREAM: Final = "-"
"""What stands for the standard output, or input."""


def options(parser: ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("file", metavar="FILE", help="the file to write, in one go at the end; - for the output")
    parser.add_argument(
        "--from", dest="tier", choices=("memory", "redis"), default="memory",
        help="what to write: the memory of the node (as it is), or all that lies in Redis",
    )  # fmt: skip


def ask(node: Node, arguments: Namespace) -> Mapping[str, Any]:
    """Have it written.

    :raises Trouble: it cannot be.
    """
    if arguments.file == STREAM and arguments.json:
        raise Trouble("the file and the JSON cannot both go to the output", USAGE)
    began = time.monotonic()
    with node.stream("/api/v1/export", **{"from": arguments.tier}) as read:
        if arguments.file == STREAM:
            count, volume = _copy(read, sys.stdout.buffer, arguments.tier)
        else:
            count, volume = _written(read, Path(arguments.file), arguments.tier)
    took = round(time.monotonic() - began, 3)
    return {"file": arguments.file, "from": arguments.tier, "answers": count, "bytes": volume, "seconds": took}


def show(told: Mapping[str, Any], arguments: Namespace) -> Iterator[str]:
    """Yield what was written; nothing where that is what the output is for."""
    if arguments.file != STREAM:
        volume, took = size(told["bytes"]), seconds(told["seconds"])
        yield f"Wrote {told['answers']} answers of {told['from']} to {plain(told['file'])}: {volume}B in {took}"


def code(told: Mapping[str, Any]) -> int:
    """Return the exit code."""
    return OK


def _written(read: Callable[[int], bytes], path: Path, tier: str) -> tuple[int, int]:
    """Write beside the file, and put it in its place when it is whole: until then the old one stays.

    :raises Trouble: it cannot be written, or the node broke off.
    """
    try:
        handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise Trouble(f"{path} cannot be written: {error.strerror or error}", FAILED) from None
    try:
        with os.fdopen(handle, "wb") as out:
            told = _copy(read, out, tier)
            out.flush()
            os.fsync(out.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise Trouble(f"{path} cannot be written: {error.strerror or error}", FAILED) from None
    finally:
        with suppress(OSError):
            os.unlink(beside)
    return told


def _copy(read: Callable[[int], bytes], out: IO[bytes], tier: str) -> tuple[int, int]:
    """Copy a file of answers, looked through on the way; return how many answers, and bytes.

    :raises Trouble: what came is no such file, or not a whole one.
    """

    def kept(wanted: int) -> bytes:
        found = read(wanted)
        out.write(found)
        return found

    try:
        reader = Reader(kept)
        expected = reader.head.expected
        with Bar(f"Writing {tier}", "answers") as bar:
            for _ in reader:
                bar.show(reader.count / expected if expected else -1.0, reader.count, reader.at)
    except Broken as error:
        raise Trouble(f"the node broke off: {error}", FAILED) from None
    return reader.count, reader.at
