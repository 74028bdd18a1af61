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
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from heimdall.accept.sockets import Bound
from heimdall.cache.carry import Carry
from heimdall.cache.flushed import Flush, Several
from heimdall.cache.ranks import Row, number
from heimdall.config.settings import Settings
from heimdall.console import followed
from heimdall.interfaces import IGate
from heimdall.message import query
from heimdall.message.wire import name_end
from heimdall.peers.inspect import NO_FLUSH, Told
from heimdall.pipeline import Path, lay, lists
from heimdall.tally import Tally
from heimdall.totals import Past

LAST_WORDS: Final = 0.5
"""Seconds beyond the deadline of a query that the last of them may take when a path is given up."""

LINKED: Final = 1.0
"""Seconds that a new path waits for its Redis before it leads."""

SLICE: Final = 500
"""Answers in memory that are judged in one turn of the reactor."""

COUNTED: Final = 0.5
"""Seconds that a look at what is asked for most may take before what was known before is told."""

REST: Final = 0.01
"""Seconds between two such turns."""


class Station:
    """One process that serves.

    :param bound: the sockets to serve DNS on.
    :param name: what the node is called where the configuration does not say.
    """

    _log = Logger()

    def __init__(self, path: Path, reactor: Any, bound: Sequence[Bound], name: str) -> None:
        self.path = path
        self.bound = tuple(bound)
        self._name = name
        self._reactor = reactor
        self._ports: list[IListeningPort] = []
        self._past = Past()
        self._former: dict[Path, IDelayedCall] = {}
        self._names(path)

    @property
    def tallies(self) -> Iterator[Tally]:
        """What is counted here, by the paths before this one too."""
        yield from self.path.tallies
        for former in self._former:
            yield from former.tallies
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

    def upstreams(self) -> Sequence[Any]:
        """Return how each server does, by groups."""
        return [group.state() for group in self.path.groups]

    def held(self, name: bytes, qtype: int = 0, every: bool = False, flush: bytes = NO_FLUSH) -> Deferred[Told]:
        """Return what memory holds for a name, and whether a flush is known here."""
        sharing = self.path.sharing
        known = flush != NO_FLUSH and sharing is not None and sharing.flushes.knows(flush)
        return succeed(Told(self._name, known, self.path.inspection.memory(name, qtype, every)))

    def forget(self, flush: Flush) -> None:
        """Forget a name here; nobody else is told."""
        self.path.forgetting.forget(flush)
        self.path.once.forget(flush.matches)
        self._forget_before(flush)

    def _forget_before(self, what: Flush | Several) -> None:
        """Ask again what was asked on the paths before this one: what comes of that would be out of date."""
        for former in self._former:
            former.once.forget(what.matches)

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

    def start(self) -> Deferred[None]:
        """Serve; fires when memory is as warm as it can be had."""
        self.path.start()
        for one in self.bound:
            self.path.datagrams.listen(one.udp, self._reactor)
            self._ports.append(adopt(self._reactor, one.tcp, self.path.server))
        return self.path.warm()

    def change(self, settings: Settings) -> Deferred[None]:
        """Lay the path anew; fires when it leads. What was under way ends on the old one.

        :return: fails with ValueError or OSError when these settings cannot be used; then nothing has changed.
        """
        return Deferred.fromCoroutine(self._change(settings))

    async def _change(self, settings: Settings) -> None:
        own = await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), lists, settings.admit)
        former, path = self.path, lay(settings, self._reactor, self.path, own)
        self._names(path)
        path.start()
        try:
            await linked(path, self._reactor)
        except CancelledError:
            path.close(handed_on=True)
            raise
        former.rest()
        path.lead()
        self.path = path
        within = former.settings.fetch.deadline + LAST_WORDS
        self._former[former] = self._reactor.callLater(within, self._bury, former)
        await self._judge_anew(path)

    def _bury(self, former: Path) -> None:
        """Close a path whose last question has ended; its last answers are in memory, of whatever name."""
        del self._former[former]
        still = set(self.path.tallies)
        self._past.keep(tally for tally in former.tallies if tally not in still)
        former.close(handed_on=True)
        Deferred.fromCoroutine(self._judge_anew(self.path)).addErrback(
            lambda failure: self._log.failure("answers in memory could not be judged", failure)
        )

    async def _judge_anew(self, path: Path) -> None:
        """Forget what the gates for names would not let pass: memory is asked before they are."""
        for keys in path.memory.keys(SLICE):
            if path is not self.path:
                return
            for key in keys:
                if _is_judged(path.names, key):
                    path.memory.forget(key)
            await deferLater(self._reactor, REST)

    def finish(self) -> Deferred[None]:
        """Take nothing more, and answer what was asked. Fires when that is done."""
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
            call.cancel()
        paths = [*self._former, self.path]
        self._former.clear()
        closing = DeferredList([path.close() for path in paths], consumeErrors=True)
        return closing.addCallback(lambda _: None)

    def _names(self, path: Path) -> None:
        if path.sharing is not None:
            path.sharing.name(path.settings.peers.node or self._name)
            path.sharing.flushes.forgets.append(self._forget_before)


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


def _is_judged(gates: Sequence[IGate], key: bytes) -> bool:
    """Return whether a gate ends the question of a key: that of any type where the key stands for all."""
    end = name_end(key)
    try:
        asked = query.make(key[:end], int.from_bytes(key[end : end + 2], "big") or 1)
        return any(gate.judge(asked) is not None for gate in gates)
    except Exception:
        # The key is our own and the gate may be anybody's: what it cannot judge it has to be asked about again.
        return True
