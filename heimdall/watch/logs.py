"""Write the log as JSON, one object a line, in place of the text that twistd writes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import IO, Any

from twisted.application.service import MultiService
from twisted.logger import FileLogObserver, ILogObserver, formatEvent
from twisted.python.components import Componentized
from twisted.python.logfile import LogFile

DAEMON_LOG = "twistd.log"
"""Where a daemon logs to when nobody says, as twistd has it."""

# Nothing here logs a URL with a password in it; another library's message might.
_PASSWORD = re.compile(r"(?<=://)[^\s/@]*:[^\s@]*@")


def entry(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event of the log as JSON has it.

    It holds ``time`` (ISO 8601, UTC), ``level``, ``from`` (the part that speaks), ``event`` (the text) and,
    where something broke, ``traceback``; an entry of statistics has them as ``statistics`` as well. Passwords in
    URLs become ``***``.
    """
    level = event.get("log_level")
    told: dict[str, Any] = {
        "time": datetime.fromtimestamp(event.get("log_time", 0.0), UTC).isoformat(timespec="milliseconds"),
        "level": getattr(level, "name", "info"),
        "from": str(event.get("log_namespace", "")).replace("log_legacy", "twisted"),
        "event": _hidden(formatEvent(dict(event))),
    }
    failure = event.get("log_failure")
    if failure is not None:
        told["traceback"] = _hidden(failure.getTraceback())
    if "statistics" in event:
        told["statistics"] = event["statistics"]
    return told


def as_json(event: Mapping[str, Any]) -> str:
    """Return an event of the log as one line of JSON."""
    return json.dumps(entry(event)) + "\n"


def observer(out: IO[Any]) -> ILogObserver:
    """Return a log observer that writes to an open file."""
    return FileLogObserver(out, as_json)


class JSONLogged(MultiService):
    """A service whose application logs JSON to where twistd would have written text.

    twistd takes an observer that the application brings, and asks for it after the service has joined the
    application. ``--logger`` and ``--syslog`` are left alone: who gives them has chosen the format as well.

    :param twistd: the options of twistd itself.
    """

    def __init__(self, twistd: Mapping[str, Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._twistd = twistd

    def setServiceParent(self, parent: Any) -> None:
        """Join the application, and bring it the observer."""
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]
        if isinstance(parent, Componentized) and not (self._twistd.get("logger") or self._twistd.get("syslog")):
            parent.setComponent(ILogObserver, observer(self._out()))

    def _out(self) -> IO[Any]:
        path = self._twistd.get("logfile")
        foreground = self._twistd.get("nodaemon")
        if path == "-" or (foreground and not path):
            return sys.stdout
        opened: IO[Any] = LogFile.fromFullPath(path or DAEMON_LOG)
        return opened


def _hidden(text: str) -> str:
    return _PASSWORD.sub("***@", text)
