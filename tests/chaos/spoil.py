"""What is done to the values in Redis, again and again while it lasts."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

import hiredis

from heimdall.cache.seal import SIZE, Seal
from tests.chaos.stage import Stage
from tests.redisserver import RedisServer

PAUSE: Final = 0.2
"""Seconds between two rounds of spoiling what Redis holds."""

RUBBISH: Final = 100_000


class Direct:
    """A connection of our own to Redis, for as long as it is open."""

    def __init__(self, server: RedisServer) -> None:
        self._reader = hiredis.Reader()
        self._tcp = socket.create_connection(("127.0.0.1", server.port), 10)

    def run(self, *commands: tuple[bytes | str | int, ...]) -> list[Any]:
        """Run commands, all at once; return the replies, errors among them."""
        self._tcp.sendall(b"".join(hiredis.pack_command(cast(Any, command)) for command in commands))
        replies: list[Any] = []
        while len(replies) < len(commands):
            reply = self._reader.gets()
            if reply is False:
                self._reader.feed(self._tcp.recv(1 << 20))
            else:
                replies.append(reply)
        return replies

    def values(self) -> dict[bytes, bytes]:
        """Return every key that holds text, but what :func:`rubbish` brought itself, and its value."""
        keys, at = set(), b"0"
        while True:
            at, found = self.run(("SCAN", at, "MATCH", "heimdall:*", "COUNT", 10_000, "TYPE", "string"))[0]
            keys |= {key for key in found if not key.startswith(b"heimdall:c1:rubbish")}
            if at == b"0":
                break
        names = sorted(keys)
        held = self.run(("MGET", *names))[0] if names else []
        return {name: value for name, value in zip(names, held, strict=True) if value is not None}

    def close(self) -> None:
        """End it."""
        self._tcp.close()


@contextmanager
def spoiling(server: RedisServer, spoil: Callable[[Direct], None]) -> Iterator[None]:
    """Spoil what Redis holds again and again, in the background."""
    direct, ended = Direct(server), threading.Event()
    spoil(direct)

    def go_on() -> None:
        while not ended.wait(PAUSE):
            spoil(direct)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        direct.close()


@contextmanager
def flushed(stage: Stage) -> Iterator[None]:
    """Take everything out of Redis, again and again."""

    def spoil(direct: Direct) -> None:
        direct.run(("FLUSHALL",))

    with spoiling(stage.server, spoil):
        yield


@contextmanager
def rubbish(stage: Stage) -> Iterator[None]:
    """Put rubbish in the place of every value, and 100,000 values of rubbish beside them."""
    chance = random.Random(5)
    left = RUBBISH

    def spoil(direct: Direct) -> None:
        nonlocal left
        for key, value in direct.values().items():
            direct.run(("SET", key, damaged(value, chance), "KEEPTTL"))
        for _ in range(10):
            names = [b"heimdall:c1:rubbish" + chance.randbytes(12) for _ in range(min(left, 1000))]
            left -= len(names)
            direct.run(*[("SET", name, chance.randbytes(60), "PX", 60_000) for name in names])

    with spoiling(stage.server, spoil):
        yield


def damaged(value: bytes, chance: random.Random) -> bytes:
    """Return a value with a bit turned, cut off, of another beginning, or of nothing but chance."""
    if not value:
        return b"\0"
    at = chance.randrange(len(value))
    turned = bytes((value[at] ^ 1 << chance.randrange(8),))
    return (
        value[:at] + turned + value[at + 1 :],
        value[:at],
        bytes((chance.randrange(256),)) + value[1:],
        chance.randbytes(chance.randrange(200)),
    )[chance.randrange(4)]


@contextmanager
def swapped(stage: Stage) -> Iterator[None]:
    """Exchange the values of the keys."""
    chance = random.Random(6)

    def spoil(direct: Direct) -> None:
        held = direct.values()
        values = list(held.values())
        chance.shuffle(values)
        direct.run(*[("SET", key, value, "XX", "KEEPTTL") for key, value in zip(held, values, strict=True)])

    with spoiling(stage.server, spoil):
        yield


@contextmanager
def mistyped(stage: Stage) -> Iterator[None]:
    """Put a list in the place of whatever Redis holds of ours."""

    def spoil(direct: Direct) -> None:
        at = b"0"
        while True:
            at, found = direct.run(("SCAN", at, "MATCH", "heimdall:*", "COUNT", 10_000))[0]
            direct.run(("PING",), *[order for key in found for order in (("DEL", key), ("RPUSH", key, "x"))])
            if at == b"0":
                break

    with spoiling(stage.server, spoil):
        yield


@contextmanager
def forged(stage: Stage) -> Iterator[None]:
    """Put other data into every answer, sealed as one can who does not have the secret."""
    seal = Seal()

    def forge(key: bytes, value: bytes) -> bytes:
        other = value[: -SIZE - 1] + bytes((value[-SIZE - 1] ^ 1,))
        return other + seal.sign(key.removeprefix(b"heimdall:c1:"), other)

    def spoil(direct: Direct) -> None:
        held = {key: value for key, value in direct.values().items() if key.startswith(b"heimdall:c1:")}
        direct.run(
            ("PING",), *[("SET", key, forge(key, value), "XX", "KEEPTTL") for key, value in held.items() if value[0]]
        )

    with spoiling(stage.server, spoil):
        yield


@contextmanager
def put_back(stage: Stage) -> Iterator[None]:
    """Flush every name, and put the values back that were flushed, again and again."""
    direct = Direct(stage.server)
    held = direct.values()
    direct.close()

    def spoil(direct: Direct) -> None:
        direct.run(("PING",), *[("SET", key, value, "PX", 60_000) for key, value in held.items()])

    stage.change(0)
    with spoiling(stage.server, spoil):
        yield
