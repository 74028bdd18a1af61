"""Links in front of other links: look-ups at a replica near us, and nodes that only read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeAlias

from twisted.internet.defer import Deferred, fail, gatherResults
from zope.interface import implementer

from heimdall.interfaces import Heard, ILink, LinkDown
from heimdall.redislink.link import Link
from heimdall.redislink.slots import word
from heimdall.tally import Count, Gauge, Tally

if TYPE_CHECKING:
    from heimdall.redislink.cluster import Cluster

LOOKUPS: Final = frozenset((b"GET", b"MGET"))
"""Commands that a replica answers as well."""

READS: Final = LOOKUPS | {
    b"CLUSTER", b"DBSIZE", b"EVALSHA_RO", b"EVAL_RO", b"EXISTS", b"INFO", b"MEMORY", b"PING", b"PTTL", b"PUBLISH",
    b"SCAN", b"STRLEN", b"TIME", b"TTL", b"TYPE", b"ZCARD", b"ZCOUNT", b"ZRANGE", b"ZRANGEBYSCORE", b"ZREVRANGE",
    b"ZREVRANGEBYSCORE", b"ZSCORE",
}  # fmt: skip
"""Commands that change no key."""

Startable: TypeAlias = "Link | Cluster | ReadSplit | ReadOnly"
"""A link as :func:`heimdall.redislink.connect_to` makes it."""


class _Front:
    """A link that leaves to the one behind it whatever it does not do itself."""

    def __init__(self, behind: Startable) -> None:
        self._behind = behind

    @property
    def up(self) -> bool:
        """Whether Redis answers."""
        return self._behind.up

    @property
    def hearing(self) -> bool:
        """Whether messages on all channels reach us now."""
        return self._behind.hearing

    @property
    def refusals(self) -> Sequence[str]:
        """What Redis has just refused, here or behind: all links to it keep one ledger."""
        return self._behind.refusals

    def start(self) -> None:
        """Connect, and from now on stay connected."""
        self._behind.start()

    def now(self) -> float | None:
        """Return the time on the clock of Redis, in seconds since 1970; None until it was read once."""
        return self._behind.now()

    def doubt(self) -> float:
        """Return by how many seconds that may be wrong, either way."""
        return self._behind.doubt()

    @property
    def scattered(self) -> bool:
        """Whether keys live in several places."""
        return self._behind.scattered

    def place(self, key: bytes) -> int:
        """Return where a key lives."""
        return self._behind.place(key)

    def listen(self, channel: str, heard: Heard) -> None:
        """Call ``heard`` with each message on a channel from now on, whatever becomes of connections."""
        self._behind.listen(channel, heard)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` after each change of ``up`` or ``hearing``."""
        self._behind.watch(changed)

    def close(self) -> Deferred[None]:
        """Disconnect and stay so; fires when the connections are gone."""
        return self._behind.close()


@implementer(ILink)
class ReadSplit(_Front):
    """Looks keys up at a replica, and does all else at the master. A replica that is away is done without.

    While the master is away the replica goes on: what is read from it may be old by as much as it is behind.

    :param scripts: digests of scripts whose reply has a value for each key, in order, as MGET would find it; or
        something else where there is none, or one that begins with a zero byte. For these the replica is looked at
        first, and the script is run with those keys only that it does not have.
    """

    def __init__(self, master: Startable, replica: Startable, scripts: Collection[str] = ()) -> None:
        super().__init__(master)
        self._replica = replica
        self._scripts = frozenset(word(digest) for digest in scripts)
        self._split = Count("heimdall_redislink_lookups_total", "Look-ups, by where they went.", "place")
        up = Gauge(
            "heimdall_redislink_replica_up",
            "1 when the replica answers in time, else 0.",
            self._replica_up,
            across="min",
        )
        self.tallies: list[Tally] = [*master.tallies, self._split, up]

    @property
    def up(self) -> bool:
        """Whether anybody answers."""
        return self._behind.up or self._replica.up

    def start(self) -> None:
        """Connect to both, and from now on stay connected."""
        super().start()
        self._replica.start()

    def run(self, *command: bytes | str | int) -> Deferred[object]:
        """Run one command, at the replica where it is a look-up."""
        name = word(command[0]).upper()
        script = name == b"EVALSHA" and word(command[1]) in self._scripts
        if not script and name not in LOOKUPS:
            return self._behind.run(*command)
        near = self._replica.up
        self._split.add("replica" if near else "master")
        if not near:
            return self._behind.run(*command)
        if not script:
            return self._replica.run(*command)
        return Deferred.fromCoroutine(self._look(command))

    async def _look(self, command: tuple[bytes | str | int, ...]) -> list[object]:
        """Look at the replica, and run a script with those keys only that it does not have."""
        size = int(word(command[2]))
        keys, rest = command[3 : 3 + size], command[3 + size :]
        found: list[object] = [None] * size
        with suppress(LinkDown):  # whatever the replica says instead: the master may know
            found = _listed(await self._replica.run("MGET", *keys), size)
        missing = [at for at, value in enumerate(found) if not isinstance(value, bytes) or value[:1] in (b"", b"\0")]
        if not missing:
            return found
        try:
            running = self._behind.run(*command[:2], len(missing), *(keys[at] for at in missing), *rest)
            values = _listed(await running, len(missing))
        except LinkDown as error:
            if len(missing) == size or str(error).startswith("NOSCRIPT"):
                raise
            values = [None] * len(missing)
        for at, value in zip(missing, values, strict=True):
            found[at] = value
        return found

    def now(self) -> float | None:
        """Return the time on the clock of the master, or of the replica until that is known."""
        time = self._behind.now()
        return self._replica.now() if time is None else time

    def doubt(self) -> float:
        """Return by how many seconds that may be wrong, either way."""
        return self._replica.doubt() if self._behind.now() is None else self._behind.doubt()

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` after each change of ``up`` or ``hearing``."""
        super().watch(changed)
        self._replica.watch(changed)

    def close(self) -> Deferred[None]:
        """Disconnect from both and stay so."""
        return gatherResults([super().close(), self._replica.close()]).addCallback(lambda _: None)

    def _replica_up(self) -> float:
        return float(self._replica.up)


@implementer(ILink)
class ReadOnly(_Front):
    """Refuses every command that may change a key: this node reads what others share, and shares nothing."""

    def __init__(self, behind: Startable) -> None:
        super().__init__(behind)
        self._refused = Count("heimdall_redislink_refused_total", "Commands refused, as this node only reads.")
        self.tallies: list[Tally] = [*behind.tallies, self._refused]

    def run(self, *command: bytes | str | int) -> Deferred[object]:
        """Run one command that reads, or publishes."""
        if word(command[0]).upper() in READS:
            return self._behind.run(*command)
        self._refused.add()
        return fail(LinkDown("NOPERM this node only reads: redis.role"))


def _listed(reply: object, size: int) -> list[object]:
    if not isinstance(reply, list) or len(reply) != size:
        raise LinkDown("a look-up was answered with rubbish")
    return reply
