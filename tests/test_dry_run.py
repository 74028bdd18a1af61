"""What the two checks pass a node starts with, and what they refuse it refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from heimdall.command.client import USAGE
from tests.command.typed import environment
from tests.ports import free_port
from tests.test_tap import TWISTD

POLICIES = """
import sys

class Raises:
    def __init__(self):
        raise RuntimeError("no such list")

class Unreadable:
    def __init__(self):
        open("/nowhere/list")

class Exits:
    def __init__(self):
        sys.exit(0)
"""


@frozen
class Case:
    """A configuration, and what is said of it where it is refused; with a part of a warning where it is not."""

    toml: str
    refused: str = ""
    warned: str = ""


CASES = (
    Case('[admit]\nrecords = ["a.example A 192.0.2.1"]\nblock = ["b.example"]\n'),
    Case('[admit]\nrecords = ["a.example CNAME b.example", "a.example A 192.0.2.1"]\n', "a.example has an alias"),
    Case('[accept]\nworkers = 2\n[admit]\nrecords = ["a.example CNAME b", "a.example A 192.0.2.1"]\n', "has an alias"),
    Case('[admit]\nblock = ["192.0.2.1"]\n', "'192.0.2.1' is not a domain name"),
    Case('[accept]\nworkers = 2\n[admit]\nblock = ["192.0.2.1"]\n', "'192.0.2.1' is not a domain name"),
    Case('[admit]\nblock_files = ["."]\n', "a file that can be read"),
    Case('[admit]\nblock_files = ["list"]\n', "", "list: 1 wrong line is left out: line 2: 'a b' is more than a name"),
    Case('[admit]\ngates = ["collections.OrderedDict"]\n', "which provides no IPolicy"),
    Case('[admit]\ngates = ["os.path.join"]\n', "TypeError: join() missing 1 required positional argument"),
    Case('[admit]\ngates = ["own_policies.Raises"]\n', "RuntimeError: no such list"),
    Case('[accept]\nworkers = 2\n[admit]\ngates = ["own_policies.Raises"]\n', "RuntimeError: no such list"),
    Case('[admit]\ngates = ["own_policies.Unreadable"]\n', "own_policies.Unreadable cannot be made: [Errno 2] No such"),
    Case('[admit]\ngates = ["own_policies.Exits"]\n', "own_policies.Exits cannot be made: it calls sys.exit(0)"),
    Case('[accept]\nworkers = 2\n[admit]\ngates = ["own_policies.Exits"]\n', "own_policies.Exits cannot be made: it"),
    Case('[admit]\ngates = ["exits.Policy"]\n', "its module calls sys.exit(3)"),
    Case('[redis]\nurl = "embedded:{folder}/list/redis"\n', "redis.url: {folder}/list/redis cannot be used: "),
    Case('[fetch.routes]\n"a.example" = ["import:collections.OrderedDict"]\n', "which provides no ISource"),
    Case('[watch]\ntoken_file = "short"\n', "a file that holds a token"),
    Case('[redis]\nenabled = false\nsecret_file = "short"\n', "redis.secret_file: a secret has 16 to 4096 bytes"),
    Case('[redis]\nurl = "rediss://127.0.0.1:1"\nca_file = "short"\n', "holds no certificate in PEM form"),
    Case('[redis]\nurl = "redis+cluster://' + ",".join(f"h{n}" for n in range(99)) + '"\n', "names too many hosts"),
    Case('[accept]\nlisten = ["0.0.0.0:{port}", "127.0.0.1:{port}"]\n', "which stands for this address too"),
)


class Same(SynchronousTestCase):
    """Both checks, and a start."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        (self.folder / "own_policies.py").write_text(POLICIES)
        (self.folder / "exits.py").write_text("import sys\nsys.exit(3)\n")
        (self.folder / "short").write_text("short")
        (self.folder / "list").write_text("a.example\na b\n")
        self.file = self.folder / "heimdall.toml"
        self.environ = environment()
        self.environ["PYTHONPATH"] += f"{os.pathsep}{self.folder}"

    def write(self, case: Case) -> None:
        """Write a configuration."""
        parts = {"fetch": "upstreams = ['127.0.0.1:1']", "watch": "http = '127.0.0.1:{http}'", "redis": ""}
        if "[accept]\nlisten" not in case.toml:
            parts["accept"] = "listen = ['127.0.0.1:{port}']"
        toml = case.toml
        for section, text in parts.items():
            head = f"[{section}]\n"
            toml = toml.replace(head, f"{head}{text}\n") if head in toml else f"{head}{text}\n{toml}"
        if "url" not in toml and "enabled = false" not in toml:
            toml = toml.replace("[redis]\n", "[redis]\nenabled = false\n")
        toml = toml.replace("{folder}", str(self.folder))
        for name in ("port", "http"):
            toml = toml.replace(f"{{{name}}}", str(free_port()))
        self.file.write_text(toml)

    def run_python(self, *arguments: str) -> tuple[int, str]:
        """Run Python to its end; return the exit code, and all it said."""
        done = subprocess.run(
            [sys.executable, *arguments], env=self.environ, cwd=self.folder, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def starts(self) -> tuple[bool, str]:
        """Start a node, and end it as soon as it serves; return whether it did, and all it said."""
        with subprocess.Popen(
            [sys.executable, "-c", TWISTD, "-n", "heimdall", "--config", str(self.file)],
            env=self.environ, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            said = ""
            for line in process.stdout:
                said += line
                if "Serving DNS on" in line:
                    process.send_signal(signal.SIGTERM)
        return "Serving DNS on" in said, said

    def test_same(self) -> None:
        """No configuration passes a check and is refused at the start, or the other way round; all say the same."""
        for case in CASES:
            self.write(case)
            file = str(self.file)
            with ThreadPoolExecutor() as pool:
                first = pool.submit(self.run_python, "-c", TWISTD, "-n", "heimdall", "--config", file, "--check")
                second = pool.submit(self.run_python, "-m", "heimdall.command", "check", "--config", file)
            (code, told), (checked, found) = first.result(), second.result()
            started, said = self.starts()
            refused = bool(case.refused)
            self.assertEqual((code == 1, checked == USAGE, not started), (refused,) * 3, (case, told, found, said))
            for text in (told, found, said):
                said_of_it = (case.refused or case.warned).replace("{folder}", str(self.folder))
                self.assertIn(said_of_it, text, f"{case}: {text}")
                if not refused or "RuntimeError" not in text:
                    self.assertNotIn("Traceback" if "Error: " not in case.refused else "Unhandled", text, case)

    def test_embedded(self) -> None:
        """The folder of an embedded Redis is looked at and left alone: another user may be the one who serves."""
        folder = self.folder / "redis"
        self.write(Case(f'[redis]\nurl = "embedded:{folder}"\n'))
        check = ("-c", TWISTD, "-n", "heimdall", "--config", str(self.file), "--check")
        code, told = self.run_python(*check)
        self.assertEqual((code, folder.exists()), (0, False), told)
        folder.mkdir(mode=0o755)
        code, told = self.run_python(*check)
        self.assertEqual((code, f"chmod 700 {folder}" in told), (1, True), told)
        if os.geteuid():
            return
        folder.chmod(0o700)
        os.chown(folder, 12345, -1)
        for arguments in (check, ("-m", "heimdall.command", "check", "--no-http", "--config", str(self.file))):
            told = self.run_python(*arguments)[1]
            self.assertEqual(" ".join(told.split()).count("belongs to user 12345"), 1, told)
        self.assertEqual(self.run_python(*check)[0], 0)
        started, told = self.starts()
        self.assertEqual((started, "another user, number 12345" in told), (False, True), told)

    def test_addresses(self) -> None:
        """An address that cannot be had is a warning of ``--check``: the node that is to be replaced may have it."""
        self.write(CASES[0])
        check = ("-c", TWISTD, "-n", "heimdall", "--config", str(self.file), "--check")
        self.assertNotIn("cannot listen", self.run_python(*check)[1])
        toml = self.file.read_text()
        self.file.write_text(toml.replace("127.0.0.1:", "192.0.2.1:"))
        code, told = self.run_python(*check)
        self.assertEqual((code, told.count("# warning: cannot listen on 192.0.2.1:")), (0, 2), told)
