"""Ask this machine what the configuration needs to know of it: files, addresses, code."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

from attrs import frozen
from twisted.python.reflect import ObjectNotFound, namedAny


def read_text(path: str) -> str:
    """Return the text of a file in UTF-8; raises OSError, or ValueError when it is not UTF-8."""
    return Path(path).read_text(encoding="utf-8")


def readable(path: str) -> bool:
    """Return whether a path leads to a file that can be read."""
    return os.path.isfile(path) and os.access(path, os.R_OK)


def is_ours(host: str) -> bool:
    """Return whether an IP address is one of this machine: only then a socket can be bound to it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            (found, *_) = socket.getaddrinfo(host, 0, family, socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
            probe.bind(found[4])
    except OSError:
        return False
    return True


def named(name: str) -> object:
    """Return what a dotted name stands for; raises ImportError, AttributeError, or what its module raises."""
    try:
        return namedAny(name)
    except ObjectNotFound:
        folder = "its folder has to be in PYTHONPATH, or be installed beside Heimdall"
        raise ImportError(f"no module {name.partition('.')[0]} is found; {folder}") from None
    except SystemExit as end:
        raise ImportError(f"its module calls sys.exit({end.code!r})") from None


def anything(text: str) -> object:
    """Take anything for good."""
    return text


@frozen
class Machine:
    """What is asked of the machine, each a callable, so that a test can be any machine.

    :ivar read_file: return the text of a file; raises OSError or ValueError.
    :ivar readable: whether a path leads to a file that can be read.
    :ivar is_ours: whether an IP address is one of this machine.
    :ivar find: return what a dotted name stands for; raises any exception.
    :ivar read_record: take a record of the configuration apart; raises ValueError.
    :ivar read_secret: return the secret in a file; raises ValueError.
    :ivar read_token: return the token in a file; raises ValueError.
    :ivar given: the addresses of the sockets that this process was started with, not a callable.
    """

    read_file: Callable[[str], str] = read_text
    readable: Callable[[str], bool] = readable
    is_ours: Callable[[str], bool] = is_ours
    find: Callable[[str], object] = named
    read_record: Callable[[str], object] = anything
    read_secret: Callable[[str], object] = anything
    read_token: Callable[[str], object] = anything
    given: tuple[str, ...] = ()
