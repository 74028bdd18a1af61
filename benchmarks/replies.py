"""What it takes to send the replies of a batch, by how many ask: each by itself, and cut up by the kernel where it may.

Microseconds of CPU a reply, on the loopback; half of what a query from memory costs is this. The clients are sockets of
the same process, which take what came before the next batch leaves. Those that go together are of one size, or of four
as replies are, by chance and always by the same.

``make bench ARGS=replies``
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import sys
import time
from pathlib import Path
from typing import Final

from heimdall.accept.outbox import TOGETHER
from heimdall.accept.reader import BATCH
from heimdall.accept.slots import Slots

CLIENTS: Final = (1, 4, 8, 20, 64, 192)
LONG: Final = 80
"""Bytes of the longest reply."""
LENGTHS: Final = 4
SEED: Final = 1
ROUNDS: Final = 5


def _socket() -> socket.socket:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    udp.setblocking(False)
    return udp


def _drain(clients: list[socket.socket]) -> None:
    for client in clients:
        try:
            while True:
                client.recv(2 * LONG)
        except BlockingIOError:
            continue


def microseconds(count: int, batch: int, together: bool, lengths: int, times: int) -> float:
    """Return the CPU of a reply, at best, in batches of some to as many clients as there are.

    :param together: whether the kernel may cut up what goes to one of them.
    :param lengths: how many there are, each a byte shorter.
    """
    dice = random.Random(SEED)
    with _socket() as udp:
        slots = Slots(udp, False, batch)
        slots.cut(together)
        clients = [_socket() for _ in range(count)]
        for number in range(batch):
            clients[number % count].sendto(b"?", udp.getsockname())
        asked = [(slots.envelope(number), b"!" * (LONG - dice.randrange(lengths))) for number in range(slots.receive())]
        slots.fill(asked)
        best = float("inf")
        for _ in range(ROUNDS):
            spent = 0.0
            for _ in range(times):
                began = time.process_time()
                slots.send(batch)
                spent += time.process_time() - began
                _drain(clients)
            best = min(best, spent / times / batch * 1e6)
        for client in clients:
            client.close()
    return best


def main() -> int:
    """Measure it, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=500, help="batches of each measurement")
    parser.add_argument("--json", metavar="FILE", type=Path, help="keep the numbers in a file")
    options = parser.parse_args()
    if options.times < 1:
        parser.error(f"--times: {options.times} is no number of batches")
    print(f"{'clients':>8} {'batch':>6} {'by itself':>10} {'together':>9} {'four sizes':>11}   us of CPU a reply")
    found = []
    for batch in (BATCH // 2, BATCH, TOGETHER):
        for count in CLIENTS:
            if count <= batch:
                alone, shared, mixed = (
                    microseconds(count, batch, together, lengths, options.times)
                    for together, lengths in ((False, 1), (True, 1), (True, LENGTHS))
                )
                found.append({"clients": count, "batch": batch, "alone": alone, "together": shared, "mixed": mixed})
                print(f"{count:8} {batch:6} {alone:10.2f} {shared:9.2f} {mixed:11.2f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
