"""Read addresses: where to listen, and which servers to ask."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from attrs import frozen

DNS_PORT = 53
"""The port of a DNS server when none is given (RFC 1035, 4.2)."""


@frozen
class Upstream:
    """A server to ask.

    :ivar host: an IP address, in its shortest spelling.
    :ivar tcp: ask over TCP only.
    """

    host: str
    port: int
    tcp: bool = False

    def __str__(self) -> str:
        return ("tcp://" if self.tcp else "") + join(self.host, self.port)


def address(text: str) -> tuple[str, int]:
    """Read ``HOST:PORT``, where HOST is an IP address, an IPv6 address in brackets; return host and port.

    :raises ValueError: it is no such address; the message says why.
    """
    host, port = _split(text)
    if not port:
        raise ValueError("the port is missing")
    return ip(host), _port(port, least=0)


def upstream(text: str) -> Upstream:
    """Read a server to ask: ``HOST``, ``HOST:PORT``, or either behind ``tcp://``.

    A name as HOST is refused: to look it up, a DNS server would have to ask itself.

    :raises ValueError: it is no such server; the message says why.
    """
    scheme, mark, rest = text.rpartition("://")
    if mark and scheme != "tcp":
        raise ValueError(f"the only scheme is tcp://, not {scheme}://")
    host, port = _split(rest)
    host = ip(host, "a name would have to be looked up, and we are who looks names up")
    parsed = ip_address(host)
    if parsed.is_unspecified or parsed.is_multicast or host == "255.255.255.255":
        raise ValueError("no one server has that address")
    return Upstream(host, _port(port) if port else DNS_PORT, tcp=bool(mark))


def server(text: str) -> str:
    """Read a DNS server, an IP address with or without a port, and return it with its port.

    :raises ValueError: it is no such server; the message says why.
    """
    read = upstream(text)
    if read.tcp:
        raise ValueError("no scheme stands before it")
    return join(read.host, read.port)


def ip(text: str, why: str = "") -> str:
    """Return an IP address in its shortest spelling; IPv4 mapped into IPv6 becomes plain IPv4.

    :param why: the reason given when the text is no IP address.
    :raises ValueError: the text is no IP address.
    """
    try:
        parsed: IPv4Address | IPv6Address = ip_address(text)
    except ValueError:
        raise ValueError(why or f'"{text}" is not an IP address') from None
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(parsed)


def join(host: str, port: int | str) -> str:
    """Return ``HOST:PORT``, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _split(text: str) -> tuple[str, str]:
    """Split an address into host and port; the port is empty when there is none."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")) or rest == ":" or ":" not in host:
            raise ValueError("an IPv6 address in brackets is followed by nothing or by :PORT")
        return host, rest[1:]
    if text.count(":") > 1:
        raise ValueError("an IPv6 address is written in brackets")
    host, colon, port = text.partition(":")
    if colon and not port:
        raise ValueError("the port is missing")
    return host, port


def _port(text: str, least: int = 1) -> int:
    if not (text.isascii() and text.isdigit() and least <= int(text[:6]) <= 65535):
        raise ValueError(f"a port is a number from {least} to 65535")
    return int(text)
