"""Read the URL of Redis, and hide the password in it."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

SCHEMES = ("redis", "rediss", "unix")


def check(text: str) -> str:
    """Return the URL of a Redis server unchanged when it is well formed.

    :raises ValueError: it is not; the message says why, and never holds a part of the URL that may be secret.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(
            "the host or the port is malformed; write @ : / ? # in a password as %40 %3A %2F %3F %23"
        ) from None
    if parts.scheme not in SCHEMES or "://" not in text:
        raise ValueError("it begins with redis://, rediss:// or unix://")
    if parts.fragment or "#" in text:
        raise ValueError("it has no place for a #; in a password write %23")
    if parts.scheme == "unix":
        _check_unix(parts)
        return text
    if not parts.hostname:
        raise ValueError("the host is missing")
    if port == 0:
        raise ValueError("a port is a number from 1 to 65535")
    if parts.query:
        raise ValueError("it has no place for a ?; in a password write %3F")
    if not re.fullmatch(r"(?:/[0-9]{0,5})?", parts.path):
        raise ValueError("behind the host stands nothing, or / and the number of a database")
    return text


def _check_unix(parts: SplitResult) -> None:
    if parts.hostname or parts.port is not None or not parts.path.strip("/"):
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
    return bool(urlsplit(text).password)
