"""What tests know of messages that the kernel cuts up: whether it does, and how to see it."""

from __future__ import annotations

import socket
from typing import Final

from heimdall.gso import cuts

SO_NO_CHECK: Final = 11
"""A socket that sends no checksums: the kernel cuts up nothing for that one (udp_send_skb)."""

UDP_GRO: Final = 104
"""A socket that is given what left as one message as one, not in pieces."""


def _why_not() -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        return None if cuts(udp) else "this kernel cuts up no datagrams (UDP_SEGMENT, Linux 4.18)"


NOT_CUT: Final = _why_not()
"""Why tests of it are skipped, or None."""
