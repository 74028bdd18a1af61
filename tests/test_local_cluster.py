"""Three nodes and a Redis by one command: what it says to try works as it is printed, and nothing is left of it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.house.tree import ROOT
from tests.live.test_reload import wait
from tests.ports import free_port
from tests.redis_server.stage import folder, runs
from tests.running import PATIENCE, PATIENT
from tests.slowup import SlowUpstream


def three_ports() -> int:
    """Return the first of three ports in a row that are free."""
    while True:
        found = sorted(free_port() for _ in range(200))
        for first, third in zip(found, found[2:], strict=False):
            if third == first + 2:
                return first


class Started:
    """The command, with a folder of its own."""

    def __init__(self, place: Path, *options: str) -> None:
        place.mkdir(exist_ok=True)
        self.folder, self._output = place / "cluster", place / "output"
        command = [
            sys.executable, "-m", "heimdall.local_cluster", f"--folder={self.folder}", f"--dns-port={three_ports()}",
            f"--http-port={three_ports()}", *options,
        ]  # fmt: skip
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("HEIMDALL_", "REDIS_"))}
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                command, cwd=place, env={**clean, **PATIENT, "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL,
                stdout=output, stderr=output,
            )  # fmt: skip

    @property
    def text(self) -> str:
        """What it has printed."""
        return self._output.read_text()

    def processes(self) -> list[int]:
        """Return the numbers of all that it has started."""
        return [int(file.read_text()) for file in self.folder.glob("*.pid")]

    def kill(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()


class LocalCluster(SynchronousTestCase):
    """``make cluster``."""

    def started(self, place: Path, *options: str) -> Started:
        """Start it."""
        started = Started(place, *options)
        self.addCleanup(started.kill)
        return started

    def serving(self) -> Started:
        """Start it, and wait until it says what to try."""
        self.upstream = SlowUpstream(0.0, 3600)
        self.addCleanup(self.upstream.stop)
        self.place = folder(self)
        started = self.started(self.place, f"--upstream={self.upstream.text}")

        def told() -> bool:
            self.assertIsNone(started.process.poll(), started.text)
            return "Five things to try" in started.text

        wait(told, "it says what to try", PATIENCE)
        return started

    def paste(self, command: str) -> str:
        """Run a command in a shell in that folder, as it was printed; return what it says."""
        done = subprocess.run(
            ["sh", "-c", command], cwd=self.place, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""), f"{command}\n{done.stdout}")
        return done.stdout

    def test_tries(self) -> None:
        """Each of the five does, pasted into a shell, what is said of it."""
        if not shutil.which("heimdall", path=str(Path(sys.executable).parent)):
            raise SkipTest("the command is not installed beside this Python: pip install -e .")
        started = self.serving()
        parts = dict(re.findall(r"^(\d)\. (.*?)(?=^\d\. |^What )", started.text, re.M | re.S))
        printed = [re.findall(r"^   (\S.*)$", parts[number], re.M) for number in "12345"]
        self.assertEqual([len(lines) for lines in printed], [2, 2, 2, 2, 0])
        (ask_one, ask_two), (flush, inspect), (kill_node, members), (kill_redis, ask_after), _ = printed

        self.assertIn("from upstream", self.paste(ask_one))
        wait(lambda: re.search(r"^redis +A ", self.paste(inspect), re.M), "it is in Redis")
        self.assertIn("from redis", self.paste(ask_two))
        self.assertEqual(self.upstream.counts()["asked"], 1)

        self.assertRegex(self.paste(flush), r"on 3 nodes: one, three, two\nRedis: its answers are deleted")
        self.assertNotIn("NOERROR", self.paste(inspect))

        self.paste(kill_node)
        wait(lambda: "Node three was killed by SIGKILL" in started.text, "it is told that a node was killed")
        self.assertIn("from upstream", self.paste(ask_one))
        wait(lambda: not re.search("^three ", self.paste(members), re.M), "it is off the list")
        wait(lambda: "Node three serves again" in started.text, "it serves again")
        wait(lambda: re.search("^three ", self.paste(members), re.M), "it is on the list")

        self.paste(kill_redis)
        wait(lambda: "The embedded Redis was killed by SIGKILL" in started.text, "it is told that Redis was killed")
        self.assertIn("NOERROR", self.paste(ask_after))
        wait(lambda: started.text.count("The embedded Redis serves at") == 2, "it is there again")
        wait(lambda: re.search(r"^redis +A +- +fresh", self.paste(inspect), re.M), "it has what it had")

        (page,) = re.findall(r"http://\S+", parts["5"])
        asking = urllib.request.Request(page, headers={"Accept": "text/html"})
        with urllib.request.urlopen(asking, timeout=PATIENCE) as shown:
            self.assertIn(b"<title>", shown.read())
        self.assertNotIn("Traceback", started.text)
        for log in started.folder.glob("*.log"):
            self.assertNotIn("forge", log.read_text())  # their Redis is closed to other users

    def test_interrupted(self) -> None:
        """Ctrl-C ends all of it, with status 0."""
        started = self.serving()
        processes = started.processes()
        self.assertEqual((len(processes), all(map(runs, processes))), (4, True))
        started.process.send_signal(signal.SIGINT)
        self.assertEqual(started.process.wait(PATIENCE), 0, started.text)
        self.assertEqual([process for process in processes if runs(process)], [])

    def test_killed(self) -> None:
        """When it is killed, all that it started ends; its folder is refused to another one as long as it lives."""
        started = self.serving()
        other = self.started(started.folder.parent / "other", f"--folder={started.folder}")
        self.assertEqual(other.process.wait(PATIENCE), 1)
        self.assertIn(f"process {started.process.pid} uses {started.folder} already", other.text)
        processes = started.processes()
        started.kill()
        wait(lambda: not any(map(runs, processes)), "all have ended")

    def test_port_taken(self) -> None:
        """A port that another program has is told before anything is started, with the option that names another."""
        for option in ("--dns-port", "--http-port"):
            with socket.socket() as taken:
                taken.bind(("127.0.0.1", 0))
                taken.listen()
                port = taken.getsockname()[1]
                started = self.started(folder(self), f"{option}={port}")
                self.assertEqual(started.process.wait(PATIENCE), 1)
            self.assertIn(f"cannot listen on 127.0.0.1:{port}: Address already in use", started.text)
            self.assertIn(f"take other ports with {option}", started.text)
            self.assertEqual(started.processes(), [])

    def test_cannot(self) -> None:
        """A node that does not start is told, with what it said; all ends, and the exit code is 1."""
        started = self.started(folder(self), "--upstream=here")
        self.assertEqual(started.process.wait(PATIENCE), 1)
        self.assertIn("The cluster cannot be started: node one ended with 1", started.text)
        self.assertIn("option --upstream", started.text)
        self.assertEqual([process for process in started.processes() if runs(process)], [])
