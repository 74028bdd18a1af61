"""One flush for the cluster: on three real nodes with a real Redis, whatever happens to them meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from operator import methodcaller
from typing import Any

import dns.message
from twisted.trial.unittest import SynchronousTestCase

from tests.cable import Cable
from tests.cluster import Cluster
from tests.house.tree import ROOT
from tests.redisserver import RedisServer
from tests.running import CONFIRMING, FREEZING, PATIENT, Running
from tests.slowup import address

OLD, NEW = 0, 1
"""The data of every name before the upstream changed it, and after."""

NAME = "www.a.example"


def age(reply: dns.message.Message) -> int:
    """Return which data an answer holds."""
    [rrset] = reply.answer
    data = rrset[0].to_wire()
    question = reply.question[0]
    asked = question.name.to_digestable() + question.rdtype.to_bytes(2, "big") + b"\0\1"
    return next(each for each in (OLD, NEW) if address(asked, each) == data)


def api(node: Running, method: str, **asked: str) -> dict[str, Any]:
    """Ask the page on the cache."""
    query = "&".join(f"{key}={value}" for key, value in asked.items())
    url = f"http://127.0.0.1:{node.http}/api/v1/cache?{query}"
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=120) as page:
        told: dict[str, Any] = json.load(page)
        return told


def command(node: Running, *arguments: str) -> tuple[int, list[str]]:
    """Run the command as an operator does; return its exit code, and the lines it printed."""
    line = [sys.executable, "-m", "heimdall.command", *arguments, "--server", f"127.0.0.1:{node.http}"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, env=environ, cwd="/", capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout.splitlines()


class Asker(threading.Thread):
    """Asks a node the same again and again; ``told`` holds when each was asked, and which data came."""

    def __init__(self, node: Running, name: str = NAME, pause: float = 0.002) -> None:
        super().__init__(daemon=True)
        self._node, self._name, self._pause = node, name, pause
        self._over = threading.Event()
        self.told: list[tuple[float, int]] = []

    def run(self) -> None:
        """Ask until it is enough."""
        while not self._over.is_set():
            asked = time.monotonic()
            self.told.append((asked, age(self._node.ask(self._name, timeout=120.0))))
            time.sleep(self._pause)

    def end(self) -> list[tuple[float, int]]:
        """Ask no more, and return all that was told."""
        self._over.set()
        self.join(150)
        return self.told


def pass_answers(askers: list[Asker], count: int = 20) -> None:
    """Wait until each of them has had so many answers more."""
    until = [len(asker.told) + count for asker in askers]
    Cluster.wait(lambda: all(len(asker.told) >= many for asker, many in zip(askers, until, strict=True)), 150)


def last_old(told: list[tuple[float, int]]) -> float:
    """Return when the last question was asked that was answered with the old data."""
    return max((asked for asked, which in told if which == OLD), default=0.0)


class Case(SynchronousTestCase):
    """Nodes, a Redis and an upstream that changes its mind."""

    environ = PATIENT

    def cluster(self, **settings: Any) -> Cluster:
        """Start one."""
        cluster = Cluster(**{"delay": 0.0, "environs": [self.environ], **settings})
        cluster.__enter__()
        self.addCleanup(cluster.__exit__)
        self.addCleanup(lambda: self.assertEqual(cluster.trouble(), []))
        cluster.wait(lambda: len(cluster.nodes[0].members()["members"]) == len(cluster.nodes))
        cluster.wait(lambda: all(map(self.linked, cluster.nodes)))
        return cluster

    def linked(self, node: Running) -> bool:
        """Whether a node speaks to Redis, and hears what is told there."""
        names = ("heimdall_redislink_connection_up", "heimdall_redislink_ear_up")
        return all(node.metric(name) for name in names)

    def ask_all(self, cluster: Cluster, *names: str) -> set[int]:
        """Ask every node; return which data they gave."""
        return {age(node.ask(name)) for node in cluster.nodes for name in names or (NAME,)}

    def stored(self, cluster: Cluster) -> list[bytes]:
        """Return the keys of all answers in Redis."""
        assert cluster.redis is not None
        keys: list[bytes] = cluster.redis.command("KEYS", "heimdall:c1:*")
        return keys

    def watch(self, cluster: Cluster, name: str = NAME) -> list[Asker]:
        """Ask every node all the time."""
        askers = [Asker(node, name) for node in cluster.nodes]
        for asker in askers:
            asker.start()
        return askers


class Reaching(Case):
    """A flush reaches every tier of every node."""

    environ = CONFIRMING

    def flush(self, cluster: Cluster, wanted: str, name: str, **asked: str) -> None:
        """Flush at the first node, under steady questions; no node that confirmed it may give the old data then."""
        self.assertEqual(self.ask_all(cluster, name), {OLD})
        cluster.upstream.change(NEW)
        askers = self.watch(cluster, name)
        pass_answers(askers)
        told = api(cluster.nodes[0], "DELETE", name=wanted, **asked)
        confirmed = time.monotonic()
        pass_answers(askers)
        late = max(last_old(asker.end()) for asker in askers)
        self.assertEqual((told["shared"], told["swept"], told["silent"]), (True, True, []))
        self.assertEqual(told["nodes"], ["node0", "node1", "node2"])
        self.assertLess(late, confirmed)

    def test_name(self) -> None:
        """A name is gone from Redis and from the memory of every node when the flush is confirmed."""
        cluster = self.cluster()
        self.flush(cluster, NAME, NAME)
        self.assertEqual(self.ask_all(cluster), {NEW})

    def test_subtree(self) -> None:
        """So is every name below it, and no other."""
        cluster = self.cluster()
        below, beside = "x.y.a.example", "a.example.b.example"
        self.ask_all(cluster, "a.example", beside, "aa.example")
        self.flush(cluster, "a.example", below, subtree="1")
        self.assertEqual(self.ask_all(cluster, below, "a.example"), {NEW})
        self.assertEqual(self.ask_all(cluster, beside, "aa.example"), {OLD})

    def test_command(self) -> None:
        """The command does it as well, and names the node that did not confirm."""
        cluster = self.cluster()
        self.assertEqual(self.ask_all(cluster), {OLD})
        cluster.upstream.change(NEW)
        code, lines = command(cluster.nodes[1], "flush", NAME)
        self.assertEqual((code, lines), (0, [
            f"Flushed {NAME} on 3 nodes: node1, node0, node2", "Redis: its answers are deleted",
        ]))  # fmt: skip
        self.assertEqual(self.ask_all(cluster), {NEW})
        code, lines = command(cluster.nodes[1], "inspect", NAME, "A")
        self.assertEqual((code, [line.split()[0] for line in lines[2:5]]), (0, ["node1*", "node0", "node2"]))
        cluster.nodes[2].process.send_signal(signal.SIGSTOP)
        code, lines = command(cluster.nodes[0], "flush", NAME)
        cluster.nodes[2].process.send_signal(signal.SIGCONT)
        self.assertEqual((code, lines[2]), (0, "No word from: node2"))
        code, lines = command(cluster.nodes[2], "members")
        self.assertEqual((code, [line.split()[0] for line in lines]), (0, ["NODE", "node0", "node1", "node2"]))

    def test_uncommon(self) -> None:
        """So is an answer of a type that nobody thinks of."""
        cluster = self.cluster()
        for node in cluster.nodes:
            node.ask(NAME, "TYPE65300")
        self.assertTrue(self.stored(cluster))
        api(cluster.nodes[0], "DELETE", name=NAME)
        cluster.wait(lambda: not self.stored(cluster))
        told = api(cluster.nodes[0], "GET", name=NAME, all="1")
        self.assertEqual([node["held"] for node in told["nodes"]], [[], [], []])

    def test_seen(self) -> None:
        """What every tier and node holds is seen from each of them."""
        cluster = self.cluster()
        self.assertEqual(self.ask_all(cluster), {OLD})
        for node in cluster.nodes:
            told = self.seen(cluster, node)
            [shelf] = told["redis"]["held"]
            self.assertEqual((shelf["state"], shelf["origin"], shelf["node"]), ("fresh", "upstream", "node0"))
            self.assertEqual(
                [each["node"] for each in told["nodes"] if each["own"]], [f"node{cluster.nodes.index(node)}"]
            )
            self.assertEqual(sorted(each["node"] for each in told["nodes"]), ["node0", "node1", "node2"])
            self.assertEqual(
                sorted(held["origin"] for each in told["nodes"] for held in each["held"]),
                ["redis", "redis", "upstream"],
            )
            [record] = {held["records"][0].split()[-1] for each in told["nodes"] for held in each["held"]}
            self.assertEqual(record, str(node.ask(NAME).answer[0][0]))

    def seen(self, cluster: Cluster, node: Running) -> dict[str, Any]:
        """Return what a node sees once nobody is silent; every node has replied until then, or is named as silent."""
        told: dict[str, Any] = {}

        def whole() -> bool:
            told.update(api(node, "GET", name=NAME, type="A"))
            named = [*told["silent"], *(each["node"] for each in told["nodes"])]
            if told["reason"]:  # the list of members took too long
                return False
            self.assertEqual(sorted(named), ["node0", "node1", "node2"])
            return not told["silent"]

        cluster.wait(whole)
        return told


class Flying(Case):
    """An answer that is on its way during the flush."""

    def test_in_flight(self) -> None:
        """It is given to nobody: not to who waits for it on the node that asked, nor to who follows, nor later."""
        cluster = self.cluster()
        cluster.upstream.hold()
        askers = [Asker(node, pause=0.01) for node in cluster.nodes]
        for asker in askers:
            asker.start()
        queries = "heimdall_accept_queries_total"
        cluster.wait(
            lambda: cluster.upstream.counts()["asked"] and all(map(methodcaller("metric", queries), cluster.nodes))
        )
        cluster.upstream.change(NEW)
        api(cluster.nodes[0], "DELETE", name=NAME)
        cluster.upstream.hold(False)
        pass_answers(askers, 10)
        told = [asker.end() for asker in askers]
        self.assertEqual([which for each in told for _, which in each if which == OLD], [])
        self.assertEqual(self.ask_all(cluster), {NEW})

    def test_node_deaf(self) -> None:
        """Stored in Redis by a node that did not hear of the flush, it is refused by all others."""
        cluster = self.cluster()
        redis = cluster.redis
        assert redis is not None
        cluster.nodes[1].ask(NAME)
        [key] = self.stored(cluster)
        value = redis.command("GET", key)
        cluster.upstream.change(NEW)
        api(cluster.nodes[0], "DELETE", name=NAME)
        redis.command("SET", key, value, "PX", 3_600_000)
        self.assertEqual(self.ask_all(cluster), {NEW})
        redis.command("SET", key, value, "PX", 3_600_000)
        self.assertEqual({age(cluster.add().ask(NAME))}, {NEW})


class Missing(Case):
    """Nodes that miss a flush."""

    environ = FREEZING

    def test_frozen(self) -> None:
        """A node that was frozen during a flush does not give the old data when it is woken."""
        cluster = self.cluster()
        frozen = cluster.nodes[2]
        for turn, seconds in enumerate((0.4, 1.0, 1.9, 3.0)):
            name = f"n{turn}.a.example"
            cluster.upstream.change(OLD)
            self.assertEqual(self.ask_all(cluster, name), {OLD})
            frozen.process.send_signal(signal.SIGSTOP)
            time.sleep(0.1)
            # The first question is there before the flush, so that the node sees its socket before the notice.
            askers = [Asker(frozen, name)]
            askers[0].start()
            time.sleep(seconds / 2 - 0.1)
            cluster.upstream.change(NEW)
            api(cluster.nodes[0], "DELETE", name=name)
            flushed = time.monotonic()
            askers += [Asker(frozen, name) for _ in range(10)]
            for asker in askers[1:]:
                asker.start()
            time.sleep(seconds / 2)
            frozen.process.send_signal(signal.SIGCONT)
            pass_answers(askers, 5)
            told = [each for asker in askers for each in asker.end()]
            late = [asked for asked, which in told if which == OLD and asked > flushed]
            self.assertEqual(late, [])

    def test_cut_off(self) -> None:
        """A node that was cut off from Redis has forgotten what it missed as soon as it is back."""
        redis = RedisServer()
        cable = Cable(redis.port)
        self.addCleanup(cable.cut)
        cluster = self.cluster(redis=redis, nodes=2)
        lonely = Running(
            f"--upstream={cluster.upstream.text}",
            f"--redis=redis://127.0.0.1:{cable.port}",
            "--node=lonely",
            environ=self.environ,
        )
        cluster.nodes.append(lonely)
        cluster.wait(lambda: self.linked(lonely))
        self.assertEqual(self.ask_all(cluster), {OLD})
        cable.cut()
        cluster.wait(lambda: not lonely.metric("heimdall_redislink_connection_up"))
        cluster.upstream.change(NEW)
        api(cluster.nodes[0], "DELETE", name=NAME)
        self.assertEqual(age(lonely.ask(NAME)), OLD)
        askers = [Asker(lonely) for _ in range(4)]
        for asker in askers:
            asker.start()
        cable.mend()
        cluster.wait(lambda: self.linked(lonely))
        back = time.monotonic()
        pass_answers(askers)
        late = max(last_old(asker.end()) for asker in askers)
        self.assertLess(late, back)
        self.assertEqual(self.ask_all(cluster), {NEW})

    def test_redis_empty(self) -> None:
        """A Redis that lost its data is told of the flush again, and a node that starts then knows it."""
        cluster = self.cluster()
        redis = cluster.redis
        assert redis is not None
        self.assertEqual(self.ask_all(cluster), {OLD})
        [key] = self.stored(cluster)
        value = redis.command("GET", key)
        cluster.upstream.change(NEW)
        api(cluster.nodes[0], "DELETE", name=NAME)
        redis.restart()
        cluster.wait(lambda: redis.command("ZCARD", "heimdall:flushes"))
        redis.command("SET", key, value, "PX", 3_600_000)
        self.assertEqual(self.ask_all(cluster), {NEW})
        new = cluster.add()
        self.assertEqual(age(new.ask(NAME)), NEW)
        self.wait_known(cluster, new)

    def test_later(self) -> None:
        """A node that starts later knows what was flushed before it was there."""
        cluster = self.cluster()
        api(cluster.nodes[0], "DELETE", name=NAME)
        self.wait_known(cluster, cluster.add())

    def test_flushed_without_redis(self) -> None:
        """What was flushed while Redis was away is flushed everywhere as soon as it is back."""
        cluster = self.cluster()
        redis = cluster.redis
        assert redis is not None
        self.assertEqual(self.ask_all(cluster), {OLD})
        redis.kill()
        cluster.wait(lambda: not any(node.metric("heimdall_redislink_connection_up") for node in cluster.nodes))
        cluster.upstream.change(NEW)
        told = api(cluster.nodes[0], "DELETE", name=NAME)
        self.assertEqual((told["shared"], told["nodes"]), (False, ["node0"]))
        self.assertEqual([age(node.ask(NAME)) for node in cluster.nodes], [NEW, OLD, OLD])
        redis.start()
        cluster.wait(lambda: self.ask_all(cluster) == {NEW})

    def wait_known(self, cluster: Cluster, node: Running) -> None:
        """Wait until a node knows of a flush."""
        name = "heimdall_cache_flush_known_flushes"
        cluster.wait(lambda: node.metric(name) == 1)
