"""What is sent back to who asked over HTTP."""

from __future__ import annotations

import json
from typing import Final

from attrs import frozen
from twisted.internet.defer import TimeoutError
from twisted.python.failure import Failure

from heimdall.interfaces import LinkDown

TEXT: Final = "text/plain; charset=utf-8"
JSON: Final = "application/json"


@frozen
class Page:
    """What is sent back: status, content type and body."""

    status: int
    kind: str
    body: bytes


def page(value: object, status: int = 200, indent: int | None = 2) -> Page:
    """Return a value as a page of JSON, by default one that people can read."""
    return Page(status, JSON, json.dumps(value, indent=indent, allow_nan=False).encode() + b"\n")


def why(failure: Failure) -> str:
    """Return why Redis could not be asked; raise any other failure."""
    if failure.trap(LinkDown, TimeoutError) is TimeoutError:
        return "no answer in time; Redis hangs, or the network drops its packets"
    return failure.getErrorMessage()
