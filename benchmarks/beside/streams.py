"""A load of questions over TCP: so many on each connection, written at once, and the connection closed behind them.

dnsperf rests for a tenth of a second before it opens a connection again, so it cannot load a server with them.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Final

from benchmarks.beside.load import Found
from heimdall.message import query
from heimdall.message.wire import from_text

CONNECTIONS: Final = 30
"""At once: fewer than any of the servers grants a client."""
PATIENCE: Final = 3.0


class _Stream:
    """A connection, and what is still to come on it."""

    def __init__(self, port: int, message: bytes, replies: int) -> None:
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.began = time.perf_counter()
        self.message = message
        self.replies, self.good, self.rest = replies, 0, b""
        self.socket.connect_ex(("127.0.0.1", port))

    def read(self) -> bool:
        """Read what is there; return whether that was all."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError
        data = self.rest + data
        at = 0
        while len(data) >= at + 2 and len(data) >= at + 2 + int.from_bytes(data[at : at + 2], "big"):
            self.good += data[at + 5] & 15 == 0
            self.replies -= 1
            at += 2 + int.from_bytes(data[at : at + 2], "big")
        self.rest = data[at:]
        return not self.replies


def _messages(lines: Sequence[str], count: int) -> Iterator[bytes]:
    """Yield what to write to each connection, for ever."""
    framed = []
    for number, line in enumerate(lines):
        wire = query.write(query.make(from_text(line.split()[0]), 1), number & 0xFFFF)
        framed.append(len(wire).to_bytes(2, "big") + wire)
    each = cycle(framed)
    while True:
        yield b"".join(next(each) for _ in range(count))


def ask(port: int, lines: Sequence[str], count: int, seconds: float, rate: float = 0.0) -> Found:
    """Ask over and over for some seconds.

    :param lines: questions for A records.
    :param count: how many on each connection.
    :param rate: connections a second; 0 for as many as there can be.
    """
    messages = _messages(lines[:2000], count)
    began = time.perf_counter()
    sent = answered = lost = opened = 0
    latencies: list[float] = []
    with selectors.DefaultSelector() as selector:
        streams: set[_Stream] = set()
        while True:
            now = time.perf_counter()
            asking = now - began < seconds
            while asking and len(streams) < CONNECTIONS and (not rate or opened < rate * (now - began)):
                stream = _Stream(port, next(messages), count)
                selector.register(stream.socket, selectors.EVENT_WRITE, stream)
                streams.add(stream)
                sent += count
                opened += 1
            if not streams and not asking:
                break
            for key, _ in selector.select(0.001 if rate else 0.05):
                stream = key.data
                try:
                    if stream.message:
                        stream.socket.send(stream.message)
                        stream.message = b""
                        selector.modify(stream.socket, selectors.EVENT_READ, stream)
                        continue
                    if not stream.read():
                        continue
                    latencies.append(time.perf_counter() - stream.began)
                except OSError:
                    pass
                answered += stream.good
                lost += stream.replies
                selector.unregister(stream.socket)
                stream.socket.close()
                streams.discard(stream)
            for stream in [one for one in streams if now - one.began > PATIENCE]:
                answered += stream.good
                lost += stream.replies
                selector.unregister(stream.socket)
                stream.socket.close()
                streams.discard(stream)
    return Found(sent, answered, lost, time.perf_counter() - began, latencies)
