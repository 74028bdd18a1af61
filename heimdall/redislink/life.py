"""The life of a connection: made again and again, with longer waits as long as nothing comes of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.task import deferLater

from heimdall.redislink.gone import Gone
from heimdall.redislink.wire import Only, Wire

SHORTEST_WAIT, LONGEST_WAIT, LONGEST_WAIT_FOR_NAME = 0.1, 5.0, 30.0
"""Seconds between two attempts to connect; a name that is not known is asked for less often."""

SETTLED: Final = 10.0
"""Seconds after which a connection is counted as a good one: attempts begin anew with the shortest wait."""


class Life:
    """Connects, and connects again, until it is closed.

    ``wire`` is the connection, while there is one.

    :param connection: makes one connection by :meth:`reach`, sets ``wire``, and returns why it ended.
    :param ended: called with that reason each time.
    """

    def __init__(
        self,
        clock: IReactorTime,
        connection: Callable[[], Coroutine[Any, Any, Gone]],
        ended: Callable[[Gone], None],
    ) -> None:
        self.closed = False
        self.wire: Wire | None = None
        self._clock, self._connection, self._ended = clock, connection, ended
        self._running: Deferred[None] | None = None
        self._pending: Deferred[Any] | None = None
        self._hurried = False

    def start(self) -> None:
        """Connect, and from now on stay connected."""
        if self._running is None and not self.closed:
            self._running = Deferred.fromCoroutine(self._run())

    async def reach(self, endpoint: IStreamClientEndpoint, wire: Wire, seconds: float) -> None:
        """Connect within some seconds; raises what the endpoint fails with."""
        await self._pend(endpoint.connect(Only(wire)).addTimeout(seconds, self._clock))

    def again(self, gone: Gone) -> None:
        """Leave the connection for a new one, at once; an attempt, or the wait for the next, is cut short."""
        self._hurried = True
        if self.wire is not None:
            self.wire.abort(gone)
        elif self._pending is not None:
            self._pending.cancel()

    def close(self) -> Deferred[None]:
        """Disconnect and stay so; fires when the connection is gone."""
        self.closed = True
        running = self._running
        if running is None:
            return succeed(None)
        done: Deferred[None] = Deferred()
        running.addBoth(lambda _: done.callback(None))
        if self.wire is not None:
            self.wire.abort(Gone("closed", "closed"))
        else:
            running.cancel()
        return done

    async def _run(self) -> None:
        wait = SHORTEST_WAIT
        while not self.closed:
            began = self._clock.seconds()
            gone = await self._connection()
            self.wire = None
            if self.closed:
                return
            if self._clock.seconds() - began > SETTLED or self._hurried:
                wait = SHORTEST_WAIT
            self._ended(gone)
            if not self._hurried:
                with suppress(CancelledError):
                    await self._pend(deferLater(self._clock, wait * random.uniform(0.5, 1.0)))
                wait = min(wait * 2, LONGEST_WAIT_FOR_NAME if gone.reason == "name" else LONGEST_WAIT)
            self._hurried = False

    async def _pend(self, pending: Deferred[Any]) -> None:
        self._pending = pending
        try:
            await pending
        finally:
            self._pending = None
