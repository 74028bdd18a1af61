"""Scripts, by what Redis knows of them."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from heimdall.cache.scripts import Script
from heimdall.interfaces import LinkDown
from tests.fakelink import FakeLink


class Old(FakeLink):
    """A Redis that knows nothing of scripts that only read, and has forgotten all others."""

    def _result(self, command: tuple[bytes | str | int, ...]) -> Deferred[object]:
        name = str(command[0])
        if name.endswith("_RO"):
            return fail(LinkDown(f"ERR unknown command '{name}'"))
        return succeed(b"done") if name == "EVAL" else fail(LinkDown("NOSCRIPT No matching script"))


class Running(SynchronousTestCase):
    """How a script is run."""

    def test_old_redis(self) -> None:
        """Where scripts that only read are not known apart, they are run as any other, whole when they must be."""
        link = Old(Clock())
        self.assertEqual(self.successResultOf(Script("return 1", reads=True).run(link, [b"k"], 1)), b"done")
        self.assertEqual(link.names(), ["EVALSHA_RO", "EVALSHA", "EVAL"])

    def test_refused(self) -> None:
        """What is refused for another reason is not tried again."""
        link = FakeLink(Clock())
        link.refusal = {"": "OOM command not allowed"}
        self.failureResultOf(Script("return 1").run(link, [b"k"]), LinkDown)
        self.assertEqual(link.names(), ["EVALSHA"])
