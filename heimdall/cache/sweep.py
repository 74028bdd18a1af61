"""Take what was flushed out of Redis: nobody gives it any more, but it takes room, and people look for it there.

There is no hurry, so Redis and queries have four fifths of the time.
"""

from __future__ import annotations

import secrets
from itertools import islice
from typing import Final, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from heimdall.cache.flush import Flushes
from heimdall.cache.flushed import Flush, Several
from heimdall.cache.keys import likely, pattern
from heimdall.interfaces import ILink, LinkDown
from heimdall.message.wire import Malformed
from heimdall.slices import REST
from heimdall.tally import Count, Tally

AT_ONCE: Final = 1000
"""Keys that Redis looks at in one step."""

LEASE: Final = 10.0
"""Seconds after which another node may sweep, if the one that began has gone."""

LONGEST: Final = 1.0
"""Seconds that others have their turn at most, between two steps."""

EVERY: Final = 5.0
"""Seconds between two looks whether there is something to be done."""


class Sweep:
    """Deletes the keys of flushed names.

    :param prefix: what all keys begin with.
    :param reader: read the log only.
    """

    _log = Logger()

    def __init__(
        self, link: ILink, flushes: Flushes, clock: IReactorTime, *, prefix: str = "heimdall", reader: bool = False
    ) -> None:
        self._link, self._flushes, self._clock, self._reader = link, flushes, clock, reader
        self._head = f"{prefix}:c1:".encode()
        self._lease = f"{prefix}:flushes:sweeper"
        self._token = secrets.token_hex(8)
        self._running = self._stopped = False
        self._next: IDelayedCall | None = None
        self._resting: Deferred[None] | None = None
        self._swept = Count("heimdall_cache_sweep_keys_total", "Keys deleted because their names were flushed.")
        self._failures = Count("heimdall_cache_sweep_failures_total", "Sweeps that another one has to end.")
        self.tallies: list[Tally] = [self._swept, self._failures]

    def start(self) -> None:
        """Read the log of flushes and sweep, now and then."""
        self._next = self._clock.callLater(EVERY, self._again)

    def stop(self) -> None:
        """Begin no more sweeps; another node ends the one that is under way."""
        self._stopped = True
        if self._resting is not None:
            self._resting.cancel()
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def run(self) -> Deferred[None]:
        """Sweep, if there is something to be swept and nobody else is at it. Never fails."""
        return Deferred.fromCoroutine(self._run())

    def _again(self) -> None:
        self._next = self._clock.callLater(EVERY, self._again)
        self._flushes.sync(whole=False)
        self.run()

    async def _run(self) -> None:
        if self._running or self._stopped or self._reader or not self._link.up:
            return
        self._running = True
        try:
            await self._all()
        except (LinkDown, CancelledError):
            self._failures.add()
        finally:
            self._running = False

    async def _all(self) -> None:
        if not await self._link.run("ZCARD", self._flushes.todo_key):
            return
        # Only who sweeps reads what there is to be swept.
        if await self._link.run("SET", self._lease, self._token, "PX", int(LEASE * 1000), "NX") is None:
            return
        todo = await self._todo()
        if todo:
            await self._sweep(todo)
            await self._link.run("ZREM", self._flushes.todo_key, *todo)
        await self._link.run("DEL", self._lease)

    async def _sweep(self, todo: dict[bytes, Flush]) -> None:
        # What is asked for most goes at once, the rest when the sweep comes by.
        exact = (flush.name for flush in todo.values() if not flush.subtree)
        keys = (self._head + key for name in exact for key in likely(name))
        while some := list(islice(keys, AT_ONCE)):
            began = self._clock.seconds()
            await self._delete(some)
            await self._rest(began)
        flushed = Several(todo.values())
        cursor: object = b"0"
        while True:
            began = self._clock.seconds()
            reply = await self._link.run("SCAN", cast(bytes, cursor), "MATCH", pattern(self._head), "COUNT", AT_ONCE)
            if not isinstance(reply, list) or len(reply) != 2 or not isinstance(reply[1], list):
                raise LinkDown("SCAN was answered with rubbish")
            cursor, found = reply
            await self._delete([key for key in found if self._wanted(key, flushed)])
            if cursor == b"0":
                break
            await self._rest(began)

    async def _rest(self, began: float) -> None:
        """Stay the one that sweeps, and let others have their turn, after a step that began at a time."""
        await self._link.run("PEXPIRE", self._lease, int(LEASE * 1000))
        if self._stopped:
            raise CancelledError
        took = self._clock.seconds() - began
        self._resting = deferLater(self._clock, min(REST * took, LONGEST))
        try:
            await self._resting
        finally:
            self._resting = None

    async def _todo(self) -> dict[bytes, Flush]:
        found = {}
        for member in cast("list[bytes]", await self._link.run("ZRANGE", self._flushes.todo_key, 0, AT_ONCE)):
            try:
                found[member] = Flush.from_bytes(member)
            except Malformed:
                await self._link.run("ZREM", self._flushes.todo_key, member)
        return found

    def _wanted(self, key: object, flushed: Several) -> bool:
        if not isinstance(key, bytes) or not key.startswith(self._head):
            return False
        return flushed.matches(key[len(self._head) :])

    async def _delete(self, keys: list[bytes]) -> None:
        places: dict[int, list[bytes]] = {}
        for key in keys:
            places.setdefault(self._link.place(key), []).append(key)
        for together in places.values():
            deleted = await self._link.run("DEL", *together)
            self._swept.add(by=deleted if isinstance(deleted, int) else 0)
