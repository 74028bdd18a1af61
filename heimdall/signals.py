"""Signals that a server is sent though it does not use them: none of them ends it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# Each worker loads this before anything else: nothing of Twisted here.

_NAMES: Final = ("SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGPWR", "SIGSTKFLT")

UNUSED: Final = frozenset(
    (
        *(signal.Signals[name] for name in _NAMES if name in signal.Signals.__members__),
        *(range(signal.SIGRTMIN, signal.SIGRTMAX + 1) if hasattr(signal, "SIGRTMIN") else ()),
    )
)
"""Those whose default ends a process, and that mean nothing to ours."""


def ignore(*more: int) -> None:
    """Ignore what we do not use, and some more signals; a handler that somebody has set stays."""
    for number in (*UNUSED, *more):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*UNUSED, *more))


@contextmanager
def held_back(*more: int) -> Iterator[None]:
    """Have processes that are started meanwhile get what we do not use, and some more signals, when they ask for it.

    They ask by :func:`ignore`: until then a signal would end them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (*UNUSED, *more))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
