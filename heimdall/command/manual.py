"""Write the manual page heimdall(1), drawn from what the commands take: ``python -m heimdall.command.manual``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

from heimdall import __version__
from heimdall.command.completion import Taken, spoken
from heimdall.command.main import parser

_SEE: Final = "/usr/share/doc/heimdall/docs/commands.md tells of each command with examples."


def manual() -> str:
    """Return the page, as man reads it."""
    whole = parser()
    commands = spoken(whole)
    common = {name for taken in commands[""].options for name in taken.names}
    lines = [f'.TH HEIMDALL 1 "" "Heimdall {__version__}" "User Commands"']
    lines += [".SH NAME", _text("heimdall - ask a running node of Heimdall, and look after it")]
    lines += [".SH SYNOPSIS", ".B heimdall", _text("[OPTION]... COMMAND [ARGUMENT]...")]
    lines += [".SH DESCRIPTION", _text(whole.description or "")]
    lines += [".SH OPTIONS", *(line for taken in commands[""].options for line in _item(taken))]
    lines += [".SH COMMANDS", "Each takes the options above as well."]
    for command, told in commands.items():
        if command:
            lines += [f'.SS "{_text(" ".join([command, *(place.value for place in told.places)]))}"']
            lines += [_text(f"{told.about[:1].upper()}{told.about[1:]}.")]
            own = [taken for taken in told.options if not common.issuperset(taken.names)]
            lines += [line for taken in (*told.places, *own) for line in _item(taken)]
    lines += [".SH EXIT CODES AND ENVIRONMENT", ".nf", *map(_text, (whole.epilog or "").splitlines()), ".fi"]
    return "\n".join([*lines, ".SH SEE ALSO", _text(_SEE)]) + "\n"


def _item(taken: Taken) -> Iterator[str]:
    """Yield what a command takes: its names and its value, then what it is about."""
    names = ", ".join(taken.names)
    yield ".TP"
    yield f".B {_text(f'{names} {taken.value}'.strip())}"
    yield _text(taken.about)


def _text(text: str) -> str:
    """Return a line that man shows as it is."""
    kept = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return f"\\&{kept}" if kept.startswith((".", "'")) else kept


if __name__ == "__main__":
    sys.stdout.write(manual())
