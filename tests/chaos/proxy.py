"""A bad network between the nodes and Redis: a TCP proxy that is slow, or loses half of what it is given."""

from __future__ import annotations

import asyncio
import random
import threading
from contextlib import suppress
from typing import Final

SEGMENT: Final = 1460
"""Bytes that are lost or arrive together."""

RESEND: Final = 0.2
"""Seconds until TCP sends a lost segment again; twice as long each further time."""

MOST_LOSSES: Final = 5
"""How often one segment is lost at most."""


class Proxy:
    """A proxy to a port of 127.0.0.1; ``port`` is its own.

    What is lost on a way of TCP comes again, later, and what was sent behind it waits for it: so a loss is a
    pause here.

    :ivar delay: seconds that a command and its reply need more, together.
    :ivar loss: the share of segments that are lost.
    :ivar closed: whether nobody gets through.
    """

    def __init__(self, to: int, seed: int = 1) -> None:
        self.delay = self.loss = 0.0
        self.closed = False
        self.port = 0
        self._to = to
        self._chance = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ends: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> Proxy:
        """Listen."""
        self._thread.start()
        self._ready.wait(10)
        return self

    def stop(self) -> None:
        """End every connection."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)

    def cut(self) -> None:
        """End every connection, and let none through until ``closed`` is False again."""
        self.closed = True
        self._loop.call_soon_threadsafe(self._abort)

    def _abort(self) -> None:
        for end in list(self._ends):
            end.transport.abort()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        self._abort()
        self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.closed:
            writer.transport.abort()
            return
        try:
            behind, before = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.close()
            return
        self._ends |= {writer, before}
        ways = [asyncio.ensure_future(self._pass(*way)) for way in ((reader, before), (behind, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for end in (writer, before):
                end.transport.abort()
                self._ends.discard(end)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one direction on, each segment when it is due."""
        due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        sending = asyncio.ensure_future(self._send(due, writer))
        try:
            last = 0.0
            with suppress(OSError):
                while data := await reader.read(SEGMENT):
                    last = max(last, self._loop.time() + self._hold())
                    due.put_nowait((last, data))
        finally:
            sending.cancel()

    async def _send(self, due: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while True:
                at, data = await due.get()
                wait = at - self._loop.time()
                if wait > 0:
                    await asyncio.sleep(wait)
                writer.write(data)
                await writer.drain()

    def _hold(self) -> float:
        """Return how much later a segment arrives."""
        held, resend = self.delay / 2, RESEND
        for _ in range(MOST_LOSSES):
            if self._chance.random() >= self.loss:
                break
            held += resend
            resend *= 2
        return held
