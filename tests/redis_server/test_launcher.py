"""A program ends when the process that started it ends, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from heimdall.redis_server import launcher
from tests.redis_server.stage import runs
from tests.redisserver import wait_for

FILE = launcher.__file__

# A parent that starts a program by the launcher, tells both numbers, and lives on. The launcher may be told that the
# kernel does nothing for it.
PARENT = """
import os, subprocess, sys, time
how = [sys.executable, "-c", sys.argv[1]] if sys.argv[1] else [sys.executable, "-I", "-S", sys.argv[2]]
child = subprocess.Popen([*how, str(os.getpid()), *sys.argv[3:]], stdin=subprocess.PIPE)
print(child.pid, flush=True)
time.sleep(600)
"""

ALONE = """
import sys
from heimdall.redis_server import launcher
launcher.tied = lambda: False
sys.exit(launcher.main(sys.argv[1:]))
"""
"""The launcher on a machine that has no prctl."""

SLOW = """
import subprocess, sys, time
from heimdall.redis_server import launcher
class Popen(subprocess.Popen):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        time.sleep(0.5)
launcher.subprocess.Popen = Popen
launcher.tied = lambda: False
sys.exit(launcher.main(sys.argv[1:]))
"""
"""The same on a machine so busy that others run before its call returns."""

PROGRAM = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"


class Case(SynchronousTestCase):
    """The launcher as the kernel helps it."""

    alone = ""

    def setUp(self) -> None:
        if not sys.platform.startswith("linux"):
            raise SkipTest("the numbers of processes are looked at as Linux shows them")
        self.note = Path(self.mktemp()).absolute()

    def started(self) -> tuple[subprocess.Popen[str], int, int]:
        """Start a parent and its program; return the parent, its child, and the program."""
        command = [sys.executable, "-c", PROGRAM, str(self.note)]
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, self.alone, FILE, *command], stdout=subprocess.PIPE, text=True
        )
        self.addCleanup(parent.wait)
        self.addCleanup(parent.kill)
        assert parent.stdout is not None
        self.addCleanup(parent.stdout.close)
        child = int(parent.stdout.readline())
        wait_for(lambda: self.note.exists() and self.note.read_text())
        return parent, child, int(self.note.read_text())

    def run_here(self, *command: str, parent: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a program by the launcher to its end, as a child of this process."""
        how = ["-c", self.alone] if self.alone else ["-I", "-S", FILE]
        launching = [sys.executable, *how, str(parent or os.getpid()), *command]
        # Its standard input stays open meanwhile.
        kept = subprocess.Popen(
            launching, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        with kept:
            assert kept.stdout is not None
            assert kept.stderr is not None
            code = kept.wait(120)
            return subprocess.CompletedProcess(launching, code, kept.stdout.read(), kept.stderr.read())


class Tied(Case):
    """Where the kernel can do it."""

    def test_killed(self) -> None:
        """When the parent is killed, so is the program, which took the launcher's place."""
        parent, child, program = self.started()
        self.assertEqual(child, program)
        parent.kill()
        wait_for(lambda: not runs(program))

    def test_parent_gone(self) -> None:
        """Nothing is run for a parent that was gone before the kernel knew of it."""
        done = self.run_here("/bin/echo", "here", parent=1)
        self.assertEqual((done.returncode, done.stdout), (launcher.NOT_STARTED, ""))


class Alone(Case):
    """Where it cannot: the launcher stays, and watches a pipe."""

    alone = ALONE

    def test_killed(self) -> None:
        """When the parent is killed, so is the program, and the launcher ends."""
        parent, child, program = self.started()
        self.assertNotEqual(child, program)
        parent.kill()
        wait_for(lambda: not runs(program) and not runs(child))

    def test_told(self) -> None:
        """What is told to end passes that on."""
        _, child, program = self.started()
        os.kill(child, signal.SIGTERM)
        wait_for(lambda: not runs(program) and not runs(child))

    def test_told_at_once(self) -> None:
        """That holds from the moment that the program runs, which may be before the launcher does again."""
        self.alone = SLOW
        done = self.run_here("/bin/sh", "-c", "kill -TERM $PPID; exec sleep 20")
        self.assertEqual(done.returncode, 128 + signal.SIGTERM)


class Either(Case):
    """What holds in both ways."""

    def test_same(self) -> None:
        """Its exit code is the program's, which leads or is in a group of its own, and writes for its user alone."""
        said = "import os, sys; print(os.getpgid(0) != int(sys.argv[1]), oct(os.umask(0))); sys.exit(7)"
        for self.alone in ("", ALONE):
            done = self.run_here(sys.executable, "-c", said, str(os.getpgid(0)))
            self.assertEqual((done.returncode, done.stdout, done.stderr), (7, "True 0o77\n", ""))

    def test_no_program(self) -> None:
        """What cannot be run is told, with the exit code that a shell has for it."""
        for self.alone in ("", ALONE):
            done = self.run_here("/nowhere/redis-server")
            self.assertEqual(done.returncode, launcher.NOT_STARTED)
            self.assertEqual(done.stderr, "/nowhere/redis-server: No such file or directory\n")
