"""The files of the page that a browser shows, read once."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from heimdall.watch.page import Page

_KINDS: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def load() -> dict[bytes, Page]:
    """Return each file by the path that it is asked for at: the page itself at ``/``, what it needs beside it."""
    found = {}
    for file in Path(__file__).with_name("browser").iterdir():
        kind = _KINDS.get(file.suffix)
        if kind is not None:
            path = b"/" if file.name == "index.html" else b"/browser/" + file.name.encode()
            found[path] = Page(200, kind, file.read_bytes())
    return found
