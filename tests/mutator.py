"""An upstream that lies and stammers: damaged replies before the good one, over UDP and TCP.

Run as a process of its own: ``python -m tests.mutator PORT DAMAGED SEED``.
"""

from __future__ import annotations

import random
import selectors
import socket
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.ports import free_port

SPARED = b"\5still"
"""A label: the replies to questions with it are not damaged."""


def damaged(message: bytes, chance: random.Random, keep: int = 0) -> bytes:
    """Return a message with some bytes changed, cut off or put in; the first ``keep`` bytes stay."""
    body = bytearray(message)
    for _ in range(chance.randint(1, 4)):
        if len(body) <= keep:
            break
        at = chance.randrange(keep, len(body))
        what = chance.randrange(10)
        if what < 7:
            body[at] = chance.choice((0, 1, 12, 41, 63, 64, 127, 128, 192, 255, chance.randrange(256)))
        elif what == 7:
            del body[at:]
        elif what == 8:
            body[at:at] = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 40)))
        else:
            body += body[keep:]
    return bytes(body)


def reply(query: bytes) -> bytes:
    """Return a good reply with two addresses and an OPT, whatever was asked."""
    at = 12
    while at < len(query) and query[at]:
        at += query[at] + 1
    question = query[12 : at + 5]
    record = b"\xc0\x0c\0\1\0\1\0\0\1\x2c\0\4"
    opt = b"\0\0\x29\4\xd0\0\0\0\0\0\0"
    head = query[:2] + b"\x81\x80\0\1\0\2\0\0\0\1"
    return head + question + record + b"\xc0\0\2\1" + record + b"\xc0\0\2\2" + opt


class Mutator:
    """The server.

    :param most: damaged replies before each good one.
    """

    def __init__(self, port: int, most: int, seed: int) -> None:
        self._most = most
        self._chance = random.Random(seed)
        self._wait = selectors.DefaultSelector()
        udp = socket.socket(type=socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", port))
        tcp = socket.create_server(("127.0.0.1", port))
        self._wait.register(udp, selectors.EVENT_READ, self._datagram)
        self._wait.register(tcp, selectors.EVENT_READ, self._accept)

    def run(self) -> None:
        """Serve until killed."""
        while True:
            for key, _ in self._wait.select():
                key.data(key.fileobj)

    def _datagram(self, udp: socket.socket) -> None:
        query, client = udp.recvfrom(4096)
        good = reply(query)
        for _ in range(0 if SPARED in query else self._most):
            udp.sendto(damaged(good, self._chance, keep=self._chance.choice((0, 2, 2, 2, 12, len(query)))), client)
        udp.sendto(good, client)

    def _accept(self, tcp: socket.socket) -> None:
        connection, _ = tcp.accept()
        connection.settimeout(1)
        self._wait.register(connection, selectors.EVENT_READ, self._stream)

    def _stream(self, connection: socket.socket) -> None:
        try:
            query = connection.recv(4096)[2:]
            good = reply(query) if query else b""
            bad = damaged(good, self._chance, keep=2)
            if query:
                connection.sendall(b"".join(len(each).to_bytes(2, "big") + each for each in (bad, good)))
                return
        except OSError:
            pass
        self._wait.unregister(connection)
        connection.close()


def start(case: SynchronousTestCase, most: int = 0) -> int:
    """Start one for a test, in a process of its own; return its port."""
    port = free_port()
    arguments = [sys.executable, "-m", "tests.mutator", str(port), str(most), "1"]
    process = subprocess.Popen(arguments, cwd=Path(__file__).resolve().parent.parent)
    case.addCleanup(process.wait)
    case.addCleanup(process.kill)
    return port


if __name__ == "__main__":
    Mutator(*map(int, sys.argv[1:])).run()
