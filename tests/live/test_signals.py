"""Signals that operators send to servers: none that we do not use ends a node, and SIGUSR1 logs its statistics."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from heimdall.signals import UNUSED
from tests.live.test_reload import LOADED, Case, wait
from tests.live.test_workers import workers
from tests.redisserver import RedisServer
from tests.running import Running

SAID = "Statistics: "

# Before anything of ours is loaded, the worker is sent all of them.
AT_ONCE = """
import os, sys
if "heimdall.workers" in sys.orig_argv:
    for number in {numbers}:
        os.kill(os.getpid(), number)
"""

# A policy that takes a while to make, and a signal that comes meanwhile.
POLICY = """
import os, signal
from zope.interface import implementer
from heimdall.interfaces import IGate
@implementer(IGate)
class Passes:
    def __init__(self):
        for number in (signal.SIGUSR2, signal.SIGALRM, signal.SIGUSR1, signal.SIGHUP)[:4 if first() else 0]:
            os.kill(os.getpid(), number)
    def judge(self, query):
        return None
def first():
    try:
        os.close(os.open({flag!r}, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True
"""


class Signals(Case):
    """A node, of one process or of several."""

    def path(self, name: str, text: str) -> dict[str, str]:
        """Return the environment that has Python find a module with this text."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / f"{name}.py").write_text(text)
        return {"PYTHONPATH": f"{folder}{os.pathsep}{Path(__file__).resolve().parent.parent.parent}"}

    def running(self, *arguments: str, environ: dict[str, str] | None = None) -> Running:
        """Start a node without Redis."""
        node = Running(f"--upstream={self.upstream.text}", "--no-redis", *arguments, environ=environ)
        self.addCleanup(node.clean)
        return node

    def test_unused(self) -> None:
        """No signal that we do not use ends a node, or a word in its log."""
        node = self.start()
        before = node.log
        for number in UNUSED - {signal.SIGUSR1}:
            node.process.send_signal(number)
        self.assertEqual(node.ask("a.example").rcode(), 0)
        self.assertEqual((node.process.poll(), node.log), (None, before))

    def test_statistics(self) -> None:
        """SIGUSR1 logs one line: queries, who knew the answers, their codes, memory, upstreams, Redis, processes."""
        node = self.start('[admit]\nblock = ["b.example"]\n')
        for name in ("a.example", "a.example", "a.example", "b.example"):
            node.ask(name)
        node.process.send_signal(signal.SIGUSR1)
        wait(lambda: SAID in node.log, "the statistics")
        [line] = [line for line in node.log.splitlines() if SAID in line]
        for part in (
            "healthy, up ", "4 queries (4 UDP, 0 TCP)", "50.0% memory, 0.0% redis, 25.0% upstream, 0.0% stale",
            "25.0% blocked", "by code: 3 NOERROR, 1 NXDOMAIN", "0 pending, 0 dropped, 0 refused, 0 over the rate limit",
            "memory: 1 answers, ", "0 evicted", f"upstreams: {self.upstream.text} up ", "Redis: not used", "process: ",
        ):  # fmt: skip
            self.assertIn(part, line)

    def test_redis(self) -> None:
        """With Redis they say how that does, and in what time."""
        redis = RedisServer().start()
        self.addCleanup(redis.stop)
        node = self.start("", f"--redis={redis.url}")
        wait(lambda: node.metric("heimdall_redislink_ear_up"), "Redis")
        node.process.send_signal(signal.SIGUSR1)
        wait(lambda: SAID in node.log, "the statistics")
        self.assertRegex(node.log, r"Redis: answers, \d+ replies, [0-9.]+ ms on average")

    def test_workers(self) -> None:
        """However many processes of a node get SIGUSR1, it is one entry for all; no worker ends for any signal."""
        node = self.running("--workers=2")
        pids = workers(node)
        for _ in range(4):
            node.ask("a.example")
        for pid in (*pids, node.process.pid):
            for number in UNUSED:
                os.kill(pid, number)
        wait(lambda: SAID in node.log, "the statistics")
        self.assertEqual(node.ask("a.example").rcode(), 0)
        self.assertEqual((workers(node), node.log.count(SAID), node.trouble()), (pids, 1, []))
        self.assertIn("with 2 workers", node.log)

    def test_worker_begins(self) -> None:
        """A worker that gets signals before it has loaded a line of ours begins all the same."""
        numbers = sorted({*map(int, UNUSED), int(signal.SIGHUP), int(signal.SIGINT)})
        node = self.running("--workers=2", environ=self.path("sitecustomize", AT_ONCE.format(numbers=numbers)))
        self.assertEqual(node.metric("heimdall_workers_serving_processes"), 2)
        self.assertEqual((node.metric("heimdall_workers_ended_total"), node.trouble()), (0, []))

    def test_begins(self) -> None:
        """A node that gets signals while it is built serves; what they ask for is done as soon as it does."""
        flag = str(Path(self.mktemp()).absolute())
        environ = self.path("slow_policy", POLICY.format(flag=flag))
        node = self.running(environ={**environ, "HEIMDALL_ADMIT_GATES": "slow_policy.Passes"})
        wait(lambda: SAID in node.log and LOADED in node.log, "both were done")
        self.assertEqual((node.ask("a.example").rcode(), node.trouble()), (0, []))


class Node(SynchronousTestCase):
    """Which signals these are."""

    def test_unused(self) -> None:
        """They are those whose default ends a process, but for what we use, and what has to end one."""
        others = set(signal.Signals) - {
            signal.SIGHUP, signal.SIGINT, signal.SIGTERM,  # used
            signal.SIGQUIT, signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGKILL,
            signal.SIGSEGV, signal.SIGXCPU, signal.SIGXFSZ, signal.SIGSYS,  # have to end it
            signal.SIGPIPE,  # ignored by Python
            signal.SIGCHLD, signal.SIGCONT, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU,
            signal.SIGURG, signal.SIGWINCH,  # end none
        }  # fmt: skip
        self.assertLessEqual(others, UNUSED)
