"""Replies that were not known at once: those of one turn of the reactor leave together at its end."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from heimdall.accept.slots import Envelope, Slots
from heimdall.message.query import Client

TOGETHER: Final = 192
"""Replies that leave together at most: of more, more are for the same client, and go in one message."""


class Outbox:
    """Sends replies through ``slots`` of its own, that nothing is read into.

    :param failed: called with "send" and an error for each that the kernel did not take.
    """

    def __init__(
        self, udp: socket.socket, wide: bool, clock: IReactorTime, failed: Callable[[str, OSError], object]
    ) -> None:
        self.slots = Slots(udp, wide, TOGETHER)
        self._clock, self._failed = clock, failed
        self._waiting: list[tuple[Envelope, bytes]] = []
        self._timer: IDelayedCall | None = None

    def post(self, envelope: Envelope, reply: bytes) -> None:
        """Send a reply with the others of this turn."""
        self._waiting.append((envelope, reply))
        if self._timer is None:
            self._timer = self._clock.callLater(0, self._send)
        elif len(self._waiting) == TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Send what waits now."""
        if self._timer is not None:
            self._timer.cancel()
            self._send()

    def _send(self) -> None:
        self._timer = None
        waiting, self._waiting = self._waiting, []
        self.slots.fill(waiting)
        for error in self.slots.send(len(waiting)):
            self._failed("send", error)


class Way:
    """The way to one client by an outbox."""

    __slots__ = ("_envelope", "_outbox")

    def __init__(self, outbox: Outbox, envelope: Envelope) -> None:
        self._outbox, self._envelope = outbox, envelope

    def send(self, reply: bytes, _client: Client) -> None:
        """Send him a reply."""
        self._outbox.post(self._envelope, reply)
