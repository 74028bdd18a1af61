"""The stage of a fault: three nodes under a steady load, a Redis of theirs, and what stands between."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any, Final, Self

from tests.chaos.proxy import Proxy
from tests.cluster import Cluster
from tests.load import Ask, Load
from tests.redisserver import RedisServer, cluster, valkey, watched
from tests.slowup import AAAA, A

DELAY: Final = 0.04
"""Seconds of the upstream: few, so that what Redis may cost beside it shows."""

TTL: Final = 3600
RATE: Final = 600
"""Queries a second, over all nodes."""

HOT, NEW, AGAIN, POOL = "hot", "new", "again", "pool"
"""Names of the load: held by every node; never asked before; asked just before, at another node; held by the first
node, and by Redis for the others."""

SHARES: Final = {HOT: 0.4, NEW: 0.25, AGAIN: 0.2, POOL: 0.15}

LAG: Final = 0.15
"""Seconds after which a name is asked at another node."""

HOT_NAMES: Final = 200

FAKETIME: Final = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
"""The library that gives a node another clock; None where it is not installed."""

HOUR: Final = 3600

LAST: Final = 2
"""The node that something is done to."""


def clock(ahead: str, *, file: bool = False) -> dict[str, str]:
    """Return the variables of a process whose wall clock is so many seconds ahead, or as many as a file says."""
    told = {"FAKETIME_TIMESTAMP_FILE": ahead, "FAKETIME_CACHE_DURATION": "1"} if file else {"FAKETIME": ahead}
    return {"LD_PRELOAD": str(FAKETIME), "FAKETIME_DONT_FAKE_MONOTONIC": "1", **told}


class Stage(Cluster):
    """Three nodes, warm, with a load to come.

    :param store: what the nodes share: ``one`` Redis, one behind a ``proxy``, where only the last node goes through
        the proxy it is ``partly``, one watched by ``sentinel``, a Redis ``cluster``, or ``none``.
    :param password: of Redis.
    :param secret: of the nodes; ``tls`` how they speak to Redis; ``stepped`` whether its clock can be set.
    :param clocks: seconds that the wall clock of each node is ahead; none for the true time.
    :param environ: variables of every node.
    :ivar lasts: seconds that the fault will last.
    :ivar changed: when every node must have known that names have other data; infinite while they have not.
    """

    lasts = 0.0
    changed = inf

    def __init__(
        self,
        *,
        store: str = "one",
        password: str = "",
        secret: str = "",
        tls: bool = False,
        stepped: bool = False,
        clocks: tuple[int, ...] = (0,),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._store, self._pool = store, 0
        self.fleet: list[RedisServer] = []
        self.proxy: Proxy | None = None
        redis = RedisServer(password=password, tls=tls) if store in ("one", "proxy", "partly") else None
        every = dict(environ or {})
        if secret:
            every["HEIMDALL_REDIS_SECRET"] = secret
        if tls and redis:
            every["HEIMDALL_REDIS_CA_FILE"] = redis.ca_file
        super().__init__(
            redis=redis or False,
            delay=DELAY,
            ttl=TTL,
            environs=[every | (clock(f"{ahead:+d}") if ahead else {}) for ahead in clocks],
        )
        if stepped:
            self.set_clock(0)
            # The allocator of most builds of Redis cannot do with libfaketime; that of the wheel of Valkey can.
            self.server.program = valkey
            self.server.environ = clock(str(self._clock_file), file=True)
        if password:
            self.url = self.url.replace("//", f"//:{password}@")

    def __enter__(self) -> Self:
        if self._store in ("proxy", "partly"):
            self.proxy = Proxy(self.server.port).start()
        elif self._store == "sentinel":
            master, replica, watching = watched()
            self.fleet = [master, replica, *watching]
            self.url = f"redis+sentinel://{_hosts(watching)}/main"
        elif self._store == "cluster":
            self.fleet = cluster()
            self.url = f"redis+cluster://{_hosts(self.fleet[:3])}"
        return super().__enter__()

    def __exit__(self, *details: object) -> None:
        super().__exit__(*details)
        if self.proxy is not None:
            self.proxy.stop()
        for server in self.fleet:
            server.stop()

    def where(self, number: int) -> str:
        """Return where a node finds Redis."""
        if self.proxy is None or (self._store == "partly" and number != LAST):
            return self.url
        return f"redis://127.0.0.1:{self.proxy.port}"

    @property
    def server(self) -> RedisServer:
        """The Redis, where there is one."""
        assert self.redis is not None
        return self.redis

    @property
    def network(self) -> Proxy:
        """The network before it, where that is of ours."""
        assert self.proxy is not None
        return self.proxy

    def change(self, node: int) -> None:
        """Give all names other data, and have a node flush them, until all have done so but the one in trouble."""
        self.upstream.change(1)
        self.wait(lambda: {*self.flush(node, "example")["silent"]} <= {f"node{LAST}"})
        self.changed = time.monotonic()

    @property
    def _clock_file(self) -> Path:
        return self.server.folder / "clock"

    def set_clock(self, ahead: int) -> None:
        """Set the clock of Redis so many seconds ahead."""
        beside = self._clock_file.with_suffix(".new")
        beside.write_text(f"{ahead:+d}\n")
        beside.replace(self._clock_file)

    def warm(self, seconds: float) -> None:
        """Let every node hold the hot names, and the first one those that the others will find in Redis.

        :param seconds: that the load will last.
        """
        self._pool = int(RATE * SHARES[POOL] * seconds / 2) + 1
        asks = [(node, f"hot{number}.example") for number in range(HOT_NAMES) for node in range(3)]
        asks += [(0, f"pool{number}.example") for number in range(self._pool)]
        self.ask([Ask(at / 1500, node, text, "", kind_of(text)) for at, (node, text) in enumerate(asks)])

    def load(self, seconds: float, **settings: Any) -> Load:
        """Start the load."""
        return self.start(plan(seconds, self._pool), ages=(0, 1), **settings)


def _hosts(servers: Sequence[RedisServer]) -> str:
    return ",".join(f"127.0.0.1:{server.port}" for server in servers)


def kind_of(text: str) -> int:
    """Return the type that a name is asked for: some for AAAA."""
    return AAAA if text.split(".", 1)[0][-1] in "05" else A


def plan(seconds: float, pool: int, seed: int = 7) -> list[Ask]:
    """Return a load for so long, over three nodes and with a pool of so many names; the same for the same seed."""
    chance = random.Random(seed)
    kinds, weights = list(SHARES), list(SHARES.values())
    known: deque[Ask] = deque()
    pools = [(node, number) for number in range(pool) for node in (1, 2)]
    chance.shuffle(pools)
    asks = []
    for number in range(int(seconds * RATE)):
        at, node = number / RATE, chance.randrange(3)
        (kind,) = chance.choices(kinds, weights)
        text = f"{kind}{chance.randrange(HOT_NAMES) if kind == HOT else number}.example"
        if kind == AGAIN:
            if not known or known[0].at > at - LAG:
                continue
            while len(known) > 1 and known[1].at <= at - LAG:
                known.popleft()
            first = known.popleft()
            node, text = (first.node + chance.randint(1, 2)) % 3, first.text
        elif kind == POOL:
            if not pools:
                continue
            node, number = pools.pop()
            text = f"pool{number}.example"
        asks.append(Ask(at, node, text, kind, kind_of(text)))
        if kind == NEW:
            known.append(asks[-1])
    return asks
