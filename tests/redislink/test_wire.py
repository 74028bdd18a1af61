"""One connection: what is written goes to the socket at once, and in order whatever the socket takes."""

from __future__ import annotations

import select
import socket
from typing import Any

from twisted.internet.defer import gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol

from heimdall.interfaces import LinkDown
from heimdall.redislink.wire import Only, Wire
from tests.rediscase import reactor, until
from tests.virtual_time import VirtualCase

COMMAND = b"*2\r\n$3\r\nGET\r\n"


class Slow(Protocol):
    """A Redis that takes nothing until it is told to, and answers each command when it has all of them.

    :ivar taken: what it has read.
    """

    transport: Any

    def __init__(self, most: int) -> None:
        self.taken = b""
        self._most = most

    def connectionMade(self) -> None:
        """Read nothing."""
        self.transport.pauseProducing()

    def read(self) -> None:
        """Read from now on."""
        self.transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        """Take it."""
        self.taken += data
        if self.taken.count(COMMAND) == self._most and self.taken.endswith(b"last\r\n"):
            self.transport.write(b"+OK\r\n" * self._most)


class Writing(VirtualCase):
    """A real connection over the loopback."""

    async def connect(self, most: int) -> tuple[Wire, Slow]:
        """Return both ends."""
        there = Slow(most)
        port = reactor.listenTCP(0, Factory.forProtocol(lambda: there), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        wire = Wire(reactor.seconds, lambda _: None)
        here: Any = await TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port).connect(Only(wire))
        self.addCleanup(lambda: wire.lost)
        self.addCleanup(here.transport.loseConnection)
        await until(lambda: there.transport is not None)
        return wire, there

    async def test_cannot_be_packed(self) -> None:
        """What is no command takes no place in the order: the replies of others stay theirs."""
        wire, there = await self.connect(2)
        first = wire.send("GET", "first")
        self.assertRaises(TypeError, wire.send, "GET", None)
        last = wire.send("GET", "last")
        self.assertEqual(len(wire.waiting), 2)
        there.read()
        await gatherResults([first, last])

    async def test_at_once(self) -> None:
        """In a hurry, a command is in the socket when ``send`` returns: the reactor need not come round for that."""
        wire, there = await self.connect(1)
        wire.hurry()
        waiting = wire.send(b"GET", b"last")
        handle = there.transport.getHandle()
        select.select([handle], [], [], 60)
        self.assertEqual(handle.recv(100), COMMAND + b"$4\r\nlast\r\n")
        there.transport.write(b"+OK\r\n")
        self.assertEqual(await waiting, b"OK")

    async def test_full(self) -> None:
        """What the socket does not take waits behind what it took, and later commands behind that; then all goes on."""
        keys = [bytes([97 + number]) * 700_000 for number in range(20)]
        wire, there = await self.connect(len(keys) + 1)
        wire.hurry()
        waiting = [wire.send(b"GET", key) for key in (*keys, b"last")]
        self.assertTrue(wire._queued)
        there.read()
        self.assertEqual(await gatherResults(waiting), [b"OK"] * len(waiting))
        self.assertEqual(
            there.taken, b"".join(COMMAND + b"$%d\r\n%s\r\n" % (len(key), key) for key in (*keys, b"last"))
        )
        self.assertFalse(wire._queued)

    async def test_last_words(self) -> None:
        """What Redis said before it hung up is why the connection ended, also where our words met a closed socket."""

        def hang_up() -> None:
            there, _ = listening.accept()
            there.sendall(b"-ERR no room\r\n")
            there.close()

        with socket.create_server(("127.0.0.1", 0)) as listening:
            wire = Wire(reactor.seconds, lambda _: None)
            connecting = TCP4ClientEndpoint(reactor, "127.0.0.1", listening.getsockname()[1]).connect(Only(wire))
            # Right behind the call to connect: the reactor sees all in one event, and then writes before it reads.
            reactor.callLater(0, hang_up)
            first, second = await connecting.addCallback(lambda _: (wire.send(b"PING"), wire.send(b"PING")))
        for waiting, why in (first, "no room"), (second, "lost|closed"):
            with self.assertRaisesRegex(LinkDown, why):
                await waiting
        await wire.lost
