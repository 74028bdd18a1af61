"""Check what no single value shows: that the settings agree with each other and with this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from typing import Any

from attrs import fields, frozen

from heimdall.config import resolv
from heimdall.config.address import Upstream, address, upstream
from heimdall.config.faults import Fault
from heimdall.config.machine import Machine
from heimdall.config.settings import Redis, Settings
from heimdall.config.url import folder, has_password, hosts
from heimdall.config.values import IMPORT

LEAST_MEMORY = 4_000_000
"""Bytes that an embedded Redis needs before it keeps anything to speak of."""

RESOLV_CONF = "/etc/resolv.conf"
"""Where this machine has its DNS servers from, whatever ours are."""


@frozen
class Conflict:
    """A value that does not go with another, or with the machine.

    :ivar paths: the keys, ``section.key``, that it is about; the fault is in the first.
    """

    paths: tuple[str, ...]
    fault: Fault


class Own:
    """The addresses that we listen on, to know an upstream that would be ourselves.

    :param is_ours: whether an IP address is one of this machine; asked where we listen on all addresses.
    """

    def __init__(self, listen: Sequence[str], is_ours: Callable[[str], bool]) -> None:
        self._listen = [address(text) for text in listen]
        self._is_ours = is_ours

    def __contains__(self, server: Upstream) -> bool:
        return any(port == server.port and self._answers(host, server.host) for host, port in self._listen)

    def _answers(self, host: str, asked: str) -> bool:
        if host == asked:
            return True
        both, other = ip_address(host), ip_address(asked)
        return both.is_unspecified and both.version == other.version and self._is_ours(asked)


def conflicts(settings: Settings, machine: Machine) -> Iterator[Conflict]:
    """Yield every conflict in the settings."""
    yield from _ranges(settings)
    yield from _listening(settings)
    yield from _upstreams(settings, machine.is_ours)
    yield from _files(settings, machine.readable)
    yield from _secrets(settings, machine)
    yield from _redis(settings, machine.is_ours)
    yield from _code(settings, machine)


def _ranges(settings: Settings) -> Iterator[Conflict]:
    cache, peers, admit, fetch, redis = settings.cache, settings.peers, settings.admit, settings.fetch, settings.redis
    if peers.heartbeat >= peers.expiry:
        yield _conflict(peers.heartbeat, f"less than peers.expiry, {peers.expiry:g}", "peers.heartbeat", "peers.expiry")
    if cache.ttl_floor > cache.ttl_ceiling:
        expected = f"at most cache.ttl_ceiling, {cache.ttl_ceiling}"
        yield _conflict(cache.ttl_floor, expected, "cache.ttl_floor", "cache.ttl_ceiling")
    if redis.enabled and redis.read_budget >= fetch.deadline:
        expected = f"less than fetch.deadline, {fetch.deadline:g}"
        yield _conflict(redis.read_budget, expected, "redis.read_budget", "fetch.deadline", "redis.enabled")
    if not redis.prefix:
        yield _conflict(redis.prefix, "at least one character", "redis.prefix")
    burst = admit.burst or 2 * admit.rate
    if admit.rate and burst < 1:
        yield _conflict(admit.burst, "at least 1, or nobody could ever ask", "admit.burst", "admit.rate")


def _listening(settings: Settings) -> Iterator[Conflict]:
    listen = settings.accept.listen
    if not listen:
        yield _conflict([], "at least one address", "accept.listen")
    for at, text in enumerate(listen):
        if text in listen[:at] and address(text)[1]:
            yield _conflict(text, "each address once", "accept.listen")
        for other in listen:
            if _stands_for(other, text):
                yield _conflict(text, f"{other} alone, which stands for this address too", "accept.listen")
    if not settings.watch.enabled:
        return
    http, http_port = address(settings.watch.http)
    for text in listen:
        host, port = address(text)
        same = host == http or (ip_address(host).version == ip_address(http).version and _all(host, http))
        if port and port == http_port and same:
            expected = f"another address than {text}, which accept.listen has"
            yield _conflict(settings.watch.http, expected, "watch.http", "accept.listen", "watch.enabled")


def _stands_for(other: str, text: str) -> bool:
    """Return whether one address is that of every interface, at the port of the other one."""
    (every, port), (host, own) = address(other), address(text)
    same = bool(own) and port == own and ip_address(every).version == ip_address(host).version
    return same and _all(every) and not _all(host)


def _all(*hosts: str) -> bool:
    return any(ip_address(host).is_unspecified for host in hosts)


def _upstreams(settings: Settings, is_ours: Callable[[str], bool]) -> Iterator[Conflict]:
    own = Own(settings.accept.listen, is_ours)
    routes = [
        server for servers in settings.fetch.routes.values() for server in servers if not server.startswith(IMPORT)
    ]
    for path, servers in (("fetch.upstreams", settings.fetch.upstreams), ("fetch.routes", tuple(routes))):
        for text in servers:
            if upstream(text) in own:
                expected = "a server other than ourselves"
                yield _conflict(text, expected, path, "accept.listen", why="accept.listen has this address")


def _files(settings: Settings, readable: Callable[[str], bool]) -> Iterator[Conflict]:
    listed = [("admit.hosts", path) for path in settings.admit.hosts]
    listed += [("admit.block_files", path) for path in settings.admit.block_files]
    files: list[tuple[str, str]] = []
    if settings.redis.enabled:
        names = [one.name for one in fields(Redis) if one.metadata["kind"] == "file"]
        files += [(f"redis.{name}", getattr(settings.redis, name)) for name in names]
    if settings.watch.enabled:
        files.append(("watch.token_file", settings.watch.token_file))
    for path, file in (*listed, *(one for one in files if one[1])):
        if not readable(file):
            yield _conflict(file, "a file that can be read", path)


def _secrets(settings: Settings, machine: Machine) -> Iterator[Conflict]:
    redis, token = settings.redis, settings.watch.token_file
    if settings.watch.enabled and token and machine.readable(token):
        try:
            machine.read_token(token)
        except ValueError as error:
            yield _conflict(token, "a file that holds a token", "watch.token_file", "watch.enabled", why=str(error))
    if not redis.enabled:
        return
    if redis.password_file and has_password(redis.url):
        expected = "no file, as redis.url holds a password"
        yield _conflict(redis.password_file, expected, "redis.password_file", "redis.url", "redis.enabled")
    if redis.secret and redis.secret_file:
        expected = "no file, as redis.secret is set"
        yield _conflict(redis.secret_file, expected, "redis.secret_file", "redis.secret", "redis.enabled")
    if redis.former_secret_file and not (redis.secret or redis.secret_file):
        paths = ("redis.former_secret_file", "redis.secret", "redis.secret_file", "redis.enabled")
        yield _conflict(redis.former_secret_file, "a redis.secret_file beside it", *paths)
    for path, file in (("secret_file", redis.secret_file), ("former_secret_file", redis.former_secret_file)):
        if file and machine.readable(file):
            try:
                machine.read_secret(file)
            except ValueError as error:
                yield _conflict(file, "a file that holds a secret", f"redis.{path}", "redis.enabled", why=str(error))


def _redis(settings: Settings, is_ours: Callable[[str], bool]) -> Iterator[Conflict]:
    redis = settings.redis
    if not redis.enabled:
        return
    secure = any(url.startswith("rediss") for url in (redis.url, redis.replica_url))
    if redis.key_file and not redis.cert_file:
        yield _conflict(redis.key_file, "a redis.cert_file beside it", "redis.key_file", "redis.cert_file")
    if redis.cert_file and not secure:
        yield _conflict(redis.cert_file, "a redis.url with rediss", "redis.cert_file", "redis.url", "redis.enabled")
    for path, value in (
        ("redis.sentinel_user", redis.sentinel_user),
        ("redis.sentinel_password_file", redis.sentinel_password_file),
    ):
        if value and "+sentinel://" not in redis.url:
            yield _conflict(value, "a redis.url with +sentinel", path, "redis.url", "redis.enabled")
    if redis.sentinel_user and not redis.sentinel_password_file:
        paths = ("redis.sentinel_user", "redis.sentinel_password_file", "redis.enabled")
        yield _conflict(redis.sentinel_user, "a redis.sentinel_password_file beside it", *paths)
    if redis.replica_url and "+cluster://" in redis.url:
        expected = "none, as redis.url is a cluster"
        yield _conflict(redis.replica_url, expected, "redis.replica_url", "redis.url", "redis.enabled")
    if folder(redis.url) is not None:
        yield from _embedded(redis)
    own = Own(settings.accept.listen, is_ours)
    for text in redis.resolver:
        if upstream(text) in own:
            expected = "a server other than ourselves"
            yield _conflict(text, expected, "redis.resolver", "accept.listen", why="accept.listen has this address")


def _embedded(redis: Redis) -> Iterator[Conflict]:
    """Yield what an embedded Redis has no use for."""
    if redis.memory < LEAST_MEMORY:
        yield _conflict(redis.memory, f"at least {LEAST_MEMORY}", "redis.memory", "redis.url", "redis.enabled")
    for path, value in (("redis.password_file", redis.password_file), ("redis.replica_url", redis.replica_url)):
        if value:
            yield _conflict(value, "none, as redis.url is embedded", path, "redis.url", "redis.enabled")
    if redis.role == "reader":
        yield _conflict(redis.role, "full, as nobody else writes to it", "redis.role", "redis.url", "redis.enabled")


def asks_itself(settings: Settings, machine: Machine) -> Iterator[str]:
    """Yield a warning where the host of Redis would be looked up through ourselves.

    It would wait for an answer that we look for in Redis first, and fail when we have no upstream.
    """
    redis = settings.redis
    names = [host for url in (redis.url, redis.replica_url) for host in hosts(url) if not _fixed(host)]
    if not redis.enabled or redis.resolver or not names:
        return
    try:
        servers = resolv.parse(machine.read_file(RESOLV_CONF)).upstreams
    except (OSError, ValueError):
        return
    own = Own(settings.accept.listen, machine.is_ours)
    if any(server in own for server in servers):
        yield (
            f"redis.url: {names[0]} is looked up by way of {RESOLV_CONF}, which names ourselves; set redis.resolver to "
            f"other DNS servers, or write an IP address, or put the name into /etc/hosts"
        )


def _fixed(host: str) -> bool:
    """Return whether a host needs no DNS to be found."""
    try:
        ip_address(host)
    except ValueError:
        return host == "localhost"
    return True


def _code(settings: Settings, machine: Machine) -> Iterator[Conflict]:
    names = [("admit.gates", name) for name in settings.admit.gates]
    for servers in settings.fetch.routes.values():
        names += [("fetch.routes", name) for name in servers if name.startswith(IMPORT)]
    for path, name in names:
        try:
            machine.find(name.removeprefix(IMPORT))
        except Exception as error:  # whatever the user's own module raises
            yield _conflict(name, "the dotted name of something that can be imported", path, why=str(error))
    for text in settings.admit.records:
        try:
            machine.read_record(text)
        except ValueError as error:
            yield _conflict(text, 'a record, such as "host.example 300 A 192.0.2.1"', "admit.records", why=str(error))


def _conflict(value: Any, expected: str, *paths: str, why: str = "") -> Conflict:
    return Conflict(paths, Fault(value, expected, why))
