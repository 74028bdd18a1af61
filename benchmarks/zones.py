"""Real answers to measure with: zones made up on the spot, signed on request, and served by Debian's NSD."""

from __future__ import annotations

import random
import select
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import dns.dnssec
import dns.zone
from attrs import frozen
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from heimdall.message import query
from heimdall.message.wire import from_text
from tests.ports import free_port

UNSIGNED, ECDSA, RSA = 0, 13, 8
"""How a zone is signed: not at all, or the number of the algorithm (RFC 8624)."""

_WINDOW = 64
_ENDINGS = ("com", "net", "org", "de", "io", "co.uk")
_HOSTS = ("www", "mail", "api", "cdn", "static", "img", "login", "shop", "ns1", "autodiscover", "smtp", "m")
_CONFIG = """server:
 ip-address: 127.0.0.1@{port}
 server-count: 1
 username: ""
 zonesdir: "{folder}"
 database: ""
 zonelistfile: "{folder}/list"
 xfrdfile: "{folder}/xfrd"
 xfrdir: "{folder}"
 pidfile: "{folder}/pid"
 logfile: "{folder}/log"
 rrl-ratelimit: 0
 rrl-whitelist-ratelimit: 0
 minimal-responses: yes
 ipv4-edns-size: 4096
remote-control:
 control-enable: no
"""


@frozen
class Asked:
    """A question: ``kind`` of answer, as the tables name it, and what was asked."""

    kind: str
    name: str
    qtype: int
    do: bool = False


class Zones:
    """Zones with hosts of all kinds, and an NSD that serves them. Like a resolver, it answers minimally.

    :param names: hosts in all zones together; each has A and AAAA records and those ``per_zone`` a zone.
    :param algorithm: UNSIGNED, ECDSA or RSA (2048 bits).
    :param seed: other zones for another seed.
    """

    def __init__(self, names: int, algorithm: int = UNSIGNED, per_zone: int = 50, seed: int = 1) -> None:
        self.algorithm = algorithm
        self.hosts: list[list[str]] = []
        self.zones: list[str] = []
        self.port = free_port()
        self._dice = random.Random(seed)
        self._folder = Path(tempfile.mkdtemp(prefix="heimdall-zones-"))
        config = _CONFIG.format(port=self.port, folder=self._folder)
        for _ in range((names + per_zone - 1) // per_zone):
            zone = self._new(self.zones)
            self.zones.append(zone)
            text = self._text(zone, per_zone)
            (self._folder / zone).write_text(self._signed(zone, text) if algorithm else text)
            config += f'zone:\n name: "{zone}"\n zonefile: "{zone}"\n'
        conf = self._folder / "conf"
        conf.write_text(config)
        command = [shutil.which("nsd") or "/usr/sbin/nsd", "-d", "-c", str(conf)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _new(self, old: Sequence[str]) -> str:
        while True:
            syllables = (self._dice.choice("bdfgklmnprstvz") + self._dice.choice("aeiou") for _ in range(9))
            zone = "".join(list(syllables)[: self._dice.randint(2, 6)]) + "." + self._dice.choice(_ENDINGS)
            if zone not in old:
                return zone

    def _text(self, zone: str, count: int) -> str:
        dice = self._dice
        names = list(_HOSTS)
        while len(names) < count:
            names.append(
                f"{dice.choice(_HOSTS)}{dice.randrange(1000)}" + dice.choice(("", ".eu", ".edge", "-eu-west-1"))
            )
        names = list(dict.fromkeys(names))[:count]
        self.hosts.append([f"{name}.{zone}" for name in names])
        lines = [
            f"$ORIGIN {zone}.\n$TTL 300",
            f"@ SOA ns1.{zone}. hostmaster.{zone}. 2026010101 7200 3600 1209600 300",
            f"@ NS ns1.{zone}.",
            "@ MX 10 mail\n@ MX 20 smtp",
            f'@ TXT "v=spf1 include:_spf.{zone} ip4:192.0.2.0/24 -all" "site-verification={dice.randbytes(20).hex()}"',
        ]
        for name in names:
            lines.append(f"{name} A {'.'.join(map(str, dice.randbytes(4)))}")
            lines.append(f"{name} AAAA 2001:db8:{dice.randbytes(2).hex()}::{dice.randbytes(2).hex()}")
            lines.append(f"alias-{name} CNAME {name}.lb")
            lines += [f"{name}.lb 60 A {'.'.join(map(str, dice.randbytes(4)))}" for _ in range(4)]
        return "\n".join(lines) + "\n"

    def _signed(self, zone: str, text: str) -> str:
        key = (
            ec.generate_private_key(ec.SECP256R1())
            if self.algorithm == ECDSA
            else rsa.generate_private_key(65537, 2048)
        )
        dnskey = dns.dnssec.make_dnskey(key.public_key(), self.algorithm, flags=257)
        read = dns.zone.from_text(text, zone, relativize=False, check_origin=False)
        with read.writer() as changes:
            dns.dnssec.sign_zone(read, changes, keys=[(key, dnskey)], add_dnskey=True, dnskey_ttl=3600, lifetime=864000)
        return str(read.to_text(relativize=False))

    def questions(self) -> Iterator[Asked]:
        """Yield questions of every kind that these zones are good for."""
        do = bool(self.algorithm)
        note = {UNSIGNED: "", ECDSA: ", signed, ECDSA", RSA: ", signed, RSA"}[self.algorithm]
        for zone, hosts in zip(self.zones, self.hosts, strict=True):
            yield Asked("MX" + note, zone, 15, do)
            yield Asked("TXT" + note, zone, 16, do)
            for host in hosts:
                yield Asked("A" + note, host, 1, do)
                yield Asked("AAAA" + note, host, 28, do)
                yield Asked("CNAME, 4 A" + note, "alias-" + host, 1, do)
                yield Asked("NXDOMAIN" + note, "no-" + host, 1, do)
                yield Asked("no data" + note, host, 16, do)

    def answers(self, questions: Iterable[Asked]) -> Iterator[tuple[Asked, bytes]]:
        """Ask NSD, and yield what it replies."""
        wait_for(self.port, self.zones[-1])
        return answers(self.port, questions)

    def stop(self) -> None:
        """End NSD, and take the files away."""
        self._process.terminate()
        self._process.wait(10)
        shutil.rmtree(self._folder, ignore_errors=True)


def answers(port: int, questions: Iterable[Asked]) -> Iterator[tuple[Asked, bytes]]:
    """Ask the DNS server at a port of 127.0.0.1, and yield its replies; some questions are under way at once."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        waiting: dict[int, Asked] = {}
        left = enumerate(questions)
        while True:
            while len(waiting) < _WINDOW and (one := next(left, None)):
                number, asked = one
                waiting[number & 0xFFFF] = asked
                sock.send(query.write(query.make(from_text(asked.name), asked.qtype, do=asked.do), number & 0xFFFF))
            if not waiting:
                return
            if not select.select([sock], [], [], 10)[0]:
                raise RuntimeError(f"no answer to {list(waiting.values())[:3]} and more")
            wire = sock.recv(65535)
            yield waiting.pop(wire[0] << 8 | wire[1]), wire


def wait_for(port: int, name: str) -> None:
    """Wait until the DNS server at a port of 127.0.0.1 knows a name."""
    ends = time.monotonic() + 30
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.2)
        sock.connect(("127.0.0.1", port))
        while time.monotonic() < ends:
            try:
                sock.send(query.write(query.make(from_text(name), 6), 1))
                if sock.recv(4096)[3] & 15 == 0:
                    return
            except OSError:
                time.sleep(0.05)
    raise RuntimeError(f"nobody answers at port {port}")
