"""The connections at once: how many there may be, and who has to go when one more comes."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from heimdall.accept.engine import Faults
from heimdall.episodes import Episodes
from heimdall.message.query import Client
from heimdall.tally import Count, Gauge, Tally


class Guest(Protocol):
    """A connection, as the crowd sees it."""

    client: Client
    since: float
    """When it last asked, or got the last of its replies, on the crowd's clock."""

    @property
    def busy(self) -> bool:
        """Whether a query of it waits for its reply."""

    @property
    def gone(self) -> bool:
        """Whether its client has closed it, and nothing of it waits; perhaps nobody has told us yet."""

    def finish(self) -> None:
        """Read no more; close when what was read is answered."""

    def abort(self) -> None:
        """Close now."""


class Crowd:
    """Counts connections, in all and per client, and makes room.

    One more than a client may have takes the place of one that the client has closed, though the reactor has not
    come to that yet; else of that client's connection that is idle for longest. One
    more than there may be in all takes the place of an idle connection too, of the client that has the most,
    but never of a client that has fewer than the newcomer's: so nobody can push others out by opening many.
    Where none is idle, a busy one goes if its client has more than the newcomer's; else the newcomer goes.

    :param clock: where times come from.
    :param faults: where our own bugs are recorded.
    :param most: connections at once.
    :param most_per_client: connections at once from one address.
    :param pipeline: queries in flight on one connection, past which it is not read.
    :param idle: seconds without a query, or without reading our replies, after which a connection is closed.
    :param patience: seconds more that a connection with a query in flight may wait for the reply.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        faults: Faults,
        *,
        most: int = 1000,
        most_per_client: int = 50,
        pipeline: int = 100,
        idle: float = 10.0,
        patience: float = 10.0,
    ) -> None:
        self.clock, self.faults, self.patience = clock, faults, patience
        self.allow(most, most_per_client, pipeline, idle)
        self._clients: dict[str, set[Guest]] = {}
        self._size = 0
        self._finished: list[Deferred[None]] = []
        self._finishing = False
        self._full = False
        self._limited = Episodes(
            clock,
            self._log,
            "As many TCP connections as one client may have: {who}; of more, the idle ones have to go",
            "Fewer TCP connections than one client may have: {who}, after {count} too many",
        )
        self._deadline: IDelayedCall | None = None
        self.events = Count(
            "heimdall_accept_connections_total",
            "TCP connections by what became of them: opened, evicted, refused, idle, stalled, garbled.",
            "event",
        )
        self.tallies: list[Tally] = [
            self.events,
            Gauge("heimdall_accept_open_connections", "TCP connections open now.", lambda: self._size),
        ]

    def allow(self, most: int, most_per_client: int, pipeline: int, idle: float) -> None:
        """Set what connections may do from now on; no connection has to go for that."""
        self.most, self.most_per_client, self.pipeline, self.idle = most, most_per_client, pipeline, idle

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Guest]:
        for guests in self._clients.values():
            yield from guests

    def admit(self, guest: Guest) -> bool:
        """Take a new connection in, or return False: then it must go at once."""
        host = guest.client[0]
        own = self._clients.get(host, set())
        if self._finishing or not self._room(host, len(own)):
            self.events.add("refused")
            return False
        self._clients.setdefault(host, set()).add(guest)
        self._size += 1
        self.events.add("opened")
        return True

    def leave(self, guest: Guest) -> None:
        """Forget a connection, if it was in."""
        host = guest.client[0]
        own = self._clients.get(host)
        if own is None or guest not in own:
            return
        own.remove(guest)
        if not own:
            del self._clients[host]
        self._size -= 1
        if self._size < self.most * 0.9:
            self._say(full=False)
        if not self._size and self._finishing:
            self._end()

    def finish(self, within: float) -> Deferred[None]:
        """Take no more connections; close each as soon as its queries are answered.

        :param within: seconds after which those left are cut off.
        :return: fires when all are gone.
        """
        done: Deferred[None] = Deferred()
        self._finished.append(done)
        if not self._finishing:
            self._finishing = True
            self._deadline = self.clock.callLater(within, self._cut)
            for guest in list(self):
                guest.finish()
        if not self._size:
            self._end()
        return done

    def _room(self, host: str, held: int) -> bool:
        """Make room for one more connection of a client that has ``held``; return whether there is."""
        if held >= self.most_per_client:
            if self._see_off(host):
                return True
            self._limited.note(host, host)
            goer = min((guest for guest in self._clients[host] if not guest.busy), key=_since, default=None)
        elif self._size >= self.most:
            self._say(full=True)
            goer = self._goer(host, held + 1)
        else:
            return True
        if goer is None:
            return False
        self.events.add("evicted")
        self.leave(goer)
        goer.abort()
        return True

    def _see_off(self, host: str) -> bool:
        """Free the places of the connections that a client has closed; return whether there are some.

        A client that takes a new connection for each query closes them as fast as it opens them, and in one turn of the
        reactor the new ones may come first: to evict one then would hit one whose reply is on its way.
        """
        gone = [guest for guest in self._clients[host] if guest.gone]
        for guest in gone:
            self.leave(guest)
            guest.finish()
        return bool(gone)

    def _goer(self, host: str, held: int) -> Guest | None:
        """Return who makes room for a client that then has ``held`` connections."""
        goer, best = None, (True, -held, -inf)
        for other, guests in self._clients.items():
            if len(guests) >= held or other == host:
                for guest in guests:
                    rank = (guest.busy, -len(guests), guest.since)
                    if rank < best:
                        goer, best = guest, rank
        return goer

    def _say(self, full: bool) -> None:
        """Log that the places are all taken, or that there are some again."""
        if full and not self._full:
            self._log.warn("All {most} places for TCP connections are taken: the idle ones have to go", most=self.most)
        elif self._full and not full:
            self._log.info("There are places for TCP connections again")
        self._full = full

    def _cut(self) -> None:
        self._deadline = None
        for guest in list(self):
            guest.abort()

    def _end(self) -> None:
        self._limited.stop()
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        finished, self._finished = self._finished, []
        for done in finished:
            done.callback(None)


def _since(guest: Guest) -> float:
    return guest.since
