"""Who may change things over HTTP, or see names: this machine, or who bears the token; never a page of another site."""

from __future__ import annotations

from collections.abc import Collection
from hmac import compare_digest
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from twisted.logger import Logger
from twisted.web.server import Request

from heimdall.episodes import Episodes
from heimdall.tally import Count, Tally

SHORTEST: Final = 16
"""Bytes that a token has at least."""

LONGEST: Final = 4096
"""Bytes that it has at most."""

_NAMELESS: Final = "ask by an IP address, or as localhost"

_REASONS: Final = {
    "elsewhere": "{} shows no token",
    "foreign": "a page of another site, shown at {}",
    "host": "{} asks for a name that is not this machine's",
    "token": "{} shows a wrong token",
}

_FORWARDED: Final = ("x-forwarded-for", "forwarded", "x-real-ip")


class Trust:
    """Judges requests that change something, cost much, or tell what clients ask for.

    :param token_file: the file that holds the token; read anew each time, so that it may be changed. Empty for none.
    :param names: what this machine is called, beside its addresses and localhost.
    :param refusals: tell which clients are refused; None where nobody does.
    """

    log = Logger()

    def __init__(self, token_file: str = "", names: Collection[str] = (), refusals: Episodes | None = None) -> None:
        self._file, self._refusals = token_file, refusals
        self._names = {"localhost", *(name.lower() for name in names)}
        self._unread = ""
        self._refused = Count("heimdall_watch_refused_total", "HTTP requests refused, by reason.", "why")
        self.tallies: list[Tally] = [self._refused]

    def refuse(self, request: Request) -> str:
        """Return why a request is refused; empty when it is not."""
        why, text = self._judge(request)
        if why:
            self._refuse(request, why)
        return text

    def refuse_reader(self, request: Request) -> str:
        """Return why a request may not even read; empty when it may.

        Everybody who reaches the port may read what tells of no client: metrics, probes, members. But a browser on this
        machine may be led here by a page of anybody's, under a name of his own that becomes our address (DNS
        rebinding), and he would read it too.
        """
        if from_here(request) and not self._is_ours(request.getHeader("host") or ""):
            self._refuse(request, "host")
            return _NAMELESS
        return ""

    def _refuse(self, request: Request, why: str) -> None:
        self._refused.add(why)
        if self._refusals is not None:
            host = getattr(request.getClientAddress(), "host", "")
            self._refusals.note((host, why), host, _REASONS[why].format)

    def _judge(self, request: Request) -> tuple[str, str]:
        host = request.getHeader("host") or ""
        # A browser says on whose behalf it asks (Fetch Metadata; RFC 6454, 7).
        if (request.getHeader("sec-fetch-site") or "none") not in ("none", "same-origin"):
            return "foreign", "a page of another site may not ask for this"
        origin = request.getHeader("origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            return "foreign", "a page of another site may not ask for this"
        shown = request.getHeader("authorization")
        if shown is not None:
            return ("", "") if self._bears(shown) else ("token", "this is not the token")
        if not from_here(request):
            return (
                "elsewhere",
                "who asks from another machine, or not by loopback, has to show the token of watch.token_file",
            )
        # A name of anybody's can be made to lead here, by who wants a browser to take us for his own site.
        if not self._is_ours(host):
            return "host", _NAMELESS
        return "", ""

    def _bears(self, shown: str) -> bool:
        scheme, _, token = shown.partition(" ")
        expected = self._token()
        return scheme.lower() == "bearer" and bool(expected) and compare_digest(token.strip().encode(), expected)

    def _token(self) -> bytes:
        if not self._file:
            return b""
        try:
            token = read_token(self._file)
        except ValueError as error:
            return self._without(str(error))
        self._unread = ""
        return token

    def _without(self, why: str) -> bytes:
        if why != self._unread:
            self._unread = why
            self.log.warn("No token is taken from {file}: {why}", file=self._file, why=why)
        return b""

    def _is_ours(self, host: str) -> bool:
        name = host.lower()
        if name.startswith("["):
            name = name[1:].partition("]")[0]
        elif name.count(":") == 1:
            name = name.partition(":")[0]
        return not name or name in self._names or _is_address(name)


def read_token(file: str) -> bytes:
    """Return the token in a file, without the white space around it.

    :raises ValueError: the file cannot be read, or what it holds is too short or too long.
    """
    try:
        with Path(file).open("rb") as opened:
            token = opened.read(LONGEST + 1).strip()
    except OSError as error:
        raise ValueError(error.strerror or type(error).__name__) from None
    if not SHORTEST <= len(token) <= LONGEST:
        raise ValueError(f"a token has {SHORTEST} to {LONGEST} bytes")
    return token


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def from_here(request: Request) -> bool:
    """Return whether a request comes from this machine, and is not passed on for another."""
    if any(request.getHeader(name) is not None for name in _FORWARDED):
        return False
    peer = request.getClientAddress()
    try:
        address = ip_address(getattr(peer, "host", "").partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
