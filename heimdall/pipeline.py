"""THE PATH: every part of the house, built and joined in one place.

Long because each part has to be seen beside those that it is joined to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any, cast

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IReactorTime, IResolver

from heimdall import own
from heimdall.accept.crowd import Crowd
from heimdall.accept.datagram import Datagrams
from heimdall.accept.engine import Faults
from heimdall.accept.front import Front
from heimdall.accept.server import Server
from heimdall.admit.acl import Acl
from heimdall.admit.existing import Existing, above
from heimdall.admit.lifecycle import Lifecycle
from heimdall.admit.limit import Limit
from heimdall.admit.local import Local
from heimdall.admit.refusals import Refusals
from heimdall.admit.rules import Blocked
from heimdall.admit.special import Special
from heimdall.admit.unasked import Unasked
from heimdall.bridge import Resolver
from heimdall.bugs import reporter
from heimdall.cache.bounds import Bounds
from heimdall.cache.carry import Carry
from heimdall.cache.flush import Unlogged
from heimdall.cache.flushed import Flush
from heimdall.cache.forget import Forgetting
from heimdall.cache.heavy_hitters import HeavyHitters
from heimdall.cache.inspect import Inspection
from heimdall.cache.memory import Memory
from heimdall.cache.once import Once
from heimdall.cache.seal import load
from heimdall.cache.shelf import Shelf
from heimdall.config.settings import Admit, Cache, Fetch, Settings
from heimdall.fetch.aliases import Aliases
from heimdall.fetch.ledger import Ledger
from heimdall.fetch.nowhere import Nowhere
from heimdall.fetch.route import Route
from heimdall.fetch.server import reach
from heimdall.fetch.upstream import Group
from heimdall.follow import Follow
from heimdall.inside import Inside
from heimdall.interfaces import IGate, ILink, ISource
from heimdall.message.passed import Changes
from heimdall.message.query import Query
from heimdall.message.wire import from_text
from heimdall.sharing import Sharing, share
from heimdall.tally import Tally

IMPORT = "import:"
"""What stands in front of the dotted name of a source in a route."""

JUDGE = b"J"
"""The kind of the notice that has nodes judge again all that they hold."""


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
    asked for most, and ``groups`` are the upstreams, those of all names first. ``policies`` are those of users, and
    ``unasked`` asks the gates for ``names`` where no client does.
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
    aliases: Aliases
    sharing: Sharing | None
    inspection: Inspection
    carry: Carry
    hitters: HeavyHitters
    groups: tuple[Group, ...]
    clients: tuple[IGate, ...]
    names: tuple[IGate, ...]
    policies: Lifecycle
    unasked: Unasked
    tallies: tuple[Tally, ...]
    clock: IReactorTime
    settings: Settings

    def lead(self) -> None:
        """Lead what clients ask from now on this way."""
        settings = self.settings
        cache, accept = settings.cache, settings.accept
        self.memory.keep(cache.memory, stale_window=_window(cache), refresh_share=_refresh_share(cache))
        self.forgetting.trim()
        self.memory.refresh = self.once.refresh
        self.policies.leads = True
        self.server.streams.allow(
            accept.tcp_connections, accept.tcp_connections_per_client, accept.tcp_pipeline, accept.tcp_idle
        )
        self.server.front.lead(
            self.clients,
            self.names,
            self.shelf or self.once,
            complete=self.aliases.complete,
            client_subnet=settings.fetch.client_subnet,
            udp_size=accept.udp_size,
            query_log=settings.watch.query_log,
        )
        self.lead_datagrams(self.datagrams)

    def lead_datagrams(self, datagrams: Datagrams) -> None:
        """Have these read and sent from now on as the configuration says."""
        accept = self.settings.accept
        datagrams.lead(cut=accept.udp_segments, coalesce=accept.udp_coalesce)

    def inherit(self, former: Path) -> None:
        """Know what a path before this one at the same Redis knows, and still owes it."""
        if self.sharing and former.sharing and self.settings.redis.url == former.settings.redis.url:
            self.sharing.inherit(former.sharing)

    def rest(self) -> None:
        """Begin nothing more by itself: another path leads now. What is under way ends here."""
        self.policies.rest()
        if self.sharing is not None:
            self.sharing.rest()
        self.hitters.stop()

    @property
    def busy(self) -> bool:
        """Whether a question is under way here."""
        asking = self.shelf is not None and bool(self.shelf.askers)
        return asking or bool(self.once.under_way) or any(group.flights for group in self.groups)

    def forget(self, flushed: Callable[[bytes], bool]) -> None:
        """Ask again what is being asked for some names, and forget the aliases among them.

        :param flushed: says of a folded wire name whether it is one of them.
        """
        self.aliases.forget(flushed)
        self.once.forget(flushed)

    def start(self) -> None:
        """Connect to Redis, and stay connected."""
        if self.sharing is not None:
            self.sharing.start()
        elif self.settings.cache.hot_names:
            self.hitters.start()

    def warm(self) -> Deferred[None]:
        """Load what is hot in the cluster into memory; fires when that is done, or cannot be done in time."""
        return succeed(None) if self.sharing is None else self.sharing.warm.start()

    def passes(self, query: Query) -> bool | None:
        """Return whether policies let a client ask for what another node tells; None where another path leads."""
        return self.unasked.passes(query) if self.policies.leads else None

    def judge(self, names: Sequence[bytes] | None = None, since: float = -inf) -> None:
        """Have names judged again by policies; nobody else is told.

        :param names: folded wire names, each with all below it: forgotten. None for all, of which what policies let
            pass stays.
        :param since: what came before that, on the clock of the reactor, is not judged.
        """
        if names is None:
            self.forgetting.judge(self.unasked.refuses, since)
        else:
            for name in names:
                self.forgetting.forget(Flush(b"", 0.0, name, subtree=True))

    def _changed(self, names: Sequence[bytes] | None) -> None:
        """Have names judged again, here and on all nodes; in Redis they are flushed."""
        sharing = self.sharing
        if sharing is None or names is None:
            self.judge(names)
        else:
            for name in names:
                sharing.flushes.flush(name, subtree=True).addErrback(lambda failure: failure.trap(Unlogged))
        if sharing is not None and names is None and not sharing.reader:
            sharing.notices.tell(JUDGE, b"")

    def _judge_all(self, sender: bytes, payload: bytes) -> None:
        """Heed a node whose policies have changed their minds."""
        if self.policies.leads:
            self.policies.heed(None)
            self.judge()

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
        for gate in self.clients:
            if isinstance(gate, Acl | Limit):
                gate.forget(self.clock)
        closing = [self.policies.stop(), *([] if self.sharing is None else [self.sharing.close()])]
        return DeferredList(closing, consumeErrors=True).addCallback(lambda _: None)

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
    # An alias whose target is elsewhere is followed: what comes of it is kept as one answer.
    aliases = Aliases(route, clock)
    source: ISource = Bounds(aliases, floor=cache.ttl_floor, ceiling=cache.ttl_ceiling, negative=cache.negative_ceiling)
    counting: list[Any] = [reporter(clock), ledger, route, aliases]

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
        sharing.flushes.forgets += forgetting.forget, lambda flush: path.forget(flush.matches)
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
    changes = Changes()
    own_gates = [own.gate(name, clock, changes) for name in settings.admit.gates]
    guards = [gate for gate in own_gates if gate.by_client]
    refusals = former.refusals if former else Refusals(clock)
    clients = [*_client_gates(settings.admit, clock, refusals), *guards]
    names = _name_gates(settings, known or lists(settings.admit), [gate for gate in own_gates if not gate.by_client])
    unasked = Unasked(names, clock)
    if names:
        once.passes = unasked.passes
    if sharing is not None:
        sharing.warm.passes = unasked.passes
        carry = sharing.carry
    else:
        redis, ceilings = settings.redis, (cache.ttl_ceiling, cache.negative_ceiling)
        seal = load(redis.secret, redis.secret_file, redis.former_secret_file)
        carry = Carry(memory, clock, seal, most=cache.memory, window=_window(cache), ceilings=ceilings)
        counting.append(carry)
    carry.passes = unasked.passes

    # accept: the front, and the sockets' protocols.
    if former is None:
        faults = Faults(clock)
        front = Front(clients, memory, names, first, clock, complete=aliases.complete, faults=faults)
        server = Server(front, Crowd(clock, faults))
        datagrams = Datagrams(server.front, clock, faults, server.front.repeats, server.front.rush)
    else:
        server, datagrams = former.server, former.datagrams

    counting += [memory, once, *clients, *names, unasked, datagrams.faults, server.streams, server.front, datagrams]
    tallies = [tally for part in counting for tally in getattr(part, "tallies", ())]
    inside = Inside(memory, names, first, clock, aliases.complete, guards)
    # What an alias leads to is kept for all: what depends on the client is no part of it.
    aliases.resolve_by(Inside(memory, names, first, clock, aliases.complete))
    policies = Lifecycle(own_gates, reactor, changes)
    follow = Follow(clients, memory, names, once, clock, aliases.complete)
    inspection = sharing.inspection if sharing is not None else Inspection(memory, clock)
    path = Path(
        refusals, datagrams, server, inside, follow, memory, forgetting, shelf, once, aliases, sharing, inspection,
        carry, hitters, tuple(groups), tuple(clients), tuple(names), policies, unasked, tuple(tallies), clock, settings,
    )  # fmt: skip
    policies.heard.append(path._changed)
    if sharing is not None:
        sharing.refresh.passes = path.passes
        sharing.notices.on(JUDGE, path._judge_all)
    if former is None:
        path.lead()
    else:
        path.inherit(former)
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


def _name_gates(settings: Settings, known: Lists, own_gates: Sequence[IGate]) -> list[IGate]:
    gates: list[IGate] = []
    names = set(map(from_text, settings.fetch.routes))
    if known.local is not None:
        # Our own records come first: they are the most particular thing said of a name.
        gates.append(known.local)
    # The user's own policies may overrule what follows.
    gates += own_gates
    if known.blocked is not None:
        gates.append(known.blocked)
    if settings.admit.special_names:
        # Last: names that a route sends somewhere are not special here.
        special = Special(settings.fetch.routes)
        names |= special.names
        gates.append(special)
    existing: set[bytes] = set() if known.local is None else known.local.existing
    for name in names:
        above(name, existing)
    # Before all of them: of what they say some depends on it.
    return [Existing(existing), *gates] if existing else gates


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
