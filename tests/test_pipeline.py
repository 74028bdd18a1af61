"""The path as it is laid: what users add of their own, and the path inside another program."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.names import dns, hosts
from twisted.names import error as names
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from heimdall.config.settings import Accept, Admit, Fetch, Redis, Settings
from heimdall.interfaces import DROP, Drop, IGate, ISource
from heimdall.message.answer import Answer, make
from heimdall.message.query import REFUSED, Query
from heimdall.pipeline import lay
from heimdall.testing import Scripted
from tests.cache.questions import positive, question
from tests.gso import NOT_CUT, UDP_GRO
from tests.rediscase import pause, reactor
from tests.virtual_time import VirtualCase

SETTINGS = Settings(redis=Redis(enabled=False), fetch=Fetch(upstreams=()))


@implementer(IGate)
class NoMondays:
    """A policy of a user."""

    def judge(self, query: Query) -> Answer | Drop | None:
        """Refuse what begins with an m, drop what begins with a d."""
        if query.name.startswith(b"\6monday"):
            return make(query, REFUSED, "local")
        return DROP if query.name.startswith(b"\4drop") else None


@implementer(ISource)
class Always:
    """A source of a user."""

    def ask(self, query: Query) -> Deferred[Answer]:
        """Give the same address for every name."""
        return succeed(positive().replace(question=query.key[: len(query.question)]))


class Nothing:
    """No gate and no source."""


def hosts_file() -> hosts.Resolver:
    """A resolver of twisted.names."""
    return hosts.Resolver(b"/nowhere", 60)


class Wants:
    """A policy that cannot be made as policies are."""

    def __init__(self, names: str) -> None:
        self.names = names


number = 7


class Own(SynchronousTestCase):
    """Policies and sources of users, by dotted name."""

    def lay(self, *, gates: tuple[str, ...] = (), routes: Mapping[str, tuple[str, ...]] | None = None) -> ISource:
        """Lay a path with these; return it as a source."""
        settings = evolve(SETTINGS, admit=Admit(gates=gates), fetch=Fetch(routes=dict(routes or {})))
        path = lay(settings, reactor)
        self.addCleanup(path.close)
        return path.inside

    def test_gate(self) -> None:
        """A policy of the user's own ends a query; what it lets pass goes on."""
        path = self.lay(gates=("tests.test_pipeline.NoMondays",))
        self.assertEqual(self.successResultOf(path.ask(question("monday.example"))).rcode, REFUSED)
        self.assertEqual(self.successResultOf(path.ask(question("tuesday.example"))).rcode, 2)
        self.assertIn("drops", str(self.failureResultOf(path.ask(question("drop.example"))).value))

    def test_source(self) -> None:
        """A source of the user's own answers the names that are routed to it, and memory keeps the answer."""
        path = self.lay(routes={"own.example": ("import:tests.test_pipeline.Always",)})
        first = self.successResultOf(path.ask(question("a.own.example")))
        again = self.successResultOf(path.ask(question("a.own.example")))
        self.assertEqual((first.origin, again.origin, again.counts[0]), ("upstream", "memory", 1))

    def test_resolver_of_twisted_names(self) -> None:
        """Any resolver of twisted.names can be a source."""
        path = self.lay(routes={"own.example": ("import:tests.test_pipeline.hosts_file",)})
        self.assertEqual(self.successResultOf(path.ask(question("a.own.example"))).rcode, 3)

    def test_neither(self) -> None:
        """What is no gate, no source or not callable is an error that names it."""
        for gates, routes in (
            (("tests.test_pipeline.Nothing",), {}),
            (("tests.test_pipeline.number",), {}),
            ((), {"own.example": ("import:tests.test_pipeline.Nothing",)}),
        ):
            with self.assertRaisesRegex(ValueError, "tests.test_pipeline"):
                self.lay(gates=gates, routes=routes)

    def test_raises(self) -> None:
        """An error of the user's own code stays what it is, and says which name of the configuration led there."""
        error = self.assertRaises(TypeError, self.lay, gates=("tests.test_pipeline.Wants",))
        self.assertIn("tests.test_pipeline.Wants", error.__notes__[0])

    def test_limits_of_tcp(self) -> None:
        """What the configuration allows TCP connections holds for those of the server, and they are counted."""
        path = lay(evolve(SETTINGS, accept=Accept(tcp_connections=7, tcp_idle=3.0)), reactor)
        self.assertEqual((path.server.streams.most, path.server.streams.idle), (7, 3.0))
        self.assertIn(path.server.streams.events, path.tallies)

    def test_datagrams(self) -> None:
        """Whether the kernel cuts up replies, and how long is waited for queries, is what the configuration says."""
        for accept, cut, coalesce in (
            (Accept(), True, 50e-6),
            (Accept(udp_segments=False, udp_coalesce=0.0), False, 0.0),
        ):
            datagrams = lay(evolve(SETTINGS, accept=accept), reactor).datagrams
            self.assertEqual((datagrams._cut, datagrams.coalescing.seconds), (cut, coalesce))

    def test_without_upstreams(self) -> None:
        """Without an upstream nothing can be learnt, and the client is told so."""
        answer = self.successResultOf(self.lay().ask(question()))
        self.assertEqual((answer.rcode, answer.errors[0].text), (2, "no upstream is configured"))

    def test_order_of_gates(self) -> None:
        """Local records go before blocked names, and those before special-use names; a route is not special."""
        admit = Admit(
            records=("own.blocked.example A 192.0.2.7", "printer.local A 192.0.2.8"),
            block=("blocked.example", "ads.test"),
            block_answer="refused",
            rate=100,
        )
        routes: dict[str, tuple[str, ...]] = {"cluster.local": ("import:tests.test_pipeline.Always",)}
        path = lay(evolve(SETTINGS, admit=admit, fetch=Fetch(routes=routes)), reactor)
        self.addCleanup(path.close)
        told = {
            name: self.successResultOf(path.inside.ask(question(name)))
            for name in (
                "own.blocked.example", "x.blocked.example", "printer.local", "x.local", "x.cluster.local", "ads.test",
            )
        }  # fmt: skip
        self.assertEqual(
            [(answer.rcode, answer.origin) for answer in told.values()],
            [(0, "local"), (5, "blocked"), (0, "local"), (3, "local"), (0, "upstream"), (5, "blocked")],
        )
        self.assertTrue(any("admit_limited" in tally.name for tally in path.tallies))


class Inside(VirtualCase):
    """The path as the resolver of another Twisted program."""

    async def test_resolver(self) -> None:
        """Look-ups of another program go down the path: to the upstream once, then to memory."""
        upstream = Scripted(reactor).start()
        self.addCleanup(upstream.stop)
        upstream.when("www.example", "A", say=["192.0.2.1"])
        path = lay(evolve(SETTINGS, fetch=Fetch(upstreams=(f"127.0.0.1:{upstream.port}",))), reactor)
        self.addCleanup(path.close)
        path.start()
        resolver = path.resolver()
        for _ in range(2):
            answers: Any = (await resolver.query(dns.Query(b"www.example", dns.A, dns.IN), [1]))[0]
            self.assertEqual(answers[0].payload.dottedQuad(), "192.0.2.1")
        self.assertEqual(upstream.count("www.example"), 1)
        address = await resolver.getHostByName("www.example")
        self.assertEqual(address, "192.0.2.1")
        await self.assertFailure(resolver.lookupAddress("no.example", [1]), names.DNSNameError)


class Questions(VirtualCase):
    """How questions leave for an upstream."""

    skip = NOT_CUT

    async def test_segments(self) -> None:
        """Whether the kernel cuts up those of one turn is what the configuration says, and on by default."""
        for fetch, messages in ((Fetch(), 1), (Fetch(udp_segments=False), 2)):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
                server.bind(("127.0.0.1", 0))
                server.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
                server.settimeout(60)
                upstream = f"127.0.0.1:{server.getsockname()[1]}"
                path = lay(evolve(SETTINGS, fetch=evolve(fetch, upstreams=(upstream,))), reactor)
                self.addCleanup(path.close)
                asked = [path.inside.ask(question(name)) for name in ("one.example", "two.example")]
                await pause(0.01)
                came = [server.recv(4096) for _ in range(messages)]
                self.assertEqual([b"".join(came).count(label) for label in (b"\3one", b"\3two")], [1, 1])
                server.setblocking(False)
                self.assertRaises(BlockingIOError, server.recv, 4096)
                for one in asked:
                    one.addErrback(lambda _: None)
                    one.cancel()
