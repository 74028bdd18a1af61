"""The cluster at a glance, as one piece of JSON: who is in it, how fast each goes, upstreams, Redis, the past."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from heimdall import __version__
from heimdall.config.settings import Settings
from heimdall.interfaces import Member
from heimdall.pipeline import IMPORT, Path
from heimdall.redislink import Address
from heimdall.statistics import ORIGINS
from heimdall.tally import SECONDS, Tally, Times
from heimdall.watch.pulse import MINUTE, Course, Pulse

TOOK: Final = (*(f"took_{bound:g}" for bound in SECONDS), "took_more")
"""What a node calls the number of its answers that took up to so many seconds, and more than the bound before."""


class Works(Protocol):
    """Whoever does the work of a node, as far as it is looked at here."""

    path: Path

    @property
    def tallies(self) -> Iterable[Tally]:
        """What is counted."""

    def count(self) -> Deferred[None]:
        """Bring the tallies up to date."""

    def upstreams(self) -> Sequence[Sequence[Mapping[str, Any]]]:
        """Return how each upstream does, by groups."""


def measured(tallies: Iterable[Tally]) -> Mapping[str, float]:
    """Return how many of its answers took how long, as a node tells the others: what there is none of is left out."""
    buckets, _ = _times(tallies, "heimdall_accept_query_seconds")
    return {name: count for name, count in zip(TOOK, buckets, strict=True) if count}


class Overview:
    """What the page at ``/`` shows.

    :param works: does the work of this node; ``node`` is its name.
    :param clock: the reactor's time.
    :param own: returns this node as the registry would list it.
    :param members: returns who is in the cluster, or fails with ``LinkDown``; None where nothing is shared.
    """

    def __init__(
        self,
        settings: Settings,
        works: Works,
        clock: IReactorTime,
        *,
        node: str,
        own: Callable[[], Member],
        members: Callable[[], Deferred[Sequence[Member]]] | None,
    ) -> None:
        self._works, self._node, self._own = works, node, own
        self._pulse = Pulse(clock, self._seen, members, ORIGINS)
        self._heartbeat, self._counted = settings.peers.heartbeat, settings.cache.hot_names > 0
        self._redis_at = str(Address.parse(settings.redis.url)) if works.path.sharing is not None else ""
        fetch = settings.fetch
        # A group stands there for each list of servers, in this order.
        lists = (("", fetch.upstreams), *fetch.routes.items())
        self._suffixes = [name for name, servers in lists if servers and not servers[0].startswith(IMPORT)]

    def start(self) -> None:
        """Look at the members now, and now and then, so that the past minutes are known when somebody asks."""
        self._pulse.start()

    def stop(self) -> None:
        """Look no more."""
        self._pulse.stop()

    def yield_to(self, other: Overview) -> None:
        """Look no more, and leave what is known to another one."""
        self.stop()
        other._pulse.begin_with(self._pulse)

    def overview(self) -> Deferred[Mapping[str, Any]]:
        """Fire with all of it, as of a moment ago; never fails.

        ``node``, ``version``, ``heartbeat``  this node, and the seconds between two heartbeats
        ``shared``, ``reason``  whether ``members`` are all there are, else why they are this node alone
        ``members``   of each ``id``, ``hostname``, ``pod_ip``, ``status``, ``own``, ``age`` of its heartbeat and
                      ``uptime`` in seconds, ``queries`` a second, null while that is not known, ``answers`` of the
                      last minute by origin, ``held`` answers and their ``bytes``
        ``answers``   of the cluster in the last minutes: how many seconds ``ago``, and a second by origin
        ``latency``   of its answers in the last minute: ``bounds`` in seconds, and how many took up to each and more
                      than the one before; one more for those past the last
        ``upstreams`` of each ``server`` whether it is ``up``, its ``rtt`` in seconds, ``misses``, what is
                      ``inflight``, and the ``names`` it is for, empty for all others
        ``redis``     ``at`` which address, ``up``, ``hearing`` messages, ``rtt`` in seconds of late; null without
        ``counted``   whether ``/api/v1/top`` knows what is asked for most
        """
        counted = self._works.count().addCallback(lambda _: self._pulse.look())
        return counted.addCallback(lambda _: self._told())

    def _told(self) -> Mapping[str, Any]:
        pulse = self._pulse
        past = pulse.past()
        answers = {"ago": [round(ago, 1) for ago, _ in past]}
        for index, origin in enumerate(ORIGINS):
            answers[origin] = [rates[index] for _, rates in past]
        own = next((member for member in pulse.members if member.id == self._node), None)
        now = own.last_heartbeat if own is not None else 0.0
        return {
            "node": self._node,
            "version": __version__,
            "heartbeat": self._heartbeat,
            "shared": not pulse.away,
            "reason": pulse.away,
            "members": [self._member(member, pulse.course(member.id), now) for member in pulse.members],
            "answers": answers,
            "latency": {"seconds": MINUTE, "bounds": SECONDS, "counts": [round(pulse.rise(name)) for name in TOOK]},
            "upstreams": self._upstreams(),
            "redis": self._redis(),
            "counted": self._counted,
        }

    def _seen(self) -> Member:
        """Return this node with what is seen from here alone, and would be news at every heartbeat."""
        own = self._own()
        buckets, seconds = _times(self._works.tallies, "heimdall_redislink_round_trip_seconds")
        seen = {"redis_replies": float(sum(buckets)), "redis_seconds": seconds}
        return evolve(own, stats={**own.stats, **seen})

    def _member(self, member: Member, course: Course, now: float) -> Mapping[str, Any]:
        stats, queries = member.stats, course.rate("queries")
        return {
            "id": member.id,
            "hostname": member.hostname,
            "pod_ip": member.pod_ip,
            "status": member.status,
            "own": member.id == self._node,
            "age": round(max(now - member.last_heartbeat, 0.0), 1),
            "uptime": stats.get("uptime_seconds"),
            "queries": None if queries is None else round(queries, 1),
            "answers": {origin: round(course.rise(origin)) for origin in ORIGINS},
            "held": stats.get("memory_entries"),
            "bytes": stats.get("memory_bytes"),
        }

    def _upstreams(self) -> list[Mapping[str, Any]]:
        return [
            {**server, "names": names}
            for names, group in zip(self._suffixes, self._works.upstreams(), strict=False)
            for server in group
        ]

    def _redis(self) -> Mapping[str, Any] | None:
        link, course = self._works.path.link, self._pulse.course(self._node)
        if link is None:
            return None
        replies = course.rise("redis_replies")
        rtt = course.rise("redis_seconds") / replies if replies else None
        return {"at": self._redis_at, "up": link.up, "hearing": link.hearing, "rtt": rtt}


def _times(tallies: Iterable[Tally], name: str) -> tuple[list[int], float]:
    """Return the buckets of all tallies of this name together, and their sum."""
    buckets, seconds = [0] * len(TOOK), 0.0
    for tally in tallies:
        if isinstance(tally, Times) and tally.name == name:
            buckets = [one + other for one, other in zip(buckets, tally.buckets, strict=True)]
            seconds += tally.sum
    return buckets, seconds
