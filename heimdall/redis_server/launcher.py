"""Run a program that ends when the process that started it ends, however that ends.

This file is run by its path, in a Python that loads nothing else of ours:
``python -I -S launcher.py PARENT PROGRAM ARGUMENT...``, with a pipe from the parent as its standard input.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1

LOCK = 3
"""The descriptor of a lock that the program is to hold, where it was given one."""

NOT_STARTED = 127
"""The exit code when the program cannot be run, as a shell has it."""


def main(arguments: Sequence[str]) -> int:
    """Become the program where the kernel can end it with its parent; elsewhere stay and see to that.

    It leads a group of its own: Ctrl-C at the terminal is for the parent, and one signal reaches all that it starts.

    :param arguments: the number of the parent's process, and the command.
    :return: the exit code.
    """
    parent, *command = arguments
    os.setsid()
    os.umask(0o077)
    try:
        if not tied():
            return keep(command)
        if os.getppid() != int(parent):  # it ended before the kernel knew
            return NOT_STARTED
        os.execv(command[0], command)  # noqa: S606
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        return NOT_STARTED


def tied() -> bool:
    """Have the kernel kill this process when its parent ends; return whether it does that."""
    try:
        import ctypes

        prctl = ctypes.CDLL(None).prctl
    except (ImportError, AttributeError, OSError):
        return False
    return sys.platform == "linux" and bool(prctl(PR_SET_PDEATHSIG, signal.SIGKILL) == 0)


def keep(command: Sequence[str]) -> int:
    """Run a program until it ends, or kill it when the pipe from the parent is closed.

    :return: its exit code; 128 and the number of the signal that ended it.
    """
    started: list[subprocess.Popen[bytes]] = []
    told = False

    def end(*_: object) -> None:
        nonlocal told
        told = True
        for program in started:
            program.terminate()

    # The program may answer, and its parent tell it to end, before this process runs again: so this comes first.
    signal.signal(signal.SIGTERM, end)
    given = [LOCK] if _is_open(LOCK) else []
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=given)  # noqa: S603
    started.append(child)
    if told:
        child.terminate()

    def watch() -> None:
        while os.read(0, 1024):
            pass
        child.kill()

    threading.Thread(target=watch, daemon=True).start()
    code = child.wait()
    return code if code >= 0 else 128 - code


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))
