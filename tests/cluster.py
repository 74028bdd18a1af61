"""A whole cluster to try things on: nodes in processes of their own, a Redis between them, an upstream far away."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

from tests.load import Ask, Load, Told, start
from tests.redisserver import RedisServer
from tests.running import Running
from tests.slowup import SlowUpstream


class Cluster:
    """Nodes, a Redis and an upstream; a context manager that takes all down again.

    :param nodes: how many.
    :param redis: whether there is a Redis, or one that is not started yet.
    :param delay: of the upstream, in seconds; ``ttl`` of its answers.
    :param url: where the nodes find Redis, when not at its own address.
    :param environs: variables for each node.
    :param arguments: more options for every node.
    """

    def __init__(
        self,
        nodes: int = 3,
        *,
        redis: RedisServer | bool = True,
        delay: float = 0.075,
        ttl: int = 3600,
        url: str = "",
        environs: Sequence[Mapping[str, str]] = (),
        arguments: Sequence[str] = (),
    ) -> None:
        self.redis = (RedisServer() if redis is True else redis) or None
        self.upstream = SlowUpstream(delay, ttl)
        self.nodes: list[Running] = []
        self.url = url or (self.redis.url if self.redis else "")
        self._size, self._environs, self._arguments = nodes, environs, arguments

    def __enter__(self) -> Self:
        try:
            if self.redis is not None:
                self.redis.start()
            with ThreadPoolExecutor() as pool:
                self.nodes += pool.map(self.node, range(self._size))
            if self.url:
                self.wait(self.linked)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.clean()
        self.upstream.stop()
        if self.redis is not None:
            self.redis.stop()

    def node(self, number: int) -> Running:
        """Start a node."""
        where = f"--redis={self.where(number)}" if self.url else "--no-redis"
        environ = self._environs[number % len(self._environs)] if self._environs else None
        return Running(
            f"--upstream={self.upstream.text}", where, f"--node=node{number}", *self._arguments, environ=environ
        )

    def where(self, number: int) -> str:
        """Return where a node finds Redis."""
        return self.url

    def add(self) -> Running:
        """Start one more node."""
        self.nodes.append(self.node(len(self.nodes)))
        return self.nodes[-1]

    @property
    def ports(self) -> list[int]:
        """Where the nodes are."""
        return [node.port for node in self.nodes]

    def linked(self) -> bool:
        """Whether every node uses Redis."""
        return all(node.metric("heimdall_redislink_connection_up") for node in self.nodes)

    def start(self, asks: Sequence[Ask], **settings: Any) -> Load:
        """Start a load on the nodes."""
        return start(self.ports, asks, **settings)

    def ask(self, asks: Sequence[Ask], **settings: Any) -> list[Told]:
        """Ask, and wait for the end."""
        return self.start(asks, **settings).end()

    @staticmethod
    def wait(true: Callable[[], object], seconds: float = 60.0) -> float:
        """Wait until something is true; return the seconds it took."""
        began = time.monotonic()
        while not true():
            if time.monotonic() - began > seconds:
                raise AssertionError(f"not true after {seconds} s")
            time.sleep(0.01)
        return time.monotonic() - began

    def flush(self, number: int, name: str) -> dict[str, Any]:
        """Have a node flush a name and all below it on every node; return what it tells of that."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.nodes[number].http}/api/v1/cache?name={name}&subtree=1", method="DELETE"
        )
        with urllib.request.urlopen(request, timeout=120) as done:
            told: dict[str, Any] = json.load(done)
        return told

    def trouble(self) -> list[str]:
        """Return the lines of all logs that tell of an exception."""
        return [line for node in self.nodes for line in node.trouble()]


def counts(node: Running) -> dict[str, float]:
    """Return every metric of a node, each with its labels as they are written there."""
    page = node.get("/metrics")[1]
    return {name: float(number) for name, number in re.findall(r"^(heimdall_\S+(?:\{.*\})?) (\S+)$", page, re.M)}


def origins(before: Sequence[Mapping[str, float]], after: Sequence[Mapping[str, float]]) -> dict[str, int]:
    """Return how many answers came from where between two readings of each node."""
    found: dict[str, int] = {}
    for old, new in zip(before, after, strict=True):
        for name, number in new.items():
            origin = re.match(r'heimdall_accept_answers_total\{.*origin="(\w+)"', name)
            if origin:
                found[origin[1]] = found.get(origin[1], 0) + int(number - old.get(name, 0))
    return {origin: number for origin, number in found.items() if number}
