"""The pages on what the cache holds: see a name on every node, and flush it on every node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.web.server import Request

from heimdall.message.wire import from_text
from heimdall.tally import Tally
from heimdall.watch.page import Page, page
from heimdall.watch.trust import Trust

AT_ONCE: Final = 8
"""Requests that are worked at; more are told to come back."""

_YES: Final = {b"1": True, b"true": True, b"0": False, b"false": False}


class Console(Protocol):
    """What can be done with the cache; both return what is to be told, as JSON, and never fail for want of Redis."""

    def flush(self, name: bytes, subtree: bool) -> Deferred[Mapping[str, Any]]:
        """Flush a name on every node."""

    def inspect(self, name: bytes, qtype: int, every: bool) -> Deferred[Mapping[str, Any]]:
        """Look up a name on every node; type 0 for all of them."""


class Caches:
    """Shows and flushes.

    :param trust: judges who may flush.
    """

    def __init__(self, console: Console, trust: Trust) -> None:
        self._console, self._trust = console, trust
        self._under_way = 0
        self.tallies: list[Tally] = trust.tallies

    def show(self, request: Request) -> Deferred[Page]:
        """Return what every tier and node holds for ``name``, of ``type`` or all; with ``all=1`` uncommon types too."""
        try:
            asked = _asked(request, "name", "type", "all")
            name, qtype, every = _name(asked), _type(asked.get("type", b"")), _flag(asked, "all")
        except ValueError as error:
            return succeed(page({"error": str(error)}, 400))
        return self._bounded(lambda: self._console.inspect(name, qtype, every))

    def flush(self, request: Request) -> Deferred[Page]:
        """Flush ``name``, with ``subtree=1`` all below it as well."""
        refused = self._trust.refuse(request)
        if refused:
            return succeed(page({"error": refused}, 403))
        try:
            asked = _asked(request, "name", "subtree")
            name, subtree = _name(asked), _flag(asked, "subtree")
        except ValueError as error:
            return succeed(page({"error": str(error)}, 400))
        return self._bounded(lambda: self._console.flush(name, subtree))

    def _bounded(self, work: Any) -> Deferred[Page]:
        if self._under_way >= AT_ONCE:
            return succeed(page({"error": "too many such requests are under way; ask again in a moment"}, 503))
        self._under_way += 1
        done: Deferred[Mapping[str, Any]] = work()
        return done.addBoth(self._over).addCallback(page)

    def _over(self, result: Any) -> Any:
        self._under_way -= 1
        return result


def _asked(request: Request, *known: str) -> dict[str, bytes]:
    """Return what the request asks for by name.

    :raises ValueError: something unknown is asked for, or one thing twice: what was meant is not clear.
    """
    arguments: dict[bytes, list[bytes]] = request.args or {}
    asked = {}
    for key, values in arguments.items():
        text = key.decode("ascii", "backslashreplace")
        if text not in known:
            raise ValueError(f"{text!r} is not known here; there are {', '.join(known)}")
        if len(values) > 1:
            raise ValueError(f"{text!r} is given twice")
        asked[text] = values[0]
    return asked


def _name(asked: Mapping[str, bytes]) -> bytes:
    try:
        text = asked.get("name", b"").decode()
    except UnicodeDecodeError:
        raise ValueError("the name is not UTF-8") from None
    if not text:
        raise ValueError("a name is missing: ?name=www.example.com")
    return from_text(text)


def _type(text: bytes) -> int:
    """Return the number of a type; 0 when none is named, or ANY."""
    import dns.rdatatype
    from dns.exception import DNSException

    if not text:
        return 0
    try:
        qtype = int(dns.rdatatype.from_text(text.decode("ascii")))
    except (DNSException, ValueError):
        raise ValueError(f"{text.decode('ascii', 'backslashreplace')!r} is not a type, such as A or AAAA") from None
    return 0 if qtype == dns.rdatatype.ANY else qtype


def _flag(asked: Mapping[str, bytes], name: str) -> bool:
    value = _YES.get(asked.get(name, b"0"))
    if value is None:
        raise ValueError(f"{name} is 1 or 0")
    return value
