"""The link to Redis: connects for ever, refuses at once what cannot be answered, and keeps Redis's time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from twisted.internet.defer import Deferred, fail, gatherResults
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from heimdall.interfaces import Heard, ILink, LinkDown
from heimdall.redislink.clock import Time
from heimdall.redislink.ear import Ear
from heimdall.redislink.gone import Gone
from heimdall.redislink.greeting import Login, read_time
from heimdall.redislink.ledger import Ledger
from heimdall.redislink.life import Life
from heimdall.redislink.refusals import refusal
from heimdall.redislink.watchers import Watchers
from heimdall.redislink.wire import Wire
from heimdall.tally import Tally

QUIET: Final = 30.0
"""Seconds between two log lines that say it was slow: near the limit it may change many times a second."""

READONLY_WAITS: Final = (1.0, 60.0)
"""Seconds between two connections that are given up because Redis takes no writes: they grow."""

REPLICA: Final = ("readonly", "masterdown")
"""Why a command was refused by what is no master."""

REFUSED: Final = "readonly"
"""Why such a connection is left for a new one; that Redis refuses commands is told already."""

AWAY, UP, SLOW, CLOSED = "away", "up", "slow", "closed"


@implementer(ILink)
class Link:
    """A connection to Redis that comes back by itself, whatever happens to Redis.

    It is *up* when Redis answers in time; *slow* when a reply is overdue: nothing more is sent but a PING, until
    replies come in time again; *away* when there is no connection. Times are in seconds.

    What is published is heard over a second connection, which comes back by itself as well.

    :param clock: should be monotonic.
    :param login: who we are there.
    :param shown: the address, as it may be logged.
    :param time_limit: a command fails when its reply takes longer.
    :param slow: a reply outstanding for longer makes the link slow.
    :param silent: a connection without any reply for so long is given up, and so is an attempt to connect.
    :param refresh: how often Redis's clock is read.
    :param most_waiting: commands in flight at most.
    :param ledger: where to count, if not alone.
    """

    def __init__(
        self,
        clock: IReactorTime,
        endpoint: IStreamClientEndpoint,
        login: Login | None = None,
        *,
        shown: str = "Redis",
        time_limit: float = 1.0,
        slow: float = 0.1,
        silent: float = 3.0,
        refresh: float = 5.0,
        most_waiting: int = 4096,
        ledger: Ledger | None = None,
    ) -> None:
        self.up = self.scattered = False
        self.state = AWAY
        self._clock, self._endpoint, self._shown = clock, endpoint, shown
        self._login = login or Login()
        self._time_limit, self._slow, self._silent = time_limit, slow, silent
        self._refresh, self._most_waiting = refresh, most_waiting
        self._watching: IDelayedCall | None = None
        self._refreshing: IDelayedCall | None = None
        self.time: Time | None = None
        """What is known of Redis's clock."""
        self._why = "not connected yet"
        self._told: set[str] = set()
        self._news = True
        self._quiet_until = 0.0
        self._readonly_until, self._readonly_wait = 0.0, READONLY_WAITS[0]
        self._watchers = Watchers(clock)
        self._log = Logger()
        self._ledger = ledger or Ledger()
        self._life = Life(clock, self._connection, self._ended)
        self._ear = Ear(
            clock,
            endpoint,
            self._login,
            changed=self._watchers.tell,
            lonely=lambda: not self.up,
            shown=shown,
            silent=silent,
            ledger=self._ledger,
        )
        self.tallies: list[Tally] = self._ledger.tallies(self, clock.seconds)

    @property
    def hearing(self) -> bool:
        """Whether messages on all channels reach us now."""
        return self._ear.hearing

    @property
    def refusals(self) -> Sequence[str]:
        """What Redis has just refused, in words."""
        return [each.text for each in self._ledger.refusals(self._clock.seconds())]

    def start(self) -> None:
        """Connect, and from now on stay connected."""
        self._life.start()
        self._ear.start()

    def run(self, *command: bytes | str | int) -> Deferred[object]:
        """Run one command: fires with the reply, or fails with :class:`LinkDown` within the time limit."""
        wire = self._life.wire
        if not self.up or wire is None:
            self._ledger.commands.add("down")
            return fail(LinkDown(self._why))
        if len(wire.waiting) >= self._most_waiting:
            self._ledger.commands.add("full")
            return fail(LinkDown("too many commands in flight"))
        return self._send(wire, *command)

    def now(self) -> float | None:
        """Return the time on Redis's clock, in seconds since 1970; None until it was read once."""
        return None if self.time is None else self.time.now(self._clock.seconds())

    def doubt(self) -> float:
        """Return by how many seconds that may be wrong, either way."""
        return 0.0 if self.time is None else self.time.doubt(self._clock.seconds())

    def place(self, key: bytes) -> int:
        """Return 0: all keys live in one place."""
        return 0

    def listen(self, channel: str, heard: Heard) -> None:
        """Call ``heard`` with each message on a channel from now on, whatever becomes of connections."""
        self._ear.listen(channel, heard)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` after each change of ``up`` or ``hearing``."""
        self._watchers.add(changed)

    def again(self, gone: Gone) -> None:
        """Leave the connections for new ones, as what is at their end is no longer what we want."""
        self._life.again(gone)
        self._ear.again(gone)

    def close(self) -> Deferred[None]:
        """Disconnect and stay so; fires when the connections are gone."""
        self._become(CLOSED, Gone("closed", "closed"))
        return gatherResults([self._life.close(), self._ear.close()]).addCallback(lambda _: None)

    # Connecting.

    async def _connection(self) -> Gone:
        """Connect, stay as long as it lasts, and return why it ended."""
        wire = Wire(self._clock.seconds, self._replied, refused=self._refused)
        try:
            await self._life.reach(self._endpoint, wire, self._silent)
        except Exception as error:
            return Gone.of(error)
        self._life.wire = wire
        try:
            await Deferred.fromCoroutine(self._login.greet(wire)).addTimeout(self._silent, self._clock)
            wire.hurry()
            await Deferred.fromCoroutine(self._read_clock(wire)).addTimeout(self._silent, self._clock)
        except Exception as error:
            wire.abort(Gone.of(error))
        else:
            self._refreshing = self._clock.callLater(self._refresh, self._read_clock_again)
            self._become(UP)
        gone = await wire.lost
        self._life.wire = None
        for timer in (self._watching, self._refreshing):
            if timer is not None and timer.active():
                timer.cancel()
        self._watching = self._refreshing = None
        return gone

    def _ended(self, gone: Gone) -> None:
        self._ledger.ends.add(gone.reason)
        self._become(AWAY, gone)

    def _refused(self, text: str) -> None:
        """See why a command was refused; of a replica the address may lead to the new master by now."""
        now = self._clock.seconds()
        refused = refusal(text)
        if refused is not None and self.state != AWAY:  # what is tried at the greeting need not be allowed
            self._ledger.refuse(refused, now, self._shown)
        if refused is not None and refused.reason in REPLICA and now >= self._readonly_until:
            waits = self._readonly_wait
            self._readonly_until, self._readonly_wait = now + waits, min(waits * 2, READONLY_WAITS[1])
            # Not from within its own reply: others may stand behind it in the same bytes.
            self._clock.callLater(0, self.again, Gone(REFUSED, "it takes no writes"))

    # Whether it answers in time.

    def _send(self, wire: Wire, *command: bytes | str | int) -> Deferred[object]:
        if self._watching is None:
            self._watching = self._clock.callLater(self._slow, self._watch)
        return wire.send(*command)

    def _replied(self, round_trip: float) -> None:
        self._ledger.commands.add("replied")
        self._ledger.times.observe(round_trip)
        if self.state == SLOW:
            if round_trip < self._slow:
                self._become(UP)
            elif self._life.wire is not None and not self._life.wire.waiting:
                self._probe(self._life.wire)

    def _probe(self, wire: Wire) -> None:
        self._send(wire, "PING").addErrback(_ignored)

    def _watch(self, stalled: bool = False) -> None:
        """Look how long the oldest command has been waiting, and do what is due."""
        self._watching = None
        wire = self._life.wire
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
                self._ledger.commands.add("late")
                call.waiter.errback(LinkDown(f"no reply within {self._time_limit:g} s"))

    # The clock of Redis.

    async def _read_clock(self, wire: Wire, most: float | None = None) -> None:
        """Read Redis's clock; a reading whose round trip took longer than ``most`` is too vague to take."""
        sent = self._clock.seconds()
        time = await read_time(wire)
        heard = self._clock.seconds()
        if most is None or heard - sent < most:
            self.time = Time.of(time, sent, heard)

    def _read_clock_again(self) -> None:
        self._refreshing = self._clock.callLater(self._refresh, self._read_clock_again)
        if self._life.wire is not None and self.up:
            if self._watching is None:
                self._watching = self._clock.callLater(self._slow, self._watch)
            reading = Deferred.fromCoroutine(self._read_clock(self._life.wire, self._slow))
            reading.addErrback(_ignored)  # counted and told elsewhere; the old reckoning stands

    # Its state.

    def _become(self, state: str, gone: Gone | None = None) -> None:
        before, was_up = self.state, self.up
        if before == CLOSED or (state == before == SLOW):
            return
        self.state, self.up = state, state == UP
        if state != before:
            self._ledger.changes.add(state)
        if state == AWAY and gone is not None:
            self._why = gone.advice(self._shown)
            if gone.reason not in self._told and gone.reason != REFUSED:
                self._told.add(gone.reason)
                self._news = True
                self._log.warn("no Redis at {at}: {why}", at=self._shown, why=self._why)
        elif state == UP and self._news:
            self._told.clear()
            self._news = False
            self._log.info("Redis answers at {at}", at=self._shown)
        elif state == SLOW:
            self._why = "a reply is overdue"
            if self._clock.seconds() >= self._quiet_until:
                self._quiet_until = self._clock.seconds() + QUIET
                self._news = True
                self._log.warn("Redis at {at} is slow: done without until it answers in time", at=self._shown)
        if self.up != was_up:
            self._watchers.tell()


def _ignored(_: Failure) -> None:
    """Take note of a failure that is counted and told elsewhere."""
