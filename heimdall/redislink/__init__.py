"""The connection to Redis, and the one place that uses txredisapi: fails fast, heals by itself, tells Redis's time."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from twisted.internet.interfaces import IReactorCore, IReactorTime

from heimdall.redislink.address import Address
from heimdall.redislink.greeting import Login
from heimdall.redislink.link import Link

__all__ = ["Address", "Link", "connect_to"]


def connect_to(reactor: IReactorCore, url: str, *, password_file: str = "", ca_file: str = "", **settings: Any) -> Link:
    """Return a link, not started yet, to the Redis at a URL.

    :param url: as :meth:`Address.parse` reads it.
    :param password_file: its first line is the password, read at each connect; it goes before the URL's.
    :param ca_file: certificates to trust for ``rediss://``, PEM; empty for the system's.
    :param settings: keyword arguments of :class:`Link`.
    :raises ValueError: the URL or the certificates are no good; the text says why, without any secret.
    """
    address = Address.parse(url)

    def password() -> str:
        if not password_file:
            return address.password
        with Path(password_file).open(encoding="utf-8") as lines:
            return lines.readline(1024).rstrip("\r\n")

    return Link(
        cast(IReactorTime, reactor),
        address.endpoint(reactor, ca_file),
        Login(address.user, password, address.database),
        shown=str(address),
        **settings,
    )
