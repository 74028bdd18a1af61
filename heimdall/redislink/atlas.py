"""The map of a Redis Cluster, kept true: which master has which slots, and a connection to each."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from heimdall.bugs import reporter
from heimdall.interfaces import LinkDown
from heimdall.redislink.gone import Gone
from heimdall.redislink.link import Link
from heimdall.redislink.slots import SLOTS, Node, read_map
from heimdall.tally import Count, Gauge, Tally

CALM, URGENT, SOONEST = 10.0, 0.5, 0.05
"""Seconds between two looks at the map: when all is well, when something is amiss, and at least."""

MOST_LINKS: Final = 1000
"""Masters that we connect to."""

Ranges = list[tuple[int, int, Node]]
"""First slot, last slot and master, for each range of slots."""


class Atlas:
    """Reads the map from whichever node will show it, now and then, and at once when something changed.

    ``masters`` holds the master of each slot, where it is known; each of them is in ``links``. ``edition`` is the
    number of the map, ``lost`` why there is none.

    :param seeds: some nodes of the cluster, masters or not.
    :param connect: makes the link to a node, not started.
    :param ask: asks a node that we have no link to for the map.
    :param changed: called when the map was read, and when a link has changed.
    """

    def __init__(
        self,
        clock: IReactorTime,
        seeds: Sequence[Node],
        *,
        shown: str,
        connect: Callable[[Node], Link],
        ask: Callable[[Node], Deferred[object]],
        changed: Callable[[], None],
    ) -> None:
        self.masters: list[Node | None] = [None] * SLOTS
        self.links: dict[Node, Link] = {}
        self.edition = 0
        self.lost = ""
        self._clock, self._seeds, self._shown = clock, list(seeds), shown
        self._connect, self._ask, self._changed = connect, ask, changed
        self._looking: Deferred[None] | None = None
        self._next: IDelayedCall | None = None
        self._closed = False
        self._log = Logger()
        self._looks = Count("heimdall_redislink_maps_total", "Looks at the map of the cluster.", "result")
        served = Gauge(
            "heimdall_redislink_served_slots", "Slots of the cluster whose master answers.", self._served, across="min"
        )
        self.tallies: list[Tally] = [self._looks, served]

    def start(self) -> None:
        """Look at the map, and from now on keep it true."""
        if not self._closed and self._looking is None and self._next is None:
            self._look()

    def hurry(self, seconds: float = SOONEST) -> None:
        """Look at the map soon; not later than is planned already."""
        if self._next is not None and self._next.getTime() > self._clock.seconds() + seconds:
            self._next.reset(seconds)

    def link_to(self, node: Node) -> Link | None:
        """Return the link to a node, made if need be; None when there are too many."""
        link = self.links.get(node)
        if link is None and not self._closed and len(self.links) < MOST_LINKS:
            link = self.links[node] = self._connect(node)
            link.watch(self._link_changed)
            link.start()
        return link

    def some(self) -> Node:
        """Return a node to connect to: one that answers, where there is one."""
        return random.choice([node for node, link in self.links.items() if link.up] or self._known())

    def close(self) -> list[Deferred[None]]:
        """Look no more, and close every link."""
        self._closed = True
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._looking is not None:
            self._looking.cancel()
        return [link.close() for link in self.links.values()]

    def _look(self) -> None:
        self._next = None
        reading = Deferred.fromCoroutine(self._read())
        self._looking = reading.addCallbacks(self._draw, self._blind).addErrback(self._bug).addBoth(self._looked)
        if self._next is not None:  # it was all over at once
            self._looking = None

    def _bug(self, failure: Failure) -> None:
        reporter(self._clock).report(self._log, "the map of {at} could not be drawn", failure, at=self._shown)

    def _looked(self, _: object) -> None:
        self._looking = None
        if not self._closed:
            calm = None not in self.masters and all(link.up for link in self.links.values())
            self._next = self._clock.callLater(CALM if calm else URGENT, self._look)

    async def _read(self) -> Ranges:
        """Return the map, from one of the nodes that we are connected to, else from any that we know of."""
        gone = Gone("cluster", "nobody to ask")
        near = [(node, link) for node, link in self.links.items() if link.up]
        random.shuffle(near)
        for node, link in near:
            try:
                return _ranges(await link.run("CLUSTER", "SLOTS"), node)
            except (LinkDown, Gone) as error:
                gone = Gone.of(error)
        for node in self._known():
            try:
                return _ranges(await self._ask(node), node)
            except CancelledError:
                raise
            except Exception as error:
                gone = Gone.of(error)
        raise gone

    def _known(self) -> list[Node]:
        known = list(dict.fromkeys([*self._seeds, *self.links]))
        random.shuffle(known)
        return known

    def _draw(self, ranges: Ranges) -> None:
        self._looks.add("read")
        if self.lost:
            self._log.info("the map of {at} is there", at=self._shown)
        self.lost = ""
        masters: list[Node | None] = [None] * SLOTS
        for first, last, node in ranges:
            if self.link_to(node) is not None:
                masters[first : last + 1] = [node] * (last + 1 - first)
        self.edition += masters != self.masters
        self.masters = masters
        for node in self.links.keys() - set(masters):
            self.links.pop(node).close()
        self._changed()

    def _blind(self, failure: Failure) -> None:
        if self._closed:
            return
        failure.trap(Gone)
        gone = cast(Gone, failure.value)
        self._looks.add("failed")
        before, self.lost = self.lost, gone.advice(self._shown)
        if not before:
            self._log.warn("no map of {at}: {why}", at=self._shown, why=self.lost)

    def _link_changed(self) -> None:
        self.hurry()
        self._changed()

    def _served(self) -> float:
        return float(sum(node is not None and self.links[node].up for node in self.masters))


def _ranges(reply: object, asked: Node) -> Ranges:
    ranges = list(read_map(reply, asked))
    if not ranges:
        raise Gone("cluster", "it knows no slots: is it a node of a cluster?")
    return ranges
