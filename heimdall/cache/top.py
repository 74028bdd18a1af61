"""What operators want to know of the load on the cluster, or on one node: the top names, who knew them, who asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.interfaces import IReactorTime

from heimdall.cache.ranks import HALF, Ranks, Row, number, question
from heimdall.interfaces import NO_CLOCK, NO_REDIS, ILink, LinkDown, Member
from heimdall.message.wire import to_text
from heimdall.single_flight import SingleFlight

NAMES: Final = 50
"""Names on each list."""

LOOKED: Final = 2000
"""Names that are looked through, the hottest; ``PAGE`` of them in one command."""

PAGE: Final = 100

SHORT: Final = 5
"""Seconds: a TTL up to this leaves little to cache."""

GOOD: Final = 2.0
"""Seconds that the lists are given again as they are."""

PATIENCE: Final = 1.2
"""Seconds that Redis may take before this node tells what it alone knows."""

TIERS: Final = ("memory", "redis", "upstream", "stale")

Own = Callable[[], Deferred[tuple[float, list[Row]]]]
"""Returns since when this node has counted, in seconds since 1970, and what it alone is asked for most."""

Members = Callable[[], Deferred[Sequence[Member]]]
"""Returns who is in the cluster."""


@define
class _Name:
    """A name and a type, whatever the flags they are asked with; ``ttl`` is -1 while it is not known."""

    name: bytes
    qtype: int
    asked: float = 0.0
    memory: float = 0.0
    redis: float = 0.0
    upstream: float = 0.0
    ttl: int = -1
    nodes: set[int] = field(factory=set)
    settled: bool = False

    def told(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "name": to_text(self.name),
            "type": _type(self.qtype),
            "asked": round(self.asked, 1),
            "nodes": len(self.nodes),
            "memory": round(self.memory, 1),
            "redis": round(self.redis, 1),
            "upstream": round(self.upstream, 1),
            "ttl": None if self.ttl < 0 else self.ttl,
        }


class _Found:
    """Names by what they are asked for."""

    def __init__(self) -> None:
        self.names: dict[bytes, _Name] = {}

    def add(self, row: Row) -> None:
        """Add what is known under one key, unless it is no name of ours."""
        query, facts = question(row.key), row.facts
        if query is None or facts is None:
            return
        name = self.names.setdefault(row.key[:-1], _Name(query.name, query.qtype))
        name.asked += row.asked
        name.memory += facts.memory
        name.redis += facts.redis
        name.upstream += facts.upstream
        name.nodes |= set(facts.nodes)
        name.settled |= facts.settled
        if facts.ttl is not None:
            name.ttl = facts.ttl if name.ttl < 0 else min(name.ttl, facts.ttl)


@frozen
class Shared:
    """What the nodes of a cluster count together in Redis: the list, and who is in the cluster."""

    link: ILink
    ranks: Ranks
    members: Members


class Top:
    """Lists what the cluster asks for most; where Redis cannot tell, what this node alone is asked for.

    :param own: what this node counts by itself.
    :param member: returns this node as the registry lists it.
    :param shared: None where Redis is not used.
    """

    def __init__(self, clock: IReactorTime, own: Own, member: Callable[[], Member], shared: Shared | None) -> None:
        self._clock, self._own, self._member, self._shared = clock, own, member, shared
        self._listed: Mapping[str, Any] = {}
        self._good_until = 0.0
        self._reading = SingleFlight(self._top)

    def top(self) -> Deferred[Mapping[str, Any]]:
        """Fire with the lists, as JSON has them.

        ``shared``  whether they are of the whole cluster, else the ``reason``; then they are of this node
        ``names``   what is asked for most; of each ``name``, ``type``, how often ``asked``, how often answered from
                    ``memory``, ``redis`` and ``upstream`` (an ask counts half after ``half`` seconds), by how many
                    ``nodes`` within the hour, and the ``ttl`` of its upstream, null where it is not known
        ``single``  the same of names that one node alone asks, with its ``node``, null if it has left; once every node
                    had time to tell what it is asked for
        ``short``   the same of names whose TTL is too short to be of use to a cache, those asked upstream most first
        ``shares``  of ``cluster``, and of each node under ``nodes``: ``queries`` since its start, and the share that
                    was answered from ``memory``, ``redis``, ``upstream`` or ``stale``
        ``since``   when counting began, in seconds since 1970
        """
        if self._clock.seconds() < self._good_until:
            return succeed(self._listed)
        return self._reading.ask()

    async def _top(self) -> Mapping[str, Any]:
        reason = NO_REDIS
        if self._shared is not None:
            asking = Deferred.fromCoroutine(self._cluster(self._shared)).addTimeout(PATIENCE, self._clock)
            try:
                since, found, members = await asking
                reason = ""
            except (LinkDown, TimeoutError) as error:
                reason = str(error) if isinstance(error, LinkDown) else "no answer in time"
        if reason:
            since, rows = await self._own()
            found, members = _Found(), [self._member()]
            for row in rows:
                found.add(row)
        names = sorted(found.names.values(), key=lambda name: -name.asked)
        nodes = {number(member.id): member.id for member in members}
        single = [name for name in names if len(name.nodes) == 1 and name.settled]
        short = sorted((name for name in names if -1 < name.ttl <= SHORT), key=lambda name: -name.upstream)
        self._listed = {
            "shared": not reason,
            "reason": reason,
            "names": [name.told() for name in names[:NAMES]],
            "single": [name.told() | {"node": nodes.get(min(name.nodes))} for name in single[:NAMES]],
            "short": [name.told() for name in short[:NAMES]],
            "shares": _shares(members),
            "since": round(since, 3),
            "half": HALF,
        }
        self._good_until = self._clock.seconds() + GOOD
        return self._listed

    async def _cluster(self, shared: Shared) -> tuple[float, _Found, Sequence[Member]]:
        """Return since when the cluster has counted, what, and who is in it.

        :raises LinkDown: Redis cannot tell.
        """
        now = shared.link.now()
        if now is None:
            raise LinkDown(NO_CLOCK)
        members = await shared.members()
        since, found = now, _Found()
        for first in range(0, LOOKED, PAGE):
            begun, rows = await shared.ranks.top(first, first + PAGE - 1, now, facts=True)
            since = min(since, begun)
            for row in rows:
                found.add(row)
            if len(rows) < PAGE:
                break
        return since, found, members


def _type(qtype: int) -> str:
    import dns.rdatatype

    return dns.rdatatype.to_text(dns.rdatatype.RdataType.make(qtype))


def _shares(members: Sequence[Member]) -> dict[str, Any]:
    each = {member.id: member.stats for member in members}
    every = {name: sum(stats.get(name, 0.0) for stats in each.values()) for name in ("queries", *TIERS)}
    return {"cluster": _share(every), "nodes": {node: _share(stats) for node, stats in each.items()}}


def _share(stats: Mapping[str, float]) -> dict[str, float]:
    answered = sum(stats.get(tier, 0.0) for tier in TIERS)
    shares = {tier: round(stats.get(tier, 0.0) / answered, 4) if answered else 0.0 for tier in TIERS}
    return {"queries": stats.get("queries", 0.0), **shares}
