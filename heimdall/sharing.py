"""What nodes share through Redis, all parts of it, built and joined: answers, leases, flushes, notices."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime

from heimdall.cache.assure import Assurance
from heimdall.cache.carry import Carry
from heimdall.cache.flush import Flushes
from heimdall.cache.hot import Hot
from heimdall.cache.inspect import Inspection
from heimdall.cache.lease import Leases
from heimdall.cache.memory import Memory
from heimdall.cache.ranks import Ranks, number
from heimdall.cache.redis import Shared
from heimdall.cache.refresh import Refresh
from heimdall.cache.regions import Regions
from heimdall.cache.scripts import LOOK
from heimdall.cache.seal import load
from heimdall.cache.sweep import Sweep
from heimdall.cache.warm import Warm
from heimdall.cache.worth import Worth
from heimdall.config.address import address
from heimdall.config.settings import Cache, Redis
from heimdall.interfaces import ISource
from heimdall.peers.notices import Notices
from heimdall.redislink import Address, Startable, connect_to
from heimdall.tally import Tally

FAR = 1.0
"""Seconds that a reply of another region may take before it is done without."""


@frozen
class Sharing:
    """The parts, joined; ``source`` is where a flight of this node goes on."""

    link: Startable
    notices: Notices
    leases: Leases
    flushes: Flushes
    sweep: Sweep
    assurance: Assurance
    source: Shared
    inspection: Inspection
    carry: Carry
    ranks: Ranks
    hot: Hot
    refresh: Refresh
    warm: Warm
    regions: Regions
    elsewhere: tuple[Startable, ...]
    reader: bool
    tallies: tuple[Tally, ...]

    def name(self, node: str) -> None:
        """Say what this node is called; whoever counts, or stores an answer, says so by its number."""
        self.hot.node = self.source.worth.node = number(node)

    def start(self) -> None:
        """Connect, and from now on stay connected."""
        self.assurance.start()
        for link in (self.link, *self.elsewhere):
            link.start()
        if self.ranks.most:
            self.hot.start()
        self.sweep.start()
        if self.reader:
            return
        self.regions.start()
        if self.ranks.most:
            self.refresh.start()

    def inherit(self, former: Sharing) -> None:
        """Know what those before us at the same Redis knew."""
        self.flushes.inherit(former.flushes)
        self.hot.names = former.hot.names

    def rest(self) -> None:
        """Begin nothing more; what is under way goes on."""
        self.assurance.stop()
        self.sweep.stop()
        self.hot.stop()
        self.refresh.stop()
        self.warm.stop()
        self.regions.stop()

    def close(self) -> Deferred[None]:
        """Give the connection up; fires when it is gone."""
        self.rest()
        closing = DeferredList([link.close() for link in (self.link, *self.elsewhere)], consumeErrors=True)
        return closing.addCallback(lambda _: None)


def share(redis: Redis, cache: Cache, reactor: Any, memory: Memory, next: ISource, *, deadline: float = 4.5) -> Sharing:
    """Build what is shared.

    :param memory: gives nothing while a flush may have been missed; forgetting one is left to whoever builds this.
    :param next: who is asked when Redis does not know.
    :param deadline: seconds that a query has; half of them at most are spent waiting for another node.
    :raises ValueError: a secret or a certificate cannot be used; the text says which, never what it holds.
    """
    clock: IReactorTime = reactor
    window = cache.stale_window if cache.stale else 0
    reader = redis.role == "reader"
    link = connect_to(
        reactor,
        redis.url,
        password_file=redis.password_file,
        ca_file=redis.ca_file,
        cert_file=redis.cert_file,
        key_file=redis.key_file,
        sentinel_user=redis.sentinel_user,
        sentinel_password_file=redis.sentinel_password_file,
        replica_url=redis.replica_url,
        lookup_scripts=(LOOK.digest,),
        resolver=[address(text) for text in redis.resolver],
        reads_only=reader,
        clock_key=f"{redis.prefix}:flushes".encode(),
    )
    notices = Notices(link, clock, prefix=redis.prefix)
    flushes = Flushes(link, notices, clock, prefix=redis.prefix, reader=reader)
    # An ocean away a reply takes long enough that nearby we should call Redis slow.
    elsewhere = {
        str(Address.parse(url)): connect_to(
            reactor, url, password_file=redis.password_file, ca_file=redis.ca_file, cert_file=redis.cert_file,
            key_file=redis.key_file, sentinel_user=redis.sentinel_user,
            sentinel_password_file=redis.sentinel_password_file,
            resolver=[address(text) for text in redis.resolver], slow=FAR, time_limit=2 * FAR, silent=5 * FAR,
        )
        for url in redis.regions
    }  # fmt: skip
    regions = Regions(elsewhere, link, notices, flushes, clock)
    sweep = Sweep(link, flushes, clock, prefix=redis.prefix, reader=reader)
    assurance = Assurance(link, notices, flushes, memory, clock)
    leases = Leases(notices, clock, longest=deadline / 2)
    seal = load(redis.secret, redis.secret_file, redis.former_secret_file)
    ceilings = (cache.ttl_ceiling, cache.negative_ceiling)
    source = Shared(
        link,
        next,
        clock,
        budget=redis.read_budget,
        prefix=redis.prefix,
        window=window,
        stale=window > 0,
        stale_after=cache.stale_after,
        most_writes=redis.most_writes,
        seal=seal,
        leases=leases,
        reader=reader,
        covers=flushes.covers,
        ceilings=ceilings,
    )
    inspection = Inspection(memory, clock, link, seal, flushes.covers, redis.prefix)
    carry = Carry(
        memory, clock, seal, most=cache.memory, covers=flushes.covers, window=window, ceilings=ceilings, link=link,
        prefix=redis.prefix,
    )  # fmt: skip
    worth = Worth(seal, flushes.covers, window, ceilings)
    ranks = Ranks(link, most=cache.hot_names, prefix=redis.prefix)
    hot = Hot(link, memory, ranks, clock, reader=reader)
    refresh = Refresh(link, notices, memory, clock, names=lambda: hot.names, judge=worth.judge)
    source.learnt.stored = refresh.stored
    warm = Warm(
        link,
        memory,
        ranks,
        clock,
        judge=worth.judge,
        sync=flushes.sync,
        learn=hot.learn,
        seconds=cache.warm_seconds if cache.hot_names else 0.0,
        most=int(cache.memory * cache.warm_share),
        prefix=redis.prefix,
    )
    parts: list[Any] = [
        carry,
        link,
        notices,
        leases,
        flushes,
        sweep,
        assurance,
        source,
        worth,
        hot,
        refresh,
        warm,
        regions,
    ]
    tallies = tuple(tally for part in parts for tally in part.tallies)
    return Sharing(
        link, notices, leases, flushes, sweep, assurance, source, inspection, carry, ranks, hot, refresh, warm, regions,
        tuple(elsewhere.values()), reader, tallies,
    )  # fmt: skip
