"""The link to Redis: connects for ever, refuses at once what cannot be answered, and keeps Redis's time."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from heimdall.interfaces import ILink, LinkDown
from heimdall.redislink.gone import REMEDIES, Gone
from heimdall.redislink.greeting import greet, read_time
from heimdall.redislink.wire import Only, Wire
from heimdall.tally import Count, Gauge, Tally, Times

SHORTEST_WAIT, LONGEST_WAIT, LONGEST_WAIT_FOR_NAME = 0.1, 5.0, 30.0
"""Seconds between two attempts to connect; a name that is not known is asked for less often."""

SETTLED: Final = 10.0
"""Seconds after which a connection is counted as a good one: attempts begin anew with the shortest wait."""

QUIET: Final = 30.0
"""Seconds between two log lines that say it was slow: near the limit it may change many times a second."""

AWAY, UP, SLOW, CLOSED = "away", "up", "slow", "closed"


@implementer(ILink)
class Link:
    """A connection to Redis that comes back by itself, whatever happens to Redis.

    It is *up* when Redis answers in time; *slow* when a reply is overdue: nothing more is sent but a PING, until
    replies come in time again; *away* when there is no connection. Times are in seconds.

    :param clock: should be monotonic.
    :param shown: the address, as it may be logged.
    :param user: empty for the default user; ``database`` the number of the database to use.
    :param password: called at each connect; may raise OSError.
    :param time_limit: a command fails when its reply takes longer.
    :param slow: a reply outstanding for longer makes the link slow.
    :param silent: a connection without any reply for so long is given up, and so is an attempt to connect.
    :param refresh: how often Redis's clock is read.
    :param most_waiting: commands in flight at most.
    """

    def __init__(
        self,
        clock: IReactorTime,
        endpoint: IStreamClientEndpoint,
        *,
        shown: str = "Redis",
        user: str = "",
        password: Callable[[], str] = str,
        database: int = 0,
        time_limit: float = 1.0,
        slow: float = 0.1,
        silent: float = 3.0,
        refresh: float = 5.0,
        most_waiting: int = 4096,
    ) -> None:
        self.up = False
        self.state = AWAY
        self._clock, self._endpoint, self._shown = clock, endpoint, shown
        self._user, self._password, self._database = user, password, database
        self._time_limit, self._slow, self._silent = time_limit, slow, silent
        self._refresh, self._most_waiting = refresh, most_waiting
        self._wire: Wire | None = None
        self._life: Deferred[None] | None = None
        self._watching: IDelayedCall | None = None
        self._refreshing: IDelayedCall | None = None
        self._ahead: float | None = None
        self._why = "not connected yet"
        self._told: set[str] = set()
        self._quiet_until = 0.0
        self._log = Logger()
        self._changes = Count("heimdall_redislink_changes_total", "Changes of state, by the new one.", "state")
        self._ends = Count("heimdall_redislink_errors_total", "Failed attempts, lost connections.", "reason")
        self._commands = Count("heimdall_redislink_commands_total", "Commands, by what came of them.", "result")
        self._times = Times("heimdall_redislink_round_trip_seconds", "From a command to its reply.")
        up = Gauge("heimdall_redislink_connection_up", "1 when Redis answers in time, else 0.", lambda: float(self.up))
        self.tallies: list[Tally] = [self._changes, self._ends, self._commands, self._times, up]

    def start(self) -> None:
        """Connect, and from now on stay connected."""
        if self._life is None and self.state != CLOSED:
            self._life = Deferred.fromCoroutine(self._live())

    def run(self, *command: bytes | str | int) -> Deferred[object]:
        """Run one command: fires with the reply, or fails with :class:`LinkDown` within the time limit."""
        wire = self._wire
        if not self.up or wire is None:
            self._commands.add("down")
            return fail(LinkDown(self._why))
        if len(wire.waiting) >= self._most_waiting:
            self._commands.add("full")
            return fail(LinkDown("too many commands in flight"))
        return self._send(wire, *command)

    def now(self) -> float | None:
        """Return the time on Redis's clock, in seconds since 1970; None until it was read once."""
        return None if self._ahead is None else self._clock.seconds() + self._ahead

    def close(self) -> Deferred[None]:
        """Disconnect and stay so; fires when the connection is gone."""
        self._become(CLOSED, Gone("closed", "closed"))
        life, wire = self._life, self._wire
        if life is None:
            return succeed(None)
        done: Deferred[None] = Deferred()
        life.addBoth(lambda _: done.callback(None))
        if wire is not None:
            wire.abort(Gone("closed", "closed"))
        else:
            life.cancel()
        return done

    # Connecting.

    async def _live(self) -> None:
        """Connect again and again, with longer waits as long as nothing comes of it."""
        wait = SHORTEST_WAIT
        while self.state != CLOSED:
            began = self._clock.seconds()
            gone = await self._connection()
            if self.state == CLOSED:
                return
            if self._clock.seconds() - began > SETTLED:
                wait = SHORTEST_WAIT
            self._ends.add(gone.reason)
            self._become(AWAY, gone)
            await deferLater(self._clock, wait * random.uniform(0.5, 1.0))
            wait = min(wait * 2, LONGEST_WAIT_FOR_NAME if gone.reason == "name" else LONGEST_WAIT)

    async def _connection(self) -> Gone:
        """Connect, stay as long as it lasts, and return why it ended."""
        try:
            password = self._password()
        except (OSError, ValueError) as error:
            return Gone("password_file", f"the password file cannot be read: {type(error).__name__}")
        wire = Wire(self._clock.seconds, self._replied)
        try:
            await self._endpoint.connect(Only(wire)).addTimeout(self._silent, self._clock)
        except Exception as error:
            return Gone.of(error)
        self._wire = wire
        try:
            greeting = greet(wire, self._user, password, self._database)
            await Deferred.fromCoroutine(greeting).addTimeout(self._silent, self._clock)
            await Deferred.fromCoroutine(self._read_clock(wire)).addTimeout(self._silent, self._clock)
        except Exception as error:
            wire.abort(Gone.of(error))
        else:
            self._become(UP)
            self._refreshing = self._clock.callLater(self._refresh, self._read_clock_again)
        gone = await wire.lost
        self._wire = None
        for timer in (self._watching, self._refreshing):
            if timer is not None and timer.active():
                timer.cancel()
        self._watching = self._refreshing = None
        return gone

    # Whether it answers in time.

    def _send(self, wire: Wire, *command: bytes | str | int) -> Deferred[object]:
        if self._watching is None:
            self._watching = self._clock.callLater(self._slow, self._watch)
        return wire.send(*command)

    def _replied(self, round_trip: float) -> None:
        self._commands.add("replied")
        self._times.observe(round_trip)
        if self.state == SLOW:
            if round_trip < self._slow:
                self._become(UP)
            elif self._wire is not None and not self._wire.waiting:
                self._probe(self._wire)

    def _probe(self, wire: Wire) -> None:
        self._send(wire, "PING").addErrback(_ignored)

    def _watch(self, stalled: bool = False) -> None:
        """Look how long the oldest command has been waiting, and do what is due."""
        self._watching = None
        wire = self._wire
        if wire is None or not wire.waiting:
            return
        now = self._clock.seconds()
        oldest = wire.waiting[0].sent
        wait = oldest + self._slow - now
        if wait <= 0 and self.state == UP and not stalled:
            # It may be ourselves who were busy, with the reply already in the socket: read first.
            self._watching = self._clock.callLater(0, self._watch, True)
            return
        if wait <= 0:
            self._become(SLOW)
            self._give_up(wire, now)
            if now - max(wire.heard, oldest) >= self._silent:
                wire.abort(Gone("silent", f"no reply for {self._silent:g} s"))
                return
            wait = self._slow / 2
        self._watching = self._clock.callLater(max(wait, 0.001), self._watch)

    def _give_up(self, wire: Wire, now: float) -> None:
        """Fail the commands whose time is over. They were sent in the order in which they are due."""
        for call in list(wire.waiting):
            if call.sent + self._time_limit > now:
                return
            if not call.waiter.called:
                self._commands.add("late")
                call.waiter.errback(LinkDown(f"no reply within {self._time_limit:g} s"))

    # The clock of Redis.

    async def _read_clock(self, wire: Wire, most: float | None = None) -> None:
        """Read Redis's clock; a reading whose round trip took longer than ``most`` is too vague to take."""
        sent = self._clock.seconds()
        time = await read_time(wire)
        heard = self._clock.seconds()
        if most is None or heard - sent < most:
            self._ahead = time - (sent + heard) / 2

    def _read_clock_again(self) -> None:
        self._refreshing = self._clock.callLater(self._refresh, self._read_clock_again)
        if self._wire is not None and self.up:
            if self._watching is None:
                self._watching = self._clock.callLater(self._slow, self._watch)
            reading = Deferred.fromCoroutine(self._read_clock(self._wire, self._slow))
            reading.addErrback(_ignored)  # counted and told elsewhere; the old reckoning stands

    # Its state.

    def _become(self, state: str, gone: Gone | None = None) -> None:
        before = self.state
        if before == CLOSED or (state == before == SLOW):
            return
        self.state, self.up = state, state == UP
        if state != before:
            self._changes.add(state)
        if state == AWAY and gone is not None:
            self._why = f"{gone.reason}: {gone}"
            if gone.reason not in self._told:
                self._told.add(gone.reason)
                remedy = REMEDIES[gone.reason]
                self._log.warn("no Redis at {at}: {why}; {remedy}", at=self._shown, why=str(gone), remedy=remedy)
        elif state == UP and (before == AWAY or "slow" in self._told):
            self._told.clear()
            self._log.info("Redis answers at {at}", at=self._shown)
        elif state == SLOW:
            self._why = "slow: a reply is overdue"
            if self._clock.seconds() >= self._quiet_until:
                self._quiet_until = self._clock.seconds() + QUIET
                self._told.add("slow")
                self._log.warn("Redis at {at} is slow: done without until it answers in time", at=self._shown)


def _ignored(_: Failure) -> None:
    """Take note of a failure that is counted and told elsewhere."""
