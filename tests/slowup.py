"""An upstream far away: knows every name, answers late, and counts what it is asked again.

It is a process of its own in plain Python, so that what it costs is little and always the same:
``python -m tests.slowup PORT``. It takes its orders from its standard input and ends with it.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from hashlib import blake2s
from pathlib import Path
from typing import Any, Final

from tests.ports import free_port

A: Final = 1
AAAA: Final = 28

EARLY: Final = 0.85
"""The share of its TTL after which an answer may be asked for again: it is refreshed ahead of its end."""

_ROOM: Final = 8 << 20
_OPT: Final = b"\0\0\x29\4\xd0\0\0\0\0\0\0"
_SIZES: Final = {A: 4, AAAA: 16}


def address(question: bytes, age: int = 0) -> bytes:
    """Return the data of the record that answers a question: it tells one question from every other.

    :param question: name, type and class on the wire.
    :param age: which of the data that the name had in turn; see :meth:`SlowUpstream.change`.
    """
    made = blake2s(question[:-4].lower() + question[-4:] + bytes((age,)), digest_size=16).digest()
    return made[: _SIZES.get(struct.unpack_from("!H", question, len(question) - 4)[0], 16)]


class _Server:
    """The server in its process."""

    def __init__(self, port: int) -> None:
        self.delay, self.ttl, self.age, self.silent = 0.0, 3600, 0, False
        self.held = False
        self.last: dict[bytes, float] = {}
        self.asked = self.again = self.early = 0
        self.late: deque[tuple[float, bytes, Any]] = deque()
        self.udp = socket.socket(type=socket.SOCK_DGRAM)
        self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
        self.udp.bind(("127.0.0.1", port))
        self.udp.setblocking(False)

    def run(self) -> None:
        """Serve until the standard input ends."""
        print("ready", flush=True)
        late = self.late
        while True:
            soon = max(late[0][0] - time.monotonic(), 0.0) if late and not self.held else None
            # Not epoll: that waits for whole milliseconds.
            ready, _, _ = select.select((self.udp, sys.stdin), (), (), soon)
            if self.udp in ready:
                self.read()
            if sys.stdin in ready and not self.obey(sys.stdin.readline()):
                return
            now = time.monotonic()
            while late and late[0][0] <= now and not self.held:
                _, reply, client = late.popleft()
                self.send(reply, client)

    def read(self) -> None:
        """Take the questions that are there."""
        while True:
            try:
                query, client = self.udp.recvfrom(4096)
            except BlockingIOError:
                return
            now = time.monotonic()
            end = query.index(b"\0", 12) + 5
            question = query[12:end]
            self.count(question[:-4].lower() + question[-4:], now + self.delay)
            if self.silent:
                continue
            if self.delay or self.held:
                self.late.append((now + self.delay, self.reply(query, question), client))
            else:
                self.send(self.reply(query, question), client)

    def count(self, question: bytes, answered: float) -> None:
        """Note a question, and whether the answer to it was still good when it came."""
        self.asked += 1
        last = self.last.get(question)
        if last is not None and answered - self.delay < last + self.ttl:
            if answered - self.delay < last + EARLY * self.ttl:
                self.again += 1
            else:
                self.early += 1
        self.last[question] = answered

    def reply(self, query: bytes, question: bytes) -> bytes:
        """Return the answer to a question: one address, whatever the name."""
        data = address(question, self.age)
        record = b"\xc0\x0c" + question[-4:] + struct.pack("!IH", self.ttl, len(data)) + data
        edns = query[11] > 0
        return query[:2] + b"\x81\x80\0\1\0\1\0\0\0" + bytes((edns,)) + question + record + _OPT * edns

    def send(self, reply: bytes, client: Any) -> None:
        """Send a reply; whoever went away goes without."""
        with suppress(OSError):
            self.udp.sendto(reply, client)

    def obey(self, line: str) -> bool:
        """Do what the line orders; False at the end of the orders."""
        if not line:
            return False
        orders = json.loads(line)
        if orders.pop("reset", False):
            self.asked = self.again = self.early = 0
            self.last.clear()
        for name, value in orders.items():
            setattr(self, name, value)
        counts = {"asked": self.asked, "distinct": len(self.last), "again": self.again, "early": self.early}
        print(json.dumps(counts), flush=True)
        return True


class SlowUpstream:
    """The upstream, from outside.

    :param delay: seconds from a question to its answer.
    :param ttl: of every answer, in seconds.
    """

    def __init__(self, delay: float = 0.075, ttl: int = 3600) -> None:
        self.port = free_port()
        self.text = f"127.0.0.1:{self.port}"
        self.delay, self.ttl = delay, ttl
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.slowup", str(self.port)],
            cwd=Path(__file__).resolve().parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._line()
        self._order(delay=delay, ttl=ttl)

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def _order(self, **orders: object) -> dict[str, int]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(orders) + "\n")
        self._process.stdin.flush()
        counts: dict[str, int] = json.loads(self._line())
        return counts

    def counts(self) -> dict[str, int]:
        """Return how it was asked: ``asked`` in all, ``distinct`` questions, ``again`` within the TTL.

        ``early`` are those asked again in the last share of the TTL, as one does who refreshes ahead.
        """
        return self._order()

    def reset(self, **changed: float) -> None:
        """Count from 0, with another ``delay`` or ``ttl`` where one is given."""
        self._order(reset=True, **changed)

    def change(self, age: int) -> None:
        """Give every name other data from now on."""
        self._order(age=age)

    def hold(self, held: bool = True) -> None:
        """Keep all replies back, as they are by now, or let them go."""
        self._order(held=held)

    def silence(self, silent: bool = True) -> None:
        """Answer nothing, or answer again."""
        self._order(silent=silent)

    def stop(self) -> None:
        """End it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(60)
        if self._process.stdout is not None:
            self._process.stdout.close()


if __name__ == "__main__":
    _Server(int(sys.argv[1])).run()
