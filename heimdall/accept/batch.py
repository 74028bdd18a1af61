"""Answer the datagrams of a socket by the batch: what is known already all at once, the others one by one."""

from __future__ import annotations

import socket
from functools import partial
from typing import Final, Protocol

from twisted.internet.interfaces import IReactorFDSet

from heimdall.accept.coalesce import many
from heimdall.accept.engine import Held, Left
from heimdall.accept.outbox import Outbox, Way
from heimdall.accept.reader import BATCH, Reader, Taker, WideReader
from heimdall.accept.rush import STEP, Rush
from heimdall.accept.slots import Slots
from heimdall.message.query import Query

BATCHES: Final = 8
"""Batches that are read before the reactor gets its turn again."""


class Known(Protocol):
    """Who knows replies without a look at the message's meaning."""

    def answer(self, slots: Slots, count: int) -> tuple[list[Left], list[int]]:
        """Write the replies to the first ``count`` messages over them; return those it cannot, and which get none."""


class BatchReader(WideReader):
    """Reads a socket in batches; the replies that come later in one turn of the reactor leave together at its end.

    :param known: asked first, for all of a batch at once.
    :param rush: where what is not known waits while batches are full.
    """

    def __init__(
        self,
        udp: socket.socket,
        datagrams: Taker,
        reactor: IReactorFDSet,
        known: Known,
        wide: bool,
        rush: Rush | None = None,
    ) -> None:
        super().__init__(udp, datagrams, reactor)
        self._engine, self._rush, self._known, self._wide = datagrams.engine, rush, known, wide
        self._slots = Slots(udp, wide)
        self._many = False
        self._outbox = Outbox(udp, wide, datagrams.clock, datagrams.failed)

    def doRead(self) -> None:
        """Answer the datagrams that are there: a batch, and some more while those are full."""
        rush = self._rush
        if self._many:
            self._many = False
            self._datagrams.coalescing.wait()
        for number in range(BATCHES):
            count = self._slots.receive()
            if count < 1:
                if not number:
                    # What is wrong is told, and counted, by reading one at a time.
                    (WideReader if self._wide else Reader).doRead(self)
                break
            if rush is not None:
                rush.on = rush.on or count == BATCH or (count > STEP and rush.flood)
            self._answer_batch(count)
            if count < BATCH or rush is None:
                break
        if rush is not None and rush.on:
            rush.catch_up()

    def _answer_batch(self, count: int) -> None:
        """Answer the datagrams that were read."""
        slots = self._slots
        try:
            left, silent = self._known.answer(slots, count)
        except Exception as bug:
            self._datagrams.faults.refuse(slots.message(0), bug)
            left, silent = [(index, None, False) for index in range(count)], []
        self._many = count < BATCH and many(count, len(left))
        if self._rush is not None and self._rush.on:
            left = self._hold(left, silent)
        silent += [index for index, query, passed in left if not self._take(index, query, passed)]
        if self._rush is not None:
            self._rush.read(count - len(silent), len(silent))
        for error in slots.send(count, silent):
            self._datagrams.failed("send", error)
        self._heard(0)

    def _hold(self, left: list[Left], silent: list[int]) -> list[Left]:
        """Let wait, while there is a rush, what memory does not know and everybody may ask; return what else is left.

        :param silent: gets the numbers of those that have no reply so far.
        """
        slots, outbox, now = self._slots, self._outbox, self._datagrams.clock.seconds()
        held: list[Held] = []
        others: list[Left] = []
        for one in left:
            index, query, passed = one
            envelope = slots.envelope(index) if passed and query is not None else b""
            if query is not None and envelope:
                query.client = slots.sender(envelope)
                held.append((query, now, Way(outbox, envelope).send))
                silent.append(index)
            else:
                others.append(one)
        if held:
            self._engine.hold(held)
        return others

    def _take(self, index: int, query: Query | None, passed: bool) -> bool:
        """Hand a message to the server; return whether it is answered already."""
        slots = self._slots
        envelope = slots.envelope(index)
        later = Way(self._outbox, envelope).send if envelope else partial(self._send_from, [])
        client = slots.sender(envelope) if envelope else slots.client(index)
        try:
            if query is None:
                reply = self._engine.take(slots.message(index), client, False, later, passed)
            else:
                query.client = client
                reply = self._engine.take_new(query, passed, later)
        except Exception as bug:
            reply = self._datagrams.faults.refuse(slots.message(index), bug)
        if not reply:
            return False
        slots.put(index, reply)
        return True

    def cut(self, on: bool) -> None:
        """Let the kernel cut up replies, or not."""
        self._slots.cut(on)
        self._outbox.slots.cut(on)

    def close(self) -> None:
        """Send what waits, and close the socket."""
        self._outbox.flush()
        super().close()
