"""Read lists of names from files: one a line, hosts format, or ``||name^``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from twisted.logger import Logger

from heimdall.config.faults import printable
from heimdall.message.wire import from_text
from heimdall.tally import Count

LONGEST_LINE = 4096
"""Bytes of a line that are read; what follows them is left out."""

SHOWN: Final = 5
"""Wrong lines of a file that are told one by one."""

LONGEST_WHY: Final = 100
"""Characters of what is wrong with a line."""

# Names in lists are in ASCII nearly always: these lines are taken apart here in one step, any other word by word.
_PLAIN = re.compile(
    rb"(?:(?:0\.0\.0\.0|127\.0\.0\.1)[ \t]+|\*\.|(\|\|))?"
    rb"([a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.(?=[0-9_-]{0,62}[a-z])[a-z0-9_-]{1,63})(?(1)\^)[ \t]*\r?\n?"
)
# Looser than a host name, as names in lists are, but no punctuation that only other syntaxes have.
_NAME = re.compile(r"[\w-]+(?:\.[\w-]+)*\.?")
# Not every # begins one: "example.com##.banner" hides a part of a page, and blocks no name.
_COMMENT = re.compile(r"(?:^|\s)#")
_SINKS = ("0.0.0.0", "127.0.0.1", "::", "::1")
_LENGTHS = [bytes((length,)) for length in range(64)]
_log = Logger()

Taken = TypeVar("Taken")


def lines(path: str) -> Iterator[bytes]:
    """Yield the lines of a file, each cut to :data:`LONGEST_LINE` bytes.

    :raises OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        begins = True
        while line := file.readline(LONGEST_LINE):
            if begins:
                yield line
            begins = line.endswith(b"\n")


def each(path: str, take: Callable[[bytes], Taken], skipped: Count) -> Iterator[Taken]:
    """Yield what ``take`` makes of each line of a file.

    A line for which it raises ValueError is left out and counted in ``skipped``. How many there were is logged at the
    end, with the numbers of the first :data:`SHOWN` and what is wrong with them.

    :raises OSError: the file cannot be read.
    """
    bad = 0
    first: list[str] = []
    for number, line in enumerate(lines(path), 1):
        try:
            taken = take(line)
        except ValueError as error:
            bad += 1
            if len(first) < SHOWN:
                first.append(f"line {number}: {_why(error)}")
        else:
            yield taken
    if bad:
        skipped.add(by=bad)
        more = [f"and {bad - len(first)} more"] if bad > len(first) else []
        what = "1 wrong line is left out" if bad == 1 else f"{bad} wrong lines are left out"
        _log.warn("{path}: {what}: {lines}", path=path, what=what, lines="; ".join([*first, *more]))


def _why(error: ValueError) -> str:
    """Return what is wrong with a line, in few characters that all can be printed: anybody may have written it."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    text = str(error)
    return printable(text if len(text) <= LONGEST_WHY else text[: LONGEST_WHY - 1] + "…")


def names(line: bytes) -> list[bytes]:
    """Return the names in a line of a list, as folded wire names.

    Understood are a name; ``*.name``; ``||name^``; and an address that leads nowhere (0.0.0.0, 127.0.0.1, :: or
    ::1) with names, of which those without a dot are the machine's own and left out. A comment begins with a
    ``#`` of its own or with ``!`` at the start of the line.

    :raises ValueError: the line is none of these.
    """
    plain = _PLAIN.fullmatch(line.lower())
    if plain is None or len(plain[2]) > 253:
        return _names(line)
    return [b"".join([_LENGTHS[len(label)] + label for label in plain[2].split(b".")]) + b"\0"]


def _names(line: bytes) -> list[bytes]:
    """Do what :func:`names` does, for any line, word by word."""
    text = line.decode("utf-8-sig").strip()
    words = "" if text.startswith("!") else _COMMENT.split(text, maxsplit=1)[0]
    if not words.strip():
        return []
    first, *rest = words.split()
    if first in _SINKS and rest:
        return [from_text(word) for word in rest if "." in word.rstrip(".") and word not in _SINKS]
    if rest:
        raise ValueError(f"{text!r} is more than a name, and {first!r} no address that leads nowhere")
    if first.startswith("||") and first.endswith("^"):
        first = first[2:-1]
    return [name(first)]


def name(text: str) -> bytes:
    """Return the folded wire name of ``name`` or ``*.name``; an address is none.

    :raises ValueError: it is neither.
    """
    bare = text.removeprefix("*.")
    if not _NAME.fullmatch(bare) or bare.rstrip(".").rpartition(".")[2].isdigit():
        raise ValueError(f"{text!r} is not a domain name")
    return from_text(bare)
