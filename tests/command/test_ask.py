"""A question that an operator follows, at real nodes with a real Redis and a real upstream."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from heimdall.command.client import ANSWERED_NO, OK, USAGE
from tests import nsd
from tests.cluster import Cluster
from tests.command.typed import Typed, typed
from tests.nsd import Nsd
from tests.running import PATIENT, Running


def said(told: dict[str, Any], station: str) -> list[str]:
    """Return what the stations of a name said."""
    return [note["said"] for note in told["stations"] if note["station"] == station]


class Following(SynchronousTestCase):
    """Two nodes that share a Redis, behind them an upstream that takes 30 ms."""

    def setUp(self) -> None:
        # Where Redis and the upstream answer they may take their time: what they say is told below.
        environ = {} if "hung" in self.id() or "no_upstream" in self.id() else PATIENT
        self.cluster = self.enterContext(Cluster(2, delay=0.03, environs=(environ,)))

    def ask(self, *arguments: str, node: int = 0, code: int = OK) -> dict[str, Any]:
        """Ask a node, and return what it told."""
        done = typed("ask", *arguments, "--json", "--server", f"127.0.0.1:{self.cluster.nodes[node].http}")
        self.assertEqual((done.code, done.complaint), (code, ""))
        told: dict[str, Any] = json.loads(done.out)
        return told

    def test_stations(self) -> None:
        """Each station is named in its order, with when it spoke and how long it took, down to the server asked."""
        told = self.ask("www.a.example")
        stations = [(note["station"], note["said"]) for note in told["stations"] if note["said"] != "asked (retry)"]
        self.assertEqual(stations, [
            ("gate", "passes"), ("memory", "miss"), ("gate", "passes"), ("once", "asks"),
            ("redis", "miss, the lease is ours"), ("route", "the upstreams of all names"),
            ("upstream", "asked (first)"), ("upstream", "answered"),
        ])  # fmt: skip
        times = [note["at"] for note in told["stations"]]
        self.assertEqual(times, sorted(times))
        last = told["stations"][-1]
        self.assertEqual((last["server"], last["rcode"]), (self.cluster.upstream.text, 0))
        self.assertGreaterEqual(last["took"], 0.029)
        self.assertGreaterEqual(told["seconds"], times[-1])
        self.assertEqual((told["node"], told["answer"]["origin"]), ("node0", "upstream"))

    def test_tiers(self) -> None:
        """What this node knows comes from memory, what another one has asked from Redis: as for a client."""
        self.ask("www.a.example")
        self.assertEqual(said(self.ask("www.a.example"), "memory"), ["hit"])
        node = self.cluster.nodes[1]
        self.cluster.wait(lambda: node.metric("heimdall_redislink_connection_up"))
        told = self.ask("www.a.example", node=1)
        self.assertEqual(
            (told["answer"]["origin"], said(told, "redis"), said(told, "upstream")), ("redis", ["hit"], [])
        )
        self.assertEqual(self.cluster.upstream.counts()["asked"], 1)
        [rrset] = self.cluster.nodes[0].ask("www.a.example").answer
        self.assertEqual(told["answer"]["answers"][0].split()[-1], rrset[0].to_text())

    def test_no_redis(self) -> None:
        """A Redis that is gone is said to be, and the question goes on."""
        assert self.cluster.redis is not None
        self.cluster.redis.kill()
        self.cluster.wait(lambda: not self.cluster.nodes[0].metric("heimdall_redislink_connection_up"))
        told = self.ask("www.b.example")
        self.assertEqual((said(told, "redis"), told["answer"]["rcode"]), (["down"], "NOERROR"))

    def test_hung_redis(self) -> None:
        """A Redis that hangs is late after its budget, and the upstream answers."""
        assert self.cluster.redis is not None
        self.cluster.redis.pause()
        told = self.ask("www.c.example")
        self.assertEqual((said(told, "redis")[:1], told["answer"]["origin"]), (["late"], "upstream"))

    def test_no_upstream(self) -> None:
        """Where no upstream answers, each attempt is told, the answer says why, and the exit code is 4."""
        self.cluster.upstream.stop()
        told = self.ask("www.d.example", code=ANSWERED_NO)
        self.assertIn("of no use: the port is closed, or no way leads there", said(told, "upstream"))
        self.assertEqual((told["answer"]["rcode"], told["answer"]["errors"][0]["code"]), ("SERVFAIL", 23))
        self.assertEqual(told["answer"]["errors"][0]["name"], "Network Error")


class Answers(SynchronousTestCase):
    """What the command prints of real answers."""

    skip = nsd.SKIP

    def setUp(self) -> None:
        self.nsd = Nsd(names=1, zone="a.example").start()
        self.addCleanup(self.nsd.stop)
        self.node = Running(f"--upstream={self.nsd.text}", "--no-redis", "--node=one")
        self.addCleanup(self.node.clean)

    def ask(self, *arguments: str) -> Typed:
        """Ask the node."""
        return typed("ask", *arguments, "--server", f"127.0.0.1:{self.node.http}")

    def test_answer(self) -> None:
        """The answer stands in front as in a zone file, below it where it came from, and the stations as a table."""
        done = self.ask("alias.a.example")
        self.assertEqual((done.code, done.complaint), (OK, ""))
        self.assertEqual(done.lines[:2], [
            "alias.a.example. 300 IN CNAME www.a.example.", "www.a.example. 300 IN A 192.0.2.80",
        ])  # fmt: skip
        self.assertRegex(done.out, r"\n; a\.example\. 300 IN NS ns\.a\.example\.\n")
        self.assertRegex(done.out, r"\nNOERROR, 2 records, from upstream, after [0-9.]+ m?s\n")
        self.assertRegex(done.out, r"\nSTATION +WHO +SAID +AFTER +TOOK\ngate +Acl +passes +")
        self.assertRegex(done.lines[-1], rf"upstream +{self.nsd.text} +answered NOERROR +[0-9.]+ m?s +[0-9.]+ m?s")

    def test_short(self) -> None:
        """--short prints the data alone, as dig does."""
        done = self.ask("alias.a.example", "--short")
        self.assertEqual(done.lines, ["www.a.example.", "192.0.2.80"])
        self.assertEqual(self.ask("www.a.example", "AAAA", "--short").lines, ["2001:db8::80"])

    def test_long(self) -> None:
        """An answer that was cut to fit a datagram is asked for over TCP, and that is told."""
        done = self.ask("big.a.example", "TXT")
        self.assertIn("truncated, asked over TCP", done.out)
        self.assertIn("NOERROR, 20 records, from upstream", done.out)

    def test_no(self) -> None:
        """A name that does not exist is a no: its authority is shown, and the exit code is 4."""
        done = self.ask("nowhere.a.example")
        self.assertEqual(done.code, ANSWERED_NO)
        self.assertRegex(done.out, r"^; a\.example\. \d+ IN SOA ")
        self.assertIn("NXDOMAIN, 0 records, from upstream", done.out)

    def test_gates(self) -> None:
        """What a gate answers ends there; --client shows what another client is told."""
        done = self.ask("www.localhost")
        self.assertRegex(done.lines[-1], "^gate +Special +answers ")
        done = self.ask("www.a.example", "--client", "192.0.2.1")
        self.assertEqual(done.code, ANSWERED_NO)
        self.assertRegex(done.lines[-1], "^gate +Acl +answers ")
        self.assertIn("REFUSED, 0 records", done.out)

    def test_dropped(self) -> None:
        """Where a client gets no reply, that is what is told."""
        self.node.clean()
        environ = {"HEIMDALL_ADMIT_RATE": "0.001", "HEIMDALL_ADMIT_BURST": "1"}
        self.node = Running(f"--upstream={self.nsd.text}", "--no-redis", environ=environ)
        self.addCleanup(self.node.clean)
        self.ask("www.a.example")
        done = self.ask("www.a.example")
        self.assertEqual(done.code, ANSWERED_NO)
        self.assertRegex(done.out, r"^No reply: .* says it, after ")
        self.assertRegex(done.lines[-1], "^gate +Limit +drops ")

    def test_asked_wrongly(self) -> None:
        """What cannot be asked ends with 2, and nobody is asked."""
        for arguments in (("a..b",), ("a.example", "FOO"), ("a.example", "AXFR"), ("a.example", "A", "--client", "x")):
            done = self.ask(*arguments)
            self.assertEqual((done.code, done.out), (USAGE, ""), arguments)
        self.assertEqual(self.node.metric("heimdall_fetch_asked_total"), 0)

    def test_trust(self) -> None:
        """From another machine it takes the token: it may have upstreams asked. Passed on by a proxy counts as that."""
        url = f"http://127.0.0.1:{self.node.http}/api/v1/ask?name=www.a.example"
        request = urllib.request.Request(url, headers={"X-Forwarded-For": "192.0.2.1"})
        refused = self.assertRaises(urllib.error.HTTPError, urllib.request.urlopen, request, timeout=60)
        self.assertEqual(refused.code, 403)
        refused.close()
        self.assertEqual(self.node.metric("heimdall_fetch_asked_total"), 0)
