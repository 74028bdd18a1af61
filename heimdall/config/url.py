"""Read the URL of Redis, and hide the password in it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from urllib.parse import SplitResult, unquote, urlsplit

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
SINGLE = ("redis", "rediss", "unix")

EMBEDDED = "embedded:"
"""What the URL of a Redis begins with that the node runs itself; its folder stands behind it, or nothing."""

_PATHS = {
    "": (r"(?:/[0-9]{0,5})?", "nothing, or / and the number of a database"),
    "sentinel": (
        r"/[A-Za-z0-9._%-]{1,200}(?:/[0-9]{0,5})?",
        "/ and the name of the service, then nothing, or / and the number of a database",
    ),
    "cluster": (r"(?:/0?)?", "nothing: a cluster has no other database"),
}


def check(text: str, schemes: Sequence[str] = SCHEMES) -> str:
    """Return the URL of a Redis server unchanged when it is well formed.

    :param schemes: what it may begin with.
    :raises ValueError: it is not; the message says why, and never holds a part of the URL that may be secret.
    """
    try:
        parts, each = split(text)
        hosts = [(one.hostname or "", one.port) for one in each]
    except ValueError:
        raise ValueError(
            "the host or the port is malformed; write @ : / ? # in a password as %40 %3A %2F %3F %23"
        ) from None
    if parts.scheme not in schemes or "://" not in text:
        more = ", with +sentinel or +cluster where it is so" if schemes is SCHEMES else ""
        raise ValueError(f"it begins with redis://, rediss:// or unix://{more}")
    if parts.fragment or "#" in text:
        raise ValueError("it has no place for a #; in a password write %23")
    if parts.scheme == "unix":
        _check_unix(parts, hosts)
        return text
    kind = parts.scheme.partition("+")[2]
    if not all(host for host, _ in hosts):
        raise ValueError("the host is missing")
    if len(hosts) > 1 and not kind:
        raise ValueError("several hosts are for redis+sentinel:// and redis+cluster://")
    if any(port == 0 for _, port in hosts):
        raise ValueError("a port is a number from 1 to 65535")
    if parts.query:
        raise ValueError("it has no place for a ?; in a password write %3F")
    pattern, expected = _PATHS[kind]
    if not re.fullmatch(pattern, parts.path):
        raise ValueError(f"behind the host stands {expected}")
    return text


def check_main(text: str) -> str:
    """Return the URL of the Redis of a node when it is well formed: as :func:`check`, or of an embedded one.

    :raises ValueError: it is not; the message says why.
    """
    if not f"{text}:".startswith(EMBEDDED):
        return check(text)
    folder = text.removeprefix("embedded").removeprefix(":")
    if not folder:
        return EMBEDDED
    if not folder.startswith("/") or folder.startswith("//") or os.path.normpath(folder) == "/":
        raise ValueError("behind embedded: stands nothing, or the absolute path of a folder")
    return EMBEDDED + os.path.normpath(folder)


def folder(text: str) -> str | None:
    """Return the folder of an embedded Redis, empty where none is named; None where the URL is of another Redis."""
    return text.removeprefix(EMBEDDED) if text.startswith(EMBEDDED) else None


def private(text: str) -> bool:
    """Return whether a URL is of a Unix socket in a folder that none but this user may enter.

    This user can write to the node itself: a secret would keep nobody out.
    """
    parts = urlsplit(text)
    if parts.scheme != "unix":
        return False
    try:
        status = os.stat(os.path.dirname(unquote(parts.path)))
    except OSError:
        return False
    return status.st_uid == os.geteuid() and not status.st_mode & 0o077


def hosts(text: str) -> list[str]:
    """Return the hosts in a well-formed URL: names and IP addresses."""
    return [one.hostname for one in split(text)[1] if one.hostname]


def split(text: str) -> tuple[SplitResult, list[SplitResult]]:
    """Return a URL taken apart, with the first of its hosts alone, and each of them: of several, Python takes no IPv6.

    :raises ValueError: it is no URL.
    """
    scheme, mark, rest = text.partition("://")
    place = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user, at, hosts = place.rpartition("@")
    first, *more = hosts.split(",")
    parts = urlsplit(f"{scheme}{mark}{user}{at}{first}{rest[len(place) :]}")
    return parts, [urlsplit(f"//{host}") for host in (first, *more)]


def _check_unix(parts: SplitResult, hosts: list[tuple[str, int | None]]) -> None:
    if hosts != [("", None)] or not parts.path.strip("/"):
        raise ValueError("unix:// is followed by the absolute path of a socket: unix:///run/redis.sock")
    if parts.query and not re.fullmatch(r"db=[0-9]{1,5}", parts.query):
        raise ValueError("behind the path stands nothing, or ?db= and the number of a database")


def hidden(text: str) -> str:
    """Return a well-formed URL with its password, or a user that may be one, replaced by ``***``."""
    scheme, mark, rest = text.partition("://")
    user, at, place = rest.rpartition("@")
    if not at:
        return text
    name, colon, _password = user.partition(":")
    return f"{scheme}{mark}{name + colon if colon else ''}***@{place}"


def has_password(text: str) -> bool:
    """Return whether a URL holds a password."""
    return bool(split(text)[0].password)
