"""The command as somebody types it: a process of its own, alone or on a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence

from attrs import frozen

from tests.house.tree import ROOT


@frozen
class Typed:
    """How a command ended: its exit code, and what it printed and complained of."""

    code: int
    raw: bytes
    complaint: str

    @property
    def out(self) -> str:
        """What it printed, as text."""
        return self.raw.decode()

    @property
    def lines(self) -> list[str]:
        """The lines that it printed."""
        return self.out.splitlines()


def environment(**more: str) -> dict[str, str]:
    """Return an environment without settings of ours, in which this checkout is found."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HEIMDALL_", "REDIS_"))}
    for name in ("NO_COLOR", "COLUMNS", "LINES"):
        clean.pop(name, None)
    return {**clean, "PYTHONPATH": str(ROOT), "TERM": "xterm", **more}


def typed(*arguments: str, stdin: bytes = b"", **environ: str) -> Typed:
    """Run the command to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "heimdall.command", *arguments],
        env=environment(**environ), cwd="/", capture_output=True, input=stdin, timeout=300, check=False,
    )  # fmt: skip
    return Typed(done.returncode, done.stdout, done.stderr.decode())


class Terminal:
    """The command on a terminal of some size; what it wrote there is in ``heard``.

    :param program: another program to run there.
    """

    def __init__(
        self,
        *arguments: str,
        columns: int = 80,
        lines: int = 24,
        environ: Mapping[str, str] | None = None,
        program: Sequence[str] = (sys.executable, "-m", "heimdall.command"),
    ) -> None:
        self._near, far = pty.openpty()
        fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.heard = ""
        self._process = subprocess.Popen(
            [*program, *arguments],
            stdin=far, stdout=far, stderr=far, env=environment(**(environ or {})), cwd="/", start_new_session=True,
        )  # fmt: skip
        os.close(far)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._near)

    def wait_for(self, text: str, times: int = 1, seconds: float = 120.0) -> None:
        """Read until a text was written so many times."""
        ends = time.monotonic() + seconds
        while self.heard.count(text) < times and time.monotonic() < ends and self._read(0.2):
            pass
        if self.heard.count(text) < times:
            raise AssertionError(f"{text!r} is not {times} times in {self.heard!r}")

    def _read(self, seconds: float) -> bool:
        """Read what is there; return whether more may come."""
        if not select.select([self._near], [], [], seconds)[0]:
            return self._process.poll() is None
        try:
            data = os.read(self._near, 65536)
        except OSError:  # nobody holds the other end
            return False
        self.heard += data.decode()
        return bool(data)

    def press(self, keys: str) -> None:
        """Press some keys."""
        os.write(self._near, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Make the terminal another size, and have it told as a terminal would."""
        fcntl.ioctl(self._near, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._process.send_signal(signal.SIGWINCH)

    def interrupt(self) -> None:
        """Press control and C."""
        self._process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Read to the end, and return the exit code."""
        while self._read(0.2):
            pass
        return self._process.wait(120)

    @property
    def text(self) -> str:
        """What was written, without what only a terminal obeys."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.heard)
