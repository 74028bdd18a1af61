"""What a node is to others: its entry in the registry, its replies to other nodes, its pages for operators."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from heimdall.accept.sockets import Bound
from heimdall.cache.ranks import Row
from heimdall.cache.top import Shared, Top
from heimdall.config.settings import Settings
from heimdall.console import Console, Holder
from heimdall.episodes import Episodes
from heimdall.interfaces import Member
from heimdall.overview import Overview
from heimdall.peers.inspect import Inquiries
from heimdall.peers.registry import Registry
from heimdall.pipeline import Path
from heimdall.tally import Tally
from heimdall.totals import Live
from heimdall.watch.admin import Admin
from heimdall.watch.caches import Caches
from heimdall.watch.carried import Carried, Carrier
from heimdall.watch.trust import Trust


class Hands(Holder, Protocol):
    """Whoever does the work of a node: this process alone, or its workers.

    ``bound`` are the sockets it serves on, ``path`` the way of this process to Redis and to the upstreams, ``carry``
    carries answers into the tiers and out of them, and ``tallies`` are what all of it counts.
    """

    bound: tuple[Bound, ...]
    path: Path

    @property
    def tallies(self) -> Iterator[Tally]:
        """What is counted."""

    def count(self) -> Deferred[None]:
        """Bring the tallies up to date, as far as that can be done in a moment. Never fails."""

    @property
    def carry(self) -> Carrier:
        """What carries."""

    def processes(self) -> Sequence[int]:
        """Return the numbers of the processes that this one has for its work."""

    def upstreams(self) -> Sequence[Sequence[Mapping[str, Any]]]:
        """Return how each upstream does, by groups."""

    def hitters(self) -> Deferred[tuple[float, list[Row]]]:
        """Return since when, and what this node alone is asked for most, as of a moment ago. Never fails."""

    def alive(self) -> bool:
        """Return whether everything that should serve does."""

    def start(self, redis: Deferred[None]) -> Deferred[None]:
        """Serve; fires when all of it does, and is as warm as can be had.

        :param redis: fires when Redis is to be connected to; nothing else waits for it.
        """

    def change(self, settings: Settings) -> Deferred[None]:
        """Serve with other settings; fires when all of it does.

        :return: fails with ValueError or OSError when they cannot be used; then nothing has changed.
        """

    def settled(self) -> Deferred[None]:
        """Fire when nothing is under way with the settings before these any more. Never fails."""

    def finish(self) -> Deferred[None]:
        """Take nothing more, and answer what was asked. Fires when that is done."""

    def close(self) -> Deferred[None]:
        """Give up every connection. Fires when that is done."""


@frozen
class Person:
    """What does not change about a node: its name, and where it is; ``status`` and the others tell how it does."""

    id: str
    hostname: str
    pod_ip: str
    status: Callable[[], str]
    stats: Callable[[], Mapping[str, float]]
    ready: Callable[[], tuple[bool, Sequence[str]]]


class Presence:
    """The registry, the other nodes and the operators know a node by this; made anew with each configuration.

    :param person: the node.
    :param hands: do its work.
    :param tallies: returns what is counted of it elsewhere.
    """

    _log = Logger()

    def __init__(
        self, settings: Settings, person: Person, hands: Hands, reactor: Any, tallies: Callable[[], Iterable[Tally]]
    ) -> None:
        self.settings, self.person, self._hands = settings, person, hands
        path = self._path = hands.path
        self.registry: Registry | None = None
        self.inquiries: Inquiries | None = None
        shared: Shared | None = None
        peers = settings.peers
        if path.sharing is not None:
            self.registry = Registry(
                path.sharing.link,
                reactor,
                node=person.id,
                hostname=person.hostname,
                pod_ip=person.pod_ip,
                status=person.status,
                stats=person.stats,
                heartbeat=peers.heartbeat,
                expiry=peers.expiry,
                prefix=settings.redis.prefix,
            )
            self.inquiries = Inquiries(
                path.sharing.notices, reactor, node=person.id, held=hands.held, members=self.registry.members
            )
            shared = Shared(path.sharing.link, path.sharing.ranks, self.registry.members)
        own = [part for part in (self.registry, self.inquiries) if part is not None]
        self._own = [tally for part in own for tally in part.tallies]
        self._refusals = Episodes(
            reactor, self._log, "HTTP refused: {who}", "HTTP refused {count} times: {who}; no more"
        )
        trust = Trust(settings.watch.token_file, (person.hostname, peers.node), self._refusals)
        members = self.registry.members if self.registry else None
        self.overview = Overview(settings, hands, reactor, node=person.id, own=self.member, members=members)
        self.admin = Admin(
            clock=reactor,
            tallies=Live(lambda: hands.tallies, lambda: self._own, tallies),
            ready=person.ready,
            own=self.member,
            members=members,
            overview=self.overview.overview,
            trust=trust,
            caches=Caches(Console(path, person.id, hands, reactor, self.inquiries), trust),
            carried=Carried(hands.carry, trust, reactor),
            top=Top(reactor, self._hitters, self.member, shared).top if settings.cache.hot_names else None,
            count=hands.count,
            processes=hands.processes,
        )

    def _hitters(self) -> Deferred[tuple[float, list[Row]]]:
        """Return what this node alone is asked for most, once its other counts are up to date as well."""
        return self._hands.count().addCallback(lambda _: self._hands.hitters())

    def start(self) -> None:
        """Be on the list of nodes; one that only reads is on none."""
        self.overview.start()
        if self.registry is not None and self.settings.redis.role != "reader":
            self.registry.start()

    def beat(self) -> None:
        """Tell the news at once."""
        if self.registry is not None and self.settings.redis.role != "reader":
            self.registry.beat()

    def leave(self) -> Deferred[None]:
        """Leave the list; never fails."""
        self._refusals.stop()
        self.overview.stop()
        return self.registry.leave() if self.registry is not None else succeed(None)

    def yield_to(self, other: Presence) -> None:
        """Make room for another one, which is this node from now on."""
        self.overview.yield_to(other.overview)
        if self.inquiries is not None:
            self.inquiries.rest()
        if self.registry is None:
            return
        ours, theirs = self.settings.redis, other.settings.redis
        same = (ours.url, ours.prefix, ours.role) == (theirs.url, theirs.prefix, theirs.role)
        if same and theirs.enabled and self.person.id == other.person.id:
            self.registry.rest()
        else:
            self.registry.leave()

    @property
    def tallies(self) -> Sequence[Tally]:
        """What is counted here."""
        return [*self._own, *self.admin.tallies]

    def member(self) -> Member:
        """Return the node as the registry lists it."""
        person, link = self.person, self._path.link
        now = link.now() if link is not None else None
        return Member(
            id=person.id,
            hostname=person.hostname,
            pod_ip=person.pod_ip,
            last_heartbeat=round(time.time() if now is None else now, 3),
            status=person.status(),
            stats=person.stats(),
        )
