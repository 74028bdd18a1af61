"""Report bugs of our own: each is counted, and logged with its traceback once a minute for the place where it arises.

A bug costs the query or the step that meets it, and nothing else. One behind Redis may be met by thousands of queries a
second: to log each of them would cost more than to answer them.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final
from weakref import WeakKeyDictionary, proxy

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from heimdall.tally import Count, Tally

QUIET: Final = 60.0
"""Seconds in which a bug is logged once."""

MOST_PLACES: Final = 100
"""Bugs that are told apart; past that the oldest is forgotten."""

Place = tuple[type[object], str, int]
"""What tells bugs apart: the kind of the exception, and the file and the line where it was raised."""


class BugReporter:
    """Logs and counts bugs.

    :param clock: where the time comes from.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = proxy(clock)  # it is found by the clock, and must not be what keeps that
        # When each was logged last, the oldest first.
        self._logged: OrderedDict[Place, float] = OrderedDict()
        self._count = Count("heimdall_bugs_met_total", "Times that a bug of ours was met.")
        self.tallies: list[Tally] = [self._count]

    def report(self, log: Logger, text: str, error: BaseException | Failure, **more: Any) -> None:
        """Report a bug.

        :param log: who met it.
        :param text: what it cost, as Twisted formats it with ``more``.
        :param error: what was raised.
        """
        self._count.add()
        place = _place(error)
        now = self._clock.seconds()
        if now - self._logged.get(place, now - QUIET) < QUIET:
            return
        self._logged.pop(place, None)
        if len(self._logged) >= MOST_PLACES:
            self._logged.popitem(last=False)
        self._logged[place] = now
        failure = error if isinstance(error, Failure) else Failure(error)
        log.failure(text + "{notes}", failure, notes=notes_of(failure.value), **more)


_reporters: WeakKeyDictionary[IReactorTime, BugReporter] = WeakKeyDictionary()


def reporter(clock: IReactorTime) -> BugReporter:
    """Return who reports the bugs of all that runs on a clock: in a process, that is the reactor."""
    found = _reporters.get(clock)
    if found is None:
        found = _reporters[clock] = BugReporter(clock)
    return found


def notes_of(error: BaseException | None) -> str:
    """Return what was noted of an exception on its way, such as the policy that it is from, to stand behind a text."""
    return "".join(f"; {note}" for note in getattr(error, "__notes__", ()))


def _place(error: BaseException | Failure) -> Place:
    """Return what tells a bug apart."""
    raised = error.value if isinstance(error, Failure) else error
    trace = raised.__traceback__ if raised is not None else None
    file, line = "", 0
    if trace is not None:
        while trace.tb_next is not None:
            trace = trace.tb_next
        file, line = trace.tb_frame.f_code.co_filename, trace.tb_lineno
    elif isinstance(error, Failure) and error.frames:  # one that was cleaned has no traceback any more
        file, line = str(error.frames[-1][1]), int(error.frames[-1][2])
    return type(raised), file, line
