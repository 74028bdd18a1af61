"""The connection that listens: subscribed to every channel, asked now and then whether it still hears."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from heimdall.bugs import reporter
from heimdall.interfaces import Heard, LinkDown
from heimdall.redislink.gone import Gone, reasoned
from heimdall.redislink.greeting import Login
from heimdall.redislink.ledger import Ledger
from heimdall.redislink.life import Life
from heimdall.redislink.refusals import refusal
from heimdall.redislink.wire import Wire

CHECK: Final = 3.0
"""Seconds between two PINGs on the connection that listens."""


class Ear:
    """Hears what is published on some channels, and comes back by itself like the connection that speaks.

    ``hearing`` is true while Redis has confirmed every channel. Times are in seconds.

    :param changed: called after each change of ``hearing``.
    :param lonely: whether it is no news that nothing can be heard, as the whole of Redis is away.
    :param silent: a PING without an answer for so long ends the connection, and so does an attempt to connect.
    """

    def __init__(
        self,
        clock: IReactorTime,
        endpoint: IStreamClientEndpoint,
        login: Login,
        *,
        changed: Callable[[], None],
        lonely: Callable[[], bool] = lambda: False,
        shown: str = "Redis",
        silent: float = 3.0,
        ledger: Ledger | None = None,
    ) -> None:
        self.hearing = False
        self._clock, self._endpoint, self._login = clock, endpoint, login
        self._changed, self._lonely, self._shown, self._silent = changed, lonely, shown, silent
        self._ledger = ledger or Ledger()
        self._hearers: dict[bytes, list[Heard]] = {}
        self._confirmed: set[bytes] = set()
        self._told = False
        self._started = False
        self._check: IDelayedCall | None = None
        self._life = Life(clock, self._connection, self._ended)
        self._log = Logger()
        self._bugs = reporter(clock)

    def listen(self, channel: str, heard: Heard) -> None:
        """Call ``heard`` with each message on a channel from now on."""
        name = channel.encode()
        known = name in self._hearers
        self._hearers.setdefault(name, []).append(heard)
        if self._started:
            self._life.start()
        if not known and self._life.wire is not None:
            self._judge()
            self._subscribe(self._life.wire, name).addErrback(self._refused, self._life.wire)

    def start(self) -> None:
        """Connect as soon as there is something to listen to, and from then on stay connected."""
        self._started = True
        if self._hearers:
            self._life.start()

    def again(self, gone: Gone) -> None:
        """Leave this connection for a new one."""
        self._life.again(gone)

    def close(self) -> Deferred[None]:
        """Disconnect and stay so; fires when the connection is gone."""
        done = self._life.close()
        self._judge()
        return done

    async def _connection(self) -> Gone:
        wire = Wire(self._clock.seconds, lambda _: None, self._pushed)
        try:
            await self._life.reach(self._endpoint, wire, self._silent)
        except Exception as error:
            return Gone.of(error)
        try:
            greeting = Deferred.fromCoroutine(self._login.greet(wire, database=False))
            await greeting.addTimeout(self._silent, self._clock)
            # From here on a channel that is added sees the wire, and subscribes by itself.
            self._life.wire = wire
            waiting = [self._subscribe(wire, name) for name in self._hearers]
            await gatherResults(waiting, consumeErrors=True).addTimeout(self._silent, self._clock)
        except Exception as error:
            wire.abort(Gone.of(reasoned(error)))
        else:
            self._check = self._clock.callLater(CHECK, self._ping, wire)
        gone = await wire.lost
        self._life.wire = None
        self._confirmed.clear()
        if self._check is not None and self._check.active():
            self._check.cancel()
        self._check = None
        return gone

    def _subscribe(self, wire: Wire, name: bytes) -> Deferred[None]:
        def confirmed(_: object) -> None:
            if self._life.wire is wire:
                self._confirmed.add(name)
                self._judge()

        return wire.send("SUBSCRIBE", name).addCallback(confirmed)

    def _refused(self, failure: Failure, wire: Wire) -> None:
        failure.trap(LinkDown)
        wire.abort(Gone.of(cast(LinkDown, failure.value)))

    def _ping(self, wire: Wire) -> None:
        """Ask whether anybody is there: a subscriber may wait for ever on a connection that is dead."""
        self._check = self._clock.callLater(self._silent, self._dead, wire)

        def answered(_: object) -> None:
            if self._check is not None and self._check.active():
                self._check.cancel()
                self._check = self._clock.callLater(CHECK, self._ping, wire)

        # An error is a sign of life as well: Redis answers a PING with MISCONF while it cannot save its data.
        wire.send("PING").addBoth(answered)

    def _dead(self, wire: Wire) -> None:
        wire.abort(Gone("silent", f"no reply for {self._silent:g} s"))

    def _pushed(self, reply: object) -> bool:
        """Take a message; anything else is the reply to a command."""
        match reply:
            case [b"message", bytes(channel), bytes(message)]:
                pass
            case _:
                return False
        for heard in self._hearers.get(channel, ()):
            try:
                heard(message)
            except Exception as bug:
                self._ledger.messages.add("failed")
                text = "a message on {channel} could not be dealt with"
                self._bugs.report(self._log, text, bug, channel=channel.decode("latin-1"))
            else:
                self._ledger.messages.add("heard")
        return True

    def _ended(self, gone: Gone) -> None:
        self._ledger.deaf.add(gone.reason)
        if gone.reason == "permission" and (refused := refusal(str(gone))) is not None:
            self._ledger.lack(refused, self._clock.seconds())
        self._judge()
        if gone.reason != "lost" and not self._told and not self._lonely():
            self._told = True
            self._log.warn("Redis at {at} lets us hear nothing: {why}", at=self._shown, why=gone.advice(self._shown))

    def _judge(self) -> None:
        hearing = not self._life.closed and bool(self._hearers) and self._confirmed >= self._hearers.keys()
        if hearing == self.hearing:
            return
        self.hearing = hearing
        if hearing and self._told:
            self._told = False
            self._log.info("Redis at {at} lets us hear again", at=self._shown)
        self._changed()
