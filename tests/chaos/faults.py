"""The faults: what is done to Redis, to the network and to the nodes, and how it is undone."""

from __future__ import annotations

import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from math import inf
from typing import Any, Final, cast

import hiredis
from attrs import field, frozen

from tests.chaos.stage import FAKETIME, HOUR, LAST, Stage
from tests.redisserver import RedisServer

PAUSE: Final = 0.2
"""Seconds between two rounds of spoiling what Redis holds."""

RUBBISH: Final = 100_000


@frozen
class Fault:
    """Something that may happen.

    :param text: what it is called.
    :param inflict: does it to a stage; what follows its ``yield`` undoes it.
    :param seconds: that it lasts.
    :param stage: arguments of the stage that it needs.
    :param nodes: whether it is done to nodes, so that clients may have to turn to another one.
    :param heals: whether full use is to come by itself, from its beginning on, rather than from its end.
    :param after: seconds of load behind it.
    :param rounds: how often it is played, where its times matter most.
    :param missing: what is to be installed for it; empty when it can be played.
    """

    text: str
    inflict: Callable[[Stage], AbstractContextManager[None]]
    seconds: float = 3.0
    stage: Mapping[str, Any] = field(factory=dict)
    nodes: bool = False
    heals: bool = False
    after: float = 6.5
    rounds: int = 1
    missing: str = ""


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
def nothing(stage: Stage) -> Iterator[None]:
    """Let all be well."""
    yield


@contextmanager
def killed(stage: Stage) -> Iterator[None]:
    """Kill Redis; start it again, empty, at the end."""
    stage.server.kill()
    yield
    stage.server.start()


@contextmanager
def hung(stage: Stage) -> Iterator[None]:
    """Hang Redis: its sockets stay open."""
    stage.server.pause()
    yield
    stage.server.resume()


@contextmanager
def emptied(stage: Stage) -> Iterator[None]:
    """Kill Redis and start it at once, empty."""
    stage.server.restart()
    yield


@contextmanager
def locked(stage: Stage) -> Iterator[None]:
    """Restart Redis with a password that the nodes do not have."""
    right, stage.server.password = stage.server.password, "another"
    stage.server.restart()
    yield
    stage.server.password = right
    stage.server.restart()


@contextmanager
def full(stage: Stage) -> Iterator[None]:
    """Fill Redis, which may not evict."""
    stage.server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    stage.server.command("CONFIG", "SET", "maxmemory", "1mb")
    yield
    stage.server.command("CONFIG", "SET", "maxmemory", "0")


@contextmanager
def read_only(stage: Stage) -> Iterator[None]:
    """Make Redis the read-only replica of another one."""
    other = RedisServer().start()
    try:
        stage.server.command("REPLICAOF", "127.0.0.1", other.port)
        yield
        stage.server.command("REPLICAOF", "NO", "ONE")
    finally:
        other.stop()


@contextmanager
def far(stage: Stage) -> Iterator[None]:
    """Put Redis 200 ms away."""
    stage.network.delay = 0.2
    yield
    stage.network.delay = 0.0


@contextmanager
def lossy(stage: Stage) -> Iterator[None]:
    """Lose half the packets on the way to Redis and back."""
    stage.network.loss = 0.5
    yield
    stage.network.loss = 0.0


@contextmanager
def paused(stage: Stage) -> Iterator[None]:
    """Have Redis hold all clients, whoever would end that among them."""
    stage.server.command("CLIENT", "PAUSE", int(1000 * stage.lasts), "ALL")
    yield


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
def crowded(stage: Stage) -> Iterator[None]:
    """Allow Redis one client, and be that one."""
    direct = Direct(stage.server)
    direct.run(("CONFIG", "SET", "maxclients", 1))
    direct.run(("CLIENT", "KILL", "TYPE", "pubsub"), ("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"))
    yield
    direct.run(("CONFIG", "SET", "maxclients", 10_000))
    direct.close()


@contextmanager
def node_killed(stage: Stage) -> Iterator[None]:
    """Kill a node; start it again at the end."""
    stage.nodes[LAST].process.kill()
    stage.nodes[LAST].process.wait()
    yield
    stage.nodes[LAST].again()


@contextmanager
def node_frozen(stage: Stage) -> Iterator[None]:
    """Freeze a node, and wake it at the end."""
    stage.nodes[LAST].process.send_signal(signal.SIGSTOP)
    yield
    stage.nodes[LAST].process.send_signal(signal.SIGCONT)


@contextmanager
def name_flushed(stage: Stage) -> Iterator[None]:
    """Flush every name, which has other data from now on, by one of the nodes."""
    stage.change(0)
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


@contextmanager
def frozen_through_flush(stage: Stage) -> Iterator[None]:
    """Freeze a node, flush by another one meanwhile, and wake it."""
    with node_frozen(stage):
        stage.change(0)
        yield


@contextmanager
def cut_off_through_flush(stage: Stage) -> Iterator[None]:
    """Cut a node off from Redis, flush by another one meanwhile, and let it through again."""
    stage.network.cut()
    stage.change(0)
    stage.changed = inf  # the node that is cut off cannot know yet
    yield
    stage.network.closed = False
    stage.wait(lambda: stage.nodes[LAST].metric("heimdall_redislink_connection_up"), 20)
    stage.changed = time.monotonic()


@contextmanager
def master_killed(stage: Stage) -> Iterator[None]:
    """Kill the master, and let another Redis take its place."""
    stage.fleet[0].kill()
    yield


NO_CLOCK: Final = "" if FAKETIME else "libfaketime: apt-get install faketime"

FAULTS: Final = (
    Fault("no Redis at all", nothing, 8, {"store": "none"}, after=0.5, rounds=3),
    Fault("Redis hung (SIGSTOP)", hung, 10, rounds=3),
    Fault("all is well", nothing, 5, after=1.5),
    Fault("Redis killed with -9", killed),
    Fault("Redis restarted empty", emptied, heals=True, after=3),
    Fault("Redis with another password", locked, 3, {"password": "right"}),
    Fault("Redis full, noeviction", full, after=3),
    Fault("Redis a read-only replica", read_only, after=3),
    Fault("200 ms to Redis", far, 5, {"store": "proxy"}),
    Fault("half the packets lost", lossy, 8, {"store": "proxy"}),
    Fault("CLIENT PAUSE", paused),
    Fault("FLUSHALL", flushed, after=3),
    Fault("100,000 values of rubbish", rubbish, after=3),
    Fault("values swapped between keys", swapped, after=3),
    Fault("keys of another type", mistyped, after=3),
    Fault("maxclients 1", crowded),
    Fault("Sentinel: the master killed", master_killed, 8, {"store": "sentinel"}, heals=True, after=1),
    Fault("Redis Cluster: a master killed", master_killed, 8, {"store": "cluster"}, heals=True, after=1),
    Fault("a node killed", node_killed, 3, nodes=True, after=3),
    Fault("a node frozen, and woken", node_frozen, 30, nodes=True, after=3),
    Fault("all names flushed", name_flushed, after=3),
    Fault("flushed values put back", put_back, after=3),
    Fault("flushed while a node is frozen", frozen_through_flush, 5, nodes=True, after=3),
    Fault("flushed while a node is cut off from Redis", cut_off_through_flush, 3, {"store": "partly"}),
    Fault("clocks an hour apart", nothing, 5, {"clocks": (HOUR, 0, -HOUR)}, after=1.5, missing=NO_CLOCK),
)
"""All of them, in the order they are run; the first is what the second is held against."""
