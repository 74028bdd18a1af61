"""Binding addresses, and what is said when that is impossible."""

from __future__ import annotations

import errno
import gc
import select
import socket
import warnings
from itertools import chain
from unittest.mock import patch

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from heimdall.accept.sockets import STREAM_BUFFER, Bound, CannotListen, bind, bind_sets, bind_stream
from tests.ports import NO_IPV6, over_ipv6

LACKING = "192.0.2.1:0"


class BindTests(SynchronousTestCase):
    """Real sockets on loopback."""

    def bind(self, *listen: str, asked: bool = True) -> list[Bound]:
        bound = bind(listen, asked)
        for each in bound:
            self.addCleanup(each.close)
        return bound

    def refused(self, *listen: str, asked: bool = True) -> str:
        """Return why these addresses cannot be bound; nothing may be left open by it."""
        with warnings.catch_warnings(record=True) as forgotten:
            warnings.simplefilter("always", ResourceWarning)
            text = str(self.assertRaises(CannotListen, bind, listen, asked))
            gc.collect()
        self.assertEqual(forgotten, [])
        return text

    def test_udp_and_tcp(self) -> None:
        """Each address gets a UDP socket and a listening TCP socket on one port, neither of them blocking."""
        for host, text in (
            ("127.0.0.1", "127.0.0.1:0"),
            ("0.0.0.0", "0.0.0.0:0"),
            *(() if NO_IPV6 else (("::1", "[::1]:0"), ("::", "[::]:0"))),
        ):
            (bound,) = self.bind(text)
            self.assertEqual((bound.text, bound.host), (text, host))
            self.assertEqual(bound.wildcard, host in ("0.0.0.0", "::"))
            self.assertEqual(bound.udp.getsockname()[:2], (host, bound.port))
            self.assertEqual(bound.tcp.getsockname()[:2], (host, bound.port))
            self.assertTrue(bound.tcp.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
            self.assertFalse(bound.udp.getblocking() or bound.tcp.getblocking())
            self.assertGreater(bound.udp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF), 212_992)

    @over_ipv6
    def test_both_families_on_one_port(self) -> None:
        """The IPv6 wildcard leaves IPv4 to its own socket."""
        for _ in range(16):
            (first,) = self.bind("[::]:0")
            try:
                (second,) = self.bind(f"0.0.0.0:{first.port}")
            except CannotListen:
                continue  # somebody else has that port over IPv4
            self.assertEqual(first.port, second.port)
            return
        self.fail("no port is free over both")

    def test_connections_inherit(self) -> None:
        """Accepted connections send small replies at once, and the kernel keeps little for each."""
        (bound,) = self.bind("127.0.0.1:0")
        with socket.create_connection(("127.0.0.1", bound.port)):
            bound.tcp.setblocking(True)
            accepted, _ = bound.tcp.accept()
            with accepted:
                self.assertTrue(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
                for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                    self.assertLessEqual(accepted.getsockopt(socket.SOL_SOCKET, buffer), 2 * STREAM_BUFFER)

    def test_a_default_that_is_lacking(self) -> None:
        """A default address that this machine lacks is left out, with one line in the log."""
        with capturedLogs() as logs:
            (bound,) = self.bind(LACKING, "127.0.0.1:0", asked=False)
        self.assertEqual(bound.host, "127.0.0.1")
        (event,) = logs
        self.assertIn("192.0.2.1", str(event["reason"]))

    def test_no_default_left(self) -> None:
        """Where every default is lacking there is nothing to serve on, and that is an error."""
        with capturedLogs():
            error = self.refused(LACKING, asked=False)
        self.assertIn("set an address that this machine has", error)

    def test_an_address_that_was_asked_for(self) -> None:
        """An address that was asked for and is lacking is an error, and what was opened before is closed."""
        (free,) = self.bind("127.0.0.1:0")
        free.close()
        error = self.refused(f"127.0.0.1:{free.port}", LACKING)
        self.assertEqual(error, "cannot listen on 192.0.2.1:0 (TCP): this machine does not have that address")
        self.bind(f"127.0.0.1:{free.port}")

    def test_no_ipv6(self) -> None:
        """A machine without IPv6 lacks the default IPv6 address."""
        real = socket.socket

        def without(family: int = -1, kind: int = -1, proto: int = -1, fileno: int | None = None) -> socket.socket:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            return real(family, kind, proto, fileno)

        with patch("socket.socket", without), capturedLogs():
            (bound,) = self.bind("127.0.0.1:0", "[::1]:0", asked=False)
        self.assertEqual(bound.host, "127.0.0.1")

    def test_port_in_use(self) -> None:
        """A port that another program has is named, over UDP as over TCP, also for a default."""
        for over in ("TCP", "UDP"):
            (bound,) = self.bind("127.0.0.1:0")
            (bound.udp if over == "TCP" else bound.tcp).close()
            text = f"127.0.0.1:{bound.port}"
            error = self.refused(text, asked=False)
            self.assertEqual(
                error,
                f"cannot listen on {text} ({over}): another program uses the port; stop it or take another port",
            )

    def test_permission(self) -> None:
        """A port that needs a permission is said to, with both ways out."""
        with patch("socket.socket.bind", side_effect=PermissionError(errno.EACCES, "Permission denied")):
            error = self.refused("127.0.0.1:53")
        self.assertIn("CAP_NET_BIND_SERVICE", error)
        self.assertIn("another port", error)

    def test_any_other_failure(self) -> None:
        """What the system says is passed on."""
        with patch("socket.socket.listen", side_effect=OSError(errno.ENOBUFS, "No buffer space available")):
            error = self.refused("127.0.0.1:0")
        self.assertIn("No buffer space available", error)

    def test_a_free_port_for_both(self) -> None:
        """Where port 0 finds one that is taken over UDP, it takes another one."""
        real = socket.socket.bind
        seen = []

        def once(opened: socket.socket, address: tuple[str, int]) -> None:
            if opened.type == socket.SOCK_DGRAM:
                seen.append(address[1])
                if len(seen) == 1:
                    raise OSError(errno.EADDRINUSE, "Address already in use")
            real(opened, address)

        with patch("socket.socket.bind", once):
            (bound,) = self.bind("127.0.0.1:0")
        self.assertEqual(len(seen), 2)
        self.assertEqual(bound.port, seen[1])

    def test_a_small_receive_buffer(self) -> None:
        """A system that grants no larger receive buffer is served with what it has."""
        real = socket.socket.setsockopt

        def small(opened: socket.socket, level: int, option: int, value: int) -> None:
            if option == socket.SO_RCVBUF and opened.type == socket.SOCK_DGRAM:
                raise OSError(errno.ENOBUFS, "No buffer space available")
            real(opened, level, option, value)

        with patch("socket.socket.setsockopt", small):
            self.assertEqual(len(self.bind("127.0.0.1:0")), 1)

    def test_no_address(self) -> None:
        """A text that is no address says what was expected."""
        for text in ("", "127.0.0.1", ":53", "::1:53", "[::1]", "[::1]:x", "127.0.0.1:65536", "127.0.0.1:-1", "1.2:٣"):
            error = self.refused(text)
            self.assertRegex(error, "expected HOST:PORT|must be an IP address", text)
        for text in ("localhost:53", "[::x]:53", "x" * 70 + ".test:53"):
            error = self.refused(text)
            self.assertIn("must be an IP address", error)

    def test_stream(self) -> None:
        """For HTTP there is a TCP socket alone."""
        listening = bind_stream("127.0.0.1:0")
        self.addCleanup(listening.close)
        text = f"127.0.0.1:{listening.getsockname()[1]}"
        error = self.assertRaises(CannotListen, bind_stream, text)
        self.assertIn(f"cannot listen on {text} (TCP): another program", str(error))


class Sets(SynchronousTestCase):
    """Several sockets on one address."""

    def test_dealt_out(self) -> None:
        """All sets have the same addresses, and each client is with one of them."""
        sets = bind_sets(["127.0.0.1:0", "127.0.0.2:0"], True, 2)
        for one in chain(*sets):
            self.addCleanup(one.close)
        self.assertEqual([(one.host, one.port) for one in sets[0]], [(one.host, one.port) for one in sets[1]])
        heard: list[set[int]] = [set(), set()]
        for number in range(64):
            with socket.socket(type=socket.SOCK_DGRAM) as client:
                for _ in range(2):
                    client.sendto(bytes((number,)), (sets[0][0].host, sets[0][0].port))
        for at, each in enumerate(sets):
            ready, _, _ = select.select([each[0].udp], [], [], 5)
            while ready:
                heard[at] |= set(each[0].udp.recv(1))
                ready, _, _ = select.select([each[0].udp], [], [], 0)
        self.assertEqual((heard[0] | heard[1], heard[0] & heard[1]), (set(range(64)), set()))
        self.assertTrue(all(heard))

    def test_one(self) -> None:
        """One set alone lets nobody else bind its addresses."""
        ((one,),) = bind_sets(["127.0.0.1:0"], True, 1)
        self.addCleanup(one.close)
        self.assertEqual(one.udp.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT), 0)

    def test_taken(self) -> None:
        """An address that others serve on is told as such, also when they would let us."""
        sets = bind_sets(["127.0.0.1:0"], True, 2)
        for one in chain(*sets):
            self.addCleanup(one.close)
        with self.assertRaisesRegex(CannotListen, "another program uses the port"):
            bind_sets([f"127.0.0.1:{sets[0][0].port}"], True, 2)
