"""Take over the sockets that systemd has opened for us (socket activation), or say what is wrong with them."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from ipaddress import ip_address

from twisted.python.systemd import ListenFDs

from heimdall.accept.sockets import Bound, CannotListen, prepare_datagrams, prepare_stream

NAME = "dns"
"""What a socket unit calls them: ``FileDescriptorName=dns``."""

_KINDS = {socket.SOCK_DGRAM: ("UDP", "ListenDatagram"), socket.SOCK_STREAM: ("TCP", "ListenStream")}


def given(environ: Mapping[str, str]) -> list[Bound]:
    """Return the sockets this process was started with, those for UDP and TCP on one address together.

    :param environ: the environment; what tells of the sockets is taken out of it.
    :return: an empty list when there are none.
    :raises CannotListen: one of them cannot be served on; the text says what the socket unit has to say instead.
    """
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    promised, names = environ.get("LISTEN_FDS", ""), environ.get("LISTEN_FDNAMES", "")
    descriptors = ListenFDs.fromEnvironment(environ).inheritedDescriptors()
    if not descriptors and promised != "0":
        raise CannotListen(
            f"cannot take over {promised or 'no'} sockets with the names {names!r}: expected one name each"
        )
    found: dict[str, dict[socket.SocketKind, socket.socket]] = {}
    for descriptor, name in zip(descriptors, names.split(":"), strict=False):
        one = _take(descriptor, name)
        host, port = one.getsockname()[:2]
        pair = found.setdefault(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", {})
        if one.type in pair:
            raise CannotListen(f"cannot serve on {one.getsockname()[:2]}: systemd hands two sockets over for it")
        pair[one.type] = one
    return [_pair(text, pair) for text, pair in found.items()]


def _take(descriptor: int, name: str) -> socket.socket:
    """Return the socket behind a descriptor, ready to be served on."""
    start = f"cannot serve on the socket {name!r} that systemd hands over: "
    if name != NAME:
        raise CannotListen(f"{start}expected FileDescriptorName={NAME} in its unit")
    try:
        os.set_inheritable(descriptor, False)
        one = socket.socket(fileno=descriptor)
    except OSError as error:
        raise CannotListen(f"{start}{error.strerror or error}") from error
    if one.family not in (socket.AF_INET, socket.AF_INET6) or one.type not in _KINDS:
        raise CannotListen(f"{start}expected UDP or TCP over IPv4 or IPv6, an address with a port")
    host, port = one.getsockname()[:2]
    wildcard = ip_address(host.partition("%")[0]).is_unspecified
    if not port:
        raise CannotListen(f"{start}it is not bound to a port")
    if one.family == socket.AF_INET6 and wildcard and not one.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        raise CannotListen(f"{start}it takes IPv4 as well; say BindIPv6Only=ipv6-only, and 0.0.0.0:{port} for IPv4")
    one.setblocking(False)
    if one.type == socket.SOCK_DGRAM:
        prepare_datagrams(one, wildcard)
    elif one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        prepare_stream(one)
    else:
        raise CannotListen(f"{start}it is one connection; say Accept=no")
    return one


def _pair(text: str, pair: Mapping[socket.SocketKind, socket.socket]) -> Bound:
    """Return the two sockets on one address."""
    for kind, (over, directive) in _KINDS.items():
        if kind not in pair:
            raise CannotListen(
                f"cannot serve on {text}: systemd hands no socket over for {over}; say {directive}={text}"
            )
    udp = pair[socket.SOCK_DGRAM]
    host, port = udp.getsockname()[:2]
    return Bound(text, host, port, udp, pair[socket.SOCK_STREAM])
