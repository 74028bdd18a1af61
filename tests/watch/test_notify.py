"""What the service manager is told, over a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from heimdall.watch.notify import BEATS, STATUS_EVERY, Herald, herald


class Notified(SynchronousTestCase):
    """A manager that listens, and a process that is watched."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.path = str(Path(self.mktemp()).name)  # short: the address of a Unix socket has 107 bytes
        self.manager = self.listen(self.path)
        self.addCleanup(os.unlink, self.path)
        self.alive, self.status = True, "healthy"

    def listen(self, address: str) -> socket.socket:
        """A manager's socket."""
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(opened.close)
        opened.bind(address)
        opened.setblocking(False)
        return opened

    def heard(self) -> list[dict[str, str]]:
        """Return the messages since the last time."""
        messages: list[dict[str, str]] = []
        while True:
            try:
                text = self.manager.recv(4096).decode()
            except BlockingIOError:
                return messages
            messages.append(dict(line.split("=", 1) for line in text.split("\n")))

    def herald(self, **environ: str) -> Herald:
        """Somebody who tells the manager."""
        made = herald(self.clock, {"NOTIFY_SOCKET": os.path.abspath(self.path), **environ})
        # The path of a test's folder may be longer than an address: the name in it is the same file from here.
        made._address = made._address and self.path
        made.start(lambda: self.alive, lambda: self.status)
        self.addCleanup(made.stopping)
        return made

    def test_life(self) -> None:
        """Ready is said when it is so, loading anew and ready again, and at last the end."""
        told = self.herald()
        self.assertEqual(self.heard(), [{"STATUS": "healthy"}])
        told.ready()
        self.clock.advance(1.5)
        told.reloading()
        told.ready()
        told.stopping()
        self.assertEqual(
            self.heard(),
            [
                {"READY": "1", "STATUS": "healthy"},
                {"RELOADING": "1", "MONOTONIC_USEC": "1500000", "STATUS": "loading the configuration"},
                {"READY": "1", "STATUS": "healthy"},
                {"STOPPING": "1", "STATUS": "ending: answering what was asked"},
            ],
        )
        self.clock.advance(10 * STATUS_EVERY)
        told.ready()
        self.assertEqual(self.heard(), [])

    def test_watchdog(self) -> None:
        """While the process lives, signs of life come three times in the time the manager allows."""
        self.herald(WATCHDOG_USEC="6000000", WATCHDOG_PID=str(os.getpid()))
        self.heard()
        for _ in range(BEATS):
            self.clock.advance(2)
        self.assertEqual(self.heard(), [{"STATUS": "healthy", "WATCHDOG": "1"}] * BEATS)

    def test_not_alive(self) -> None:
        """No sign of life comes from a process that does not do what it is for; the log says so once."""
        self.herald(WATCHDOG_USEC="6000000")
        self.heard()
        self.alive, self.status = False, "deaf"
        with capturedLogs() as logs:
            for _ in range(5):
                self.clock.advance(2)
            self.assertEqual(self.heard(), [{"STATUS": "deaf"}] * 5)
            self.alive = True
            self.clock.advance(2)
        self.assertIn("WATCHDOG", self.heard()[0])
        said = [entry["log_format"] for entry in logs]
        self.assertEqual(said, ["Not serving as it should: no signs of life for the service manager", "Alive again"])

    def test_not_watched(self) -> None:
        """Without a watchdog, or with that of another process, only the status is said."""
        for environ in ({}, {"WATCHDOG_USEC": "6000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "0"}):
            told = self.herald(**environ)
            self.heard()
            self.clock.advance(STATUS_EVERY)
            self.assertEqual(self.heard(), [{"STATUS": "healthy"}])
            told.stopping()

    def test_manager_away(self) -> None:
        """What the manager did not take is owed until it does; the log says so once, a counter each time."""
        told = self.herald(WATCHDOG_USEC="6000000")
        os.unlink(self.path)
        with capturedLogs() as logs:
            told.ready()
            self.clock.advance(2)
            self.clock.advance(2)
            self.manager = self.listen(self.path)
            self.clock.advance(2)
        self.assertEqual(self.heard(), [{"READY": "1", "STATUS": "healthy", "WATCHDOG": "1"}])
        (errors,) = told.tallies
        self.assertEqual(getattr(errors, "counts", None), {(): 3})
        self.assertEqual(
            [entry["log_format"] for entry in logs],
            ["The service manager does not hear us: {why}", "The service manager hears us again"],
        )

    def test_full(self) -> None:
        """A manager that does not read keeps nobody waiting."""
        told = self.herald()
        for _ in range(10_000):
            told.ready()
        (errors,) = told.tallies
        self.assertGreater(getattr(errors, "counts", {})[()], 0)

    def test_abstract(self) -> None:
        """An address that begins with @ is an abstract one."""
        name = f"heimdall-test-{os.getpid()}"
        manager = self.listen(f"\0{name}")
        told = herald(self.clock, {"NOTIFY_SOCKET": f"@{name}"})
        told.start(lambda: True, lambda: "fine")
        self.addCleanup(told.stopping)
        self.assertEqual(manager.recv(100), b"STATUS=fine")


class Unmanaged(SynchronousTestCase):
    """Processes that nobody manages, or somebody strange."""

    def said(self, environ: Mapping[str, str]) -> list[str]:
        """Live through a life; return what the log said."""
        clock = Clock()
        with capturedLogs() as logs:
            told = herald(clock, environ)
            told.start(lambda: True, lambda: "fine")
            told.ready()
            told.stopping()
        self.assertEqual(clock.getDelayedCalls(), [])
        return [entry["log_format"].split(":")[0] for entry in logs]

    def test_nobody(self) -> None:
        """Without a manager nothing is said, and no timer runs."""
        self.assertEqual(self.said({}), [])

    def test_strange(self) -> None:
        """An environment that makes no sense costs a line in the log, and nothing else."""
        self.assertEqual(self.said({"NOTIFY_SOCKET": "vsock:2:1"}), ["NOTIFY_SOCKET is no path of a Unix socket"])
        self.assertEqual(self.said({"WATCHDOG_USEC": "soon"}), ["WATCHDOG_USEC is no number"])
