"""Ports of the loopback for the servers of tests: free, and given to one process only, whoever runs tests beside it.

They lie below those that kernels give to who asks for any port, and below those that Heimdall asks upstreams from: so
nobody takes one between the moment it is given and the moment its server, on a slow machine, listens there.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from functools import cache
from pathlib import Path
from secrets import randbelow
from threading import Lock
from typing import Final
from unittest import skipIf

FIRST, LAST = 2000, 9999

_given: Final[set[int]] = set()
_giving: Final = Lock()  # a process may mark a port twice


def _no_ipv6() -> str | None:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return "no IPv6 on the loopback here: sysctl net.ipv6.conf.lo.disable_ipv6=0"
    return None


NO_IPV6: Final = _no_ipv6()
"""Why tests over IPv6 are skipped, or None."""

over_ipv6: Final = skipIf(NO_IPV6 is not None, str(NO_IPV6))
"""Marks such a test."""


@cache
def _marks() -> int:
    """Return the descriptor of a file, the same for all processes of a user, whose bytes stand for ports.

    A lock of a byte ends with the process that has it.
    """
    return os.open(Path(tempfile.gettempdir()) / f"heimdall-ports-{os.getuid()}", os.O_RDWR | os.O_CREAT, 0o600)


def _marked(port: int) -> bool:
    """Mark a port as ours; False where it is another's."""
    try:
        fcntl.lockf(_marks(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that is free for UDP and TCP, another one each time, in whichever thread.

    :raises RuntimeError: there is none.
    """
    count = LAST - FIRST + 1
    start = randbelow(count)
    for step in range(count):
        port = FIRST + (start + step) % count
        with _giving:
            # Marked before it is tried: for as long as that takes, whoever was given it could not have it.
            if port not in _given and _marked(port) and _free(host, port):
                _given.add(port)
                return port
    raise RuntimeError(f"no port from {FIRST} to {LAST} is free")


def _free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as stream, socket.socket(family, socket.SOCK_DGRAM) as datagram:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            stream.bind((host, port))
            stream.listen()
            datagram.bind((host, port))
        except OSError:
            return False
    return True
