"""Draw on the terminal again and again what changes, until somebody presses q or control and C."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from heimdall.command import screen
from heimdall.command.client import Trouble

EVERY: Final = 2.0
"""Seconds between two looks."""

# Another page of the terminal, so that what was there before is there afterwards; and no cursor on it.
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_TOP, _REST_OF_LINE, _BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
_ENDS: Final = frozenset("qQ\x03\x04\x1b")


def live(look: Callable[[], Sequence[str]], where: str) -> None:
    """Look, draw, and wait; a node that goes away meanwhile is waited for.

    :param look: returns the lines to draw; raises :class:`Trouble`.
    :param where: what is looked at, for the last line.
    :raises Trouble: it cannot be looked at even once.
    """
    lines, drawn = look(), time.strftime("%X")
    trouble = ""
    with _page() as wakes:
        while True:
            state = screen.paint(trouble, "bad") if trouble else screen.paint(f"{where}  {drawn}  q ends", "dim")
            _draw(lines, state)
            due = time.monotonic() + EVERY
            while (left := due - time.monotonic()) > 0:
                if sys.stdin in (ready := select.select([sys.stdin, wakes], [], [], left)[0]):
                    keys = os.read(sys.stdin.fileno(), 64).decode(errors="replace")
                    if not keys or _ENDS & set(keys):
                        return
                if wakes in ready:  # the terminal has another size
                    os.read(wakes, 64)
                    break
            try:
                lines, drawn, trouble = look(), time.strftime("%X"), ""
            except Trouble as error:
                trouble = f"{str(error).splitlines()[0]} (tried again)"


def _draw(lines: Sequence[str], state: str) -> None:
    """Draw as many lines as fit, and the last one."""
    height = max(screen.size()[1] - 1, 1)
    shown = [*lines[:height], *[""] * (height - len(lines)), state]
    text = f"{_REST_OF_LINE}\r\n".join(shown)
    print(f"{_TOP}{text}{_REST_OF_LINE}{_BELOW}", end="", flush=True)


@contextmanager
def _page() -> Iterator[int]:
    """Have the terminal for ourselves; what is given can be read when its size has changed. All is put back after."""
    settings = termios.tcgetattr(sys.stdin)
    near, far = os.pipe()
    os.set_blocking(far, False)
    former = signal.signal(signal.SIGWINCH, lambda *_: None)
    woken = signal.set_wakeup_fd(far, warn_on_full_buffer=False)
    try:
        tty.setcbreak(sys.stdin)
        print(_ENTER, end="", flush=True)
        yield near
    finally:
        signal.set_wakeup_fd(woken)
        signal.signal(signal.SIGWINCH, former)
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, settings)
        print(_LEAVE, end="", flush=True)
        os.close(near)
        os.close(far)
