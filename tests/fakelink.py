"""A link to Redis in memory, whose replies come when the test lets them come."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from heimdall.interfaces import Heard, ILink, LinkDown

YEAR_2026 = 1_767_225_600.0


@implementer(ILink)
class FakeLink:
    """Holds values of GET, MGET, SET and DEL, and takes PUBLISH; its clock is that of the test, moved to 2026.

    ``holding``   keep back every reply until :meth:`release`
    ``refusal``   the error that every command is answered with, by its first word; under "" for all
    ``commands``  what was run, in order
    ``offset``    seconds that its clock is ahead, which are in doubt by ``vague``
    ``hearers``   who listens, by channel; of all links to the same Redis

    :param beside: a link to the same Redis, whose values and channels are shared.
    """

    def __init__(self, clock: IReactorTime, beside: FakeLink | None = None) -> None:
        self.up = True
        self.scattered = False
        self.hearing = True
        self.refusals: list[str] = []
        self.holding = False
        self.refusal: dict[str, str] = {}
        self.commands: list[tuple[bytes | str | int, ...]] = []
        self.values: dict[bytes, bytes] = beside.values if beside else {}
        self.lifetimes: dict[bytes, int] = beside.lifetimes if beside else {}
        self.hearers: dict[str, list[tuple[FakeLink, Heard]]] = beside.hearers if beside else {}
        self.offset = YEAR_2026
        self.vague = 0.0
        self._watchers: list[Callable[[], None]] = []
        self._clock = clock
        self._held: list[tuple[Deferred[object], tuple[bytes | str | int, ...]]] = []

    def run(self, *command: bytes | str | int) -> Deferred[object]:
        """Run one command now, or at the release."""
        self.commands.append(command)
        if not self.up:
            return fail(LinkDown("away"))
        if self.holding:
            waiter: Deferred[object] = Deferred()
            self._held.append((waiter, command))
            return waiter
        return self._result(command)

    def release(self) -> None:
        """Answer everything that was held back."""
        self.holding = False
        held, self._held = self._held, []
        for waiter, command in held:
            if not waiter.called:
                self._result(command).chainDeferred(waiter)

    def break_down(self, reason: str) -> None:
        """Go away: whatever was held back fails."""
        self.become(up=False, hearing=False)
        held, self._held = self._held, []
        for waiter, _ in held:
            if not waiter.called:
                waiter.errback(LinkDown(reason))

    def now(self) -> float | None:
        """Return the test's clock, moved."""
        return self._clock.seconds() + self.offset

    def doubt(self) -> float:
        """Return what the test says."""
        return self.vague

    def place(self, key: bytes) -> int:
        """Return 0: all keys live together."""
        return 0

    def listen(self, channel: str, heard: Heard) -> None:
        """Call ``heard`` with each message on a channel, while this link is hearing."""
        self.hearers.setdefault(channel, []).append((self, heard))

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` after each change that is made by :meth:`become`."""
        self._watchers.append(changed)

    def become(self, *, up: bool | None = None, hearing: bool | None = None) -> None:
        """Change ``up`` or ``hearing``, and tell who watches."""
        before = self.up, self.hearing
        self.up = self.up if up is None else up
        self.hearing = self.hearing if hearing is None else hearing
        if (self.up, self.hearing) != before:
            for changed in self._watchers:
                changed()

    def close(self) -> Deferred[None]:
        """Go away."""
        self.become(up=False, hearing=False)
        return succeed(None)

    def names(self) -> list[str]:
        """Return the first words of what was run."""
        return [_text(command[0]) for command in self.commands]

    def _result(self, command: tuple[bytes | str | int, ...]) -> Deferred[object]:
        name = _text(command[0])
        refusal = self.refusal.get(name) or self.refusal.get("")
        if refusal:
            return fail(LinkDown(refusal))
        parts = [part if isinstance(part, bytes) else str(part).encode() for part in command]
        if name == "MGET":
            return succeed([self.values.get(key) for key in parts[1:]])
        if name == "GET":
            return succeed(self.values.get(parts[1]))
        if name == "SET":
            self.values[parts[1]] = parts[2]
            self.lifetimes[parts[1]] = int(parts[4])
            return succeed(b"OK")
        if name == "DEL":
            return succeed(sum(self.values.pop(key, None) is not None for key in parts[1:]))
        if name == "PUBLISH":
            hearers = [heard for link, heard in self.hearers.get(parts[1].decode(), ()) if link.hearing]
            for heard in hearers:
                heard(parts[2])
            return succeed(len(hearers))
        return fail(LinkDown(f"ERR unknown command '{name}'"))


def _text(word: bytes | str | int) -> str:
    return word.decode() if isinstance(word, bytes) else str(word)
