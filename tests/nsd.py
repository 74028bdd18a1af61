"""A real authoritative server for the tests: NSD on a free port of the loopback, with a zone made on the spot."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from tests.ports import free_port

SKIP = None if shutil.which("nsd") or Path("/usr/sbin/nsd").exists() else "no NSD here: apt-get install nsd"
"""Why tests with NSD are skipped, or None."""

ZONE = "example.test"

_CONFIG = """
server:
    ip-address: {host}@{port}
    server-count: 1
    username: ""
    chroot: ""
    zonesdir: "{folder}"
    database: ""
    zonelistfile: "{folder}/zone.list"
    xfrdfile: "{folder}/xfrd.state"
    xfrdir: "{folder}"
    pidfile: "{folder}/nsd.pid"
    logfile: "{folder}/nsd.log"
    rrl-ratelimit: 0
    rrl-whitelist-ratelimit: 0
    hide-version: yes
    {options}
remote-control:
    control-enable: yes
    control-interface: "{folder}/control"
zone:
    name: "{zone}"
    zonefile: "{folder}/zone"
"""

_HEAD = """$ORIGIN {zone}.
$TTL 300
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
ns A 192.0.2.53
www A 192.0.2.80
www AAAA 2001:db8::80
alias CNAME www
Mixed A 192.0.2.81
*.wild A 192.0.2.82
"""


class Nsd:
    """NSD with the names ``n0`` to ``n<names-1>`` below ``zone``, each with one A record, and a few more.

    ``big`` has a TXT RRset of 4 kB, ``huge`` one of 40 kB, ``alias`` is a CNAME of ``www``, ``*.wild`` a wildcard.

    :param names: how many.
    :param host: the loopback address to listen on.
    :param lines: more lines for the zone file.
    :param text: the zone file as a whole, instead of all that.
    :param options: lines for the server's section of its configuration.
    """

    def __init__(
        self,
        names: int = 1000,
        host: str = "127.0.0.1",
        zone: str = ZONE,
        lines: str = "",
        *,
        text: str = "",
        options: str = "",
    ) -> None:
        self.names, self.host, self.zone, self.lines = names, host, zone, lines
        self._whole, self._options = text, options
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = ""

    @property
    def text(self) -> str:
        """Its address, as ``--upstream`` takes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """Its process; the one that answers is a child."""
        assert self._process is not None
        return self._process.pid

    @property
    def asked(self) -> int:
        """How many queries it has been asked so far."""
        command = [shutil.which("nsd-control") or "/usr/sbin/nsd-control", "-c", f"{self._folder}/nsd.conf"]
        told = subprocess.run([*command, "stats_noreset"], capture_output=True, text=True, check=True).stdout
        return int(told.partition("num.queries=")[2].split()[0])

    def start(self) -> Nsd:
        """Start it, and wait until it answers; on the port it had before, if it had one."""
        if not self._folder:
            self._folder = tempfile.mkdtemp(prefix="heimdall-nsd-")
            self.port = self.port or free_port(self.host)
            folder = Path(self._folder)
            folder.joinpath("zone").write_text(self._whole or self._records())
            config = _CONFIG.format(
                host=self.host, port=self.port, folder=folder, zone=self.zone, options=self._options
            )
            folder.joinpath("nsd.conf").write_text(config)
        binary = shutil.which("nsd") or "/usr/sbin/nsd"
        command = [binary, "-d", "-c", f"{self._folder}/nsd.conf"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._wait()
        return self

    def _records(self) -> str:
        lines = [_HEAD.format(zone=self.zone)]
        lines += [
            f"n{number} A 10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}" for number in range(self.names)
        ]
        lines += [f"big TXT {'b' * 200}{number}" for number in range(20)]
        lines += [f"huge TXT {'h' * 200}{number}" for number in range(190)]
        return "\n".join([*lines, self.lines, ""])

    def _wait(self) -> None:
        question = b"\x12\x34\0\0\0\1\0\0\0\0\0\0" + _wire(self.zone) + b"\0\6\0\1"
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        ends = time.monotonic() + 120
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(0.05)
            sock.connect((self.host, self.port))
            while time.monotonic() < ends:
                try:
                    sock.send(question)
                    if sock.recv(512)[3] & 15 == 0:
                        return
                except OSError:
                    time.sleep(0.02)
        log = Path(self._folder, "nsd.log")
        self.stop()
        raise RuntimeError(f"NSD did not start: {log.read_text() if log.exists() else 'no log'}")

    def pause(self) -> None:
        """Make it silent without closing its port."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after :meth:`pause`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        """Send a signal to the process and to the children that do its work."""
        assert self._process is not None
        for pid in (self._process.pid, *_children(self._process.pid)):
            os.kill(pid, number)

    def kill(self) -> None:
        """End it; :meth:`start` brings it back on the same port."""
        if self._process is None:
            return
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            children = _children(self._process.pid)
            for pid in (self._process.pid, *children):
                os.kill(pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    def stop(self) -> None:
        """End it and remove its files."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = ""


def _children(pid: int) -> list[int]:
    """Return the descendants of a process."""
    try:
        found = [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return found + [grandchild for child in found for grandchild in _children(child)]


def _wire(text: str) -> bytes:
    return b"".join(bytes((len(label),)) + label.encode() for label in text.split(".")) + b"\0"
