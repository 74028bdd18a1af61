"""THE PATH: every part of the house, built and joined in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime, IResolver

from heimdall import own
from heimdall.accept.crowd import Crowd
from heimdall.accept.datagram import Datagrams
from heimdall.accept.engine import Faults
from heimdall.accept.front import Front
from heimdall.accept.server import Server
from heimdall.admit.acl import Acl
from heimdall.admit.limit import Limit
from heimdall.admit.local import Local
from heimdall.admit.refusals import Refusals
from heimdall.admit.rules import Blocked
from heimdall.admit.special import Special
from heimdall.bridge import Resolver
from heimdall.cache.bounds import Bounds
from heimdall.cache.carry import Carry
from heimdall.cache.forget import Forgetting
from heimdall.cache.heavy_hitters import HeavyHitters
from heimdall.cache.inspect import Inspection
from heimdall.cache.memory import Memory
from heimdall.cache.once import Once
from heimdall.cache.seal import load
from heimdall.cache.shelf import Shelf
from heimdall.config.settings import Admit, Cache, Fetch, Settings
from heimdall.fetch.ledger import Ledger
from heimdall.fetch.nowhere import Nowhere
from heimdall.fetch.route import Route
from heimdall.fetch.server import reach
from heimdall.fetch.upstream import Group
from heimdall.follow import Follow
from heimdall.inside import Inside
from heimdall.interfaces import IGate, ILink, ISource
from heimdall.message.wire import from_text
from heimdall.sharing import Sharing, share
from heimdall.tally import Tally

IMPORT = "import:"
"""What stands in front of the dotted name of a source in a route."""


@frozen
class Lists:
    """The names that are answered here, as far as they come out of files; None where there are none."""

    local: Local | None
    blocked: Blocked | None


@frozen(eq=False)
class Path:
    """All parts of the path, joined.

    What clients meet stays as it is when the path is laid anew: ``datagrams``, ``server`` and ``memory`` are handed on,
    ``forgetting``, which has that forget what was flushed, and ``refusals``, which tell of clients that are refused.
    All else of a new path is new, and nothing of it is used before :meth:`lead`.

    ``datagrams`` and ``server`` take the messages of clients, ``inside`` the questions of a program, ``follow`` those
    of an operator who wants to see what becomes of them; ``sharing`` is None where Redis is not used, ``inspection``
    looks into both tiers, ``carry`` takes answers out of them and in, by a file, ``hitters`` counts what this node is
    asked for most, and ``groups`` are the upstreams, those of all names first.
    """

    refusals: Refusals
    datagrams: Datagrams
    server: Server
    inside: Inside
    follow: Follow
    memory: Memory
    forgetting: Forgetting
    shelf: Shelf | None
    once: Once
    sharing: Sharing | None
    inspection: Inspection
    carry: Carry
    hitters: HeavyHitters
    groups: tuple[Group, ...]
    clients: tuple[IGate, ...]
    names: tuple[IGate, ...]
    tallies: tuple[Tally, ...]
    clock: IReactorTime
    settings: Settings

    def lead(self) -> None:
        """Lead what clients ask from now on this way."""
        settings = self.settings
        cache, accept = settings.cache, settings.accept
        self.memory.keep(cache.memory, stale_window=_window(cache), refresh_share=_refresh_share(cache))
        self.memory.refresh = self.once.refresh
        self.server.streams.allow(
            accept.tcp_connections, accept.tcp_connections_per_client, accept.tcp_pipeline, accept.tcp_idle
        )
        self.server.front.lead(
            self.clients,
            self.names,
            self.shelf or self.once,
            client_subnet=settings.fetch.client_subnet,
            udp_size=accept.udp_size,
            query_log=settings.watch.query_log,
        )
        self.lead_datagrams(self.datagrams)

    def lead_datagrams(self, datagrams: Datagrams) -> None:
        """Have these read and sent from now on as the configuration says."""
        accept = self.settings.accept
        datagrams.lead(cut=accept.udp_segments, coalesce=accept.udp_coalesce)

    def rest(self) -> None:
        """Begin nothing more by itself: another path leads now. What is under way ends here."""
        if self.sharing is not None:
            self.sharing.rest()
        self.hitters.stop()

    def start(self) -> None:
        """Connect to Redis, and stay connected."""
        if self.sharing is not None:
            self.sharing.start()
        elif self.settings.cache.hot_names:
            self.hitters.start()

    def warm(self) -> Deferred[None]:
        """Load what is hot in the cluster into memory; fires when that is done, or cannot be done in time."""
        return succeed(None) if self.sharing is None else self.sharing.warm.start()

    def close(self, handed_on: bool = False) -> Deferred[None]:
        """Give up every connection; what is under way fails.

        :param handed_on: another path has what clients meet.
        """
        if not handed_on:
            self.forgetting.stop()
            self.refusals.stop()
        if self.shelf is not None:
            self.shelf.close()
        self.once.close()
        self.hitters.stop()
        for group in self.groups:
            group.close()
        return succeed(None) if self.sharing is None else self.sharing.close()

    @property
    def link(self) -> ILink | None:
        """The connection to Redis; None where it is not used."""
        return None if self.sharing is None else self.sharing.link

    def resolver(self) -> IResolver:
        """Return the path as a resolver, for ``reactor.installResolver`` or any use of twisted.names."""
        return cast(IResolver, Resolver(self.inside, self.clock))


def lay(settings: Settings, reactor: Any, former: Path | None = None, known: Lists | None = None) -> Path:
    """Build the path. A part is handed the next one, so what a query meets last is built first.

    :param settings: a sound configuration.
    :param reactor: keeps time, watches sockets and connects.
    :param former: the path whose place it takes once it is told to :meth:`Path.lead`; the first one leads at once.
    :param known: what :func:`lists` read of these settings; read now where it was not.
    :raises ValueError: a policy or a source of the user's own is none; the text names it. OSError: a file cannot be
        read.
    """
    clock: IReactorTime = reactor
    cache = settings.cache
    window = _window(cache)
    # What is stale in Redis is given first: it is no older than what is stale here, and often newer.
    stale_after = cache.stale_after + 2 * settings.redis.read_budget if window else None

    # fetch: the upstreams, each name to those in charge of it.
    ledger = Ledger()
    groups: list[Group] = []
    route = Route(*_routes(settings.fetch, reactor, ledger, groups))

    # cache: before anything is kept, its TTLs are brought into bounds.
    source: ISource = Bounds(route, floor=cache.ttl_floor, ceiling=cache.ttl_ceiling, negative=cache.negative_ceiling)
    counting: list[Any] = [ledger, route]

    memory = former.memory if former else Memory(cache.memory, stale_window=window)
    forgetting = former.forgetting if former else Forgetting(memory, clock)

    # What is shared stands behind the flights of this node: all who ask the same here look it up there once.
    sharing = None
    if settings.redis.enabled:
        sharing = share(settings.redis, cache, reactor, memory, source, deadline=settings.fetch.deadline)
        source = sharing.source
        counting.append(sharing)

    # One flight per question, behind memory: a name that is known costs no flight.
    once = Once(
        memory,
        source,
        clock,
        deadline=settings.fetch.deadline,
        most=settings.accept.inflight,
        failure_ttl=cache.failure_ttl,
        stale_after=stale_after,
    )
    if sharing is not None:
        sharing.flushes.forgets += forgetting.forget, lambda flush: once.forget(flush.matches)
    # Without Redis nobody else tells what is asked for most: then this node counts for itself.
    hitters = sharing.hot.hitters if sharing is not None else HeavyHitters(memory, clock)
    once.landed = hitters.missed.landed if cache.hot_names else None
    if former is not None:
        hitters.inherit(former.hitters)

    # What lies ready in Redis is taken from there before a flight begins.
    shelf = None if sharing is None else Shelf(sharing.source, memory, once)
    first: ISource = shelf or once

    # admit: what depends on the client is judged before memory, what depends on the name behind it, so that
    # a cached answer costs no rule.
    refusals = former.refusals if former else Refusals(clock)
    clients, names = (
        _client_gates(settings.admit, clock, refusals),
        _name_gates(settings, known or lists(settings.admit)),
    )
    if sharing is not None:
        sharing.warm.gates = names
        carry = sharing.carry
    else:
        redis, ceilings = settings.redis, (cache.ttl_ceiling, cache.negative_ceiling)
        seal = load(redis.secret, redis.secret_file, redis.former_secret_file)
        carry = Carry(memory, clock, seal, most=cache.memory, window=_window(cache), ceilings=ceilings)
        counting.append(carry)
    carry.gates = names

    # accept: the front, and the sockets' protocols.
    if former is None:
        faults = Faults(clock)
        server = Server(Front(clients, memory, names, first, clock, faults=faults), Crowd(clock, faults))
        datagrams = Datagrams(server.front, clock, faults, server.front.repeats, server.front.rush)
    else:
        server, datagrams = former.server, former.datagrams

    counting += [memory, once, *clients, *names, datagrams.faults, server.streams, server.front, datagrams]
    tallies = [tally for part in counting for tally in getattr(part, "tallies", ())]
    inside = Inside(memory, names, first, clock)
    follow = Follow(clients, memory, names, once, clock)
    inspection = sharing.inspection if sharing is not None else Inspection(memory, clock)
    path = Path(
        refusals, datagrams, server, inside, follow, memory, forgetting, shelf, once, sharing, inspection, carry,
        hitters, tuple(groups), tuple(clients), tuple(names), tuple(tallies), clock, settings,
    )  # fmt: skip
    if former is None:
        path.lead()
    elif sharing and former.sharing and settings.redis.url == former.settings.redis.url:
        sharing.inherit(former.sharing)
    return path


def lists(admit: Admit) -> Lists:
    """Read the names that are answered here out of their files.

    With millions of them it takes seconds; a server that runs already calls this in a thread.
    """
    local = Local(admit.hosts, admit.records) if admit.hosts or admit.records else None
    blocked = None
    if admit.block or admit.block_files:
        blocked = Blocked(admit.block, admit.block_files, admit.block_answer)
    return Lists(local, blocked)


def _window(cache: Cache) -> int:
    return cache.stale_window if cache.stale else 0


def _refresh_share(cache: Cache) -> float:
    return cache.refresh_share if cache.refresh else 0.0


def _client_gates(admit: Admit, clock: IReactorTime, refusals: Refusals) -> list[IGate]:
    gates: list[IGate] = [Acl(admit.allow, refusals.denied)]
    if admit.rate:
        prefixes = admit.rate_prefix4, admit.rate_prefix6
        gates.append(Limit(clock, admit.rate, admit.burst, *prefixes, refusals.limited))
    return gates


def _name_gates(settings: Settings, known: Lists) -> list[IGate]:
    admit = settings.admit
    gates: list[IGate] = []
    if known.local is not None:
        # Our own records come first: they are the most particular thing said of a name.
        gates.append(known.local)
    # The user's own policies may overrule what follows.
    gates += [own.gate(name) for name in admit.gates]
    if known.blocked is not None:
        gates.append(known.blocked)
    if admit.special_names:
        # Last: names that a route sends somewhere are not special here.
        gates.append(Special(settings.fetch.routes))
    return gates


def _routes(fetch: Fetch, reactor: Any, ledger: Ledger, groups: list[Group]) -> tuple[ISource, Mapping[bytes, ISource]]:
    """Return the source of all names and those of some; the groups among them are added to ``groups``."""

    def group(servers: Sequence[str]) -> ISource:
        if not servers:
            return Nowhere()
        if servers[0].startswith(IMPORT):
            return own.source(servers[0].removeprefix(IMPORT), reactor, fetch.deadline)
        more = {"ad": fetch.trust_ad, "subnet": fetch.client_subnet, "cut": fetch.udp_segments}
        ways = [(text, reach(reactor, text, ledger, **more)) for text in servers]
        groups.append(Group(ways, reactor, deadline=fetch.deadline, trust_ad=fetch.trust_ad, ledger=ledger))
        return groups[-1]

    default = group(fetch.upstreams)
    return default, {from_text(suffix): group(servers) for suffix, servers in fetch.routes.items()}
