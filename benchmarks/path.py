"""What a query costs on each way through one process: microseconds of CPU and, where valgrind is, instructions.

The path is that of a node with its defaults. Around it, in the same process, are as little of a client, of an upstream
and of Redis as it takes to keep it going; that is counted too, and the same whatever the path does. Instructions do not
depend on what else the machine does, so a small change shows in them that is lost in the noise of any clock.

``make bench ARGS="path --way l2 --instructions"``; what ``make compiled`` has built is measured along with it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, fail, succeed

from benchmarks.beside.peers import ROOT, compiled
from heimdall import pipeline, sharing
from heimdall.accept.sockets import bind
from heimdall.cache.scripts import STORE
from heimdall.collector import rest, spare
from heimdall.config.settings import Admit, Fetch, Redis, Settings
from heimdall.interfaces import LinkDown
from heimdall.message import query
from heimdall.message.wire import HEADER, from_text
from tests.fakelink import FakeLink

reactor: Any = installed

WAYS: Final = {
    "memory": "messages that came before",
    "spread": "names in memory that nobody asked for of late",
    "l2": "names that Redis has",
    "miss": "names that are asked upstream, no Redis",
    "cold": "names that are asked upstream, and shared by Redis",
    "mix": "of twenty names twelve that came before, five that Redis has, and three that are asked upstream",
}
BURST: Final = 64
"""Queries under way at once."""
FIRST: Final = 1_000_000
"""The number of the first name."""
MEMORY: Final = {0, 1, 3, 4, 5, 7, 8, 10, 12, 13, 15, 17}
REDIS: Final = {2, 6, 11, 16, 18}
"""Which of twenty names in the mix came before, and which Redis has."""
TIMES: Final = 3
"""Times that a process asks its questions in."""

VALGRIND: Final = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
_ADDRESS: Final = b"\xc0\x0c\0\1\0\1\0\0\x0e\x10\0\4\xc0\0\2\1"


class Upstream:
    """Knows the address of every name."""

    def __init__(self) -> None:
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.udp.setblocking(False)

    def fileno(self) -> int:
        """Return what the reactor waits on."""
        return self.udp.fileno()

    def logPrefix(self) -> str:
        """Return what the reactor calls us."""
        return "upstream"

    def connectionLost(self, reason: object) -> None:
        """Nothing: it is not lost."""

    def doRead(self) -> None:
        """Answer what has come."""
        for _ in range(BURST):
            try:
                wire, client = self.udp.recvfrom(512)
            except BlockingIOError:
                return
            end = wire.index(b"\0", HEADER) + 5
            head = wire[:2] + b"\x81\x80\0\1\0\1\0\0\0\0"
            self.udp.sendto(head + wire[HEADER:end] + _ADDRESS, client)


class Store(FakeLink):
    """A link to a Redis that is well: it keeps what it is given, and knows nothing but the two scripts of the path."""

    def __init__(self) -> None:
        super().__init__(reactor)
        self.tallies: list[Any] = []

    def start(self) -> None:
        """Nothing: it is there."""

    def run(self, *command: Any) -> Deferred[object]:
        """Run a script at the next turn of the reactor; refuse everything else."""
        if command[0] != "EVALSHA":
            return fail(LinkDown("not here"))
        count = command[2]
        keys, arguments = command[3 : 3 + count], command[3 + count :]
        if command[1] == STORE.digest:
            self.values.update(zip(keys, arguments[3::2], strict=True))
            return succeed(count)
        found: Deferred[object] = Deferred()
        reactor.callLater(0, found.callback, [self.values.get(key, 1) for key in keys])
        return found


class Client:
    """Asks a node, :data:`BURST` questions at once."""

    def __init__(self, port: int) -> None:
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.connect(("127.0.0.1", port))
        self.udp.setblocking(False)

    def ask(self, messages: list[bytes]) -> None:
        """Ask, and wait for all replies."""
        for at in range(0, len(messages), BURST):
            self._ask(messages[at : at + BURST])

    def _ask(self, messages: list[bytes]) -> None:
        for message in messages:
            self.udp.send(message)
        ends = time.monotonic() + 60
        left = len(messages)
        while left:
            reactor.iterate(0)
            try:
                while left:
                    reply = self.udp.recv(512)
                    if reply[3] & 15 or reply[7] != 1:
                        raise RuntimeError("a name was not answered")
                    left -= 1
            except BlockingIOError:
                if time.monotonic() > ends:
                    raise RuntimeError("a name was not answered in time") from None


def _messages(names: range) -> list[bytes]:
    return [query.write(query.make(from_text(f"n{name}.example.com"), 1), name & 0xFFFF) for name in names]


def _path(way: str, upstream: Upstream) -> tuple[pipeline.Path, Client]:
    """Return a path that serves, and who asks it."""
    settings = Settings(
        fetch=Fetch(upstreams=(f"127.0.0.1:{upstream.udp.getsockname()[1]}",)),
        redis=Redis(enabled=way in ("l2", "cold", "mix"), read_budget=10.0),
        admit=Admit(rate=10_000_000),
    )
    path = pipeline.lay(settings, reactor)
    (bound,) = bind(["127.0.0.1:0"], True)
    bound.tcp.close()
    path.datagrams.listen(bound.udp, reactor)
    return path, Client(bound.port)


class Course:
    """A way, and the questions that go it.

    :param total: how many questions there will be.
    """

    def __init__(self, way: str, total: int) -> None:
        upstream, store = Upstream(), Store()
        reactor.addReader(upstream)
        shared: Any = sharing
        shared.connect_to = lambda *_, **__: store
        _, self._client = _path(way, upstream)
        names = {"memory": 4 * BURST, "spread": 800 * BURST}.get(way, total)
        # Names of one length: the same work for each.
        self._messages = _messages(range(FIRST, FIRST + names))
        self._at = 0
        if way in ("memory", "spread"):
            self._client.ask(self._messages)
        elif way in ("l2", "mix"):
            path, client = _path(way, upstream)
            client.ask([message for at, message in enumerate(self._messages) if way == "l2" or at % 20 in REDIS])
            path.datagrams.close()
        if way == "mix":
            warm = _messages(range(FIRST - 4 * BURST, FIRST))
            self._client.ask(warm)
            for at in range(names):
                if at % 20 in MEMORY:
                    self._messages[at] = warm[at % len(warm)]

    def go(self, count: int) -> float:
        """Ask the next questions; return the seconds of CPU that took."""
        asked = [self._messages[(self._at + number) % len(self._messages)] for number in range(count)]
        self._at += count
        began = time.process_time()
        self._client.ask(asked)
        return time.process_time() - began


def _child(way: str, code: str, times: int, queries: int, *before: str) -> subprocess.CompletedProcess[str]:
    """Let a process of its own ask, ``times`` times; it tells the seconds of each."""
    command = [*before, sys.executable, __file__, "--go", way, str(times), str(queries)]
    environ = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join((code, str(ROOT)))}
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=True)


def microseconds(way: str, code: str, queries: int) -> list[float]:
    """Return the microseconds of CPU that a query took, time by time."""
    return [seconds / queries * 1e6 for seconds in json.loads(_child(way, code, TIMES, queries).stdout)]


def instructions(way: str, code: str, queries: int) -> float:
    """Return the instructions that a query takes, by two processes of which one asks twice as much as the other."""
    counts = []
    for times in (1, 2):
        told = _child(way, code, times, queries, *VALGRIND).stderr
        found = re.search(r"I\s+refs:\s+([\d,]+)", told)
        if found is None:
            raise RuntimeError(f"valgrind told no instructions:\n{told}")
        counts.append(int(found[1].replace(",", "")))
    return (counts[1] - counts[0]) / queries


def main() -> int:
    """Measure what is asked for, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--way", action="append", choices=WAYS, help="this one only; may be said again")
    parser.add_argument("--code", action="append", metavar="FOLDER", type=Path, help="with a heimdall/ in it, to run")
    parser.add_argument("--rounds", type=int, default=5, help="in turns")
    parser.add_argument("--queries", type=int, default=8192, help=f"of each time, a multiple of {2 * BURST}")
    parser.add_argument("--instructions", action="store_true", help="count them, by valgrind: a minute for each figure")
    parser.add_argument("--go", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.go:
        way, times, queries = options.go[0], int(options.go[1]), int(options.go[2])
        # All that is asked in the end is there from the beginning, so that two processes differ in the asking alone.
        rest()
        course = Course(way, TIMES * queries)
        spare()
        print(json.dumps([course.go(queries) for _ in range(times)]))
        return 0
    if options.instructions and not shutil.which("valgrind"):
        parser.error("there is no valgrind: apt-get install valgrind")
    if options.queries < 1 or options.queries % (2 * BURST):
        parser.error(f"--queries: {options.queries} is no multiple of {2 * BURST}")
    for folder in options.code or ():
        if not (folder / "heimdall").is_dir():
            parser.error(f"--code: there is no heimdall/ in {folder}")
    codes = [str(folder.resolve()) for folder in options.code or filter(None, (ROOT, compiled()))]
    for way in options.way or WAYS:
        print(f"{way}: {WAYS[way]}", flush=True)
        found: dict[str, list[float]] = {code: [] for code in codes}
        for _ in range(options.rounds):
            for code in codes:
                found[code] += microseconds(way, code, options.queries)
        for code in codes:
            told = f"  {min(found[code]):6.2f} us at best, {statistics.median(found[code]):6.2f} in the median"
            if options.instructions:
                told += f", {instructions(way, code, options.queries // 2):9,.0f} instructions"
            print(f"{told}  {code}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
