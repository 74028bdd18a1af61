"""What a worker does: serves as its parent says, tells it how that goes, and ends when it does."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks, maybeDeferred, succeed
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.python.failure import Failure

from heimdall.accept.datagram import Datagrams
from heimdall.accept.sockets import Bound
from heimdall.cache.flushed import Flush
from heimdall.cache.heavy_hitters import to_json
from heimdall.collector import spare
from heimdall.config.settings import Redis
from heimdall.message.bundle import Record
from heimdall.message.query import Query, read
from heimdall.pipeline import lay
from heimdall.station import LAST_WORDS, Station, adopt
from heimdall.totals import told
from heimdall.watch.logs import entry
from heimdall.workers.channel import Channel
from heimdall.workers.shares import from_json

MOST_EXPORTS: Final = 4
"""Exports that are gone on with; one more, and the oldest has ended."""

ENDS: Final = "a worker ended meanwhile"
"""Why settings are refused that a worker had no time to take."""


class Duty:
    """The worker's end of the channel.

    :param ended: called when all is done that was to be done.
    """

    _log = Logger()

    def __init__(self, reactor: Any, ended: Callable[[], object]) -> None:
        self._reactor, self._ended = reactor, ended
        self._station: Station | None = None
        self._sets: list[list[Bound]] = []
        self._covering: dict[int, Cover] = {}
        # By number, the oldest first.
        self._exports: dict[int, AsyncIterator[list[Record]]] = {}
        self._changing: set[Deferred[None]] = set()
        self._ending = False
        self.channel = Channel(
            reactor,
            {
                "serve": self.serve, "look": self.look, "change": self.change, "settled": self.settled,
                "held": self.held, "forget": self.forget, "judge": self.judge, "follow": self.follow,
                "expected": self.expected, "out": self.out, "into": self.into, "cover": self.cover,
                "hitters": self.hitters, "end": self.end,
            },
            self.end,
        )  # fmt: skip

    @property
    def station(self) -> Station:
        """What serves.

        :raises ValueError: nothing does yet.
        """
        if self._station is None:
            raise ValueError("it does not serve yet")
        return self._station

    def serve(self, what: Any) -> Deferred[None]:
        """Serve; fires when memory is as warm as it can be had.

        :param what: ``settings``; the ``name`` of the node; the ``number`` of this worker; the ``sockets`` of all.
        """
        self._sets = [[_bound(one) for one in each] for each in what["sockets"]]
        path = lay(from_json(what["settings"]), self._reactor)
        self._station = Station(path, self._reactor, [_copy(one) for one in self._sets[what["number"]]], what["name"])
        self._station.changed = self._changed
        spare()
        return self._station.start()

    def look(self, _: Any) -> Deferred[Any]:
        """Tell what is counted, and how the upstreams do."""
        return succeed(
            {"tallies": told([*self.station.tallies, self.channel.unsaid]), "upstreams": self.station.upstreams()}
        )

    def change(self, what: Any) -> Deferred[None]:
        """Go on with other settings.

        :return: fails with ValueError or OSError when these cannot be used, or this worker ends before it does.
        """
        if self._ending:
            raise ValueError(ENDS)
        changing = self.station.change(from_json(what))
        self._changing.add(changing)

        def over(result: Any) -> Any:
            self._changing.discard(changing)
            if isinstance(result, Failure) and result.check(CancelledError):
                raise ValueError(ENDS)
            return result

        return changing.addBoth(over)

    def settled(self, _: Any) -> Deferred[None]:
        """Reply when nothing is under way with the settings before these."""
        return self.station.settled()

    def held(self, what: Any) -> Deferred[Any]:
        """Tell what is held for a name, or whether a flush is known."""
        name, flush = bytes.fromhex(what["name"]), bytes.fromhex(what["flush"])
        finding = self.station.held(name, what["type"], what["every"], flush)
        return finding.addCallback(
            lambda found: {"held": list(found.held), "flushed": found.flushed, "whole": found.whole}
        )

    def forget(self, what: Any) -> Deferred[None]:
        """Forget a name."""
        self.station.forget(Flush.from_bytes(bytes.fromhex(what)))
        return succeed(None)

    def judge(self, what: Any) -> Deferred[None]:
        """Judge names again, as a policy of another worker asked for; all where none is told."""
        self.station.judge(None if what is None else [bytes.fromhex(name) for name in what])
        return succeed(None)

    def _changed(self, names: Sequence[bytes] | None) -> None:
        told = None if names is None else [name.hex() for name in names]
        self.channel.ask("changed", told).addErrback(lambda _: None)  # no word that may be left out

    def follow(self, what: Any) -> Deferred[Any]:
        """Ask a question as its client does.

        :param what: the ``wire`` of it, the ``client`` and whether it came over a ``stream``.
        """
        asked = read(bytes.fromhex(what["wire"]), tuple(what["client"]), what["stream"])
        if not isinstance(asked, Query):
            raise ValueError("no question")
        return self.station.follow(asked)

    async def expected(self, tier: Any) -> int:
        """Tell about how many answers there are to carry out."""
        return await self.station.carry.expected(tier)

    async def out(self, what: Any) -> Any:
        """Tell some more of what a tier holds; None at the end.

        :param what: the number of the ``export``; with a ``tier`` it begins.
        :raises ValueError: it has not begun, or too many have since.
        """
        number, tier = what["export"], what["tier"]
        if tier is not None:
            self._exports[number] = aiter(self.station.carry.out(tier))
            if len(self._exports) > MOST_EXPORTS:  # nobody says that he does not want the rest of one
                del self._exports[next(iter(self._exports))]
        if number not in self._exports:
            raise ValueError("this export has ended")
        records = await anext(self._exports[number], None)
        if records is None:
            self._exports.pop(number, None)
            return None
        return [[key.hex(), value.hex()] for key, value in records]

    async def into(self, what: Any) -> Any:
        """Take answers into a tier.

        :param what: the ``tier``, and the ``records``.
        """
        records = [(bytes.fromhex(key), bytes.fromhex(value)) for key, value in what["records"]]
        return await self.station.carry.into(what["tier"], records)

    def hitters(self, _: Any) -> Deferred[Any]:
        """Tell since when, and what this worker is asked for most."""
        return self.station.hitters().addCallback(to_json)

    def cover(self, what: Any) -> Deferred[None]:
        """Serve on the sockets of these workers as well, and no longer on those of others.

        :param what: their numbers.
        """
        for number in [number for number in self._covering if number not in what]:
            self._covering.pop(number).end()
        for number in what:
            if number not in self._covering:
                self._covering[number] = Cover(self._reactor, self.station, self._sets[number])
        return succeed(None)

    def end(self, _: Any = None) -> Deferred[None]:
        """Answer what was asked, and end."""
        if self._ending:
            return succeed(None)
        self._ending = True
        self.channel.ask("leaving").addErrback(lambda _: None)
        done: Deferred[None] = self._end()
        return done

    @inlineCallbacks
    def _end(self) -> Any:
        for changing in list(self._changing):
            changing.cancel()  # the policies that it waits for are stopped with the station
        for cover in self._covering.values():
            cover.end()
        if self._station is not None:
            yield self._station.finish()
            yield self._station.close()
        self._reactor.callLater(0, self._ended)

    def log(self, event: Mapping[str, Any]) -> None:
        """Have the parent log an event: a node has one log. The parent itself tells of states that it meets too."""
        if not (event.get("of_redis") and self._station is not None and _one_writer(self._station.path.settings.redis)):
            self.channel.tell("log", entry(event))


class Cover:
    """Serves on the sockets of another worker while that is not there.

    :param sockets: stay open when this ends.
    """

    def __init__(self, reactor: Any, station: Station, sockets: list[Bound]) -> None:
        path = station.path
        self._reactor = reactor
        # Until then replies may have to leave by these sockets.
        self._within = path.settings.fetch.deadline + LAST_WORDS
        front = path.server.front
        self._datagrams = Datagrams(front, reactor, path.datagrams.faults, front.repeats)
        path.lead_datagrams(self._datagrams)
        self._ports: list[IListeningPort] = []
        for one in map(_copy, sockets):
            self._datagrams.listen(one.udp, reactor)
            self._ports.append(adopt(reactor, one.tcp, path.server))

    def end(self) -> None:
        """Take nothing more from there."""
        self._datagrams.pause()
        self._reactor.callLater(self._within, self._datagrams.close)
        for port in self._ports:
            maybeDeferred(port.stopListening)


def _one_writer(redis: Redis) -> bool:
    """Return whether the parent writes to the very server that a worker does: each heartbeat is a write."""
    return redis.role == Redis().role and "+" not in redis.url and not redis.replica_url and not redis.regions


def _bound(told: Any) -> Bound:
    """Return an address we serve on, as the parent told of it: its sockets are ours by number."""
    text, host, port, udp, tcp = told
    return Bound(text, host, port, socket.socket(fileno=udp), socket.socket(fileno=tcp))


def _copy(one: Bound) -> Bound:
    """Return an address with sockets that may be closed."""
    udp, tcp = (socket.socket(fileno=os.dup(each.fileno())) for each in (one.udp, one.tcp))
    for each in (udp, tcp):
        each.setblocking(False)
    return Bound(one.text, one.host, one.port, udp, tcp)
