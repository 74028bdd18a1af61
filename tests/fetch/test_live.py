"""Scenarios with real servers: NSD, and scripted ones with every fault."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from twisted.internet import threads
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults, inlineCallbacks

from heimdall.fetch.ledger import Ledger
from heimdall.fetch.route import Route
from heimdall.fetch.server import reach
from heimdall.fetch.upstream import Group
from heimdall.interfaces import NoAnswer
from heimdall.message.answer import Answer
from heimdall.message.edns import NETWORK_ERROR
from heimdall.message.query import NXDOMAIN, REFUSED, SERVFAIL, Query, make
from heimdall.message.wire import from_text
from heimdall.testing import Scripted
from tests.nsd import SKIP, ZONE, Nsd
from tests.ports import NO_IPV6, over_ipv6
from tests.rediscase import pause, real_reactor
from tests.virtual_time import VirtualCase

Steps = Generator[Deferred[Any], Any, None]

SOON = 0.8
"""Seconds within which one of two servers that is silent is done without."""


def ask(text: str, qtype: int = 1) -> Query:
    """Return a question."""
    return make(from_text(text), qtype)


class Case(VirtualCase):
    """Groups over real servers."""

    timeout = 600

    def group(self, *texts: str, **more: Any) -> Group:
        ledger = Ledger()
        group = Group(
            [(text, reach(self.reactor, text, ledger)) for text in texts], self.reactor, ledger=ledger, **more
        )
        self.addCleanup(group.close)
        return group

    def scripted(self, host: str = "127.0.0.1") -> Scripted:
        upstream = Scripted(self.reactor, host).start()
        self.addCleanup(upstream.stop)
        upstream.when("*", say=["192.0.2.1"])
        return upstream

    @inlineCallbacks
    def slowest(self, group: Group, names: list[str], at_once: int = 50) -> Generator[Deferred[Any], Any, float]:
        """Ask all these names, and return the longest time that one of them took."""
        times: list[float] = []

        def one(name: str) -> Deferred[None]:
            began = self.reactor.seconds()

            def done(_: Answer) -> None:
                times.append(self.reactor.seconds() - began)

            return group.ask(ask(name)).addCallback(done)

        gate = DeferredSemaphore(at_once)
        yield gatherResults([gate.run(one, name) for name in names])
        return max(times)


class WithNsd(Case):
    """A real authoritative server, in real time."""

    skip = SKIP
    reactor = real_reactor

    def setUp(self) -> None:
        super().setUp()
        self.nsd = Nsd(1000).start()
        self.addCleanup(self.nsd.stop)

    def group(self, *texts: str, **more: Any) -> Group:
        """Return a group that a busy machine keeps waiting for as long as it takes."""
        return super().group(*texts, **{"deadline": 60.0, **more})

    @inlineCallbacks
    def test_thousand_names(self) -> Steps:
        """A thousand names are asked, a hundred at once, and every answer is the right one."""
        group = self.group(self.nsd.text)
        gate = DeferredSemaphore(100)
        asked = [gate.run(group.ask, ask(f"n{number}.{ZONE}")) for number in range(1000)]
        for number, answer in enumerate((yield gatherResults(asked))):
            self.assertEqual((answer.rcode, answer.counts[0]), (0, 1))
            self.assertEqual(answer.body[12:16], bytes((10, 0, number >> 8, number & 255)))
        self.assertEqual(group.ledger.asked.total("first"), 1000)

    @inlineCallbacks
    def test_large_sets(self) -> Steps:
        """RRsets of 4 kB and 40 kB come over TCP, whole."""
        group = self.group(self.nsd.text)
        for name, records in (("big", 20), ("huge", 190)):
            answer = yield group.ask(ask(f"{name}.{ZONE}", 16))
            self.assertEqual((answer.counts[0], answer.keep), (records, True))
        self.assertEqual(group.ledger.truncated.counts, {("tcp",): 2})

    @inlineCallbacks
    def test_kinds(self) -> Steps:
        """CNAME chains come whole; NXDOMAIN, NODATA and REFUSED come as answers."""
        group = self.group(self.nsd.text)
        alias = yield group.ask(ask(f"alias.{ZONE}"))
        self.assertEqual((alias.rcode, alias.counts[0]), (0, 2))
        missing = yield group.ask(ask(f"missing.{ZONE}"))
        self.assertEqual((missing.rcode, missing.ttl, missing.keep), (NXDOMAIN, 60, True))
        nodata = yield group.ask(ask(f"n1.{ZONE}", 28))
        self.assertEqual((nodata.rcode, nodata.counts, nodata.keep), (0, (0, 1, 0), True))
        elsewhere = yield group.ask(ask("www.other.test"))
        self.assertEqual((elsewhere.rcode, elsewhere.keep), (REFUSED, False))

    @over_ipv6
    @inlineCallbacks
    def test_six(self) -> Steps:
        """A server with an IPv6 address is asked like any other, over UDP and TCP."""
        nsd = Nsd(10, host="::1").start()
        self.addCleanup(nsd.stop)
        group = self.group(nsd.text)
        answer = yield group.ask(ask(f"n1.{ZONE}"))
        self.assertEqual(answer.rcode, 0)
        answer = yield group.ask(ask(f"big.{ZONE}", 16))
        self.assertEqual(answer.counts[0], 20)

    @inlineCallbacks
    def test_paused(self) -> Steps:
        """One of two servers is stopped in the middle of the load: no question is lost for it."""
        other = Nsd(1000).start()
        self.addCleanup(other.stop)
        group = self.group(self.nsd.text, other.text)
        names = [f"n{number}.{ZONE}" for number in range(1000)]
        yield self.slowest(group, names)
        first = self.nsd if group.order()[0].text == self.nsd.text else other
        first.pause()
        yield self.slowest(group, names)
        first.resume()

    @inlineCallbacks
    def test_restarted(self) -> Steps:
        """A server that was killed and comes back is used again by itself."""
        group = self.group(self.nsd.text)
        yield group.ask(ask(f"n1.{ZONE}"))
        yield threads.deferToThread(self.nsd.kill)
        gone = yield group.ask(ask(f"n2.{ZONE}"))
        self.assertEqual((gone.rcode, gone.errors[0].code), (SERVFAIL, NETWORK_ERROR))
        yield threads.deferToThread(self.nsd.start)
        answer = yield group.ask(ask(f"n3.{ZONE}"))
        self.assertEqual(answer.rcode, 0)

    @inlineCallbacks
    def test_route(self) -> Steps:
        """Names below a suffix go to their own upstream, all others to the default."""
        inner = self.scripted()
        route = Route(self.group(self.nsd.text), {from_text("cluster.local"): self.group(inner.text)})
        yield route.ask(ask("db.svc.cluster.local"))
        yield route.ask(ask(f"n1.{ZONE}"))
        self.assertEqual([asked.name for asked in inner.asked], ["db.svc.cluster.local"])


class WithFaults(Case):
    """Scripted servers."""

    @inlineCallbacks
    def test_one_silent(self) -> Steps:
        """With one of two servers silent from the start, every question is answered soon, the first too."""
        for order in ((0, 1), (1, 0)):
            servers = [self.scripted(), self.scripted()]
            servers[0].silent = True
            group = self.group(*(servers[at].text for at in order))
            first = yield self.slowest(group, ["first.example"])
            rest = yield self.slowest(group, [f"n{number}.example" for number in range(300)], at_once=300)
            self.assertLessEqual(max(first, rest), SOON)

    @inlineCallbacks
    def test_all_silent(self) -> Steps:
        """With all servers silent nothing is known at the deadline, and not after it."""
        servers = [self.scripted(), self.scripted()]
        for server in servers:
            server.silent = True
        group = self.group(*(server.text for server in servers), deadline=1.5)
        began = self.reactor.seconds()
        yield self.assertFailure(group.ask(ask("www.example")), NoAnswer)
        self.assertAlmostEqual(self.reactor.seconds() - began, 1.5)
        self.assertTrue(all(server.count() >= 2 for server in servers))

    @inlineCallbacks
    def test_liar(self) -> Steps:
        """Of a server that lies before it tells the truth the truth is taken, without a second question."""
        upstream = self.scripted("127.0.0.1" if NO_IPV6 else "::1")
        upstream.when("*", say=["192.0.2.7"], lies=["id", "question", "port"])
        group = self.group(upstream.text)
        answer = yield group.ask(ask("www.example"))
        self.assertEqual(answer.body[-4:], bytes((192, 0, 2, 7)))
        counts = group.ledger.mismatched.counts
        self.assertEqual(counts, {("id",): 1, ("question",): 1})
        self.assertEqual(upstream.count(), 1)

    @inlineCallbacks
    def test_only_lies(self) -> Steps:
        """A server that only lies is as good as silent: the other one's answer comes soon."""
        liar, honest = self.scripted(), self.scripted()
        liar.when("*", make=lambda query: b"\0\0" + query.to_wire()[2:])
        honest.when("*", say=["192.0.2.8"], delay=0.05)
        group = self.group(liar.text, honest.text)
        took = yield self.slowest(group, [f"n{number}.example" for number in range(100)])
        self.assertLessEqual(took, SOON)

    @inlineCallbacks
    def test_lossy(self) -> Steps:
        """Of a server that loses some questions, some of them twice, every answer is had all the same."""
        upstream = self.scripted()
        for number in range(0, 200, 4):
            upstream.when(f"n{number}.example", drop=True, times=1 + number % 8 // 4)
        group = self.group(upstream.text)
        yield self.slowest(group, [f"n{number}.example" for number in range(200)])
        self.assertGreaterEqual(upstream.count(), 275)

    @inlineCallbacks
    def test_nothing_left(self) -> Steps:
        """After a question that was cancelled no exchange is under way."""
        upstream = self.scripted()
        upstream.silent = True
        group = self.group(upstream.text)
        deferred = group.ask(ask("www.example"))
        yield pause(0.05)
        deferred.cancel()
        self.failureResultOf(deferred)
        self.assertEqual(group.state()[0]["inflight"], 0)
