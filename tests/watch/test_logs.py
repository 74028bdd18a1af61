"""The log as JSON: one object a line, without passwords, where twistd would have written text."""

from __future__ import annotations

import io
import json
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.application.service import Application, MultiService
from twisted.logger import ILogObserver, Logger
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from heimdall.watch.logs import DAEMON_LOG, JSONLogged, as_json, observer


def logged(out: io.StringIO) -> list[dict[str, Any]]:
    """Return the entries of a log."""
    return [json.loads(line) for line in out.getvalue().splitlines()]


class EntryTests(SynchronousTestCase):
    """What one line holds."""

    def setUp(self) -> None:
        self.out = io.StringIO()
        watcher = observer(self.out)
        verifyObject(ILogObserver, watcher)
        self.log = Logger("heimdall.redislink", observer=watcher)

    def test_entry(self) -> None:
        """An entry says when, how grave, who and what."""
        self.log.warn("Redis is {state}", state="away")
        (entry,) = logged(self.out)
        when = datetime.fromisoformat(entry.pop("time"))
        self.assertEqual(when.utcoffset(), timedelta(0))
        self.assertEqual(entry, {"level": "warn", "from": "heimdall.redislink", "event": "Redis is away"})

    def test_time(self) -> None:
        """The time is in UTC, to the millisecond."""
        self.assertEqual(json.loads(as_json({"log_time": 1_700_000_000.25}))["time"], "2023-11-14T22:13:20.250+00:00")

    def test_traceback(self) -> None:
        """A failure comes with its traceback, in the same line."""
        try:
            raise KeyError("redis://:s3cret@h")
        except KeyError:
            self.log.failure("our own bug")
        (entry,) = logged(self.out)
        self.assertEqual((entry["level"], entry["event"]), ("critical", "our own bug"))
        self.assertIn("KeyError", entry["traceback"])
        self.assertNotIn("s3cret", entry["traceback"])

    def test_no_password(self) -> None:
        """A password in a URL is not written, whoever logs it."""
        self.log.info("connecting to {url} and {other}", url="redis://me:s3cret@h:1", other="http://h/")
        (entry,) = logged(self.out)
        self.assertEqual(entry["event"], "connecting to redis://***@h:1 and http://h/")

    def test_unformattable(self) -> None:
        """An event whose text cannot be made is written all the same."""
        self.log.info("{missing} {", other=object())
        self.assertIn("Unable to format", logged(self.out)[0]["event"])

    def test_bare(self) -> None:
        """An event of the old kind, without a level, is written as info."""
        self.assertEqual(json.loads(as_json({}))["level"], "info")

    @given(st.text())
    def test_one_line(self, text: str) -> None:
        """Whatever the text holds, it is one line of ASCII."""
        line = as_json({"log_format": "{text}", "text": text})
        self.assertTrue(line.isascii())
        self.assertEqual(line.count("\n"), 1)


class PlaceTests(SynchronousTestCase):
    """Where the log goes, by the options of twistd."""

    def join(self, **twistd: object) -> ILogObserver | None:
        """Return the observer of an application that the service has joined."""
        application = Application("test")
        JSONLogged(twistd).setServiceParent(application)
        found: ILogObserver | None = application.getComponent(ILogObserver, None)
        return found

    def test_foreground(self) -> None:
        """In the foreground it goes to standard output, as it does with --logfile=-."""
        for twistd in ({"nodaemon": True}, {"nodaemon": True, "logfile": "-"}):
            out = io.StringIO()
            self.patch(sys, "stdout", out)
            watcher = self.join(**twistd)
            assert watcher is not None
            Logger("a", observer=watcher).info("b")
            self.assertEqual(logged(out)[0]["event"], "b")

    def test_file(self) -> None:
        """With --logfile it goes into that file, and a daemon's into twistd.log."""
        path = self.mktemp()
        for twistd, file in (({"logfile": path, "nodaemon": True}, path), ({"logfile": None}, DAEMON_LOG)):
            watcher = self.join(**twistd)
            assert watcher is not None
            Logger("a", observer=watcher).info("b")
            self.assertEqual(json.loads(Path(file).read_text())["event"], "b")

    def test_own_observer(self) -> None:
        """Who gives twistd an observer, or asks for syslog, gets just that."""
        self.assertIsNone(self.join(logger="some.observer"))
        self.assertIsNone(self.join(syslog=True))

    def test_any_parent(self) -> None:
        """Inside another service it is a service like any other."""
        parent = MultiService()
        JSONLogged({}).setServiceParent(parent)
        self.assertEqual(len(parent.services), 1)
