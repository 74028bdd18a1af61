"""A node: the path with its sockets, its place in the cluster and its operator's pages; starts them, ends them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet.defer import DeferredList, inlineCallbacks, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from heimdall.accept.sockets import Bound
from heimdall.cache.top import Top
from heimdall.config.address import join
from heimdall.config.settings import Redis, Settings
from heimdall.console import Console
from heimdall.fetch.server import parse
from heimdall.interfaces import Member
from heimdall.peers.inspect import Inquiries
from heimdall.peers.registry import Registry
from heimdall.pipeline import Path, lay
from heimdall.watch.admin import Admin
from heimdall.watch.caches import Caches
from heimdall.watch.notify import herald
from heimdall.watch.trust import Trust

ORIGINS = ("memory", "redis", "upstream", "stale", "local", "blocked")
"""Who may have known an answer."""

LAST_WORDS = 0.5
"""Seconds beyond the deadline of a query that the last of them may take when a node ends."""


class Node(Service):
    """One running node.

    :param path: where queries go.
    :param reactor: watches the sockets.
    :param bound: the sockets to serve DNS on.
    :param http: the socket to serve the operator on, or None.
    """

    _log = Logger()

    def __init__(
        self,
        settings: Settings,
        path: Path,
        reactor: Any,
        bound: Sequence[Bound],
        http: socket.socket | None,
        environ: Mapping[str, str],
    ) -> None:
        self.path = path
        self._settings = settings
        self._reactor = reactor
        self._bound = tuple(bound)
        self._http = http
        self._ports: list[IListeningPort] = []
        self._pages: IListeningPort | None = None
        self._status = "starting"
        self._began = reactor.seconds()
        self.herald = herald(reactor, environ)
        self._hostname = socket.gethostname()
        self._pod_ip = environ.get("POD_IP") or _own_address(settings.fetch.upstreams)
        # A node that only reads is on no list.
        self._lists_itself = settings.redis.role != "reader"
        self.registry: Registry | None = None
        self.inquiries: Inquiries | None = None
        top: Top | None = None
        peers = settings.peers
        if path.sharing is not None:
            self.registry = Registry(
                path.sharing.link,
                reactor,
                node=peers.node,
                hostname=self._hostname,
                pod_ip=self._pod_ip,
                status=self.status,
                stats=self.stats,
                heartbeat=peers.heartbeat,
                expiry=peers.expiry,
                prefix=settings.redis.prefix,
            )
            self.inquiries = Inquiries(
                path.sharing.notices,
                reactor,
                node=self.registry.id,
                held=path.inspection.memory,
                knows=path.sharing.flushes.knows,
                members=self.registry.members,
            )
            path.sharing.name(self.registry.id)
            if path.sharing.ranks.most:
                top = Top(path.sharing.link, path.sharing.ranks, reactor, self.registry.members)
        own = [part for part in (self.registry, self.inquiries) if part is not None]
        tallies = [*path.tallies, *self.herald.tallies, *(tally for part in own for tally in part.tallies)]
        self.admin = Admin(
            clock=reactor,
            tallies=tallies,
            ready=self.ready,
            own=self.member,
            members=self.registry.members if self.registry else None,
            caches=Caches(
                Console(path, self.id, reactor, self.inquiries),
                Trust(settings.watch.token_file, (self._hostname, peers.node)),
            ),
            top=top.top if top is not None else None,
        )

    @property
    def id(self) -> str:
        """The name of this node in the cluster."""
        return self.registry.id if self.registry else self._settings.peers.node or self._hostname

    def status(self) -> str:
        """Return how this node does: one of the states of the registry.

        Without a Redis that somebody set a node is degraded, not unhealthy: it answers all the same.
        """
        if self._status != "healthy":
            return self._status
        servers = [server["up"] for group in self.path.groups for server in group.state()]
        if servers and not any(servers):
            return "unhealthy"
        link = self.path.link
        missed = link is not None and not link.up and self._settings.redis.url != Redis().url
        return "degraded" if missed or not all(servers) else "healthy"

    def stats(self) -> Mapping[str, float]:
        """Return what this node tells the others of itself."""
        server, memory = self.path.server, self.path.memory
        return {
            "uptime_seconds": round(self._reactor.seconds() - self._began, 1),
            "queries": server.queries.total(),
            **{origin: server.answers.total(origin) for origin in ORIGINS},
            "memory_bytes": memory.used,
            "memory_entries": len(memory),
        }

    def member(self) -> Member:
        """Return this node as the registry lists it."""
        link = self.path.link
        now = link.now() if link is not None else None
        return Member(
            id=self.id,
            hostname=self._hostname,
            pod_ip=self._pod_ip,
            last_heartbeat=round(time.time() if now is None else now, 3),
            status=self.status(),
            stats=self.stats(),
        )

    def ready(self) -> tuple[bool, Sequence[str]]:
        """Return whether queries should come here, and if not, why.

        Upstreams that are down are no reason: what this node holds, be it stale, is better than nothing, and
        its replicas share the same upstreams.
        """
        if self._status == "healthy":
            return True, ()
        return False, (f"this node is {self._status}",)

    def alive(self) -> bool:
        """Return whether every socket for DNS is read, as far as this node serves at all."""
        ports: list[Any] = self._ports
        return self.path.datagrams.reading() and all(port.connected for port in ports)

    def words(self) -> str:
        """Return how this node does, in one line for a person."""
        queries, memory = self.path.server.queries.total(), self.path.memory
        return f"{self.status()}: {queries} queries so far, {len(memory)} answers in memory"

    def startService(self) -> None:
        """Serve."""
        Service.startService(self)
        self.path.start()
        for one in self._bound:
            self.path.datagrams.listen(one.udp, self._reactor)
            self._ports.append(self._adopt(one.tcp, self.path.server))
        if self._http is not None:
            self._pages = self._adopt(self._http, self.admin.site)
        if self.registry is not None and self._lists_itself:
            self.registry.start()
        self.herald.start(self.alive, self.words)
        self.path.warm().addCallback(self._warm)
        self._log.info(
            "Serving DNS on {addresses}; upstreams: {upstreams}",
            addresses=", ".join(join(one.host, one.port) for one in self._bound),
            upstreams=", ".join(self._settings.fetch.upstreams) or "none",
        )

    def _warm(self, _: None) -> None:
        """Be ready: memory knows what the others know, as far as that could be had."""
        if self._status == "starting":
            self._status = "healthy"
            # Not before the reactor runs: until then no signal is heeded.
            self._reactor.callWhenRunning(self.herald.ready)
            if self.registry is not None and self._lists_itself:
                self.registry.beat()

    def _adopt(self, listening: socket.socket, factory: Any) -> IListeningPort:
        """Serve a stream socket; the reactor takes a copy of it."""
        port: IListeningPort = self._reactor.adoptStreamPort(listening.fileno(), listening.family, factory)
        listening.close()
        return port

    @inlineCallbacks
    def stopService(self) -> Any:
        """Leave the cluster at once, answer what was asked, and end. Fires when that is done."""
        self._status = "leaving"
        self.herald.stopping()
        leaving = self.registry.leave() if self.registry else None
        datagrams, server = self.path.datagrams, self.path.server
        datagrams.pause()
        yield DeferredList([maybeDeferred(port.stopListening) for port in self._ports])
        within = self._settings.fetch.deadline + LAST_WORDS
        answered = server.finish()
        # Its askers are told by the deadline of a query; this is for the case that one of them is not.
        answered.addTimeout(within, self._reactor, lambda *_: None)
        yield answered
        yield server.streams.finish(LAST_WORDS)
        datagrams.close()
        if leaving is not None:
            yield leaving
        yield self.path.close()
        if self._pages is not None:
            yield maybeDeferred(self._pages.stopListening)
        Service.stopService(self)


def build(
    settings: Settings,
    reactor: Any,
    bound: Sequence[Bound],
    http: socket.socket | None,
    environ: Mapping[str, str] | None = None,
) -> IService:
    """Return a node, ready to start.

    :param settings: a sound configuration.
    :param bound: the sockets to serve DNS on; ``http`` that for the operator, if any.
    :raises ValueError: a policy or a source of the user's own is none; the text names it.
    """
    return Node(settings, lay(settings, reactor), reactor, bound, http, os.environ if environ is None else environ)


def _own_address(upstreams: Sequence[str]) -> str:
    """Return our address on the way to the first upstream; empty when there is none. No packet is sent."""
    for text in upstreams[:1]:
        _, host, port = parse(text)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((host, port))
                address: str = probe.getsockname()[0]
                return address
        except OSError:
            pass
    return ""
