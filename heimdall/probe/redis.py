"""Connect to Redis as a node does, and see what it is, what time it has, and what this user may do there."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from heimdall.cache.scripts import LOOK
from heimdall.interfaces import LinkDown
from heimdall.probe.found import FAIL, NOTE, OK, Found, brief
from heimdall.redislink import Startable

WAIT: Final = 4.0
"""Seconds that a connection may take: a silent Redis is given up before."""

HEARD: Final = 1.0
"""Seconds that a notice of our own may take to come back."""

APART: Final = 60.0
"""Seconds that the clocks may differ without a word; no age depends on it."""

_FACTS: Final = (
    "redis_version",
    "valkey_version",
    "redis_mode",
    "role",
    "maxmemory",
    "maxmemory_policy",
    "used_memory",
)
_LASTS: Final = 1000


async def redis(reactor: Any, link: Startable, prefix: str, *, shown: str, reader: bool, asked: bool) -> list[Found]:
    """Return what is found at a link, which is started and closed again.

    :param shown: the address, as it may be shown.
    :param reader: whether this node only reads.
    :param asked: whether somebody asked for this Redis; the default one may be away.
    """
    heard: list[bytes] = []
    channel = f"{prefix}:check:{secrets.token_hex(4)}"
    link.listen(channel, heard.append)
    link.start()
    try:
        await _until(reactor, lambda: link.up, WAIT)
        if not link.up:
            return [await _away(link, shown, asked)]
        found = [await _there(reactor, link, shown)]
        found += [each async for each in _itself(link)]
        found.append(_clock(link))
        key = f"{prefix}:check:{secrets.token_hex(8)}"
        found.append(await _rights(reactor, link, key, channel, heard, reader))
        return found
    finally:
        await link.close()


async def _until(reactor: Any, true: Callable[[], object], seconds: float) -> None:
    ends = reactor.seconds() + seconds
    while not true() and reactor.seconds() < ends:
        await deferLater(reactor, 0.01)


async def _away(link: Startable, shown: str, asked: bool) -> Found:
    why = await _refused(link.run("PING")) or "it does not stay"
    said = why if asked else f"{why}; nobody asked for it: --no-redis to do without"
    return Found("redis", shown, FAIL if asked else NOTE, said, {"up": False, "reason": why})


async def _refused(running: Deferred[object]) -> str:
    """Return why a command failed; nothing when it did not."""
    try:
        await running
    except LinkDown as error:
        return str(error)
    return ""


async def _there(reactor: Any, link: Startable, shown: str) -> Found:
    times = []
    for _ in range(5):
        began = reactor.seconds()
        if why := await _refused(link.run("PING")):
            return Found("redis", shown, FAIL, why, {"up": False, "reason": why})
        times.append(reactor.seconds() - began)
    took = sorted(times)[2]
    slow = "; look-ups will often miss the read budget of 20 ms" if took > 0.02 else ""
    return Found("redis", shown, NOTE if slow else OK, f"answers in {brief(took)}{slow}", {"up": True, "seconds": took})


async def _itself(link: Startable) -> AsyncIterator[Found]:
    """Yield what it tells of itself, where this user may ask that: version, role, and what it does when full."""
    try:
        told = await link.run("INFO")
    except LinkDown as error:
        said = f"version and memory cannot be seen by this user (it may not INFO), so look yourself: {error}"
        yield Found("redis", "itself", NOTE, said, {})
        return
    text = told.decode(errors="replace") if isinstance(told, bytes) else ""
    facts: dict[str, Any] = {
        name: int(value) if value.isdigit() else value
        for name, value in re.findall(r"^(\w+):([\x20-\x7e]{0,100})\r?$", text, re.M)
        if name in _FACTS
    }
    version = facts.get("valkey_version") and f"Valkey {facts['valkey_version']}"
    version = version or f"Redis {facts.get('redis_version', '?')}"
    yield Found("redis", "version", OK, f"{version}, {facts.get('role', '?')}, {facts.get('redis_mode', '?')}", facts)
    most, policy = facts.get("maxmemory", 0), str(facts.get("maxmemory_policy", "?"))
    if not most:
        yield Found("redis", "memory", NOTE, "maxmemory is not set: it grows until the machine is full", facts)
    elif policy == "noeviction":
        yield Found(
            "redis",
            "memory",
            NOTE,
            "when full it refuses writes (noeviction); allkeys-lru would forget the oldest",
            facts,
        )
    else:
        yield Found("redis", "memory", OK, f"{most >> 20} MB, {policy} when full", facts)


def _clock(link: Startable) -> Found:
    now = link.now()
    if now is None:
        return Found("redis", "clock", FAIL, "it does not tell the time", {})
    apart = round(now - time.time(), 3)
    said = f"{abs(apart):.3f} s {'ahead of' if apart > 0 else 'behind'} this machine"
    if abs(apart) > APART:
        return Found("redis", "clock", NOTE, f"{said}; ages are right all the same", {"ahead": apart})
    return Found("redis", "clock", OK, said, {"ahead": apart})


async def _rights(reactor: Any, link: Startable, key: str, channel: str, heard: list[bytes], reader: bool) -> Found:
    """Try what a node does, at a key and a channel of our own."""
    token = secrets.token_bytes(8)
    trials: dict[str, Callable[[], Awaitable[object]]] = {
        "read": lambda: link.run("MGET", key),
        "search": lambda: link.run("SCAN", "0", "MATCH", f"{key}*", "COUNT", 1),
        "publish": lambda: link.run("PUBLISH", channel, "check"),
    }
    if not reader:
        trials |= {
            "write": lambda: link.run("SET", key, "check", "PX", _LASTS),
            "delete": lambda: link.run("DEL", key),
            "rank": lambda: link.run("ZADD", key, 1, "check"),
            "unrank": lambda: link.run("DEL", key),
            "lease": lambda: LOOK.run(link, [key.encode()], token, _LASTS),
            "end": lambda: link.run("DEL", key),
        }
    await _until(reactor, lambda: link.hearing, HEARD)
    lacks = {}
    for right, trial in trials.items():
        try:
            await trial()
        except LinkDown as error:
            lacks[right] = str(error)
    await _until(reactor, lambda: heard, HEARD)
    if not heard:
        lacks.setdefault("hear", f"nothing is heard on channels of {channel.partition(':')[0]}:*")
    facts = {"tried": [*trials, "hear"], "lacks": lacks}
    if lacks:
        said = "; ".join(f"{right}: {why}" for right, why in lacks.items())
        return Found("redis", "rights", FAIL, f"{said} (docs/redis.md lists what a node needs)", facts)
    return Found("redis", "rights", OK, f"may do what a node does: {', '.join(facts['tried'])}", facts)
