"""Read a scenario: which sentences there are, what their blanks may hold, and which one each line of a file is."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from attrs import frozen

MEANWHILE = "meanwhile "
"""What stands before a sentence that the next line does not wait for."""

Method = TypeVar("Method", bound=Callable[..., Any])

_BLANK = re.compile(r"<(\w+)>")
_NUMBERS: dict[str, Callable[[str], Any]] = {"seconds": float, "count": int, "ttl": int}
_WORD, _WORDS = r"\S+", r"\S.*?"
_SHAPES = {"seconds": r"\d+(?:\.\d+)?", "count": r"\d+", "ttl": r"\d+", "who": r"[a-z]\w*"}
_SHAPES |= dict.fromkeys(("data", "nodes", "upstreams", "value"), _WORDS)


class Unplayable(Exception):
    """A line of a scenario says nothing that can be played; the text names file and line."""


class Untrue(AssertionError):
    """Something came out otherwise than the scenario says."""


def sentence(text: str, **blanks: str | Callable[[str], Any]) -> Callable[[Method], Method]:
    """Make a method the one that a sentence calls. It may be a coroutine.

    :param text: the sentence: ``<blank>`` for what differs, ``[...]`` around what may be left out. Each blank that
        is filled in becomes a keyword argument; so does the indented text below the line, as ``block``.
    :param blanks: of a blank what it looks like, a pattern, or what makes a value of it and raises ValueError.
    """

    def mark(method: Method) -> Method:
        method.sentence = text, blanks  # type: ignore[attr-defined]
        return method

    return mark


class Sentence:
    """One kind of line.

    :param method: what it calls.
    """

    def __init__(self, text: str, blanks: dict[str, Any], method: Callable[..., Any]) -> None:
        self.text, self.method = text, method
        parameters = inspect.signature(method).parameters
        self.block = "block" in parameters
        self.needs_block = self.block and parameters["block"].default is inspect.Parameter.empty
        self._makes = _NUMBERS | {blank: make for blank, make in blanks.items() if callable(make)}
        shapes = {blank: shape for blank, shape in blanks.items() if isinstance(shape, str)}
        shapes = _SHAPES | dict.fromkeys(self._makes.keys() - _NUMBERS.keys(), _WORDS) | shapes
        pattern = re.escape(text).replace(r"\ ", " ").replace(r"\[", "(?:").replace(r"\]", ")?")
        self._pattern = re.compile(_BLANK.sub(lambda blank: f"(?P<{blank[1]}>{shapes.get(blank[1], _WORD)})", pattern))

    def match(self, text: str) -> dict[str, Any] | None:
        """Return the values of the blanks if a line is this sentence.

        :raises ValueError: it is, but what a blank holds is none of its values.
        """
        found = self._pattern.fullmatch(text)
        if found is None:
            return None
        filled = {blank: value for blank, value in found.groupdict().items() if value is not None}
        return {blank: self._makes.get(blank, str)(value) for blank, value in filled.items()}


@frozen
class Line:
    """One line, ready to be played: where it stands, what it says, and what that calls.

    ``meanwhile`` if the next line does not wait for it.
    """

    path: Path
    number: int
    text: str
    method: Callable[..., Any]
    values: dict[str, Any]
    meanwhile: bool

    @property
    def where(self) -> str:
        """File and line, as a person finds them."""
        return f"{self.path.name}:{self.number}"


def sentences(*parts: object) -> list[Sentence]:
    """Return every sentence that some parts understand."""
    found = []
    for part in parts:
        for name in dir(type(part)):
            # Of the class: to read it of the part would make its properties act.
            mark = getattr(getattr(type(part), name), "sentence", None)
            if mark is not None:
                found.append(Sentence(mark[0], mark[1], getattr(part, name)))
    return found


def rule(path: Path) -> str:
    """Return the first line of a scenario: the rule that it holds.

    :raises Unplayable: the file does not begin with a sentence.
    """
    first = path.read_text(encoding="utf-8").split("\n", 1)[0].strip()
    if not first.endswith("."):
        raise Unplayable(f"{path.name}:1: the first line has to say, as a sentence, which rule the scenario holds")
    return first


def read(path: Path, known: Iterable[Sentence]) -> list[Line]:
    """Return the lines of a scenario below its first.

    Empty lines, and lines that begin with ``#``, are for the reader; an indented one belongs to the line above it.

    :raises Unplayable: a line is no sentence, or its blanks are filled wrongly.
    """
    rule(path)
    known = list(known)
    gathered: list[tuple[int, str, list[str]]] = []
    for number, text in enumerate(path.read_text(encoding="utf-8").split("\n")[1:], 2):
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        if not text[0].isspace():
            gathered.append((number, text.strip(), []))
        elif gathered:
            gathered[-1][2].append(text.strip())
        else:
            raise Unplayable(f"{path.name}:{number}: nothing stands above this line that it could belong to")
    return [_understood(path, number, text, block, known) for number, text, block in gathered]


def _understood(path: Path, number: int, text: str, block: list[str], known: list[Sentence]) -> Line:
    where = f"{path.name}:{number}: {text!r}"
    said = text.removeprefix(MEANWHILE)
    for one in known:
        try:
            values = one.match(said)
        except ValueError as error:
            raise Unplayable(f"{where}: {error}") from None
        if values is None:
            continue
        if block and not one.block:
            raise Unplayable(f"{where}: nothing can be indented below this line")
        if one.needs_block and not block:
            raise Unplayable(f"{where}: the lines below this one have to be indented")
        values |= {"block": block} if block else {}
        return Line(path, number, text, one.method, values, said != text)
    close = get_close_matches(said, [one.text for one in known], 1, 0.4)
    raise Unplayable(f"{where}: no such sentence" + (f"; is it {close[0]!r}?" if close else ""))
