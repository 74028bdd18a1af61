"""See whether the addresses to serve on can be had, and if not, who has them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from typing import Final

import dns.exception
import dns.message
import dns.query

from heimdall.accept.sockets import CannotListen, bind, bind_stream
from heimdall.config.address import address
from heimdall.probe.found import FAIL, NOTE, OK, Found

WAIT: Final = 1.0
"""Seconds that whoever is there has to say who it is."""

_MOST_BYTES: Final = 65536


def ports(listen: Sequence[str], http: str, asked: bool) -> list[Found]:
    """Bind each address, and give it up at once.

    :param listen: the addresses for DNS, ``http`` that of the operator, empty for none.
    :param asked: whether somebody asked for these addresses; of defaults one may be lacking.
    """
    node = _node(http) if http else ""
    found = [_dns(text, asked, node) for text in listen]
    if http:
        try:
            bind_stream(http).close()
            found.append(Found("port", http, OK, "free for HTTP", {"use": "http", "free": True}))
        except CannotListen as error:
            said = f"a node serves there already; {node}" if node else str(error)
            found.append(Found("port", http, NOTE if node else FAIL, said, {"use": "http", "free": False}))
    return found


def _dns(text: str, asked: bool, node: str) -> Found:
    try:
        for bound in bind([text], True):
            bound.close()
    except CannotListen as error:
        said, lacking = str(error), "does not have that address" in str(error)
        held = "another program" in said and _answers(text)
        if held:
            said = f"in use: a DNS server answers there{', of this node' * bool(node)}"
        state = NOTE if (lacking and not asked) or (held and node) else FAIL
        return Found("port", text, state, said, {"use": "dns", "free": False, "answers": held})
    return Found("port", text, OK, "free for DNS, UDP and TCP", {"use": "dns", "free": True})


def _answers(text: str) -> bool:
    host, port = address(text)
    query = dns.message.make_query(".", "NS", flags=0)  # RD not set: no upstream is waited for
    with suppress(dns.exception.DNSException, OSError):
        dns.query.udp(query, _here(host), timeout=WAIT, port=port)
        return True
    return False


def _node(http: str) -> str:
    """Return how a node does that serves HTTP there; nothing where none does."""
    host, port = address(http)
    connection = HTTPConnection(_here(host), port, timeout=WAIT)
    try:
        connection.request("GET", "/ready")
        told = json.loads(connection.getresponse().read(_MOST_BYTES))
        return ("it is ready" if told["ready"] is True else "it is not ready") if type(told) is dict else ""
    except (OSError, HTTPException, ValueError, KeyError, RecursionError):
        return ""
    finally:
        connection.close()


def _here(host: str) -> str:
    """Return where to ask who serves on an address: on all of them, this machine's own."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
