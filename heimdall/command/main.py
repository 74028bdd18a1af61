"""The commands, what they take, and how they end."""

from __future__ import annotations

import json
import os
import sys
from argparse import SUPPRESS, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

from heimdall import __version__
from heimdall.command import ask, check, completion, export, flush, inspect, load, members, top
from heimdall.command.client import AWAY, INTERRUPTED, OK, USAGE, Node, Trouble
from heimdall.command.live import live

DEFAULT: Final = "127.0.0.1:9053"

_ENDS: Final = """\
exit codes:
  0 done        1 it could not be done       2 the command was given wrongly
  3 no node answers there       4 of ask: the answer is a no       130 interrupted
environment:
  HEIMDALL_WATCH_HTTP          the node's address
  HEIMDALL_WATCH_TOKEN_FILE    the file of its token
  NO_COLOR                     no colours"""


class Command(Protocol):
    """What a module of a command holds."""

    ABOUT: str

    def options(self, parser: ArgumentParser) -> None:
        """Say what the command takes."""

    def ask(self, node: Node, arguments: Namespace) -> Mapping[str, Any]:
        """Ask the node."""

    def show(self, told: Mapping[str, Any], arguments: Namespace) -> Iterator[str]:
        """Yield in lines what it said."""

    def code(self, told: Mapping[str, Any]) -> int:
        """Return the exit code that this means."""


COMMANDS: Final[Mapping[str, Command]] = {
    "ask": ask,
    "check": check,
    "completion": completion,
    "export": export,
    "flush": flush,
    "import": load,
    "inspect": inspect,
    "members": members,
    "top": top,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    :param arguments: of the command line; None for those of the process.
    :return: the exit code.
    """
    parsed = parser().parse_args(arguments)
    command = COMMANDS[parsed.command]
    try:
        node = Node(parsed.server or os.environ.get("HEIMDALL_WATCH_HTTP") or DEFAULT, _token(parsed.token_file))
        if command is top and not parsed.once and not parsed.json and sys.stdout.isatty() and sys.stdin.isatty():
            with suppress(KeyboardInterrupt):
                live(lambda: _shown(top, top.ask(node, parsed), parsed), node.server)
            return OK
        told = command.ask(node, parsed)
        lines = [json.dumps(told, indent=2)] if parsed.json else _shown(command, told, parsed)
        for line in lines:
            print(line)
        sys.stdout.flush()
        return command.code(told)
    except Trouble as trouble:
        print(f"heimdall: {trouble}", file=sys.stderr)
        if parsed.json:
            print(json.dumps({"error": str(trouble), "code": trouble.code}, indent=2), flush=True)
        return trouble.code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Who read us has enough; Python would complain once more when it closes the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def parser() -> ArgumentParser:
    """Return what reads the command line."""
    whole = ArgumentParser(
        "heimdall",
        description="Ask a running node, and look after it. The server itself is started by: twistd heimdall",
        epilog=_ENDS,
        formatter_class=RawDescriptionHelpFormatter,
    )
    whole.add_argument("--version", action="version", version=f"Heimdall {__version__}")
    _everywhere(whole, "")
    every = ArgumentParser(add_help=False)
    _everywhere(every, SUPPRESS)  # what stands in front of the command is not undone behind it
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        added = commands.add_parser(
            name,
            parents=[every],
            help=command.ABOUT,
            description=f"{command.ABOUT[:1].upper()}{command.ABOUT[1:]}.",
            epilog=_ENDS,
            formatter_class=RawDescriptionHelpFormatter,
        )
        command.options(added)
    return whole


def _everywhere(parser: ArgumentParser, default: str) -> None:
    """Add what every command takes."""
    said = {"server": f"the HTTP of the node to ask ({DEFAULT})", "token-file": "the file that holds the node's token"}
    for name, metavar in (("server", "HOST:PORT"), ("token-file", "FILE")):
        parser.add_argument(f"--{name}", metavar=metavar, default=default, help=said[name])
    parser.add_argument("--json", action="store_true", default=default, help="print what the node said, as JSON")


def _token(file: str) -> str:
    """Return the token to show: of a file that was named, or that of the environment if it can be read.

    :raises Trouble: the file that was named cannot be read.
    """
    try:
        path = file or os.environ.get("HEIMDALL_WATCH_TOKEN_FILE", "")
        token = Path(path).read_text(encoding="ascii").strip() if path else ""
        if not token.isprintable():
            raise ValueError("it holds more than a line of text")
    except (OSError, ValueError) as error:
        if not file:
            return ""
        raise Trouble(f"{file} is no token: {getattr(error, 'strerror', None) or error}", USAGE) from None
    return token


def _shown(command: Command, told: Mapping[str, Any], arguments: Namespace) -> list[str]:
    """Return the lines to show.

    :raises Trouble: what was told is not what a node tells.
    """
    try:
        return list(command.show(told, arguments))
    except (LookupError, TypeError, AttributeError, ValueError):
        raise Trouble(f"What answers at {arguments.server or DEFAULT} is no Heimdall", AWAY) from None
