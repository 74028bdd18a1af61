"""Hand the kernel several datagrams as one message that it cuts up (UDP_SEGMENT in udp(7), Linux 4.18).

All pieces have one size, but the last may be shorter. Each arrives as a datagram of its own.
"""

from __future__ import annotations

import errno
import socket
from typing import Final

UDP_SEGMENT: Final = 103
"""The option of a socket, and the type of the control of one message, that says the size of a piece."""

UNABLE: Final = (errno.EIO, errno.EINVAL, errno.EMSGSIZE, errno.EOPNOTSUPP)
"""Why a message is refused that might leave piece by piece, as over a device that has no checksums of its own."""


def cuts(udp: socket.socket) -> bool:
    """Whether the kernel cuts up what this socket sends."""
    try:
        udp.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
    except OSError:
        return False
    return True
