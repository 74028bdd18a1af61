"""What all servers stand on: a zone of names that every question is about, served by a real NSD."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Final

import dns.dnssec
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec

from tests.nsd import Nsd

ZONE: Final = "bench.example"
NAMES: Final = 10_000
SIGNED_NAMES: Final = 2_000
TEXT_BYTES: Final = 850
"""Of the text of a signed name: with its signature the answer has 1 KB."""

_ECDSA: Final = 13
_OPTIONS: Final = "minimal-responses: yes"  # like the resolvers that one forwards to
# A day: nothing ends while it is measured.
_HEAD: Final = """$ORIGIN {zone}.
$TTL 86400
@ SOA ns hostmaster 1 3600 600 86400 3600
@ NS ns
ns A 192.0.2.53
"""


def plain() -> str:
    """Return the zone of most workloads: names ``n0`` to ``n9999``, any name below ``w``, an alias and a host."""
    lines = [f"n{n} A 10.0.{n >> 8}.{n & 255}" for n in range(NAMES)]
    lines += ["*.w A 10.1.0.1", "host A 10.2.0.1", "host AAAA 2001:db8::1", "alias CNAME host", 'host TXT "one" "two"']
    return _HEAD.format(zone=ZONE) + "\n".join(lines) + "\n"


def signed() -> str:
    """Return a signed zone (RFC 4035) whose names ``t0`` to ``t1999`` have answers of 1 KB, and ``host`` an address."""
    texts = " ".join(f'"{"x" * 210}"' for _ in range(TEXT_BYTES // 210))
    lines = [f"t{n} TXT {texts}" for n in range(SIGNED_NAMES)] + ["host A 10.2.0.1"]
    key = ec.generate_private_key(ec.SECP256R1())
    dnskey = dns.dnssec.make_dnskey(key.public_key(), _ECDSA, flags=257)
    zone = dns.zone.from_text(_HEAD.format(zone=ZONE) + "\n".join(lines) + "\n", ZONE, relativize=False)
    with zone.writer() as changes:
        dns.dnssec.sign_zone(zone, changes, keys=[(key, dnskey)], add_dnskey=True, dnskey_ttl=3600, lifetime=864000)
    return str(zone.to_text(relativize=False))


class Ground:
    """An NSD that all servers forward to; ``asked`` tells whether they had to.

    :param text: of the zone.
    """

    def __init__(self, text: str) -> None:
        self._nsd = Nsd(zone=ZONE, text=text, options=_OPTIONS)
        self._nsd.start()

    @property
    def port(self) -> int:
        """Where it is, on 127.0.0.1."""
        return self._nsd.port

    @property
    def asked(self) -> int:
        """How many queries have come so far: whoever has to ask it was not measured from memory."""
        return self._nsd.asked

    def stop(self) -> None:
        """End it."""
        self._nsd.stop()


@cache
def cores() -> tuple[int, int]:
    """Return the core of what is measured, and that of everything around it.

    :raises RuntimeError: this machine has but one.
    """
    found = sorted(os.sched_getaffinity(0))
    if len(found) < 2:
        raise RuntimeError("this takes a machine with two cores: one for the server, one for who asks it")
    return found[0], found[1]


def machine() -> str:
    """Return what processor this is."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return os.uname().machine
