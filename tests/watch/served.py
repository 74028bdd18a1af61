"""An admin site on the loopback, and clients for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.interfaces import IReactorTCP, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, readBody
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from heimdall.interfaces import Member
from heimdall.tally import Count
from heimdall.watch.admin import Admin
from tests.rediscase import until
from tests.virtual_time import CLOCK, VirtualCase


class Reactor(IReactorTCP, IReactorTime):
    """What these tests want of the reactor."""


reactor = cast(Reactor, CLOCK)

OWN = Member("a", "host-a", "192.0.2.1", 1700000000.5, "healthy", {"queries": 7.0})
OTHER = Member("b", "host-b", "192.0.2.2", 1700000001.5, "leaving", {"queries": float("nan")})


@frozen
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def value(self) -> Any:
        """What the body says as JSON."""
        return json.loads(self.body)


class Talker(Protocol):
    """A client that writes what it likes, and keeps what it hears."""

    def __init__(self) -> None:
        self.heard = b""
        self.gone: Deferred[bytes] = Deferred()

    transport: Any

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.heard += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Say what was heard."""
        self.gone.callback(self.heard)


def undated(head: bytes) -> list[bytes]:
    """Return the lines of a reply's head without its date."""
    return [line for line in head.split(b"\r\n") if not line.startswith(b"Date:")]


class Served(VirtualCase):
    """An admin site on a free port of the loopback, its time a clock that stands still."""

    def setUp(self) -> None:
        """Start it."""
        super().setUp()
        self.clock = Clock()
        self.ready: tuple[bool, list[str]] = (True, [])
        self.asked = 0
        self.listed: Callable[[], Deferred[Any]] = lambda: succeed([OTHER])
        self.drops = Count("heimdall_accept_drops_total", "Messages dropped.")
        self.admin = Admin(
            clock=self.clock,
            tallies=[self.drops],
            ready=lambda: self.ready,
            own=lambda: OWN,
            members=self.members,
        )
        self.serve(self.admin)
        self.agent = Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False))

    def members(self) -> Deferred[Any]:
        """Return who is in the cluster."""
        self.asked += 1
        return self.listed()

    def serve(self, admin: Admin) -> None:
        """Serve a site until the test is over."""
        port = reactor.listenTCP(0, cast(Any, admin.site), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.port: int = cast(Any, port.getHost()).port

    async def ask(self, path: str, method: str = "GET", accept: str = "*/*") -> Reply:
        """Ask for a page as any HTTP client would."""
        url = f"http://127.0.0.1:{self.port}{path}".encode()
        response: IResponse = await self.agent.request(method.encode(), url, Headers({"Accept": [accept]}))
        body: bytes = await readBody(response)
        headers = {
            name.decode().lower(): b",".join(values).decode() for name, values in response.headers.getAllRawHeaders()
        }
        return Reply(response.code, headers, body)

    async def talk(self) -> Talker:
        """Connect with a client that writes what it likes."""
        talker: Talker = await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.port), Talker())
        return talker

    async def say(self, *parts: bytes) -> bytes:
        """Write some bytes and return all that comes back until the server closes."""
        talker = await self.talk()
        for part in parts:
            talker.transport.write(part)
        heard: bytes = await talker.gone
        return heard

    async def listing(self) -> None:
        """Wait until the members are asked for."""
        await until(lambda: self.asked, 60)

    async def until(self, number: int) -> None:
        """Wait until the server counts so many connections."""
        await until(lambda: len(self.admin.site.channels) == number, 60)
