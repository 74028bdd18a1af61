"""Ask a node over HTTP, and say in words what is wrong when it does not answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead
from io import BufferedReader
from typing import Any, Final, cast
from urllib.parse import urlencode

OK, FAILED, USAGE, AWAY, ANSWERED_NO, INTERRUPTED = 0, 1, 2, 3, 4, 130
"""Exit codes: done; it could not be done; the command was given wrongly; no node answers there; the answer is a no; it
was interrupted."""

PATIENCE: Final = 10.0
"""Seconds that a node has to answer."""

MOST_BYTES: Final = 16 << 20
"""Bytes of an answer that are read."""

_BUFFER: Final = 1 << 16


class Trouble(Exception):
    """The command ends here: the text says why, and what to do; ``code`` is the exit code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class Node:
    """A node, as its operator's HTTP shows it.

    :param server: HOST:PORT; an IPv6 address in brackets.
    :param token: what to show it; empty for nothing.
    """

    def __init__(self, server: str, token: str = "") -> None:
        self.server = server
        self.host, self.port = _parted(server)
        self._token = token

    def get(self, path: str, **asked: str) -> Mapping[str, Any]:
        """Return what a page says."""
        return self._ask("GET", path, asked)

    def delete(self, path: str, **asked: str) -> Mapping[str, Any]:
        """Have something deleted, and return what the node says of it."""
        return self._ask("DELETE", path, asked)

    def post(self, path: str, body: bytes, **asked: str) -> Mapping[str, Any]:
        """Have some bytes taken, and return what the node says of them."""
        return self._ask("POST", path, asked, body)

    @contextmanager
    def stream(self, path: str, **asked: str) -> Iterator[Callable[[int], bytes]]:
        """Open a long page; what is given returns so many bytes of it, fewer only at its end, or where it breaks off.

        :raises Trouble: no node answers, or it refuses; so does reading.
        """
        with closing(HTTPConnection(self.host, self.port, timeout=PATIENCE)) as connection:
            response = self._response(connection, "GET", path, asked)
            if response.status != 200:
                self._told(response, path)
            buffered = BufferedReader(cast(Any, response), _BUFFER)

            def read(size: int) -> bytes:
                try:
                    return buffered.read(size)
                except IncompleteRead as broken:
                    return broken.partial
                except (OSError, HTTPException) as error:
                    raise self._gone(error) from None

            yield read

    def _ask(self, method: str, path: str, asked: Mapping[str, str], body: bytes | None = None) -> Mapping[str, Any]:
        with closing(HTTPConnection(self.host, self.port, timeout=PATIENCE)) as connection:
            return self._told(self._response(connection, method, path, asked, body), path)

    def _response(
        self, connection: HTTPConnection, method: str, path: str, asked: Mapping[str, str], body: bytes | None = None
    ) -> HTTPResponse:
        """Ask for a page.

        :raises Trouble: no node answers.
        """
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            connection.request(method, f"{path}?{urlencode(asked)}" if asked else path, body, headers)
            return connection.getresponse()
        except (OSError, HTTPException) as error:
            raise self._gone(error) from None

    def _told(self, response: HTTPResponse, path: str) -> Mapping[str, Any]:
        """Return what a page says.

        :raises Trouble: the node refuses, or it is none.
        """
        try:
            body = response.read(MOST_BYTES + 1)
        except (OSError, HTTPException) as error:
            raise self._gone(error) from None
        try:
            told = json.loads(body) if len(body) <= MOST_BYTES else None
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            raise Trouble(f"What answers at {self.server} is no Heimdall: --server or HEIMDALL_WATCH_HTTP?", AWAY)
        if response.status != 200:
            raise Trouble(*_refused(response.status, str(told.get("error", "no reason given")), path))
        return told

    def _gone(self, error: Exception) -> Trouble:
        if isinstance(error, TimeoutError):
            why = f"no answer within {PATIENCE:g} s"
        else:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return Trouble(_away(self.server, why), AWAY)


def _parted(server: str) -> tuple[str, int]:
    """Return host and port.

    :raises Trouble: the text is not HOST:PORT.
    """
    host, colon, port = server.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not bare or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise Trouble(f"{server!r} is not HOST:PORT, such as 127.0.0.1:9053 or [::1]:9053", USAGE)
    # Who serves on all addresses is asked on this machine's own.
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bare, bare), int(port)


def _away(server: str, why: str) -> str:
    return (
        f"No node answers at {server}: {why}.\n"
        "  Does it run, and does its log say that it serves HTTP there? ([watch] enabled and http)\n"
        f"  To start one: twistd -n heimdall --http {server}\n"
        "  Another address: --server HOST:PORT, or HEIMDALL_WATCH_HTTP."
    )


def _refused(status: int, why: str, path: str) -> tuple[str, int]:
    if status == 400:
        return why, USAGE
    if status == 403:
        return f"The node refuses: {why}.\n  --token-file FILE, or ask at 127.0.0.1 on the node's own machine.", FAILED
    if status == 404:
        return f"This node has no {path}: is it of an older version?", FAILED
    return f"The node answers {status}: {why}", FAILED
