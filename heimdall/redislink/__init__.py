"""The connection to Redis, and the one place that uses txredisapi: fails fast, heals by itself, tells Redis's time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, cast

from twisted.internet.interfaces import IReactorCore, IReactorTime

from heimdall.redislink.address import CLUSTER, SENTINEL, Address
from heimdall.redislink.greeting import Login
from heimdall.redislink.ledger import Ledger
from heimdall.redislink.link import Link
from heimdall.redislink.names import Names
from heimdall.redislink.split import ReadOnly, ReadSplit, Startable
from heimdall.redislink.ways import Ways

# What few have is imported where it is needed: a start must be quick.

__all__ = ["Address", "Link", "ReadOnly", "ReadSplit", "Startable", "connect_to"]


def connect_to(
    reactor: IReactorCore,
    url: str,
    *,
    password_file: str = "",
    ca_file: str = "",
    cert_file: str = "",
    key_file: str = "",
    sentinel_user: str = "",
    sentinel_password_file: str = "",
    replica_url: str = "",
    lookup_scripts: Collection[str] = (),
    resolver: Sequence[tuple[str, int]] = (),
    reads_only: bool = False,
    clock_key: bytes = b"",
    **settings: Any,
) -> Startable:
    """Return a link, not started yet, to the Redis at a URL.

    :param url: as :meth:`Address.parse` reads it.
    :param password_file: its first line is the password, read at each connect; it goes before the URL's.
    :param ca_file: certificates to trust for ``rediss``, PEM; empty for the system's.
    :param cert_file: our own certificate, PEM, with its key or with ``key_file`` beside it.
    :param sentinel_user: who we are at the sentinels; empty for the default user.
    :param sentinel_password_file: like ``password_file``, for the sentinels; empty where they want none.
    :param replica_url: a replica that keys are looked up at; ``lookup_scripts`` are digests of scripts that it may
        save a call of, as :class:`ReadSplit` says.
    :param resolver: addresses and ports of the DNS servers that know the hosts; none for the way of this machine.
    :param reads_only: refuse whatever might change a key.
    :param clock_key: in a Redis Cluster, the master that has this key tells the time.
    :param settings: keyword arguments of :class:`Link`.
    :raises ValueError: a URL or the certificates are no good; the text says why, without any secret.
    """
    names = Names(reactor, resolver) if resolver else None

    def link(address: Address, **more: Any) -> Startable:
        clock = cast(IReactorTime, reactor)
        ways = Ways(reactor, tls=address.tls, ca_file=ca_file, cert_file=cert_file, key_file=key_file, names=names)
        login = Login(
            address.user, _password(password_file, address.password), address.database, address.kind == SENTINEL
        )
        shown = str(address)
        if address.kind == CLUSTER:
            from heimdall.redislink.cluster import Cluster

            return Cluster(clock, address.hosts, ways.to, login, shown=shown, clock_key=clock_key, **settings, **more)
        if address.kind == SENTINEL:
            from heimdall.redislink.sentinel import Master, SentinelLink

            known = Login(sentinel_user, _password(sentinel_password_file, ""))
            sentinels = [ways.to(host, port) for host, port in address.hosts]
            master = Master(clock, sentinels, ways.to, known, address.service)
            return SentinelLink(clock, master, known, login, shown=shown, **settings, **more)
        endpoint = ways.unix(address.path) if address.path else ways.to(*address.hosts[0])
        return Link(clock, endpoint, login, shown=shown, **settings, **more)

    ledger = Ledger()
    made = link(Address.parse(url), ledger=ledger)
    if replica_url:
        made = ReadSplit(made, link(Address.parse(replica_url), ledger=ledger), lookup_scripts)
    return ReadOnly(made) if reads_only else made


def _password(file: str, otherwise: str) -> Callable[[], str]:
    def password() -> str:
        if not file:
            return otherwise
        with Path(file).open(encoding="utf-8") as lines:
            return lines.readline(1024).rstrip("\r\n")

    return password
