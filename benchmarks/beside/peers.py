"""The servers that are compared, each as its package sets it up: one thread, caches large enough, forwarding."""

from __future__ import annotations

import atexit
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Final, Protocol

from attrs import frozen

from benchmarks.beside.ground import NAMES, ZONE
from benchmarks.zones import wait_for
from tests.ports import free_port
from tests.running import Running

PATH: Final = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin"
RATE: Final = "10000000"
"""Queries a second that Heimdall allows a client: the limit is on, and nobody is held up by it."""

COMPILED: Final = "heimdall-compiled"
"""Heimdall with the path of a query compiled, which takes part if ``make compiled`` was run."""

ECHO, BARE = "echo", "bare"
"""What takes part where the question is how good anybody could be: one answers each question with itself, one finds the
answer and does nothing else that a cache owes."""

ROOT: Final = Path(__file__).resolve().parent.parent.parent

_BYTES: Final = 1000
"""Memory to allow for an entry, more than any of them takes."""


@frozen
class Setting:
    """What a server has to work with.

    ``upstream`` port of NSD; ``entries`` that its cache must hold; ``threads`` that it may have; ``redis`` the URL of
    the shared cache, or empty; ``core`` those to run on, as taskset takes them, or empty for any.
    """

    upstream: int
    core: str
    entries: int = NAMES
    threads: int = 1
    redis: str = ""
    node: str = "bench"

    @property
    def memory(self) -> int:
        """Bytes for the cache: at least what everybody has by default."""
        return max(64_000_000, self.entries * _BYTES)


def pinned(core: str) -> tuple[str, ...]:
    """Return what to run a command under so that it has these cores; any when none are given."""
    return ("taskset", "-c", core) if core else ()


class Server(Protocol):
    """A server that runs."""

    @property
    def port(self) -> int:
        """Where it is, on 127.0.0.1."""

    @property
    def pid(self) -> int:
        """Its process."""

    def clean(self) -> None:
        """End it, and leave nothing behind."""


def options(setting: Setting) -> tuple[list[str], dict[str, str]]:
    """Return the options and variables of Heimdall: its defaults, a rate limit, and memory enough for the work."""
    arguments = [f"--upstream=127.0.0.1:{setting.upstream}", f"--node={setting.node}"]
    arguments.append(f"--redis={setting.redis}" if setting.redis else "--no-redis")
    if setting.threads > 1:
        arguments.append(f"--workers={setting.threads}")
    environ = {"HEIMDALL_ADMIT_RATE": RATE}
    if setting.entries > NAMES:
        environ["HEIMDALL_CACHE_MEMORY"] = str(setting.memory)
    return arguments, environ


@cache
def compiled() -> Path | None:
    """Return a folder with the newest of what ``make compiled`` has built for this Python; None if there is nothing."""
    wheels = ROOT.glob("dist/heimdall_dns-*-cp{}{}-*.whl".format(*sys.version_info))
    newest = max(wheels, key=lambda wheel: wheel.stat().st_mtime, default=None)
    if newest is None:
        return None
    folder = Path(tempfile.mkdtemp(prefix="heimdall-compiled-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    zipfile.ZipFile(newest).extractall(folder)
    return folder


class Heimdall(Running):
    """Heimdall as it takes part.

    :param code: a folder to run it from; None for this checkout.
    """

    def __init__(self, setting: Setting, code: Path | None = None) -> None:
        arguments, environ = options(setting)
        if code is not None:
            environ["PYTHONPATH"] = str(code)
        super().__init__(*arguments, environ=environ, before=pinned(setting.core))

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid


class Peer:
    """A server of somebody else.

    :param command: returns what starts it, given its folder, its port and the setting, and lets it in the foreground.
    """

    def __init__(self, command: Callable[[Path, int, Setting], Sequence[str]], setting: Setting) -> None:
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="heimdall-peer-"))
        arguments = [*pinned(setting.core), *command(self._folder, self.port, setting)]
        environ = {**os.environ, "PATH": PATH}
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                arguments, cwd=self._folder, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            wait_for(self.port, ZONE)
        except RuntimeError:
            log_text = (self._folder / "log").read_text(errors="replace")[-2000:]
            self.clean()
            raise RuntimeError(f"{command.__name__} did not start:\n{log_text}") from None

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def clean(self) -> None:
        """End it, and leave nothing behind."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def unbound(folder: Path, port: int, setting: Setting) -> list[str]:
    """Return what starts Unbound; with no trust anchor, validation has nothing to do."""
    conf = folder / "conf"
    conf.write_text(f"""server:
 interface: 127.0.0.1
 port: {port}
 num-threads: {setting.threads}
 so-reuseport: yes
 username: ""
 chroot: ""
 directory: "{folder}"
 pidfile: ""
 use-syslog: no
 do-daemonize: no
 do-not-query-localhost: no
 msg-cache-size: {setting.memory}
 rrset-cache-size: {2 * setting.memory}
forward-zone:
 name: "."
 forward-addr: 127.0.0.1@{setting.upstream}
""")
    return ["unbound", "-d", "-p", "-c", str(conf)]


def dnsmasq(folder: Path, port: int, setting: Setting) -> list[str]:
    """Return what starts dnsmasq."""
    return [
        "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", f"--port={port}", "--listen-address=127.0.0.1",
        "--bind-interfaces", "--no-resolv", "--no-hosts", f"--server=127.0.0.1#{setting.upstream}", "--pid-file=",
        f"--cache-size={2 * setting.entries}", "--dns-forward-max=10000", f"--user={_user()}", "--log-facility=-",
    ]  # fmt: skip


def bind(folder: Path, port: int, setting: Setting) -> list[str]:
    """Return what starts BIND's named; its cache may take nearly all memory by default."""
    conf = folder / "conf"
    conf.write_text(f"""options {{
 directory "{folder}";
 pid-file none;
 session-keyfile "{folder}/key";
 listen-on port {port} {{ 127.0.0.1; }};
 listen-on-v6 {{ none; }};
 recursion yes;
 dnssec-validation no;
 recursive-clients 10000;
 forward only;
 forwarders {{ 127.0.0.1 port {setting.upstream}; }};
}};
controls {{ }};
""")
    return ["named", "-f", "-n", str(setting.threads), "-c", str(conf)]


def recursor(folder: Path, port: int, setting: Setting) -> list[str]:
    """Return what starts PowerDNS Recursor."""
    return [
        "pdns_recursor", f"--config-dir={folder}", "--daemon=no", "--local-address=127.0.0.1", f"--local-port={port}",
        f"--forward-zones-recurse=.=127.0.0.1:{setting.upstream}", f"--threads={setting.threads}",
        "--dnssec=process-no-validate", f"--socket-dir={folder}", "--quiet=yes", "--webserver=no", "--dont-query=",
        f"--max-cache-entries={max(1_000_000, 2 * setting.entries)}", "--hint-file=no", "--disable-syslog=yes",
        f"--max-packetcache-entries={max(500_000, 2 * setting.entries)}", "--loglevel=3", "--write-pid=no",
    ]  # fmt: skip


# twisted.names has no way to say at which port an upstream is: it is told where it looks for the number.
_TWISTD: Final = """
import sys
from twisted.names import dns
dns.PORT = int(sys.argv.pop(1))
from twisted.scripts.twistd import run
run()
"""


def twistd(folder: Path, port: int, setting: Setting) -> list[str]:
    """Return what starts the DNS server of Twisted."""
    resolv = folder / "resolv.conf"
    resolv.write_text("nameserver 127.0.0.1\n")
    return [
        sys.executable, "-c", _TWISTD, str(setting.upstream), "--nodaemon", "--pidfile=", "dns", "--recursive",
        "--cache", f"--resolv-conf={resolv}", "--interface=127.0.0.1", f"--port={port}",
    ]  # fmt: skip


def echo(folder: Path, port: int, setting: Setting) -> list[str]:
    """Return what starts something that knows nothing of DNS."""
    return [sys.executable, str(Path(__file__).with_name("echo.py")), str(port), str(setting.threads)]


def bare(folder: Path, port: int, setting: Setting) -> list[str]:
    """Return what starts something that finds answers, and does no more."""
    where = (setting.redis,) if setting.redis else ()
    return [sys.executable, str(Path(__file__).with_name("bare.py")), str(port), str(setting.upstream), *where]


def _user() -> str:
    return os.environ.get("USER") or ("root" if os.getuid() == 0 else str(os.getuid()))


@frozen
class Contestant:
    """One that can be compared: its name, what to print, the command it needs, and its Debian package.

    ``binary`` is empty for what comes with Python. ``command`` starts it, and is None for Heimdall; ``code`` finds the
    folder it runs from, if not this checkout.
    """

    name: str
    text: str
    binary: str
    package: str
    command: Callable[[Path, int, Setting], Sequence[str]] | None = None
    code: Callable[[], Path | None] | None = None

    @property
    def there(self) -> bool:
        """Whether it is installed."""
        if self.code is not None:
            return self.code() is not None
        return not self.binary or shutil.which(self.binary, path=PATH) is not None

    def start(self, setting: Setting) -> Server:
        """Start it, and wait until it answers."""
        if self.command is not None:
            return Peer(self.command, setting)
        return Heimdall(setting, None if self.code is None else self.code())

    def version(self) -> str:
        """Return what it says it is."""
        if not self.binary:
            return f"on Python {platform.python_version()}"
        flag = {"unbound": "-V", "dnsmasq": "-v", "named": "-v", "pdns_recursor": "--version"}[self.binary]
        told = subprocess.run(
            [self.binary, flag], env={**os.environ, "PATH": PATH}, capture_output=True, text=True, check=False
        )
        lines = (told.stdout or told.stderr).splitlines()
        return next((word for word in " ".join(lines[:1]).split() if word[0].isdigit() and "." in word), "")


CONTESTANTS: Final = (
    Contestant("heimdall", "Heimdall", "", ""),
    Contestant(COMPILED, "Heimdall, compiled", "", "", code=compiled),
    Contestant("unbound", "Unbound", "unbound", "unbound", unbound),
    Contestant("dnsmasq", "dnsmasq", "dnsmasq", "dnsmasq-base", dnsmasq),
    Contestant("bind", "BIND", "named", "bind9", bind),
    Contestant("pdns", "PowerDNS Recursor", "pdns_recursor", "pdns-recursor", recursor),
    Contestant("twistd", "twistd dns", "", "", twistd),
    Contestant(ECHO, "an echo, no server", "", "", echo),
    Contestant(BARE, "the bare job, no cache", "", "", bare),
)
