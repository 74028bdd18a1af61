"""A steady load of queries from a process of its own: each is timed by the kernel, and each answer checked.

The process asks as a stub resolver does: a node that is not there, or silent for a second, is not waited for, the
next one is asked. ``python -m tests.load FOLDER`` runs the plan in a folder, and ends early when its standard input
does.
"""

from __future__ import annotations

import json
import mmap
import selectors
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree
from typing import Any, Final

from attrs import field, frozen

from heimdall.message.wire import from_text
from tests.slowup import A, address

PATIENCE: Final = 1.0
"""Seconds without a reply after which the next node is asked."""

LOST: Final = 5.0
"""Seconds after which a query without an answer is lost."""

PATIENT: Final[Any] = {"patience": 60.0, "lost": 120.0}
"""What a load waits for where a test is about answers, not about how long they take."""

GOOD, WRONG, FAILED, NEVER = "good", "wrong", "failed", "lost"
"""What may come of a query: the answer to it, another answer, another response code, nothing."""

_STAMP: Final = 35  # SO_TIMESTAMPNS: when the datagram reached the socket, however busy its reader is
_ROOM: Final = 4 << 20


@frozen
class Ask:
    """One query of a plan: ``at`` seconds after the start, at the node of this number.

    ``kind`` is the plan's own word for it.
    """

    at: float
    node: int
    text: str
    kind: str = ""
    qtype: int = A


@frozen
class Told:
    """What came of it: when it was sent on the clock of ``time.monotonic``, the seconds it took, and the verdict.

    ``ttl`` is that of the answer, ``retries`` the nodes asked besides the first, ``age`` which of the data that the
    name had in turn the answer holds.
    """

    ask: Ask
    sent: float
    took: float
    verdict: str
    ttl: int
    retries: int
    detail: str = ""
    age: int = 0


def question(ask: Ask) -> bytes:
    """Return name, type and class on the wire."""
    return from_text(ask.text) + struct.pack("!HH", ask.qtype, 1)


class _Query:
    """A query on its way."""

    __slots__ = ("age", "began", "detail", "index", "open", "question", "retries", "sent", "took", "ttl", "verdict")

    def __init__(self, index: int, question: bytes) -> None:
        self.index, self.question = index, question
        self.began = self.sent = 0.0
        self.took, self.verdict, self.ttl, self.retries, self.detail = 0.0, NEVER, 0, 0, ""
        self.age = 0
        self.open = True


class _Client:
    """Some sockets that are connected to one node, used in turn."""

    def __init__(self, port: int, sockets: int, wait: selectors.BaseSelector) -> None:
        self.sockets = []
        for _ in range(sockets):
            udp = socket.socket(type=socket.SOCK_DGRAM)
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM // sockets)
            udp.setsockopt(socket.SOL_SOCKET, _STAMP, 1)
            udp.connect(("127.0.0.1", port))
            udp.setblocking(False)
            under_way: dict[int, _Query] = {}
            self.sockets.append((udp, under_way))
            wait.register(udp, selectors.EVENT_READ, (udp, under_way))
        self.turn = 0

    def send(self, query: _Query) -> bool:
        """Send a query; False when the node is known not to be there."""
        self.turn += 1
        udp, under_way = self.sockets[self.turn % len(self.sockets)]
        number = self.turn // len(self.sockets) & 0xFFFF
        under_way[number] = query
        message = struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + query.question
        for _ in range(2):  # the first may be told of an error that is over
            try:
                udp.send(message)
                return True
            except OSError:
                continue
        del under_way[number]
        return False


class _Load:
    """The load in its process."""

    def __init__(self, plan: dict[str, Any], sent: mmap.mmap) -> None:
        self.patience, self.lost, self.most = plan["patience"], plan["lost"], plan["most"]
        self.sent = sent
        self.wait = selectors.DefaultSelector()
        self.clients = [_Client(port, plan["sockets"], self.wait) for port in plan["ports"]]
        self.asks = [Ask(*row) for row in plan["asks"]]
        self.ages: list[int] = plan["ages"]
        self.shown: str = plan["shown"]
        self.queries: list[_Query] = []
        self.flying: list[tuple[float, _Query, int]] = []
        self.answered = 0

    def run(self) -> None:
        """Ask all of it, and wait for the last answers."""
        self.wait.register(sys.stdin, selectors.EVENT_READ, None)
        began, told = time.monotonic(), 0.0
        asks, at, look = self.asks, 0, 0.0
        while at < len(asks) or (self.answered < len(self.queries) and time.monotonic() < look):
            now = time.monotonic() - began
            while at < len(asks) and asks[at].at <= now and len(self.queries) - self.answered < self.most:
                query = _Query(at, question(asks[at]))
                query.began, query.sent = time.monotonic(), time.time()
                self.queries.append(query)
                self.send(query, asks[at].node)
                at += 1
                self.sent[:8] = at.to_bytes(8, "little")
                look = time.monotonic() + self.lost
            soon = max(asks[at].at - now, 0.0) if at < len(asks) else 0.05
            if len(self.queries) - self.answered >= self.most:
                soon = 0.05
            for key, _ in self.wait.select(min(soon, 0.05)):
                if key.data is not None:
                    self.read(*key.data)
                elif not sys.stdin.readline():
                    self.wait.unregister(sys.stdin)
                    at = len(asks)
            self.retry()
            if self.shown and now > told:
                told = now + 2.0
                self.show(now)
        if self.shown:
            self.show(time.monotonic() - began)

    def show(self, now: float) -> None:
        """Tell how far it is."""
        print(f"  {self.shown}: {now:5.1f} s, {self.answered} of {len(self.queries)} answered", file=sys.stderr)

    def send(self, query: _Query, node: int) -> None:
        """Send a query to a node, or to the next that is there."""
        for number in range(len(self.clients)):
            at = (node + number) % len(self.clients)
            if self.clients[at].send(query):
                self.flying.append((time.monotonic() + self.patience, query, at))
                return
            query.retries += 1

    def retry(self) -> None:
        """Ask the next node for what has waited too long."""
        now = time.monotonic()
        if not self.flying or self.flying[0][0] > now:
            return
        over = [one for one in self.flying if one[0] <= now]
        self.flying = [one for one in self.flying if one[0] > now]  # in order, as what is sent now is due last
        for _, query, node in over:
            if query.open and now - query.began < self.lost:
                query.retries += 1
                self.send(query, node + 1)

    def read(self, udp: socket.socket, under_way: dict[int, _Query]) -> None:
        """Take the replies that are there."""
        while True:
            try:
                reply, stamps, _, _ = udp.recvmsg(4096, 64)
            except BlockingIOError:
                return
            except OSError:
                # Nobody listens there: all that wait on this socket need not wait any more.
                waiting = set(under_way.values())
                under_way.clear()
                self.flying = [(0.0 if query in waiting else ends, query, node) for ends, query, node in self.flying]
                self.flying.sort(key=lambda one: one[0])
                return
            query = under_way.pop(int.from_bytes(reply[:2]), None)
            if query is None or not query.open:
                continue
            came = time.time()
            for _, _, stamp in stamps:
                seconds, nanos = struct.unpack("qq", stamp)
                came = seconds + nanos / 1e9
            query.open = False
            query.took = came - query.sent
            self.answered += 1
            self.judge(query, reply)

    def judge(self, query: _Query, reply: bytes) -> None:
        """Say what an answer is worth."""
        _, flags, one, answers, _, _ = struct.unpack_from("!6H", reply)
        end = 12 + len(query.question)
        query.verdict, query.detail = WRONG, reply.hex()
        if not flags & 0x8000 or one != 1 or reply[12:end] != query.question:
            return
        if flags & 0xF:
            query.verdict, query.detail = FAILED, f"rcode {flags & 0xF}"
            return
        if answers != 1 or flags & 0x0200 or reply[end : end + 2] != b"\xc0\x0c":
            return
        kind, query.ttl, size = struct.unpack_from("!HxxIH", reply, end + 2)
        data = reply[end + 12 : end + 12 + size]
        if not self.ages:
            query.verdict, query.detail = GOOD, ""
        for age in self.ages:
            if kind == query.question[-3] and data == address(query.question, age):
                query.verdict, query.detail, query.age = GOOD, "", age

    def results(self) -> list[tuple[Any, ...]]:
        """Return a row for each query."""
        return [
            (query.index, query.began, query.took, query.verdict, query.ttl, query.retries, query.detail, query.age)
            for query in self.queries
        ]


@frozen
class Load:
    """A load under way, from outside. Made by :func:`start`."""

    asks: Sequence[Ask]
    process: subprocess.Popen[bytes] = field(repr=False)
    folder: Path

    @property
    def sent(self) -> int:
        """How many queries were sent so far."""
        return int.from_bytes((self.folder / "sent").read_bytes(), "little")

    def pass_queries(self, count: int) -> None:
        """Wait until so many more were sent."""
        until, ends = self.sent + count, time.monotonic() + 120
        while self.sent < until:
            if time.monotonic() > ends or self.process.poll() is not None:
                raise AssertionError(f"{self.sent} queries were sent, and not {until}")
            time.sleep(0.01)

    def end(self, *, now: bool = False) -> list[Told]:
        """Wait for its end, or have it ask nothing more; return what came of each query that was sent."""
        if now and self.process.stdin is not None:
            self.process.stdin.close()
        try:
            if self.process.wait(600):
                raise RuntimeError("the load failed")
            rows = json.loads((self.folder / "results").read_bytes())
        finally:
            self.process.kill()
            self.process.wait()
            if self.process.stdin is not None:
                self.process.stdin.close()
            rmtree(self.folder, ignore_errors=True)
        return [Told(self.asks[row[0]], *row[1:]) for row in rows]


def start(
    ports: Sequence[int],
    asks: Sequence[Ask],
    *,
    sockets: int = 4,
    shown: str = "",
    ages: Sequence[int] = (0,),
    patience: float = PATIENCE,
    lost: float = LOST,
    most: int = 1_000_000,
) -> Load:
    """Start a load.

    :param ports: of the nodes, on 127.0.0.1.
    :param asks: the plan, in order of time.
    :param sockets: that each node is asked from.
    :param shown: what progress is told as, on the standard error; empty for none.
    :param ages: which data of a name are right; see :func:`tests.slowup.address`. None for any.
    :param patience: seconds without a reply after which the next node is asked.
    :param lost: seconds after which a query without an answer is lost.
    :param most: queries without an answer at once: the others wait, so that no node is asked more than it bears.
    """
    folder = Path(tempfile.mkdtemp(prefix="heimdall-load-"))
    plan = {
        "ports": list(ports),
        "sockets": sockets,
        "shown": shown,
        "ages": list(ages),
        "patience": patience,
        "lost": lost,
        "most": most,
        "asks": [(ask.at, ask.node, ask.text, ask.kind, ask.qtype) for ask in asks],
    }
    (folder / "plan").write_text(json.dumps(plan))
    (folder / "sent").write_bytes(bytes(8))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.load", str(folder)],
        cwd=Path(__file__).resolve().parent.parent,
        stdin=subprocess.PIPE,
    )
    return Load(asks, process, folder)


def steady(names: Sequence[str], rate: float, seconds: float = 60.0) -> list[Ask]:
    """Return a plan that asks a node for these names in turn, so many a second."""
    return [Ask(number / rate, 0, names[number % len(names)]) for number in range(int(rate * seconds))]


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of the values does not exceed; NaN when there is none."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else float("nan")


def main() -> None:
    """Run a plan."""
    folder = Path(sys.argv[1])
    with (folder / "sent").open("r+b") as file, mmap.mmap(file.fileno(), 8) as sent:
        load = _Load(json.loads((folder / "plan").read_bytes()), sent)
        load.run()
    (folder / "results").write_text(json.dumps(load.results()))


if __name__ == "__main__":
    main()
