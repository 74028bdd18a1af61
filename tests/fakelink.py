"""A link to Redis in memory, whose replies come when the test lets them come."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from heimdall.interfaces import ILink, LinkDown

YEAR_2026 = 1_767_225_600.0


@implementer(ILink)
class FakeLink:
    """Holds values of GET, MGET, SET and DEL; its clock is that of the test, moved to the year 2026.

    ``holding``   keep back every reply until :meth:`release`
    ``refusal``   the error that every command is answered with, by its first word; under "" for all
    ``commands``  what was run, in order
    ``offset``    seconds that its clock is ahead
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.up = True
        self.holding = False
        self.refusal: dict[str, str] = {}
        self.commands: list[tuple[bytes | str | int, ...]] = []
        self.values: dict[bytes, bytes] = {}
        self.lifetimes: dict[bytes, int] = {}
        self.offset = YEAR_2026
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
        self.up = False
        held, self._held = self._held, []
        for waiter, _ in held:
            if not waiter.called:
                waiter.errback(LinkDown(reason))

    def now(self) -> float | None:
        """Return the test's clock, moved."""
        return self._clock.seconds() + self.offset

    def close(self) -> Deferred[None]:
        """Go away."""
        self.up = False
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
        return fail(LinkDown(f"ERR unknown command '{name}'"))


def _text(word: bytes | str | int) -> str:
    return word.decode() if isinstance(word, bytes) else str(word)
