"""What a scenario says of nodes: how they are configured, when they start and leave, and what time it is there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.task import deferLater

from heimdall.accept.sockets import bind
from heimdall.admit.local import read_record
from heimdall.cache.memory import Memory
from heimdall.config.load import load
from heimdall.config.machine import Machine
from heimdall.interfaces import LinkDown
from heimdall.node import Node as Service
from heimdall.node import build
from heimdall.tally import Count
from tests.scenarios.moments import PATIENCE, Ahead, until
from tests.scenarios.store import Store
from tests.scenarios.story import Untrue, sentence
from tests.scenarios.upstreams import Upstreams

FIRST = "one"
"""The node that is there without being spoken of."""

BEAT = 10.0
"""Seconds within which a node has to have made a heartbeat that was due."""

LINKED = 3.0
"""Seconds that a node is given to find a Redis that runs; it may have the wrong password."""


class Node:
    """One node: what is set, and, while it runs, the service and where it serves."""

    def __init__(self) -> None:
        self.settings: dict[str, str] = {}
        self.asks: list[str] | None = None
        self.ahead = 0.0
        self.service: Service | None = None
        self.reactor: Ahead | None = None
        self.port = 0

    @property
    def running(self) -> Service:
        """The service.

        :raises Untrue: it does not run.
        """
        if self.service is None:
            raise Untrue("this node does not run")
        return self.service

    def linked(self) -> bool:
        """Return whether Redis answers this node."""
        link = self.running.path.link
        return link is not None and link.up


class Nodes:
    """All nodes of a scenario, each as it is run by twistd, but for its clock and the process it shares."""

    def __init__(self, reactor: Any, upstreams: Upstreams, store: Store, folder: Path) -> None:
        self._reactor, self._upstreams, self._store, self._folder = reactor, upstreams, store, folder
        self._all: dict[str, Node] = {}
        self._began: float | None = None

    @property
    def slack(self) -> int:
        """Whole seconds that have passed since the first node started, without those that the story tells of."""
        return 0 if self._began is None else int(self._reactor.seconds() - self._began)

    async def running(self, who: str = FIRST) -> Node:
        """Return a node; it is started if it does not run."""
        node = self._get(who)
        if node.service is None:
            await self.starts(who)
        return node

    async def end(self) -> None:
        """Let every node leave."""
        for who in self._all:
            await self.leaves(who)

    def _get(self, who: str) -> Node:
        return self._all.setdefault(who, Node())

    def _stopped(self, who: str) -> Node:
        node = self._get(who)
        if node.service is not None:
            raise Untrue(f"node {who} runs already: this has to be said before")
        return node

    @sentence("node <who> with <key> = <value>", key=r"[a-z_]+\.\S+")
    def with_setting(self, who: str, key: str, value: str) -> None:
        """Set a key of the configuration, as TOML; ``{a}`` is the address of upstream a, ``{redis}`` that of Redis."""
        self._stopped(who).settings[key] = re.sub(r"\{(\w+)\}", self._place, value)

    def _place(self, name: re.Match[str]) -> str:
        return self._store.place if name[1] == "redis" else self._upstreams.address(name[1])

    @sentence("node <who> asks <upstreams>")
    def asks(self, who: str, upstreams: str) -> None:
        """Ask these upstreams, and not all there are."""
        self._stopped(who).asks = [self._upstreams.address(upstream) for upstream in upstreams.split(", ")]

    @sentence("node <who>'s clock is <seconds> s <way>", way="ahead|behind")
    def clock(self, who: str, seconds: float, way: str) -> None:
        """Count the time otherwise than the others."""
        self._stopped(who).ahead = seconds if way == "ahead" else -seconds

    @sentence("file <name>:")
    def file(self, name: str, block: list[str]) -> None:
        """Lie beside the configuration of every node."""
        (self._folder / name).write_text("\n".join([*block, ""]), encoding="utf-8")

    @sentence("node <who> starts")
    async def starts(self, who: str) -> None:
        """Start, with an empty memory; where there is a Redis, connect to it."""
        node = self._stopped(who)
        (self._folder / "none.conf").touch()
        page = self._folder / f"{who}.toml"
        settings = self._defaults(who, node.asks) | node.settings
        page.write_text("".join(f"{key} = {value}\n" for key, value in settings.items()), encoding="utf-8")
        loaded = load({"config": str(page)}, {}, Machine(read_record=read_record)).settings
        node.reactor = Ahead(self._reactor, node.ahead)
        bound = bind(loaded.accept.listen, asked=True)
        node.port = bound[0].port
        node.service = build(loaded, node.reactor, bound, None, {})
        if self._began is None:
            self._began = self._reactor.seconds()
        node.service.startService()
        if self._store.answers:
            await until(self._reactor, node.linked, LINKED)

    def _defaults(self, who: str, asks: Sequence[str] | None) -> dict[str, str]:
        everyone = [self._upstreams.address(who) for who in self._upstreams]
        settings = {
            "accept.listen": '["127.0.0.1:0"]',
            "peers.node": json.dumps(who),
            "watch.enabled": "false",
            "fetch.resolv_conf": '"none.conf"',
            "fetch.upstreams": json.dumps(everyone if asks is None else asks),
        }
        if self._store.spoken_of:
            return settings | {"redis.url": json.dumps(self._store.url)}
        return settings | {"redis.enabled": "false"}

    @sentence("node <who> leaves")
    async def leaves(self, who: str) -> None:
        """End as on SIGTERM; its memory is lost."""
        node = self._get(who)
        service, node.service = node.service, None
        if service is not None and node.reactor is not None:
            await service.stopService()
            node.reactor.end()

    @sentence("node <who> crashes")
    async def crashes(self, who: str) -> None:
        """End without a word to the others."""
        link = self._get(who).running.path.link
        if link is not None:
            await link.close()
        await self.leaves(who)

    @sentence("node <who> lists <nodes>")
    async def lists(self, who: str, nodes: str) -> None:
        """Know these nodes, and no others, as members of the cluster; or soon."""
        node = await self.running(who)
        registry = node.running.presence.registry
        if registry is None:
            raise Untrue("without Redis it knows of no others")
        known: list[str] = []
        expected = sorted(nodes.split(", "))
        ends = self._reactor.seconds() + BEAT
        while known != expected and self._reactor.seconds() < ends:
            await deferLater(self._reactor, 0.05)
            with suppress(LinkDown):  # for a moment
                known = [member.id for member in await registry.members()]
        if known != expected:
            raise Untrue(f"it lists {', '.join(known)}")

    @sentence("node <who> uses redis[ within <seconds> s]")
    async def uses_redis(self, who: str, seconds: float = PATIENCE) -> None:
        """Be connected to Redis, or soon."""
        node = await self.running(who)
        if not await until(self._reactor, node.linked, seconds):
            raise Untrue(f"it does not, not even {seconds:g} s later")

    @sentence("node <who> does without redis[ within <seconds> s]")
    async def does_without(self, who: str, seconds: float = PATIENCE) -> None:
        """Not wait for Redis any more, or soon not."""
        node = await self.running(who)
        if not await until(self._reactor, lambda: not node.linked(), seconds):
            raise Untrue(f"it still uses Redis {seconds:g} s later")

    @sentence(
        "node <who> counted <count> <metric>[ <labels>]", metric="heimdall_[a-z_]+", labels="[a-z_]+(?:, [a-z_]+)*"
    )
    async def counted(self, who: str, count: int, metric: str, labels: str = "") -> None:
        """Hold a counter, of all that have these values in its first labels."""
        found = [one for one in (await self.running(who)).running.path.tallies if one.name == metric]
        if not found or not isinstance(found[0], Count):
            raise Untrue("there is no such counter")
        counter, values = found[0], labels.split(", ") if labels else []
        if not await until(self._reactor, lambda: counter.total(*values) == count):
            raise Untrue(f"it counted {counter.total(*values)}; by label: {counter.counts}")

    @sentence("later <count> s")
    async def later(self, count: int) -> None:
        """Let time pass at once for everybody: nodes and Redis. Timers that are set do not run faster for that."""
        self._reactor.leap(count)
        if self._began is not None:
            self._began += count
        # To a node this is a freeze: it believes its memory again when it has read what was flushed meanwhile.
        for node in self._all.values():
            if node.service is not None and node.reactor is not None:
                await self._believe(node.running.path.memory, node.reactor.seconds)

    async def _believe(self, memory: Memory, seconds: Callable[[], float]) -> None:
        if memory.doubted is not None and seconds() >= memory.sure_until:
            memory.doubted()
        await until(self._reactor, lambda: seconds() < memory.sure_until)

    @sentence("wait <seconds> s")
    async def wait(self, seconds: float) -> None:
        """Let time pass with all timers."""
        await deferLater(self._reactor, seconds)
