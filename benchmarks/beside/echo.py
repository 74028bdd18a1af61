"""Answer each question with itself: no server can be quicker here, and what it takes is the kernel's and who asks's.

python echo.py PORT THREADS
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from multiprocessing import get_context
from typing import Final

RESPONSE: Final = b"\x81\x80"
"""The flags of a reply: that of a resolver, to who wants recursion."""


def echo(port: int, core: int | None) -> None:
    """Answer forever.

    :param core: the one to run on, and to be given what that takes in; None for any, and all.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if core is not None:
            os.sched_setaffinity(0, {core})
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_INCOMING_CPU, core)
        udp.bind(("127.0.0.1", port))
        while True:
            wire, client = udp.recvfrom(512)
            udp.sendto(wire[:2] + RESPONSE + wire[4:], client)


def main() -> None:
    """Answer with as many processes as are wanted."""
    port, threads = map(int, sys.argv[1:])
    if threads == 1:
        echo(port, None)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())  # which ends the others
    for core in sorted(os.sched_getaffinity(0))[:threads]:
        get_context("fork").Process(target=echo, args=(port, core), daemon=True).start()
    signal.pause()


if __name__ == "__main__":
    main()
