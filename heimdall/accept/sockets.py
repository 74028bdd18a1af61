"""Open the sockets we serve on, or say in one line why that is impossible."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from itertools import chain
from typing import Any, Final

from attrs import frozen
from twisted.logger import Logger

RECEIVE_BUFFER: Final = 4 << 20
"""Bytes the kernel may hold of datagrams that we have not read: what a burst needs. It may grant less."""

STREAM_BUFFER: Final = 64 << 10
"""Bytes the kernel may hold for one connection: of queries we have not read, and of replies its client has not."""

BACKLOG: Final = 1024
"""Connections that may wait to be accepted."""

IP_PKTINFO: Final = getattr(socket, "IP_PKTINFO", 8)

_ABSENT: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_ATTEMPTS: Final = 16

_log = Logger()


class CannotListen(Exception):
    """An address cannot be served on; the text says why, and what to do about it."""


class _Absent(CannotListen):
    """This machine does not have the address."""


@frozen
class Bound:
    """An address we serve on, with its two sockets: bound, not blocking, the one for TCP listening.

    ``text``      as it was configured
    ``host``      numeric
    ``port``      a number, also where 0 was configured
    """

    text: str
    host: str
    port: int
    udp: socket.socket
    tcp: socket.socket

    @property
    def wildcard(self) -> bool:
        """Whether it stands for every address of this machine."""
        return ip_address(self.host.partition("%")[0]).is_unspecified

    def close(self) -> None:
        """Close both sockets."""
        self.udp.close()
        self.tcp.close()


def bind(listen: Sequence[str], asked: bool) -> list[Bound]:
    """Bind UDP and TCP on each address.

    :param listen: addresses as ``HOST:PORT``, the host numeric, an IPv6 one in brackets. Port 0 takes a free
        one, the same for UDP and TCP.
    :param asked: whether somebody asked for these addresses. If not they are defaults, and one that this
        machine lacks is left out, with a line in the log.
    :raises CannotListen: an address cannot be bound, or none is left. Nothing stays open then.
    """
    bound: list[Bound] = []
    try:
        for text in listen:
            try:
                bound.append(_bind(text))
            except _Absent as reason:
                if asked:
                    raise
                _log.warn("{reason}: left out", reason=reason)
        if not bound:
            raise CannotListen(f"cannot listen on any of {', '.join(listen)}: set an address that this machine has")
    except BaseException:
        for each in bound:
            each.close()
        raise
    return bound


def bind_sets(listen: Sequence[str], asked: bool, sets: int) -> list[list[Bound]]:
    """Bind UDP and TCP on each address, several times: the kernel deals what comes in out among the sets.

    Each client's address and port stay with one set. An address that another program uses is found out first, since
    the kernel would deal out to that as well.

    :param listen: as for :func:`bind`; also ``asked`` and what is raised.
    """
    first = bind(listen, asked)
    if sets == 1:
        return [first]
    for each in first:
        each.close()
    bound: list[list[Bound]] = []
    try:
        for _ in range(sets):
            bound.append([])
            for one in first:
                bound[-1].append(_bind_beside(one))
    except BaseException:
        for each in chain(*bound):
            each.close()
        raise
    return bound


def _bind_beside(one: Bound) -> Bound:
    """Bind an address that others of us are bound to as well, or will be."""
    family, address = _parse(f"[{one.host}]:{one.port}" if ":" in one.host else f"{one.host}:{one.port}")
    tcp = _open(one.text, family, socket.SOCK_STREAM, address, beside=True)
    try:
        udp = _open(one.text, family, socket.SOCK_DGRAM, address, beside=True)
    except CannotListen:
        tcp.close()
        raise
    return Bound(one.text, one.host, one.port, udp, tcp)


def bind_stream(text: str) -> socket.socket:
    """Bind TCP on one address, ``HOST:PORT`` as for :func:`bind`, and listen.

    :raises CannotListen: that is not possible.
    """
    family, address = _parse(text)
    return _open(text, family, socket.SOCK_STREAM, address)


def _bind(text: str) -> Bound:
    family, address = _parse(text)
    # A port that is free for TCP need not be free for UDP: then another one, if any will do.
    attempts = 1 if address[1] else _ATTEMPTS
    while True:
        attempts -= 1
        tcp = _open(text, family, socket.SOCK_STREAM, address)
        port = tcp.getsockname()[1]
        try:
            udp = _open(text, family, socket.SOCK_DGRAM, (address[0], port, *address[2:]))
        except CannotListen:
            tcp.close()
            if not attempts:
                raise
        else:
            return Bound(text, udp.getsockname()[0], port, udp, tcp)


def _parse(text: str) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    """Return the address family and the socket address that a text stands for."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not port.isascii() or not port.isdecimal() or int(port) > 65535 or (":" in host) != bracketed:
        raise CannotListen(f"cannot listen on {text!r}: expected HOST:PORT, an IPv6 host in brackets")
    try:
        ((family, _, _, _, address), *_) = socket.getaddrinfo(
            host[1:-1] if bracketed else host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )
    except (OSError, UnicodeError):
        raise CannotListen(f"cannot listen on {text!r}: the host must be an IP address") from None
    return family, address


def _open(
    text: str,
    family: socket.AddressFamily,
    kind: socket.SocketKind,
    address: tuple[Any, ...],
    *,
    beside: bool = False,
) -> socket.socket:
    try:
        opened = socket.socket(family, kind)
    except OSError as error:
        raise _cannot(text, kind, error) from error
    try:
        opened.setblocking(False)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            prepare_stream(opened)
        else:
            prepare_datagrams(opened, ip_address(address[0].partition("%")[0]).is_unspecified)
        if beside:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        opened.bind(address)
        if kind == socket.SOCK_STREAM:
            opened.listen(BACKLOG)
    except OSError as error:
        opened.close()
        raise _cannot(text, kind, error) from error
    return opened


def prepare_stream(opened: socket.socket) -> None:
    """Set what the sockets of accepted connections inherit.

    Without TCP_NODELAY the second of two replies waits until the client's kernel has confirmed the first. Without
    a size of ours the kernel lets the buffers of each connection grow to several megabytes.
    """
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, STREAM_BUFFER)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, STREAM_BUFFER)


def prepare_datagrams(opened: socket.socket, wildcard: bool) -> None:
    """Let a burst wait in the socket, and a socket for every address say which one a datagram came to."""
    with suppress(OSError):
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    if wildcard and opened.family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    elif wildcard:
        opened.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)


def _cannot(text: str, kind: socket.SocketKind, error: OSError) -> CannotListen:
    """Return what to tell a person about a socket that could not be opened."""
    over = "TCP" if kind == socket.SOCK_STREAM else "UDP"
    start = f"cannot listen on {text} ({over}): "
    if error.errno in _ABSENT:
        return _Absent(start + "this machine does not have that address")
    if error.errno == errno.EADDRINUSE:
        return CannotListen(start + "another program uses the port; stop it or take another port")
    if error.errno in (errno.EACCES, errno.EPERM):
        return CannotListen(
            start + "permission denied; ports below 1024 need root or CAP_NET_BIND_SERVICE, or take another port"
        )
    return CannotListen(start + (error.strerror or str(error)))
