"""Ask a node over HTTP, and say in words what is wrong when it does not answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any, Final
from urllib.parse import urlencode

OK, FAILED, USAGE, AWAY, ANSWERED_NO = 0, 1, 2, 3, 4
"""Exit codes: done; it could not be done; the command was given wrongly; no node answers there; the answer is a no."""

PATIENCE: Final = 10.0
"""Seconds that a node has to answer."""

MOST_BYTES: Final = 16 << 20
"""Bytes of an answer that are read."""


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

    def _ask(self, method: str, path: str, asked: Mapping[str, str]) -> Mapping[str, Any]:
        """Ask for a page.

        :raises Trouble: no node answers, or it refuses.
        """
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        target = f"{path}?{urlencode(asked)}" if asked else path
        connection = HTTPConnection(self.host, self.port, timeout=PATIENCE)
        try:
            connection.request(method, target, headers=headers)
            response = connection.getresponse()
            status, body = response.status, response.read(MOST_BYTES + 1)
        except TimeoutError:
            raise Trouble(_away(self.server, f"no answer within {PATIENCE:g} s"), AWAY) from None
        except (OSError, HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Trouble(_away(self.server, why), AWAY) from None
        finally:
            connection.close()
        try:
            told = json.loads(body) if len(body) <= MOST_BYTES else None
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            raise Trouble(f"What answers at {self.server} is no Heimdall: --server or HEIMDALL_WATCH_HTTP?", AWAY)
        if status != 200:
            raise Trouble(*_refused(status, str(told.get("error", "no reason given")), path))
        return told


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
        return f"The node refuses: {why}.\n  --token-file FILE, or ask on the node's own machine.", FAILED
    if status == 404:
        return f"This node has no {path}: is it of an older version?", FAILED
    return f"The node answers {status}: {why}", FAILED
