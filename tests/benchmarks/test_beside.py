"""The comparison with other servers: its questions, its meters, what it concludes, and what it shows."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

from attrs import evolve
from dns.message import make_query
from dns.query import udp
from twisted.trial.unittest import SynchronousTestCase

from benchmarks.beside import learn, peers, play, streams
from benchmarks.beside.chart import Row, bars, ranges
from benchmarks.beside.ground import ZONE, Ground, plain
from benchmarks.beside.load import ask
from benchmarks.beside.meter import family, spent
from benchmarks.beside.peers import CONTESTANTS, Setting
from benchmarks.beside.play import Entrant, Stage, entrants
from benchmarks.beside.tables import Mark, marks, work
from benchmarks.beside.works import WORKS, Lines, all_names, cold, mixed, new_to, shared, zipf
from benchmarks.page import drawn
from tests.house.tree import ROOT
from tests.nsd import SKIP
from tests.redisserver import RedisServer, wait_for
from tests.running import NO_DNSPERF, PATIENT

MEASURED = json.loads((ROOT / "docs" / "measured" / "beside.json").read_text())
BY_NAME = {one.name: one for one in WORKS}
ECHO, BARE = (next(one for one in CONTESTANTS if one.name == name) for name in (peers.ECHO, peers.BARE))


def run(rate: float, cpu: float, p999: float = 1.0) -> dict[str, float]:
    """What a server did in a round."""
    return {
        "rate": rate, "cpu": cpu, "user": cpu / 2, "system": cpu / 2, "median": 0.1, "p99": 0.5, "p999": p999,
        "lost": 0, "resident": 1e6,
    }  # fmt: skip


def asking(lines: Lines, dice: random.Random, tag: str, count: int) -> Lines:
    """Ask these questions, whatever is wanted."""
    return lines


class Questions(SynchronousTestCase):
    """What is asked."""

    def test_zipf(self) -> None:
        """The names of Zipf's law are those that all servers learn, few of them often."""
        lines = zipf(random.Random(1), "a", 10_000)
        self.assertLessEqual(set(lines), set(all_names()))
        self.assertGreater(lines.count(f"n0.{ZONE} A"), 500)

    def test_cold(self) -> None:
        """What is cold is asked once, in one run only, and is not what the other node learns."""
        first, second = (cold(random.Random(1), tag, 1000) for tag in ("q1", "q2"))
        known = shared(random.Random(1), "q1", 1000)
        self.assertEqual(len({*first, *second, *known}), 3000)

    def test_mixed(self) -> None:
        """The mix is that of the record."""
        lines = mixed(random.Random(1), "q1", 10_000)
        self.assertEqual(sum(line.startswith("n") for line in lines), 6000)
        self.assertEqual(sum(line.startswith("q1r") for line in lines), 2500)
        self.assertEqual(sum(line.startswith("q1x") for line in lines), 1500)

    def test_each_his_own(self) -> None:
        """No server finds in Redis what another one has asked the upstream: what is cold is so for each of them."""
        lines = mixed(random.Random(1), "q1", 100)
        one, other = (new_to(lines, server) for server in range(2))
        self.assertEqual(len(set(one)), len(set(lines)))
        self.assertEqual(
            [line for line in one if line in other], [line for line in lines if not line.startswith("q1x")]
        )

    def test_measured(self) -> None:
        """In the mix that was measured, Heimdall had from Redis, and from the upstream, as much as the record says."""
        for name in ("heimdall", "heimdall-compiled"):
            for one in MEASURED["works"]["mix"][name]:
                for origin, share in (("redis", 0.25), ("upstream", 0.15)):
                    self.assertLess(abs(one["origins"][origin] / one["answered"] - share), 0.02, name)


class Meters(SynchronousTestCase):
    """What a process has taken."""

    def test_children(self) -> None:
        """The work of children counts, of those that have ended too."""
        burn = "import time\nwhile time.process_time() < 0.2: pass"
        script = (
            "import subprocess, sys;"
            f"burn = {burn!r};"
            "subprocess.run([sys.executable, '-c', burn]);"
            "child = subprocess.Popen([sys.executable, '-c', burn + chr(10) + 'print(flush=True); input()'],"
            " stdin=subprocess.PIPE, stdout=subprocess.PIPE);"
            "child.stdout.readline(); print('x', flush=True); input()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as parent:
            assert parent.stdout is not None
            parent.stdout.readline()
            self.assertEqual(len(family(parent.pid)), 2)
            alone = sum(map(float, Path(f"/proc/{parent.pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
            self.assertGreater(sum(spent(parent.pid)), alone / 100 + 0.3)
            parent.kill()


class Conclusions(SynchronousTestCase):
    """What is made of the numbers."""

    def test_marks(self) -> None:
        """A ratio is that of the median round, and a mark says which of floor and goal it reaches."""
        works = {"memory": {
            "heimdall": [run(1, 5), run(1, 5), run(1, 9)],
            "unbound": [run(1, 5), run(1, 4.5), run(1, 5)],
            "bind": [run(1, 20)] * 3,
        }}  # fmt: skip
        found = {one.text.rpartition(" ")[2]: one for one in marks({"works": works})}
        self.assertEqual({name: one.verdict for name, one in found.items()}, {"Unbound": "floor", "BIND": "goal"})
        self.assertAlmostEqual(found["Unbound"].here, 0.9)
        self.assertAlmostEqual(min(found["Unbound"].each), 5 / 9)

    def test_less(self) -> None:
        """Where less is better, the goal is below the floor."""
        verdicts = [Mark("time", 5, 1, here).verdict for here in (0.5, 3, 6)]
        self.assertEqual(verdicts, ["goal", "floor", "SHORT"])

    def test_columns(self) -> None:
        """A table has the columns that somebody has figures for; who was not warm is told as he was at worst."""
        rounds = [{**run(1000, 5), "known": 1.0}, {**run(1000, 5), "known": 0.5}]
        table = work({"heimdall": rounds, "redis-benchmark": [{"rate": 1.0}]}).splitlines()
        heads, ours, other = ([cell.strip() for cell in row.split("|")] for row in (table[0], *table[2:]))
        self.assertEqual(ours[heads.index("In memory")], "50.00%")
        self.assertNotIn("longest", heads)
        self.assertEqual(other[heads.index("In memory")], "")

    def test_table(self) -> None:
        """A row has the medians of all rounds, the spread, and all that was lost."""
        table = work({"heimdall": [run(1000, 5), run(3000, 7), {**run(2000, 6), "lost": 2, "half_lost": 1}]})
        cells = [cell.strip() for cell in table.splitlines()[2].split("|")]
        self.assertEqual(cells[1:5], ["Heimdall", "2,000", "1,000–3,000", "6.0"])
        self.assertEqual(cells[-3], "3")


class Pictures(SynchronousTestCase):
    """What is drawn."""

    def test_kept(self) -> None:
        """The pictures in the docs are those of the numbers that are kept, and there are no others."""
        files = drawn()
        for path, svg in files.items():
            self.assertEqual(path.read_text(), svg)
        self.assertEqual(set(next(iter(files)).parent.iterdir()), set(files))

    def test_drawn(self) -> None:
        """A picture is well-formed, says what it shows, and knows dark pages."""
        rows = [Row("one & two", (10.0, 5.0, 20.0), True), Row("three", (100.0, 100.0, 100.0))]
        for svg in (bars("<title>", "note", rows), ranges("<title>", "note", [evolve(rows[0], figures=(0.1, 1, 10))])):
            root = ElementTree.fromstring(svg)
            self.assertEqual(root.attrib["aria-label"], "<title>")
            self.assertIn("prefers-color-scheme: dark", svg)
        lengths = [
            float(one.attrib["width"])
            for one in ElementTree.fromstring(bars("t", "n", rows)).iter()
            if "rect" in one.tag
        ]
        self.assertAlmostEqual(lengths[1] / lengths[0], 10, places=1)


class Live(SynchronousTestCase):
    """A short run with real servers."""

    skip = SKIP or NO_DNSPERF or (None if len(os.sched_getaffinity(0)) > 1 else "this machine has but one core")

    def setUp(self) -> None:
        """Have nodes wait for Redis, and for the upstream, as long as a busy machine takes."""
        options = peers.options

        def patient(setting: Setting) -> tuple[list[str], dict[str, str]]:
            arguments, environ = options(setting)
            return arguments, environ | PATIENT

        self.patch(peers, "options", patient)
        self.patch(streams, "PATIENCE", 60.0)

    def test_run(self) -> None:
        """Each workload of UDP that is learnt soon runs, loses nothing, and each answer is from where it should be."""
        one = CONTESTANTS[0]
        for name, origin in (("memory", "memory"), ("miss", "upstream"), ("l2", "redis")):
            work = evolve(BY_NAME[name], most=3000)
            with Stage(work, [Entrant(one.name, one, "", "")], 0.3) as stage:
                found = dict(stage.round())
            ours = found["heimdall"]
            self.assertGreater(ours["answered"], 0)
            self.assertEqual(ours["answered"] + ours["lost"], ours["sent"])
            self.assertLessEqual(ours["median"], ours["p999"])
            self.assertEqual([one for one, count in ours["origins"].items() if count], [origin], f"{name}: {ours}")
            self.assertEqual("redis-benchmark" in found, name == "l2")

    def test_many(self) -> None:
        """Servers learn many names together, and what they then have in memory is told; who has not is found out."""
        names = [f"s{number}.w.{ZONE} A" for number in range(5000)]
        one = CONTESTANTS[0]
        self.patch(play, "MANY", 500)
        self.patch(learn, "MANY", 200)
        spread = evolve(BY_NAME["spread"], known=lambda: names[:600])
        for asked, least, most in ((names[:600], 1.0, 1.0), (names[600:], 0.0, 0.5)):
            work = evolve(spread, ask=partial(asking, asked), options=("-n", "1"))
            with Stage(work, [Entrant(one.name, one, "", "")], 0.05) as stage:
                ours = dict(stage.round())["heimdall"]
            self.assertTrue(least <= ours["known"] <= most, ours)
            self.assertGreaterEqual(ours["most"], ours["p999"])

    def test_echo(self) -> None:
        """An echo takes part where the question is how good anybody could be; none of its processes stays."""
        for name, there in (("memory", False), ("spread", True), ("workers", True)):
            taking_part = entrants(BY_NAME[name], CONTESTANTS)
            self.assertEqual(any(one.contestant is ECHO for one in taking_part), there, name)
        for threads in (1, 2):
            server = ECHO.start(Setting(0, "", threads=threads))
            self.addCleanup(server.clean)
            ask(server.port, all_names()[:100])
            processes = family(server.pid)
            self.assertEqual(len(processes), threads + (threads > 1))
            server.clean()
            for process in processes:
                self.assertRaises(ProcessLookupError, os.kill, process, 0)

    def test_bare(self) -> None:
        """The bare job takes part where there is more to do than to give what is known; its answers are the right ones.

        It finds what another node stored, has the rest from upstream, and knows it when it is asked again.
        """
        for name, there in (("memory", False), ("miss", True), ("l2", True), ("mix", True)):
            taking_part = entrants(BY_NAME[name], CONTESTANTS)
            self.assertEqual(any(one.contestant is BARE for one in taking_part), there, name)
        ground, redis = Ground(plain()), RedisServer().start()
        self.addCleanup(ground.stop)
        self.addCleanup(redis.stop)
        lines = cold(random.Random(1), "q1", 300)
        node = CONTESTANTS[0].start(Setting(ground.port, "", redis=redis.url))
        self.addCleanup(node.clean)
        ask(node.port, lines[:100])
        wait_for(lambda: len(redis.command("KEYS", "heimdall:c1:*")) == 100)
        for url, upstream in ((redis.url, 200), ("", 300)):
            server = BARE.start(Setting(ground.port, "", redis=url))
            self.addCleanup(server.clean)
            before = ground.asked
            for _ in range(2):
                ask(server.port, lines)
                self.assertEqual(ground.asked - before, upstream)
            for name in (lines[0].split()[0], lines[-1].split()[0]):
                right, told = (udp(make_query(name, "A"), "127.0.0.1", 30, port) for port in (ground.port, server.port))
                self.assertEqual((told.answer, told.rcode()), (right.answer, 0))

    def test_streams(self) -> None:
        """Every query on every connection is answered, and counted."""
        ground = Ground(plain())
        self.addCleanup(ground.stop)
        ask(ground.port, all_names()[:100])
        for count in (1, 10):
            found = streams.ask(ground.port, all_names(), count, 0.2)
            self.assertGreaterEqual(found.sent, streams.CONNECTIONS * count)
            self.assertEqual((found.answered, found.lost), (found.sent, 0))
            self.assertEqual(len(found.latencies), found.sent / count)
