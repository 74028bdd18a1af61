"""What can only be measured in a process of its own: bytes of memory an answer takes, seconds a start takes."""

from __future__ import annotations

import gc
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.beside.ground import ZONE, Ground, plain
from benchmarks.beside.peers import Heimdall, Setting
from benchmarks.beside.store import Store
from benchmarks.micro.steps import learn
from heimdall.cache.memory import Memory
from heimdall.message import query
from heimdall.message.wire import from_text
from tests.running import resident

ROOT = Path(__file__).resolve().parent.parent.parent


def bytes_an_answer(answers: int) -> float:
    """Return by how many bytes a fresh process grows for each answer in its memory, everything counted."""
    command = [sys.executable, "-m", "benchmarks.micro.whole", str(answers)]
    # How full the tables are depends on the hashes.
    environ = {**os.environ, "PYTHONHASHSEED": "1"}
    told = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True).stdout
    return float(json.loads(told))


def grown(answers: int) -> float:
    """Fill the memory of this process; return the bytes it has grown by for each answer."""
    memory = Memory(answers * 10_000, stale_window=86400, refresh_share=0.1)
    learn(memory, "warm.example.com", 0.0)
    gc.collect()
    before = resident(os.getpid())
    for number in range(answers):
        learn(memory, f"n{number}.example.com", float(number % 3600), number)
    gc.collect()
    if len(memory) != answers + 1:
        raise RuntimeError(f"only {len(memory)} of {answers} answers are there")
    return (resident(os.getpid()) - before) / answers


class _Starting(Heimdall):
    """Heimdall that is there as soon as it has answered a question, by way of its upstream."""

    def _wait(self) -> None:
        question = query.write(query.make(from_text(f"host.{ZONE}"), 1), 1)
        ends = time.monotonic() + 20
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.settimeout(0.05)
            sock.connect(("127.0.0.1", self.port))
            while time.monotonic() < ends:
                try:
                    sock.send(question)
                    if sock.recv(512)[3] & 15 == 0:
                        return
                except OSError:
                    time.sleep(0.002)
        raise RuntimeError(f"the node did not answer:\n{self.log}")


def starts(times: int) -> list[float]:
    """Return the seconds from the start of a node, with Redis and an upstream, to its first answer."""
    found = []
    ground, store = Ground(plain()), Store()
    try:
        for number in range(times):
            began = time.perf_counter()
            node = _Starting(Setting(ground.port, "", redis=store.url, node=f"start{number}"))
            found.append(time.perf_counter() - began)
            node.clean()
    finally:
        ground.stop()
        store.stop()
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(grown(int(sys.argv[1]))))
