"""What Heimdall answers in the benchmark is what Unbound answers, byte for byte."""

from __future__ import annotations

import socket
import time
from itertools import product
from typing import Any

import dns.flags
import dns.message
from twisted.trial.unittest import SynchronousTestCase

from benchmarks.beside.ground import ZONE, Ground, plain, signed
from benchmarks.beside.peers import CONTESTANTS, Setting
from heimdall.message.wire import records
from tests.nsd import SKIP

PLAIN = (
    ("n7", "A"), ("n7", "AAAA"), ("host", "A"), ("HoSt", "AAAA"), ("host", "TXT"), ("alias", "A"), ("alias", "TXT"),
    ("no", "A"), ("any.w", "A"), ("any.w", "AAAA"),
)  # fmt: skip
SIGNED = (("t7", "TXT"), ("t7", "A"), ("host", "A"), ("no", "A"), ("", "DNSKEY"), ("", "SOA"))
"""An address, an alias, a wildcard, no data, no name: names below the zone, and types."""

WAYS: tuple[dict[str, Any], ...] = (
    {},
    {"use_edns": 0, "payload": 1232},
    {"use_edns": 0, "payload": 1232, "want_dnssec": True},
    {"flags": dns.flags.RD | dns.flags.CD},
    {"flags": dns.flags.RD | dns.flags.AD},
)

UNBOUND = next(one for one in CONTESTANTS if one.name == "unbound")


def ask(port: int, wire: bytes) -> bytes:
    """Ask a server of this machine as a client does."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(60)
        sock.connect(("127.0.0.1", port))
        sock.send(wire)
        return sock.recv(65535)


def without_ttls(wire: bytes, end: int) -> tuple[bytes, list[int]]:
    """Return a reply with no TTLs, and the TTLs; those of an OPT are flags, and stay."""
    image, ttls = bytearray(wire), []
    count = sum(int.from_bytes(wire[at : at + 2], "big") for at in (6, 8, 10))
    for _, fixed, kind, _, _ in records(wire, end, count):
        if kind != 41:
            ttls.append(int.from_bytes(wire[fixed + 4 : fixed + 8], "big"))
            image[fixed + 4 : fixed + 8] = b"\0\0\0\0"
    return bytes(image), ttls


class Answers(SynchronousTestCase):
    """Heimdall and Unbound, both in front of the zone of the benchmark."""

    skip = SKIP or (None if UNBOUND.there else "no unbound here: make bench-peers")

    def compare(self, zone: str, questions: tuple[tuple[str, str], ...]) -> None:
        """Ask both each question in each way three times, the upstream behind the first, memory behind the others."""
        ground = Ground(zone)
        self.addCleanup(ground.stop)
        ours = CONTESTANTS[0].start(Setting(ground.port, ""))
        self.addCleanup(ours.clean)
        theirs = UNBOUND.start(Setting(ground.port, ""))
        self.addCleanup(theirs.clean)
        began = time.monotonic()
        for (name, qtype), way in product(questions, WAYS):
            query = dns.message.make_query(f"{name}.{ZONE}".lstrip("."), qtype, **way)
            plain_query = dns.message.make_query(f"{name}.{ZONE}".lstrip("."), qtype)
            end = len(plain_query.to_wire())
            for turn in range(3):
                replies = [ask(server.port, query.to_wire()) for server in (ours, theirs)]
                (mine, ttls), (other, other_ttls) = (without_ttls(reply, end) for reply in replies)
                said = f"{name} {qtype} {way}, turn {turn}:\n" + "\n".join(
                    str(dns.message.from_wire(reply)) for reply in replies
                )
                self.assertEqual(mine, other, said)
                # They learn one after the other, and Unbound knows by one question what we ask for by another.
                apart = 1 + time.monotonic() - began
                self.assertTrue(all(abs(a - b) <= apart for a, b in zip(ttls, other_ttls, strict=True)), said)

    def test_plain(self) -> None:
        """Ids, flags, names as they were spelt, records and sizes are the same; TTLs too, but for the time it takes."""
        self.compare(plain(), PLAIN)

    def test_signed(self) -> None:
        """So they are of a signed zone, with signatures for who asks for them."""
        self.compare(signed(), SIGNED)
