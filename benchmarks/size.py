"""Bytes that answers take in Redis: real answers of NSD, signed ones among them, stored as a node stores them.

Run as ``python -m benchmarks.size [NAMES]``; with ``--unbound PATH`` and an Unbound that was built with its Redis
cache, the same answers are stored by that as well. All bytes are those that ``used_memory`` of Redis grew by: the
values, the keys, their expiry and the tables that hold them.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import hiredis
from attrs import frozen

from benchmarks.zones import ECDSA, RSA, UNSIGNED, Asked, Zones, answers, wait_for
from heimdall.cache.entry import from_bytes, to_bytes
from heimdall.cache.seal import Seal
from heimdall.message import query, response
from heimdall.message.wire import from_text
from tests.ports import free_port
from tests.redisserver import RedisServer

MARK = 280
"""Bytes an answer that Unbound's Redis cache takes, for an address: the mark to stay below."""

KINDS = ("A", "AAAA", "CNAME, 4 A", "NXDOMAIN")
"""The kinds of answers measured, each unsigned and signed."""

PREFIX = b"heimdall:c1:"
WINDOW = 86400
SEAL = Seal(b"0123456789abcdef")

_UNBOUND = """server:
 interface: 127.0.0.1@{port}
 do-daemonize: no
 use-syslog: no
 logfile: "{folder}/log"
 username: ""
 chroot: ""
 directory: "{folder}"
 pidfile: "{folder}/pid"
 num-threads: 1
 do-not-query-localhost: no
 module-config: "cachedb iterator"
remote-control:
 control-enable: no
cachedb:
 backend: "redis"
 redis-server-host: 127.0.0.1
 redis-server-port: {redis}
 redis-expire-records: yes
forward-zone:
 name: "."
 forward-addr: 127.0.0.1@{upstream}
"""


@frozen
class Row:
    """What the answers of one kind take: bytes an answer, and microseconds to make a value and to read it."""

    message: float
    key: float
    value: float
    redis: float
    makes: float
    reads: float


class Store:
    """A Redis of one's own, and how much it grew."""

    def __init__(self) -> None:
        self.server = RedisServer().start()
        self._empty = 0
        # What Redis allocates once for each command is no answer's.
        self.fill([(b"key", b"value", 1000)])
        self.grown()
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.server.command("FLUSHALL", "SYNC")
        self._empty = self.used()

    def fill(self, rows: Iterable[tuple[bytes, bytes, int]]) -> None:
        """Store keys and values for some milliseconds each."""
        packed = [hiredis.pack_command(cast(Any, ("SET", key, value, "PX", life))) for key, value, life in rows]
        reader = hiredis.Reader()
        with socket.create_connection(("127.0.0.1", self.server.port)) as connection:
            for start in range(0, len(packed), 500):
                batch = packed[start : start + 500]
                connection.sendall(b"".join(batch))
                done = 0
                while done < len(batch):
                    if (reply := reader.gets()) is False:
                        reader.feed(connection.recv(65536))
                    elif reply != b"OK":
                        raise RuntimeError(f"Redis says {reply!r}")
                    else:
                        done += 1

    def used(self) -> int:
        """Return the bytes it uses, once its tables have stopped growing."""
        time.sleep(1)
        return int(self.info("memory")["used_memory"])

    def grown(self) -> float:
        """Return the bytes that each key made it grow by."""
        keys: int = self.server.command("DBSIZE")
        return (self.used() - self._empty) / max(keys, 1)

    def info(self, section: str) -> dict[str, str]:
        """Return what it says of itself."""
        lines = self.server.command("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)


def measure(store: Store, wires: list[tuple[Asked, bytes]]) -> Row:
    """Store answers as a node does, and return what they take."""
    now = time.time()
    read = [response.read(wire) for _, wire in wires]
    keys = [query.make(from_text(asked.name), asked.qtype, do=asked.do).key for asked, _ in wires]
    began = time.process_time()
    values = [to_bytes(one, key, now, SEAL, now - 0.02) for one, key in zip(read, keys, strict=True)]
    made = time.process_time()
    for one, key, value in zip(read, keys, values, strict=True):
        from_bytes(value, key, len(one.question), now + 5, SEAL)
    ended = time.process_time()
    lives = [(one.ttl + WINDOW) * 1000 for one in read]
    store.clear()
    store.fill(zip((PREFIX + key for key in keys), values, lives, strict=True))
    count = len(wires)
    key_bytes = len(PREFIX) + sum(map(len, keys)) / count
    message = sum(len(wire) for _, wire in wires) / count
    value_bytes = sum(map(len, values)) / count
    times = (made - began) / count * 1e6, (ended - made) / count * 1e6
    return Row(message, key_bytes, value_bytes, store.grown(), *times)


def unbound(store: Store, binary: str, zones: Zones, questions: list[Asked]) -> float:
    """Have Unbound store the answers to questions, and return the bytes each took."""
    folder, port = tempfile.mkdtemp(prefix="heimdall-unbound-"), free_port()
    conf = Path(folder, "conf")
    conf.write_text(_UNBOUND.format(port=port, folder=folder, redis=store.server.port, upstream=zones.port))
    process = subprocess.Popen([binary, "-d", "-c", str(conf)])
    try:
        wait_for(port, zones.zones[0])
        store.clear()
        for _ in answers(port, questions):
            pass
        return store.grown()
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Measure, and print a table."""
    options = argparse.ArgumentParser(description="Bytes that answers take in Redis.")
    options.add_argument("names", nargs="?", type=int, default=10_000, help="answers of each kind")
    options.add_argument("--unbound", default="", help="an Unbound that has its Redis cache")
    chosen = options.parse_args()
    store = Store()
    out = sys.stdout
    taken: dict[str, tuple[float, float | None]] = {}
    out.write(f"{chosen.names} answers of each kind; bytes an answer, and microseconds to make and to read its value\n")
    out.write(
        f"{'':28} {'message':>8} {'key':>6} {'value':>6} {'in Redis':>9} {'makes':>6} {'reads':>6} {'Unbound':>9}\n"
    )
    try:
        for algorithm in (UNSIGNED, ECDSA, RSA):
            sys.stderr.write(f"making zones, algorithm {algorithm} ...\n")
            zones = Zones(chosen.names, algorithm)
            try:
                kinds: dict[str, list[tuple[Asked, bytes]]] = {}
                for asked, wire in zones.answers(zones.questions()):
                    kinds.setdefault(asked.kind, []).append((asked, wire))
                for kind, wires in kinds.items():
                    if kind.split(", signed")[0] not in KINDS:
                        continue
                    row = measure(store, wires)
                    theirs = (
                        unbound(store, chosen.unbound, zones, [one for one, _ in wires]) if chosen.unbound else None
                    )
                    taken[kind] = row.redis, theirs
                    out.write(f"{kind:28} {row.message:8.1f} {row.key:6.1f} {row.value:6.1f} {row.redis:9.1f}")
                    out.write(f" {row.makes:6.1f} {row.reads:6.1f}")
                    out.write(f" {'-' if theirs is None else format(theirs, '.1f'):>9}\n")
                    if kind == "A":
                        out.write(f"{'':28} the mark for an address: {MARK}\n")
                    out.flush()
            finally:
                zones.stop()
        for note in ("ECDSA", "RSA"):
            mix(taken, [kind + signed for kind in ("A", "AAAA") for signed in ("", f", signed, {note}")])
    finally:
        store.server.stop()


def mix(taken: dict[str, tuple[float, float | None]], kinds: list[str]) -> None:
    """Print what the answers of some kinds take in the mean, as many of each."""
    means = [
        "-" if None in some else format(sum(cast(list[float], some)) / len(some), ".1f")
        for some in zip(*(taken[kind] for kind in kinds), strict=True)
    ]
    sys.stdout.write(f"as many of each: {'; '.join(kinds)}: {means[0]} bytes, Unbound {means[1]}\n")


if __name__ == "__main__":
    main()
