"""Export and import, as an operator does them, between real nodes."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from heimdall.command.client import AWAY, FAILED, OK, USAGE
from tests.cluster import Cluster
from tests.command.typed import Terminal, Typed, typed
from tests.running import Running

NAMES = [f"n{number}.example" for number in range(500)]


class Files(SynchronousTestCase):
    """Two nodes without Redis, the first of which knows some names."""

    environ: dict[str, str] = {}  # noqa: RUF012

    def setUp(self) -> None:
        self.cluster = self.enterContext(Cluster(2, redis=False, delay=0.0, arguments=["--no-redis"]))
        self.file = Path(self.mktemp()).absolute()
        for name in NAMES:
            self.cluster.nodes[0].ask(name)

    def run_at(self, number: int, *arguments: str, stdin: bytes = b"") -> Typed:
        """Run a command at a node."""
        return typed(*arguments, "--server", self.at(self.cluster.nodes[number]), stdin=stdin)

    @staticmethod
    def at(node: Running) -> str:
        """Return where a node is asked."""
        return f"127.0.0.1:{node.http}"

    def test_warm(self) -> None:
        """A node that was given the file answers every name from memory, and no upstream is asked."""
        done = self.run_at(0, "export", str(self.file))
        self.assertEqual((done.code, done.complaint), (OK, ""))
        self.assertRegex(done.out, rf"^Wrote 500 answers of memory to {self.file}: [0-9.]+kB in [0-9.]+s\n$")
        done = self.run_at(1, "import", str(self.file))
        self.assertEqual((done.code, done.complaint), (OK, ""))
        self.assertRegex(done.out, r"^Put 500 of 500 answers from .*, written [0-9.]+s ago, into memory")
        before = self.cluster.upstream.counts()["asked"]
        there, here = (self.cluster.nodes[at].ask(NAMES[7]).answer for at in (0, 1))
        self.assertEqual(there[0][0], here[0][0])
        for name in NAMES:
            self.cluster.nodes[1].ask(name)
        self.assertEqual(self.cluster.upstream.counts()["asked"], before)
        self.assertEqual(self.cluster.nodes[1].metric("heimdall_cache_carried_total", result="loaded"), 500)
        self.assertEqual(self.cluster.trouble(), [])

    def test_again(self) -> None:
        """What a node has already is left out, and that is told, as JSON too."""
        self.run_at(0, "export", str(self.file))
        done = self.run_at(0, "import", str(self.file), "--json")
        self.assertEqual((done.code, json.loads(done.out)["results"]), (OK, {"held": 500}))
        self.assertIn("it is there already", self.run_at(0, "import", str(self.file)).out)

    def test_pipe(self) -> None:
        """A dash stands for output and input: from one node into the next, without a file."""
        near = typed("export", "-", "--server", self.at(self.cluster.nodes[0]))
        self.assertEqual((near.code, near.complaint), (OK, ""))
        done = self.run_at(1, "import", "-", stdin=near.raw)
        self.assertRegex(done.out, r"^Put 500 of 500 answers from -, ")
        self.assertEqual(self.run_at(0, "export", "-", "--json").code, USAGE)

    def test_file(self) -> None:
        """The file is for its owner alone, and takes the place of an old one only when it is whole."""
        self.file.write_bytes(b"old")
        self.cluster.nodes[1].end()
        done = self.run_at(1, "export", str(self.file))
        self.assertEqual((done.code, self.file.read_bytes()), (AWAY, b"old"))
        self.assertEqual(self.run_at(0, "export", str(self.file)).code, OK)
        self.assertEqual(stat.S_IMODE(self.file.stat().st_mode), 0o600)
        self.assertEqual([name for name in os.listdir(self.file.parent) if name.startswith(f".{self.file.name}")], [])
        done = self.run_at(0, "export", "/nowhere/file")
        self.assertEqual(done.code, FAILED)
        self.assertIn("/nowhere/file cannot be written: No such file", done.complaint)

    def test_broken(self) -> None:
        """Of a file that is not whole nothing is taken; what was changed in it is left out, and the exit code 1."""
        self.run_at(0, "export", str(self.file))
        data = self.file.read_bytes()
        for broken, why in (
            (data[:-40], "in the middle"),
            (b"\x7fELF" + data, "no file of answers"),
            (data + b"x", "follows"),
        ):
            self.file.write_bytes(broken)
            done = self.run_at(1, "import", str(self.file))
            self.assertEqual((done.code, done.out), (FAILED, ""))
            self.assertIn(why, done.complaint)
            self.assertIn("nothing of it was taken", done.complaint)
        self.assertEqual(self.cluster.nodes[1].metric("heimdall_cache_memory_entries"), 0)
        at = data.index(b"\2n7\7example" if b"\2n7\7example" in data else b"n7\7example")
        self.file.write_bytes(data[: at + 30] + bytes((data[at + 30] ^ 1,)) + data[at + 31 :])
        done = self.run_at(1, "import", str(self.file))
        self.assertEqual(done.code, FAILED)
        self.assertRegex(done.out, r"Put 499 of 500 .*\n\nLEFT OUT +AS +WHICH MEANS\n +1 +damaged +it is not as it was")

    def test_nothing(self) -> None:
        """A file that is not there is told; so is Redis, where it is not used."""
        self.assertEqual(self.run_at(0, "import", "/nowhere").code, USAGE)
        self.run_at(0, "export", str(self.file))
        for arguments in (("export", str(self.file), "--from", "redis"), ("import", str(self.file), "--into", "redis")):
            done = self.run_at(0, *arguments)
            self.assertEqual(done.code, FAILED)
            self.assertIn("this needs Redis, which is not in use", done.complaint)

    def test_bar(self) -> None:
        """On a terminal a bar shows how far it is, how fast, and goes away."""
        with Terminal("export", str(self.file), "--server", self.at(self.cluster.nodes[0])) as terminal:
            self.assertEqual(terminal.end(), OK)
            self.assertRegex(terminal.heard, r"Writing memory \[[#.]{24}\] +\d+% \d+ answers, [0-9.]+k?B, \d+/s")
            self.assertTrue(terminal.text.splitlines()[-1].endswith("s"), terminal.heard)


class Shared(SynchronousTestCase):
    """Two nodes with a Redis and a secret."""

    def test_redis(self) -> None:
        """What was exported from Redis warms an empty one; without the secret nothing of it is taken."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        environs = []
        for number in range(2):
            secret = folder / f"secret{number}"
            secret.write_text(f"{number}" * 32)
            environs.append({"HEIMDALL_REDIS_SECRET_FILE": str(secret)})
        cluster = self.enterContext(Cluster(2, delay=0.0, environs=environs))
        assert cluster.redis is not None
        redis = cluster.redis
        for name in NAMES[:50]:
            cluster.nodes[0].ask(name)
        cluster.wait(lambda: cluster.nodes[0].metric("heimdall_cache_redis_writes_total", result="stored") >= 50)
        file, first, second = str(folder / "file"), *(f"127.0.0.1:{node.http}" for node in cluster.nodes)
        self.assertIn("Wrote 50 answers of redis", typed("export", file, "--from", "redis", "--server", first).out)
        redis.command("FLUSHALL")
        done = typed("import", file, "--into", "redis", "--server", second)
        self.assertEqual(done.code, FAILED)
        self.assertRegex(done.out, r"Put 0 of 50 .*\n\n.*\n +50 +forged +it was not sealed with the secret")
        self.assertEqual(typed("import", file, "--into", "redis", "--server", first).code, OK)
        asked = cluster.upstream.counts()["asked"]
        typed("flush", ".", "--subtree", "--server", second)
        self.assertEqual(cluster.upstream.counts()["asked"], asked)
        self.assertEqual(cluster.trouble(), [])
