"""What an operator does with the cache of the whole cluster: flush a name, see who holds it, follow a question."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from heimdall.cache.flush import Unlogged
from heimdall.cache.flushed import Flush
from heimdall.cache.inspect import Shelf, named
from heimdall.cache.regions import TOLD
from heimdall.cache.shown import answered, type_text
from heimdall.follow import Followed
from heimdall.interfaces import NO_REDIS, LinkDown
from heimdall.message.query import Query
from heimdall.message.wire import to_text
from heimdall.peers.inspect import NO_FLUSH, WAIT, Inquiries, Round, Told
from heimdall.pipeline import Path
from heimdall.sharing import Sharing


class Holder(Protocol):
    """Whoever holds the memory of this node: this process, or its workers."""

    def held(self, name: bytes, qtype: int, every: bool, flush: bytes) -> Deferred[Told]:
        """Find what is held for a name, of a type or 0 for all; or, with the id of a flush, whether that is known.

        Never fails.
        """

    def forget(self, flush: Flush) -> None:
        """Forget a name here; nobody else is told."""

    def follow(self, query: Query) -> Deferred[Mapping[str, Any]]:
        """Ask a question as its client does; fires with what :func:`followed` tells."""


@frozen
class Console:
    """The cache of the cluster, from this node.

    :param node: the name of this node.
    :param holder: holds its memory.
    :param inquiries: how to ask the other nodes; None where there are none.
    """

    path: Path
    node: str
    holder: Holder
    clock: IReactorTime
    inquiries: Inquiries | None = None

    def flush(self, name: bytes, subtree: bool) -> Deferred[Mapping[str, Any]]:
        """Flush a name in every tier of every node, and wait a moment for who confirms it.

        :return: fires with ``id`` and ``time`` of the flush; ``shared``, whether Redis was told, else the
            ``reason``, and ``later``, whether it will be; ``swept``, whether Redis was searched through already;
            ``nodes`` that have forgotten the name, and ``silent`` members that have not said so; ``regions``, of each
            other one what it is called, whether it was ``told``, else the ``reason``: then it is tried again.
        """
        return Deferred.fromCoroutine(self._flush(name, subtree))

    async def _flush(self, name: bytes, subtree: bool) -> Mapping[str, Any]:
        told: dict[str, Any] = {"name": to_text(name), "subtree": subtree, "id": "", "time": round(time.time(), 3)}
        told |= {"shared": False, "reason": NO_REDIS, "later": False, "swept": False}
        told |= {"nodes": [self.node], "silent": [], "regions": []}
        sharing = self.path.sharing
        if sharing is None:
            flush = Flush(secrets.token_bytes(len(NO_FLUSH)), 0.0, name, subtree)
            self.holder.forget(flush)
            return told if await self._done(flush) else told | {"nodes": [], "silent": [self.node]}
        try:
            flush = await sharing.flushes.flush(name, subtree)
        except Unlogged as error:
            regions = await self._regions(sharing, error.flush) if error.later else []
            return told | {"reason": str(error), "later": error.later, "regions": regions}
        told |= {"id": flush.id.hex(), "time": round(flush.time, 3), "shared": True, "reason": ""}
        swept = _within(WAIT, sharing.sweep.run(), self.clock)
        here = self._done(flush)
        others = await self._ask(name, flush=flush.id)
        done = {self.node: await here} | {each.node: each.flushed for each in others.told}
        told["nodes"] = [node for node in done if done[node]]
        told["silent"] = sorted({*others.silent, *(node for node in done if not done[node])})
        await swept
        told["regions"] = await self._regions(sharing, flush)
        with suppress(LinkDown):
            left = await sharing.link.run("ZSCORE", sharing.flushes.todo_key, flush.to_bytes())
            told["swept"] = left is None
        return told

    def _done(self, flush: Flush) -> Deferred[bool]:
        """Return whether all who hold the memory of this node have done what they were told before this."""
        return self.holder.held(flush.name, 0, False, flush.id).addCallback(lambda held: held.whole)

    async def _regions(self, sharing: Sharing, flush: Flush | None) -> Sequence[Mapping[str, Any]]:
        """Return what became of a flush in the other regions."""
        found = await sharing.regions.taken(flush)
        return [{"region": region, "told": reason == TOLD, "reason": reason} for region, reason in found]

    def inspect(self, name: bytes, qtype: int = 0, every: bool = False) -> Deferred[Mapping[str, Any]]:
        """Look up what Redis and the memory of every node hold for a name.

        :param qtype: one type, or 0 for all that are common.
        :param every: search through all keys, for uncommon types and for answers that are for a client's subnet.
        """
        return Deferred.fromCoroutine(self._inspect(name, qtype, every))

    async def _inspect(self, name: bytes, qtype: int, every: bool) -> Mapping[str, Any]:
        inspection = self.path.inspection
        replying = self._ask(name, qtype, every)
        here = await self.holder.held(name, qtype, every, NO_FLUSH)
        own = {"node": self.node, "own": True, "held": here.held, "whole": here.whole}
        try:
            shelf, reason = await inspection.redis(name, qtype, every), ""
        except LinkDown as error:
            shelf, reason = Shelf((), False), str(error)
        others = await replying
        told = [{"node": e.node, "own": False, "held": e.held, "whole": e.whole} for e in others.told]
        nodes = {self.node, *others.silent, *(each.node for each in others.told)}
        return {
            "name": to_text(name),
            "type": type_text(qtype) if qtype else None,
            "redis": {"held": named(shelf.held, nodes), "complete": shelf.complete, "reason": reason},
            "nodes": [own, *told],
            "silent": others.silent,
            "reason": others.reason,
        }

    def follow(self, query: Query) -> Deferred[Mapping[str, Any]]:
        """Ask a question as its client does, on the path that it would go.

        :return: fires with ``answer``, None where silence is due, the ``seconds`` it took, and what the ``stations``
            noted, as :class:`~heimdall.message.trace.Trace` tells them.
        """
        return self.holder.follow(query).addCallback(lambda told: {"node": self.node, **told})

    def _ask(self, name: bytes, qtype: int = 0, every: bool = False, flush: bytes = NO_FLUSH) -> Deferred[Round]:
        """Ask the other nodes; never fails."""
        if self.inquiries is None:
            return succeed(Round((), (), NO_REDIS))
        asking = self.inquiries.ask(name, qtype, every, flush)
        return asking.addErrback(_nobody)


def followed(found: Followed, query: Query) -> Mapping[str, Any]:
    """Return what came of a question that was followed, as JSON."""
    answer, trace = found.answer, found.trace
    return {
        "name": to_text(query.name),
        "type": type_text(query.qtype),
        "client": query.client[0],
        "seconds": round(trace.seconds, 6),
        "answer": None if answer is None else answered(answer),
        "stations": trace.notes,
    }


def _nobody(failure: Failure) -> Round:
    failure.trap(LinkDown)
    return Round((), (), failure.getErrorMessage())


def _within(seconds: float, work: Deferred[None], clock: IReactorTime) -> Deferred[None]:
    """Return what fires when the work is done, or not done in time; it goes on, whatever becomes of who waits."""
    waiter: Deferred[None] = Deferred()
    work.addBoth(lambda _: None if waiter.called else waiter.callback(None))
    waiter.addTimeout(seconds, clock, lambda *_: None)
    return waiter
