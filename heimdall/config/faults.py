"""Say what is wrong with a configuration: where it was found, what it was, what was expected."""

from __future__ import annotations

import json
from collections.abc import Iterable

from attrs import frozen

LONGEST = 80
"""Characters of a wrong value that are shown."""


class Misconfigured(Exception):
    """The configuration is wrong; ``lines`` says all that is, a fault a line."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


@frozen
class Fault:
    """A value that cannot be used.

    :ivar value: the value, or the item of a list, as it was written.
    :ivar expected: what was expected in its place.
    :ivar why: the reason, where there is more to say.
    """

    value: object
    expected: str
    why: str = ""


class Unfit(ValueError):
    """A value of the configuration has faults."""

    def __init__(self, *faults: Fault) -> None:
        self.faults = faults
        super().__init__(", ".join(fault.expected for fault in faults))


def line(origin: str, path: str, fault: Fault, *, secret: bool = False) -> str:
    """Return one fault as one line.

    :param origin: where the value came from.
    :param path: ``section.key``.
    :param secret: hide the value.
    """
    value = "(hidden)" if secret else shown(fault.value)
    why = f" ({printable(fault.why)})" if fault.why else ""
    return f"{printable(origin)}: {path} = {value}: expected {fault.expected}{why}"


def shown(value: object) -> str:
    """Return a value as short printable text."""
    text = printable(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def printable(text: str) -> str:
    """Return a text without the characters that would act on a terminal or break a line."""
    return "".join(character if character.isprintable() else "?" for character in text)
