"""The registry of the cluster: each node writes down every few seconds that it is alive; silence takes it off."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from math import isfinite
from typing import Any, Final, cast

from twisted.internet.defer import Deferred, FirstError, gatherResults, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from heimdall.interfaces import NO_CLOCK, ILink, IRegistry, LinkDown, Member
from heimdall.single_flight import SingleFlight
from heimdall.slices import Slices
from heimdall.tally import Count, Gauge, Tally

STATUSES: Final = ("starting", "healthy", "degraded", "unhealthy", "leaving")

MOST_MEMBERS: Final = 1000
"""Nodes that are listed; the index holds no more."""

MOST_BYTES: Final = 4096
"""Bytes that the description of a node may take."""

MOST_TEXT: Final = 255
MOST_STATS: Final = 64

WHOLE: Final = 12
"""Heartbeats after which the whole of what a node writes is written again, changed or not."""

AGES: Final = ("uptime_seconds",)
"""Stats that grow by one every second: no news, as whoever reads them can tell what they are by now."""

LAST_WORDS: Final = 1.0
"""Seconds that leaving may take."""

_TRIES = 5  # A heartbeat that failed is tried again after this part of the time between two.


@implementer(IRegistry)
class Registry:
    """This node's place in the cluster, and the list of all nodes.

    Each node has a place in an index, a set sorted by heartbeat, and a key of its own that describes it. A heartbeat
    is one small command, a new score in the index; the description is written when it has changed, and whole,
    with the index tidied, once in :data:`WHOLE` heartbeats. Both expire by themselves, some time after the last.
    All times are on the clock of Redis.

    Without a name of its own a node is called by its host name and a random ending, so that two on one host are
    two members. Two that were *given* one name are one member, as whose the later heartbeat counts; that is
    logged, and neither takes the other off when it leaves.

    :param node: its name, or empty.
    :param hostname: its host's; ``pod_ip`` its address in the cluster, or empty.
    :param status: called at each heartbeat, one of :data:`STATUSES`.
    :param stats: called at each heartbeat, numbers by name.
    :param heartbeat: seconds between two; after one that failed the next comes sooner.
    :param expiry: seconds after the last heartbeat until a node is off the list.
    :param prefix: what all keys begin with.
    """

    def __init__(
        self,
        link: ILink,
        clock: IReactorTime,
        *,
        node: str,
        hostname: str,
        pod_ip: str,
        status: Callable[[], str],
        stats: Callable[[], Mapping[str, float]],
        heartbeat: float = 5.0,
        expiry: float = 10.0,
        prefix: str = "heimdall",
    ) -> None:
        self.id = (node or f"{hostname}-{secrets.token_hex(4)}")[:MOST_TEXT]
        self._link, self._clock = link, clock
        self._hostname, self._pod_ip = hostname[:MOST_TEXT], pod_ip[:MOST_TEXT]
        self._status, self._stats = status, stats
        self._heartbeat, self._expiry = heartbeat, expiry
        self._index = f"{prefix}:nodes"
        self._node = f"{prefix}:node:"
        self._token = secrets.token_hex(8).encode()
        self._lasts = int((heartbeat * WHOLE + expiry) * 1000)
        self._due = 0.0
        self._whole_due = 0.0
        self._described: object = None
        self._left = False
        self._listed: bool | None = None
        self._namesake = False
        self._log = Logger()
        self._reading: SingleFlight[Sequence[Member]] = SingleFlight(self._members)
        self._loop = LoopingCall(self._beat_if_due)
        self._loop.clock = clock
        self._beats = Count("heimdall_peers_heartbeats_total", "Heartbeats of this node.", "result")
        self._skipped = Count("heimdall_peers_skipped_total", "Entries of the registry that are no node.", "reason")
        self._seen = 0
        seen = Gauge("heimdall_peers_listed_nodes", "Nodes on the list at the last heartbeat.", lambda: self._seen)
        self.tallies: list[Tally] = [self._beats, self._skipped, seen]

    def start(self) -> None:
        """Beat as soon as Redis is there, and from now on."""
        if not self._loop.running and not self._left:
            self._due = self._clock.seconds()
            self._link.watch(self._linked)
            self._loop.start(self._heartbeat / _TRIES, now=self._link.up)

    def beat(self) -> Deferred[None]:
        """Say that this node is alive, and how it is. Never fails, and ends within one heartbeat."""
        if self._left:
            return succeed(None)
        # A little early, so that a timer that is a hair too soon does not cost a turn.
        due = self._clock.seconds() + self._heartbeat * (1 - 0.5 / _TRIES)
        telling = Deferred.fromCoroutine(self._tell()).addTimeout(self._heartbeat, self._clock)
        return telling.addCallbacks(self._succeeded, self._failed, callbackArgs=(due,))

    def members(self) -> Deferred[Sequence[Member]]:
        """Return the nodes that are alive, by id. Fails with :class:`LinkDown`."""
        return self._reading.ask()

    def rest(self) -> None:
        """Beat no more; another one does that for this node from now on, or it has left."""
        self._left = True
        if self._loop.running:
            self._loop.stop()

    def leave(self) -> Deferred[None]:
        """Stop beating and take this node off the list. Never fails, and ends within a second."""
        self.rest()
        leaving = Deferred.fromCoroutine(self._take_off()).addTimeout(LAST_WORDS, self._clock)
        return leaving.addErrback(lambda _: None)  # then the key expires by itself

    def _linked(self) -> None:
        """Redis is here, or here again: who reads the list should not wait for our next turn."""
        if self._link.up and self._listed is not True and self._loop.running:
            self.beat()

    def _beat_if_due(self) -> Deferred[None] | None:
        return self.beat() if self._clock.seconds() >= self._due else None

    def _succeeded(self, _: None, due: float) -> None:
        self._due = due
        self._beats.add("ok")
        if self._listed is not True:
            self._listed = True
            self._log.info("this node is in the registry as {id}", id=self.id)

    def _failed(self, failure: Failure) -> None:
        self._beats.add("failed")
        self._described = None
        if self._listed is None and not self._link.up:
            return  # not connected yet: the link tells of it
        if self._listed is not False:
            self._listed = False
            self._log.warn("this node cannot be written into the registry: {why}", why=failure.getErrorMessage())

    async def _tell(self) -> None:
        """Write down that we are alive, and whatever is news; now and then all, and keep the index tidy."""
        now, key = self._now(), self._node + self.id
        told = self._told(now)
        news = [told["status"], {name: value for name, value in told["stats"].items() if name not in AGES}]
        try:
            new, seen = await gatherResults(
                [
                    self._link.run("ZADD", self._index, f"{now:.3f}", self.id),
                    self._link.run("ZCOUNT", self._index, f"{now - self._expiry:.0f}", "inf"),
                ],
                consumeErrors=True,
            )
            self._seen = seen if isinstance(seen, int) else 0
            whole = new or self._described is None or self._clock.seconds() >= self._whole_due
            if whole:
                self._look_for_namesake(await self._link.run("GET", key))
            if whole or news != self._described:
                await self._link.run("SET", key, _packed(told), "PX", self._lasts)
                self._described = news
            if whole:
                await self._tidy(now)
        except (LinkDown, FirstError) as error:
            why = error.subFailure.getErrorMessage() if isinstance(error, FirstError) else str(error)
            if why.startswith("WRONGTYPE"):  # somebody put something else there
                self._link.run("DEL", self._index, key).addErrback(lambda _: None)
            raise LinkDown(why) from None

    async def _tidy(self, now: float) -> None:
        """Take off the index who fell silent, and what is no node."""
        run, index = self._link.run, self._index
        replies = [
            run("ZREMRANGEBYSCORE", index, "-inf", f"({now - self._expiry:.3f}"),
            run("ZREMRANGEBYSCORE", index, f"({now + self._expiry:.3f}", "+inf"),
            run("ZREMRANGEBYRANK", index, 0, -MOST_MEMBERS - 1),
            run("PEXPIRE", index, self._lasts),
        ]
        await gatherResults(replies, consumeErrors=True)
        self._whole_due = self._clock.seconds() + self._heartbeat * (WHOLE - 0.5)

    def _look_for_namesake(self, before: object) -> None:
        """Log it, once, when another process writes under our name: between two heartbeats of ours."""
        if self._listed and not self._namesake and isinstance(before, bytes) and self._token not in before:
            self._namesake = True
            self._log.warn("another node is called {id} too: give each a name of its own", id=self.id)

    async def _members(self) -> Sequence[Member]:
        now = self._now()
        earliest, latest = f"{now - self._expiry:.3f}", f"{now + self._expiry:.3f}"
        command = ("ZREVRANGEBYSCORE", self._index, latest, earliest, "WITHSCORES", "LIMIT", 0, MOST_MEMBERS)
        listed = await self._link.run(*command)
        if not isinstance(listed, list) or not listed:
            return []
        ids = listed[::2]
        values = await self._link.run("MGET", *[self._node.encode() + node for node in ids])
        members = []
        slices = Slices(self._clock)
        for node, score, value in zip(ids, listed[1::2], values if isinstance(values, list) else [], strict=False):
            if isinstance(value, bytes):
                try:
                    members.append(_member(node, value, float(score)))
                except (ValueError, KeyError, OverflowError, RecursionError):
                    self._skipped.add("malformed")
            await slices.pause()
        return sorted(members, key=lambda member: member.id)

    async def _take_off(self) -> None:
        key = self._node + self.id
        held = await self._link.run("GET", key)
        if isinstance(held, bytes) and self._token in held:
            replies = [self._link.run("DEL", key), self._link.run("ZREM", self._index, self.id)]
            await gatherResults(replies, consumeErrors=True)

    def _now(self) -> float:
        now = self._link.now()
        if now is None:
            raise LinkDown(NO_CLOCK)
        return now

    def _told(self, now: float) -> dict[str, Any]:
        status = self._status()
        if status not in STATUSES:
            raise ValueError(f"{status!r} is no status of a node")
        stats = {name: value for name, value in islice(self._stats().items(), MOST_STATS) if isfinite(value)}
        told: dict[str, Any] = {"id": self.id, "hostname": self._hostname, "pod_ip": self._pod_ip}
        return told | {"last_heartbeat": round(now, 3), "status": status, "run": self._token.decode(), "stats": stats}


def _packed(told: dict[str, Any]) -> bytes:
    """Return a description as it is written; without the stats when it would be too long."""
    whole = json.dumps(told, separators=(",", ":")).encode()
    return whole if len(whole) <= MOST_BYTES else json.dumps(told | {"stats": {}}).encode()


def _member(node: bytes, value: bytes, heard: float) -> Member:
    """Read what a node wrote. Whoever can write to Redis can write anything.

    :param heard: when its last heartbeat was.
    :raises ValueError: it is no description of that node. KeyError, OverflowError and RecursionError say the same.
    """
    if len(value) > MOST_BYTES:
        raise ValueError("too long")
    told = json.loads(value)
    if type(told) is not dict or type(told["stats"]) is not dict:
        raise ValueError("not the fields of a node")
    texts = [told[name] for name in ("id", "hostname", "pod_ip")]
    stats, written = told["stats"], told["last_heartbeat"]
    names = list(stats)
    if not all(type(text) is str and len(text) <= MOST_TEXT and text.isprintable() for text in texts + names):
        raise ValueError("a text that is none")
    if not all(_is_number(number) for number in (written, *stats.values())) or len(stats) > MOST_STATS:
        raise ValueError("a number that is none")
    if texts[0].encode() != node or told["status"] not in STATUSES:
        raise ValueError("another node, or an unknown status")
    since = max(heard - written, 0.0)
    return Member(
        id=texts[0],
        hostname=texts[1],
        pod_ip=texts[2],
        last_heartbeat=heard,
        status=told["status"],
        stats={name: float(number) + (since if name in AGES else 0.0) for name, number in stats.items()},
    )


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and isfinite(cast(float, value))
