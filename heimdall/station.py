"""What serves clients: the path and its sockets. Lays the path anew without losing a query, and ends well."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredList,
    TimeoutError,
    inlineCallbacks,
    maybeDeferred,
    succeed,
)
from twisted.internet.interfaces import IDelayedCall, IListeningPort
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from heimdall.accept.sockets import Bound
from heimdall.admit.lifecycle import STOP, Changed
from heimdall.cache.carry import Carry
from heimdall.cache.flushed import Flush, Several
from heimdall.cache.ranks import Row, number
from heimdall.collector import tidy
from heimdall.config.settings import Settings
from heimdall.console import followed
from heimdall.message import query
from heimdall.peers.inspect import NO_FLUSH, Told
from heimdall.pipeline import Path, lay, lists
from heimdall.tally import Tally
from heimdall.totals import Past

LAST_WORDS: Final = 0.5
"""Seconds beyond the deadline of a query that the last of them may take when a path is given up. So long a path is left
open at least: what it learnt last goes to Redis."""

LINKED: Final = 1.0
"""Seconds that a new path waits for its Redis before it leads."""


COUNTED: Final = 0.5
"""Seconds that a look at what is asked for most may take before what was known before is told."""


class Station:
    """One process that serves.

    :param bound: the sockets to serve DNS on.
    :param name: what the node is called where the configuration does not say.
    """

    def __init__(self, path: Path, reactor: Any, bound: Sequence[Bound], name: str) -> None:
        self.path = path
        self.bound = tuple(bound)
        self._name = name
        self._reactor = reactor
        self._ports: list[IListeningPort] = []
        self._past = Past()
        # The path before this one, until the last question on it has ended; and who waits for that.
        self._former: dict[Path, IDelayedCall | None] = {}
        self._settling: list[Deferred[None]] = []
        self._closing: list[Deferred[None]] = []
        self._starting: Deferred[None] | None = None
        self._listens = False
        self._waiting: list[Deferred[None]] = []
        self.changed: Changed | None = None
        """Told the names that a policy wants to be judged again, where others serve beside this process."""
        self._names(path)

    @property
    def tallies(self) -> Iterator[Tally]:
        """What is counted here, by the paths before this one too."""
        paths = (self.path, *self._former)
        yield from dict.fromkeys(tally for path in paths for tally in path.tallies)  # what they share counts once
        yield from self._past.tallies

    def count(self) -> Deferred[None]:
        """Nothing: the tallies are always up to date."""
        return succeed(None)

    def processes(self) -> Sequence[int]:
        """Return none: this process does all of it."""
        return ()

    def alive(self) -> bool:
        """Return whether every socket for DNS is read, as far as this process serves at all."""
        ports: list[Any] = self._ports
        return self.path.datagrams.reading() and all(port.connected for port in ports)

    def judge(self, names: Sequence[bytes] | None) -> None:
        """Have names judged again here; None for all. Nobody else is told."""
        self.path.policies.heed(names)
        self.path.judge(names)

    def upstreams(self) -> Sequence[Any]:
        """Return how each server does, by groups."""
        return [group.state() for group in self.path.groups]

    def held(self, name: bytes, qtype: int = 0, every: bool = False, flush: bytes = NO_FLUSH) -> Deferred[Told]:
        """Look up what memory holds for a name; with a flush, tell whether that is known here, and look up nothing."""
        if flush != NO_FLUSH:
            sharing = self.path.sharing
            return succeed(Told(self._name, sharing is not None and sharing.flushes.knows(flush), ()))
        looking = self.path.inspection.memory(name, qtype, every)
        return looking.addCallback(lambda found: Told(self._name, False, found.held, found.complete))

    def forget(self, flush: Flush) -> None:
        """Forget a name here; nobody else is told."""
        self.path.forgetting.forget(flush)
        self.path.forget(flush.matches)
        self._forget_before(flush)

    def _forget_before(self, what: Flush | Several) -> None:
        """Ask again what was asked on the paths before this one: what comes of that would be out of date."""
        for former in self._former:
            former.forget(what.matches)

    def hitters(self) -> Deferred[tuple[float, list[Row]]]:
        """Return since when, and what this process is asked for most; it waits a moment for what was just asked."""
        counted = self.path.hitters
        waited = counted.collect().addTimeout(COUNTED, self._reactor).addErrback(_late)
        return waited.addCallback(lambda _: (counted.since, counted.top(number(self.node))))

    @property
    def node(self) -> str:
        """The name of the node."""
        return self.path.settings.peers.node or self._name

    def follow(self, asked: query.Query) -> Deferred[Mapping[str, Any]]:
        """Ask a question as its client does; fires with what came of it at each station."""
        return self.path.follow.ask(asked).addCallback(followed, asked)

    @property
    def carry(self) -> Carry:
        """What carries answers into memory and Redis, and out of them."""
        return self.path.carry

    def start(self, redis: Deferred[None] | None = None) -> Deferred[None]:
        """Serve, as soon as policies are ready; fires when memory is as warm as it can be had.

        :param redis: fires when Redis is to be connected to; nothing else waits for it.
        :return: fails with ValueError when a policy cannot start: then nothing is served.
        """
        path = self.path
        # A path that was laid meanwhile has been started by then.
        connecting = (redis or succeed(None)).addCallback(lambda _: path.start() if self.path is path else None)
        starting = self._starting = Deferred.fromCoroutine(self._start(connecting))
        return starting

    async def _start(self, connecting: Deferred[None]) -> None:
        await self.path.policies.start()
        self._listens = True
        self.path.judge()  # an operator may have asked, or carried answers in
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            self._reactor.callLater(0, waiter.callback, None)
        for one in self.bound:
            self.path.datagrams.listen(one.udp, self._reactor)
            self._ports.append(adopt(self._reactor, one.tcp, self.path.server))
        await connecting
        await self.path.warm()

    def change(self, settings: Settings) -> Deferred[None]:
        """Lay the path anew; fires when it leads. What was under way ends on the old one.

        Two paths are there at once, and no more: the next one waits until the one before this is closed.

        :return: fails with ValueError or OSError when these settings cannot be used; then nothing has changed.
        """
        return Deferred.fromCoroutine(self._change(settings))

    async def _change(self, settings: Settings) -> None:
        await self.settled()
        if self._starting is not None and not self._listens:
            # The policies of this path are waited for: another one would have to do so for the same.
            self._waiting.append(Deferred())
            await self._waiting[-1]
        own = await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), lists, settings.admit)
        former, path = self.path, lay(settings, self._reactor, self.path, own)
        self._names(path)
        path.start()
        try:
            await path.policies.start()
            await linked(path, self._reactor)
        except BaseException:
            self._give_up(path)
            raise
        path.inherit(former)  # once more: of what was flushed while it was waited for
        former.rest()
        path.lead()
        self.path = path
        led = self._reactor.seconds()
        ends = led + former.settings.fetch.deadline + LAST_WORDS
        self._former[former] = self._reactor.callLater(LAST_WORDS, self._bury, former, led, ends)
        # Memory is asked before the gates for names are.
        path.judge()

    def settled(self) -> Deferred[None]:
        """Fire when no path before this one is open any more."""
        if not self._former:
            return succeed(None)
        settling: Deferred[None] = Deferred()
        self._settling.append(settling)
        return settling

    def _bury(self, former: Path, led: float, ends: float) -> None:
        """Close a path whose last question has ended; its last answers are in memory, of whatever name.

        :param led: when the next one took its place: since then memory was judged by the gates of that.
        """
        if former.busy and self._reactor.seconds() < ends:
            self._former[former] = self._reactor.callLater(LAST_WORDS, self._bury, former, led, ends)
            return
        self._former[former] = None
        closing = former.close(handed_on=True).addTimeout(STOP + LINKED, self._reactor)
        closing.addBoth(self._buried, former, led)

    def _buried(self, _: object, former: Path, led: float) -> None:
        if self._former.pop(former, former) is former:  # this process ends meanwhile
            return
        still = set(self.path.tallies)
        self._past.keep(tally for tally in former.tallies if tally not in still)
        self.path.judge(since=led)
        tidy()
        settling, self._settling = self._settling, []
        for each in settling:
            if not each.called:
                each.callback(None)

    def _give_up(self, path: Path) -> None:
        """Close a path that never led."""
        closing = path.close(handed_on=True)
        self._closing.append(closing)
        closing.addCallback(lambda _: self._closing.remove(closing))

    def finish(self) -> Deferred[None]:
        """Take nothing more, and answer what was asked. Fires when that is done."""
        if self._starting is not None and not self._listens:
            self._starting.addErrback(lambda _: None)
            self._starting.cancel()
        done: Deferred[None] = self._finish()
        return done

    @inlineCallbacks
    def _finish(self) -> Any:
        datagrams, server = self.path.datagrams, self.path.server
        datagrams.pause()
        yield DeferredList([maybeDeferred(port.stopListening) for port in self._ports])
        within = self.path.settings.fetch.deadline + LAST_WORDS
        answered = server.front.finish()
        # Its askers are told by the deadline of a query; this is for the case that one of them is not.
        answered.addTimeout(within, self._reactor, lambda *_: None)
        yield answered
        yield server.streams.finish(LAST_WORDS)
        datagrams.close()

    def close(self) -> Deferred[None]:
        """Give up every connection. Fires when that is done."""
        for call in self._former.values():
            if call is not None:
                call.cancel()
        paths = [*self._former, self.path]
        self._former.clear()
        closing = DeferredList([*self._closing, *(path.close() for path in paths)], consumeErrors=True)
        return closing.addCallback(lambda _: None)

    def _names(self, path: Path) -> None:
        path.policies.heard.append(self._changed)
        if path.sharing is not None:
            path.sharing.name(path.settings.peers.node or self._name)
            path.sharing.flushes.forgets.append(self._forget_before)

    def _changed(self, names: Sequence[bytes] | None) -> None:
        if self.changed is not None:
            self.changed(names)


def adopt(reactor: Any, listening: socket.socket, factory: Any) -> IListeningPort:
    """Serve a stream socket; the reactor takes a copy of it."""
    port: IListeningPort = reactor.adoptStreamPort(listening.fileno(), listening.family, factory)
    listening.close()
    return port


def linked(path: Path, reactor: Any) -> Deferred[None]:
    """Fire when a path has its Redis, or has waited long enough for it."""
    done: Deferred[None] = Deferred()
    link = path.link

    def look() -> None:
        if not done.called and (link is None or link.up):
            done.callback(None)

    if link is not None:
        link.watch(look)
    look()
    return done.addTimeout(LINKED, reactor, lambda *_: None)


def _late(failure: Failure) -> None:
    """Go on without a look that takes too long, or ends."""
    failure.trap(TimeoutError, CancelledError)
