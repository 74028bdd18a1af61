"""A node: what serves, and what it is to others; starts it, gives it another configuration, ends it."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import evolve
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, gatherResults, inlineCallbacks, maybeDeferred, succeed
from twisted.internet.interfaces import IListeningPort
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from heimdall.accept.sockets import Bound
from heimdall.config.address import join
from heimdall.config.faults import Misconfigured
from heimdall.config.keys import changed, held
from heimdall.config.load import Loaded
from heimdall.config.settings import Redis, Settings
from heimdall.config.url import folder, hidden, private
from heimdall.fetch.server import parse
from heimdall.interfaces import Member
from heimdall.node_redis import ENDING, embedded, served
from heimdall.overview import measured
from heimdall.pipeline import Path, lay
from heimdall.presence import Hands, Person, Presence
from heimdall.station import Station, adopt
from heimdall.statistics import ORIGINS, line, statistics
from heimdall.tally import Tally
from heimdall.totals import Past, total
from heimdall.watch.notify import herald

if TYPE_CHECKING:
    from heimdall.redis_server.embedded import EmbeddedRedis

FIXED = ("accept.listen", "accept.workers", "watch.enabled", "watch.http", "watch.log")
"""What a running node cannot change: its sockets, and where its log goes."""


class Node(Service):
    """One running node.

    :param settings: as they are configured.
    :param hands: do its work.
    :param redis: the Redis that it runs for itself, if any.
    :param name: what it is called where the configuration does not say.
    :param http: the socket to serve the operator on, or None.
    :param load: loads the configuration again, in a thread; raises :class:`Misconfigured`. None where there is none.
    """

    _log = Logger()

    def __init__(
        self,
        settings: Settings,
        hands: Hands,
        redis: EmbeddedRedis | None,
        name: str,
        reactor: Any,
        http: socket.socket | None,
        environ: Mapping[str, str],
        load: Callable[[], Loaded] | None = None,
    ) -> None:
        self.hands = hands
        self._settings = settings
        self._redis = redis
        self._running = {redis} if redis is not None else set()
        self._reactor = reactor
        self._environ = environ
        self._http = http
        self._load = load
        self._pages: IListeningPort | None = None
        self._status = "starting"
        self._loading: Deferred[None] | None = None
        self._load_again = False
        self._reporting = self._unsealed = False
        self._began = reactor.seconds()
        self._past = Past()
        self.herald = herald(reactor, environ)
        self.given_up: Callable[[], object] = lambda: None
        """Called where it cannot serve after all: what runs it should end."""
        hostname = socket.gethostname()
        pod_ip = environ.get("POD_IP") or _own_address(settings.fetch.upstreams)
        self._name = name
        person = Person(name, hostname, pod_ip, self.status, self.stats, self.ready)
        self.presence = Presence(served(settings, redis), person, hands, reactor, self._tallies)

    def _tallies(self) -> Iterator[Tally]:
        yield from self.herald.tallies
        yield from self._past.tallies
        for redis in self._running:
            yield from redis.tallies

    @property
    def path(self) -> Path:
        """The way of this process to Redis and to the upstreams."""
        return self.hands.path

    @property
    def id(self) -> str:
        """The name of this node in the cluster."""
        return self.presence.person.id

    def member(self) -> Member:
        """Return this node as the registry lists it."""
        return self.presence.member()

    def status(self) -> str:
        """Return how this node does: one of the states of the registry.

        It is unhealthy when it does not serve, or none of its upstreams answers. Without a Redis that somebody set, or
        with one that does not let it do what it needs, it is degraded: it answers all the same.
        """
        if self._status != "healthy":
            return self._status
        servers = [server["up"] for group in self.hands.upstreams() for server in group]
        if not self.hands.alive() or (servers and not any(servers)):
            return "unhealthy"
        link, redis = self.path.link, self._settings.redis
        missed = redis.enabled and redis.url != Redis().url and (link is None or not link.up)
        refused = total(self.hands.tallies, "heimdall_redislink_refusal_up")  # by a worker's link as well
        return "degraded" if missed or refused or not all(servers) else "healthy"

    def stats(self) -> Mapping[str, float]:
        """Return what this node tells the others of itself."""
        tallies = list(self.hands.tallies)
        answers = {origin: total(tallies, "heimdall_accept_answers_total", origin) for origin in ORIGINS}
        return {
            "uptime_seconds": round(self._reactor.seconds() - self._began, 1),
            "queries": total(tallies, "heimdall_accept_queries_total"),
            **answers,
            "memory_bytes": total(tallies, "heimdall_cache_memory_used_bytes"),
            "memory_entries": total(tallies, "heimdall_cache_memory_entries"),
            **measured(tallies),
        }

    def ready(self) -> tuple[bool, Sequence[str]]:
        """Return whether queries should come here, and if not, why.

        Upstreams that are down are no reason: what this node holds, be it stale, is better than nothing, and
        its replicas share the same upstreams.
        """
        if self._status != "healthy":
            return False, (f"this node is {self._status}",)
        return (True, ()) if self.hands.alive() else (False, ("this node does not serve DNS",))

    def words(self) -> str:
        """Return how this node does, in one line for a person."""
        queries, held = (f"{self.stats()[name]:.0f}" for name in ("queries", "memory_entries"))
        return f"{self.status()}: {queries} queries so far, {held} answers in memory"

    def report(self) -> None:
        """Log the statistics of this node, in one entry; while one is being made, no other is begun."""
        if not self._reporting:
            self._reporting = True
            self.hands.count().addCallback(lambda _: self._report()).addErrback(self._unreported).addBoth(
                self._reported
            )

    def _report(self) -> None:
        told = statistics(
            self.hands.tallies,
            self.hands.upstreams(),
            self.path.link,
            self.hands.processes(),
            status=self.status(),
            uptime=self._reactor.seconds() - self._began,
        )
        self._log.info("Statistics: {line}", line=line(told), statistics=told)

    def _unreported(self, failure: Any) -> None:
        self._log.failure("The statistics could not be logged", failure)

    def _reported(self, _: object) -> None:
        self._reporting = False

    def startService(self) -> None:
        """Serve."""
        Service.startService(self)
        started = self.hands.start(self._start_redis())
        page = ""
        if self._http is not None:
            page = "; page: http://" + join(*self._http.getsockname()[:2]) + "/"
            self._pages = adopt(self._reactor, self._http, self.presence.admin.site)
        self.presence.start()
        self.herald.start(self.hands.alive, self.words)
        self._watch_seal()
        self._log.info(
            "Serving DNS on {addresses}; upstreams: {upstreams}; {kept}{page}",
            addresses=", ".join(join(one.host, one.port) for one in self.hands.bound),
            upstreams=", ".join(self._settings.fetch.upstreams) or "none",
            kept=self._kept(),
            page=page,
        )
        started.addCallbacks(self._warm, self._unfit)

    def _start_redis(self) -> Deferred[None]:
        """Start the embedded Redis, if any; fires when it is to be connected to."""
        if self._redis is None:
            return succeed(None)
        connect: Deferred[None] = Deferred()
        self._redis.start().addCallback(lambda _: None if self._status == "leaving" else connect.callback(None))
        return connect

    def _kept(self) -> str:
        """Return where answers are kept, in a few words."""
        if self._redis is not None:
            home = self._redis.home
            return (
                f"answers are kept in {home.folder}" if home.kept else "answers are kept in Redis until this node ends"
            )
        if self.path.link is not None:
            return f"answers are shared through {hidden(self._settings.redis.url)}"
        return "answers are kept in memory alone"

    def _watch_seal(self) -> None:
        """Warn once that answers can be forged, as soon as Redis is used without a secret: not where there is none."""
        link = self.path.link
        if link is not None:
            link.watch(self._linked)
            self._linked()

    def _linked(self) -> None:
        link, redis = self.path.link, self._settings.redis
        if self._redis is not None or (private(redis.url) and not redis.regions):
            return  # nobody writes to that but the user that runs the node
        if self._unsealed or link is None or not link.up or redis.secret or redis.secret_file:
            return
        self._unsealed = True
        self._log.warn(
            "Redis is used without a secret: anybody who can write to it can forge answers; set redis.secret_file"
        )

    def _warm(self, _: None) -> None:
        """Be ready: memory knows what the others know, as far as that could be had."""
        if self._status == "starting":
            self._status = "healthy"
            # Not before the reactor runs: until then no signal is heeded.
            self._reactor.callWhenRunning(self.herald.ready)
            self.presence.beat()

    def _unfit(self, failure: Failure) -> None:
        """End: what is wrong with the user's own code showed only now."""
        if failure.check(CancelledError) and self._status == "leaving":
            return
        if failure.check(ValueError, OSError):
            self._log.critical("The configuration cannot be used: {error}", error=failure.getErrorMessage())
        else:
            self._log.failure("This node cannot serve", failure)
        self.given_up()

    def reload(self) -> None:
        """Load the configuration again and go on with it; with the old one, where there is a fault in the new.

        While one is being loaded this is noted: that it may have changed since is all there is to know.
        """
        if self._load is None or self._status == "leaving":
            return
        self._load_again = True
        if self._loading is None:
            self._loading = Deferred.fromCoroutine(self._reload(self._load)).addErrback(self._unloaded)

    async def _reload(self, load: Callable[[], Loaded]) -> None:
        while self._load_again and self._status != "leaving":
            self.herald.reloading()
            try:
                # Whatever is asked for until the configuration before this one is left is one more reload.
                await self.hands.settled()
                self._load_again = False
                loaded = await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), load)
                await self._change(loaded)
            except Misconfigured as error:
                for line in error.lines:
                    self._log.error("{line}", line=line)
                self._log.error("The configuration has faults: the old one goes on")
            except (ValueError, OSError) as error:
                self._log.error("The configuration cannot be used: {error}; the old one goes on", error=error)
            finally:
                self.herald.ready()
        self._loading = None

    def _unloaded(self, failure: Any) -> None:
        self._loading = None
        if not failure.check(CancelledError):
            self._log.failure("The configuration could not be loaded again", failure)

    async def _change(self, loaded: Loaded) -> None:
        for warning in loaded.warnings:
            self._log.warn("{warning}", warning=warning)
        news = changed(self._settings, loaded.settings)
        for path in FIXED:
            if path in news:
                self._log.warn("{path} is not as it was: that takes a restart", path=path)
        settings = held(loaded.settings, self._settings, FIXED)
        former_redis, redis = self._redis, embedded(settings, self._reactor, self._environ, self._redis)
        used = served(settings, redis)
        try:
            if redis is not None and redis is not former_redis:
                self._running.add(redis)
                await redis.start()
            await self.hands.change(used)
        except BaseException:
            if redis is not former_redis:
                self._end(redis)
            raise
        self._settings, self._redis = settings, redis
        if redis is not None:
            redis.limit(settings.redis.memory)
        self._watch_seal()
        former = self.presence
        person = evolve(former.person, id=settings.peers.node or self._name)
        self.presence = Presence(used, person, self.hands, self._reactor, self._tallies)
        former.yield_to(self.presence)
        self._past.keep(former.tallies)
        if self._pages is not None:
            pages: Any = self._pages
            pages.factory = self.presence.admin.site
        self.presence.start()
        told = ", ".join(path for path in news if path not in FIXED) or "no key, perhaps files"
        self._log.info("Loaded the configuration again; changed: {told}", told=told)
        if former_redis is not None and former_redis is not redis:
            # What is under way may need it still.
            await self.hands.settled()
            await self._end(former_redis)

    def _end(self, redis: EmbeddedRedis | None) -> Deferred[None]:
        """End an embedded Redis; fires when it is gone."""
        if redis not in self._running or redis is None:
            return succeed(None)
        self._running.discard(redis)
        self._past.keep(redis.tallies)
        return redis.stop()

    @inlineCallbacks
    def stopService(self) -> Any:
        """Leave the cluster at once, answer what was asked, and end. Fires when that is done."""
        self._status = "leaving"
        self.herald.stopping()
        leaving = self.presence.leave()
        if self._loading is not None:
            self._loading.cancel()
        yield self.hands.finish()
        yield leaving
        yield self.hands.close()
        yield gatherResults([self._end(redis) for redis in list(self._running)])
        if self._pages is not None:
            yield maybeDeferred(self._pages.stopListening)
        Service.stopService(self)


def build(
    settings: Settings,
    reactor: Any,
    bound: Sequence[Bound],
    http: socket.socket | None,
    environ: Mapping[str, str] | None = None,
    load: Callable[[], Loaded] | None = None,
) -> Node:
    """Return a node, ready to start.

    :param settings: a sound configuration.
    :param bound: the sockets to serve DNS on; ``http`` that for the operator, if any.
    :param load: loads the configuration again, in a thread.
    :raises ValueError: a policy or a source of the user's own is none; the text names it.
    """
    name, environ = name_of(settings), os.environ if environ is None else environ
    redis = embedded(settings, reactor, environ, patience=ENDING)
    station = Station(lay(served(settings, redis), reactor), reactor, bound, name)
    return Node(settings, station, redis, name, reactor, http, environ, load)


def name_of(settings: Settings) -> str:
    """Return the name of a node: its own, or that of its host, told apart from others there that share a Redis."""
    hostname = socket.gethostname()
    shared = settings.redis.enabled and folder(settings.redis.url) is None
    return settings.peers.node or (f"{hostname}-{secrets.token_hex(4)}" if shared else hostname)


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
