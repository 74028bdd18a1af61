"""Sockets that were opened by somebody else, and what is said of those that cannot be served on."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from heimdall.accept.given import given
from tests.ports import over_ipv6

ROOT = Path(__file__).parents[2]

STARTED = (
    "import json, os, sys\n"
    "from heimdall.accept.given import given\n"
    "from heimdall.accept.sockets import CannotListen\n"
    "os.environ['LISTEN_PID'] = str(os.getpid())\n"
    "try:\n"
    "    taken = given(os.environ)\n"
    "except CannotListen as error:\n"
    "    print(json.dumps(str(error)))\n"
    "else:\n"
    "    left = [name for name in os.environ if name in ('LISTEN_PID', 'LISTEN_FDS')]\n"
    "    print(json.dumps([[b.text, b.host, b.port, b.udp.type, b.tcp.type,\n"
    "        b.udp.getblocking() or b.tcp.getblocking() or b.udp.get_inheritable()] for b in taken] + left))\n"
)


class Given(SynchronousTestCase):
    """A process that is started with sockets from descriptor 3 on, as systemd does it."""

    def open(
        self, kind: socket.SocketKind, host: str = "127.0.0.1", port: int = 0, listen: bool = True, both: bool = False
    ) -> socket.socket:
        """Open a socket as systemd would."""
        opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
        self.addCleanup(opened.close)
        if opened.family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
        opened.bind((host, port))
        if listen and kind == socket.SOCK_STREAM:
            opened.listen()
        return opened

    def pair(self, host: str = "127.0.0.1") -> list[socket.socket]:
        """Open the two sockets of one address, on one free port."""
        while True:
            tcp = self.open(socket.SOCK_STREAM, host)
            try:
                return [tcp, self.open(socket.SOCK_DGRAM, host, tcp.getsockname()[1])]
            except OSError:
                continue  # somebody else has that port over UDP

    def start(self, *sockets: int, names: str | None = None) -> object:
        """Start the process with these descriptors; return what it says of them."""
        moves = "".join(f"os.dup2({fd}, {100 + at}); " for at, fd in enumerate(sockets))
        moves += "".join(f"os.dup2({100 + at}, {3 + at}); os.close({100 + at}); " for at in range(len(sockets)))
        code = f"import os, sys; {moves}os.execv(sys.executable, [sys.executable, '-c', {STARTED!r}])"
        names = ":".join(["dns"] * len(sockets)) if names is None else names
        done = subprocess.run(
            [sys.executable, "-c", code],
            pass_fds=sockets,
            cwd=ROOT,
            env={**os.environ, "LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": names},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        self.assertEqual(done.stderr, "")
        return json.loads(done.stdout)

    def started(self, *sockets: socket.socket, names: str | None = None) -> object:
        """Start the process with these sockets."""
        return self.start(*(each.fileno() for each in sockets), names=names)

    @over_ipv6
    def test_pairs(self) -> None:
        """The sockets for UDP and TCP of an address come together, in any order, and block nobody."""
        first, second = self.pair(), self.pair("::1")
        one, two = first[0].getsockname()[1], second[0].getsockname()[1]
        self.assertEqual(
            self.started(first[0], second[1], first[1], second[0]),
            [
                [f"127.0.0.1:{one}", "127.0.0.1", one, socket.SOCK_DGRAM, socket.SOCK_STREAM, False],
                [f"[::1]:{two}", "::1", two, socket.SOCK_DGRAM, socket.SOCK_STREAM, False],
            ],
        )

    @over_ipv6
    def test_every_address(self) -> None:
        """A socket for all addresses is taken; one for both families is not, as it hides who asks."""
        for host in ("0.0.0.0", "::"):
            self.assertIn(host, str(self.started(*self.pair(host))))
        both = self.open(socket.SOCK_DGRAM, "::", both=True)
        said = self.started(both)
        self.assertIn("BindIPv6Only=ipv6-only, and 0.0.0.0:", str(said))

    def test_one_of_two(self) -> None:
        """One of UDP and TCP is missing: the line says which directive opens it."""
        tcp, udp = self.pair()
        text = f"127.0.0.1:{tcp.getsockname()[1]}"
        self.assertEqual(
            self.started(tcp),
            f"cannot serve on {text}: systemd hands no socket over for UDP; say ListenDatagram={text}",
        )
        self.assertIn(f"ListenStream={text}", str(self.started(udp)))

    def test_wrong(self) -> None:
        """A socket that cannot be served on is named, with what its unit has to say."""
        tcp, udp = self.pair()
        left, _right = socket.socketpair()
        self.addCleanup(left.close)
        self.addCleanup(_right.close)
        self.assertIn("two sockets", str(self.started(tcp, udp, udp)))
        self.assertIn("the socket 'web' that systemd hands over: expected FileDescriptorName=dns", str(
            self.started(tcp, udp, names="dns:web")
        ))  # fmt: skip
        self.assertIn("over IPv4 or IPv6", str(self.started(left)))
        self.assertIn("it is one connection; say Accept=no", str(
            self.started(udp, self.open(socket.SOCK_STREAM, listen=False))
        ))  # fmt: skip
        self.assertIn("not bound", str(self.started(socket.socket(type=socket.SOCK_DGRAM))))
        self.assertIn("expected one name each", str(self.started(tcp, udp, names="")))
        with Path(os.devnull).open() as no_socket:
            self.assertIn("Socket operation on non-socket", str(self.start(no_socket.fileno())))

    def test_not_ours(self) -> None:
        """Sockets that are for another process, or none at all, are left alone."""
        self.assertEqual(given({"LISTEN_PID": "1", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "dns:dns"}), [])
        self.assertEqual(given({}), [])
        self.assertEqual(self.start(), [])
