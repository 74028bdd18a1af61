"""A node: how it does, what it tells the others, how it starts and ends."""

from __future__ import annotations

import socket
from typing import Any

import dns.message
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol

from heimdall import station
from heimdall.accept.sockets import bind, bind_stream
from heimdall.config.load import Loaded
from heimdall.config.settings import Fetch, Peers, Redis, Settings
from heimdall.node import Node, build, name_of
from heimdall.testing import Scripted
from tests.message.messages import query_wire
from tests.rediscase import pause, reactor
from tests.virtual_time import VirtualCase


class Client(DatagramProtocol):
    """One question over UDP."""

    def __init__(self, port: int, wire: bytes) -> None:
        self.reply: Deferred[bytes] = Deferred()
        self._port, self._wire = port, wire

    def startProtocol(self) -> None:
        """Ask."""
        assert self.transport is not None
        self.transport.write(self._wire, ("127.0.0.1", self._port))

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        """Take the reply."""
        self.reply.callback(datagram)


class Life(VirtualCase):
    """From start to end."""

    def node(self, **fetch: Any) -> Node:
        """A node on free ports of the loopback."""
        settings = Settings(redis=Redis(enabled=False), fetch=Fetch(**fetch), peers=Peers(node="one"))
        bound = bind(["127.0.0.1:0"], asked=True)
        self.port = bound[0].port
        node = build(settings, reactor, bound, bind_stream("127.0.0.1:0"), {"POD_IP": "192.0.2.99"})
        assert isinstance(node, Node)
        return node

    def ask(self, name: str) -> Deferred[bytes]:
        """Ask it over UDP."""
        client = Client(self.port, query_wire(name))
        listening = reactor.listenUDP(0, client)
        self.addCleanup(listening.stopListening)
        return client.reply

    async def test_life(self) -> None:
        """A node is starting, healthy, and leaving; ready only in between."""
        upstream = Scripted(reactor).start()
        self.addCleanup(upstream.stop)
        upstream.when("www.example", "A", say=["192.0.2.1"])
        node = self.node(upstreams=(f"127.0.0.1:{upstream.port}",))
        self.assertEqual((node.status(), node.ready()), ("starting", (False, ("this node is starting",))))
        node.startService()
        self.assertEqual((node.status(), node.ready()), ("healthy", (True, ())))
        reply = await self.ask("www.example")
        self.assertEqual(len(dns.message.from_wire(reply).answer), 1)
        member = node.member()
        self.assertEqual((member.id, member.pod_ip, member.status), ("one", "192.0.2.99", "healthy"))
        self.assertEqual((member.stats["queries"], member.stats["upstream"]), (1, 1))
        ending = node.stopService()
        self.assertEqual(node.status(), "leaving")
        await ending

    async def test_what_is_under_way_is_answered(self) -> None:
        """A node that is told to end answers the queries it has taken, and takes no more."""
        upstream = Scripted(reactor).start()
        self.addCleanup(upstream.stop)
        upstream.when("slow.example", "A", say=["192.0.2.1"], delay=0.3)
        node = self.node(upstreams=(f"127.0.0.1:{upstream.port}",))
        node.startService()
        asked = self.ask("slow.example")
        await pause(0.1)
        ending = node.stopService()
        reply = await asked
        self.assertEqual(len(dns.message.from_wire(reply).answer), 1)
        await ending
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", self.port))
            client.send(query_wire("www.example"))
            with self.assertRaises(ConnectionRefusedError):
                client.recv(512)

    async def test_upstreams_down(self) -> None:
        """A node none of whose upstreams answers is unhealthy; it is ready all the same, for what it holds."""
        node = self.node(upstreams=("127.0.0.1:1",), deadline=0.5)
        node.startService()
        for number in range(5):
            await self.ask(f"n{number}.example")
            await pause(0.5)
        self.assertEqual((node.status(), node.ready()[0]), ("unhealthy", True))
        await node.stopService()

    async def test_many_reloads(self) -> None:
        """However many signals come while a configuration is taken in, one more reload follows, and no second one."""
        node = self.node(upstreams=("127.0.0.1:1",), deadline=0.5)
        loads: list[None] = []

        def load() -> Loaded:
            loads.append(None)
            return Loaded(node._settings, {})

        node._load = load
        node.startService()
        for _ in range(100):
            node.reload()
        while node._loading is not None:
            await pause(0.01)
        self.assertEqual(len(loads), 2)
        await node.stopService()

    async def test_ends_while_it_waits(self) -> None:
        """A node that is told to end while a reload waits for the one before ends all the same."""
        node = self.node(upstreams=("127.0.0.1:1",), deadline=0.5)
        node._load = lambda: Loaded(node._settings, {})
        node.startService()
        self.patch(station, "LAST_WORDS", 60.0)
        node.reload()
        node.reload()
        while not node.hands._settling:  # type: ignore[attr-defined]
            await pause(0.01)
        await node.stopService()
        self.assertIsNone(node._loading)

    def test_redis_missing(self) -> None:
        """A node is degraded without a Redis that was set, not without one that nobody spoke of."""
        for url, status in ((Redis().url, "healthy"), ("redis://127.0.0.1:1", "degraded")):
            settings = Settings(redis=Redis(url=url), fetch=Fetch(upstreams=("127.0.0.1:1",)))
            node = build(settings, reactor, [], None, {})
            assert isinstance(node, Node)
            node._status = "healthy"
            self.assertEqual((node.status(), node.member().pod_ip), (status, "127.0.0.1"))

    def test_name(self) -> None:
        """A node that shares a Redis has a name of chance; one alone, or with a Redis of its own, that of its host."""
        host = socket.gethostname()
        names = {url: name_of(Settings(redis=Redis(url=url))) for url in ("redis://192.0.2.1", "embedded:")}
        self.assertEqual((names["embedded:"], name_of(Settings(redis=Redis(enabled=False)))), (host, host))
        self.assertRegex(names["redis://192.0.2.1"], rf"^{host}-[0-9a-f]{{8}}$")

    def test_own_address_without_upstreams(self) -> None:
        """Without an upstream, and without POD_IP, a node does not know its address."""
        node = build(Settings(redis=Redis(enabled=False)), reactor, [], None, {})
        assert isinstance(node, Node)
        self.assertEqual(node.member().pod_ip, "")
