"""Reach for everything that a sound configuration names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from twisted.internet.threads import deferToThreadPool

from heimdall.config.address import address
from heimdall.config.keys import KEYS
from heimdall.config.load import DEFAULT, Loaded
from heimdall.config.url import folder, hidden, private
from heimdall.probe.embedded import embedded
from heimdall.probe.files import files
from heimdall.probe.found import FAIL, NOTE, OK, Found
from heimdall.probe.ports import ports
from heimdall.probe.redis import redis
from heimdall.probe.upstreams import upstreams
from heimdall.redislink import connect_to

IMPORT: Final = "import:"
"""What stands before a source of the user's own: it cannot be asked from here."""


async def everything(loaded: Loaded, reactor: Any) -> list[Found]:
    """Return what is found; waits for the slowest.

    :param loaded: a sound configuration.
    """
    settings = loaded.settings
    servers = list(_servers(loaded))
    http = settings.watch.http if settings.watch.enabled else ""
    pool = reactor.getThreadPool()
    asking = deferToThreadPool(reactor, pool, upstreams, servers)
    bound = deferToThreadPool(reactor, pool, ports, settings.accept.listen, http, loaded.asked("accept.listen"))
    found = [Found("configuration", "warning", NOTE, warning) for warning in loaded.warnings]
    number = sum(origin != DEFAULT for origin in loaded.origins.values())
    found.append(Found("configuration", "keys", OK, f"sound; keys that are set: {number}", {"set": number}))
    found += files(_files(loaded))
    at_redis = await _redis(loaded, reactor)
    found += await asking
    if not servers:
        found.append(Found("upstream", "none", NOTE, "what no cache knows will be answered SERVFAIL"))
    return [*found, *at_redis, *await bound]


def _servers(loaded: Loaded) -> Iterator[tuple[str, str]]:
    """Yield every upstream, with a name that it must know of."""
    fetch = loaded.settings.fetch
    for name, servers in ((".", fetch.upstreams), *fetch.routes.items()):
        yield from ((server, name) for server in servers if not server.startswith(IMPORT))


def _files(loaded: Loaded) -> Iterator[tuple[str, str]]:
    """Yield the key and the path of each file that somebody named."""
    for key in KEYS.values():
        if key.kind == "file" and loaded.asked(key.path):
            value = getattr(getattr(loaded.settings, key.section), key.name)
            yield from ((key.path, path) for path in ((value,) if isinstance(value, str) else value) if path)


async def _redis(loaded: Loaded, reactor: Any) -> list[Found]:
    settings = loaded.settings.redis
    if not settings.enabled:
        return [Found("redis", "none", OK, "not in use: each node answers from its own memory", {"used": False})]
    reader = settings.role == "reader"
    found: list[Found] = []
    own = folder(settings.url)
    if own is not None:
        found += await deferToThreadPool(reactor, reactor.getThreadPool(), embedded, own, settings.memory)
    for number, url in enumerate((settings.url, *settings.regions)):
        if folder(url) is not None:
            continue
        try:
            link = connect_to(
                reactor, url, password_file=settings.password_file, ca_file=settings.ca_file,
                cert_file=settings.cert_file, key_file=settings.key_file, sentinel_user=settings.sentinel_user,
                sentinel_password_file=settings.sentinel_password_file,
                replica_url="" if number else settings.replica_url,
                resolver=[address(text) for text in settings.resolver], reads_only=reader,
                clock_key=f"{settings.prefix}:flushes".encode(),
            )  # fmt: skip
        except ValueError as error:
            found.append(Found("redis", hidden(url), FAIL, str(error)))
            continue
        asked = loaded.asked("redis.url")
        found += await redis(reactor, link, settings.prefix, shown=hidden(url), reader=reader, asked=asked)
    given = bool(settings.secret or settings.secret_file)
    # A node without Redis, for which none was asked, has nothing to seal; to its own nobody else can write.
    own_alone = own is not None or (private(settings.url) and not settings.regions)
    used = not own_alone and (loaded.asked("redis.url") or any(one.facts.get("up") for one in found))
    return [*found, _secret(given)] if given or used else found


def _secret(given: bool) -> Found:
    if given:
        return Found("redis", "secret", OK, "shared answers are sealed with a secret", {"secret": True})
    said = "none: who can write to Redis can forge answers; set redis.secret_file"
    return Found("redis", "secret", NOTE, said, {"secret": False})
