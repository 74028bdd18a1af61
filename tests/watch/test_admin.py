"""The operator's HTTP, asked over real sockets."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

from attrs import frozen
from twisted.internet import reactor as any_reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.interfaces import IReactorTCP, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, HTTPConnectionPool, readBody
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from heimdall.interfaces import LinkDown, Member
from heimdall.tally import Count
from heimdall.watch.admin import MEMBERS_WAIT, Admin
from heimdall.watch.site import MOST_CONNECTIONS, PATIENCE
from tests.watch.test_metrics import promtool


class Reactor(IReactorTCP, IReactorTime):
    """What these tests want of the reactor."""


reactor = cast(Reactor, any_reactor)

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


class Served(TestCase):
    """An admin site on a free port of the loopback, its time a clock that stands still."""

    def setUp(self) -> None:
        """Start it."""
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
        while not self.asked:
            await deferLater(reactor, 0.005)

    async def until(self, number: int) -> None:
        """Wait until the server counts so many connections."""
        for _ in range(1000):
            if len(self.admin.site.channels) == number:
                return
            await deferLater(reactor, 0.005)
        self.fail(f"{len(self.admin.site.channels)} connections, not {number}")


class Pages(Served):
    """Each page says what it should."""

    async def test_live(self) -> None:
        """/live is ok while the reactor turns, ready or not."""
        self.ready = (False, ["starting"])
        reply = await self.ask("/live")
        self.assertEqual((reply.status, reply.body), (200, b"ok\n"))

    async def test_ready(self) -> None:
        """/ready is 200 when queries may come, else 503 with the reasons."""
        reply = await self.ask("/ready")
        self.assertEqual((reply.status, reply.value), (200, {"ready": True, "reasons": []}))
        self.ready = (False, ["no upstream answers"])
        reply = await self.ask("/ready")
        self.assertEqual((reply.status, reply.value), (503, {"ready": False, "reasons": ["no upstream answers"]}))

    async def test_metrics(self) -> None:
        """/metrics shows what the parts and the site itself have counted, and promtool has nothing against it."""
        self.drops.add(by=3)
        await self.ask("/live")
        reply = await self.ask("/metrics")
        self.assertEqual(reply.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8")
        self.assertIn(b"\nheimdall_accept_drops_total 3.0\n", reply.body)
        self.assertIn(b'\nheimdall_watch_requests_total{status="200"} 1.0\n', reply.body)
        self.assertEqual(promtool(reply.body), "")

    async def test_openmetrics(self) -> None:
        """/metrics writes OpenMetrics for who asks for it."""
        reply = await self.ask("/metrics", accept="application/openmetrics-text;version=1.0.0")
        self.assertEqual(reply.headers["content-type"].split(";")[0], "application/openmetrics-text")
        self.assertTrue(reply.body.endswith(b"# EOF\n"))

    async def test_index(self) -> None:
        """/ names every page there is, and each of them is there."""
        reply = await self.ask("/")
        paths = [line for line in reply.body.decode().splitlines() if line.startswith("/")]
        self.assertEqual(paths, ["/", "/metrics", "/live", "/ready", "/api/v1/members"])
        for path in paths:
            self.assertEqual((await self.ask(path)).status, 200, path)

    async def test_query(self) -> None:
        """What follows a question mark does not matter."""
        self.assertEqual((await self.ask("/live?verbose=1")).status, 200)

    async def test_unknown(self) -> None:
        """A page that is not there is 404, in JSON, also below and beside those that are."""
        for path in ("/nothing", "/live/", "/metrics/x", "/api/v1", "//", "/%2e%2e/live", "/live%00"):
            reply = await self.ask(path)
            self.assertEqual((reply.status, list(reply.value)), (404, ["error"]), path)

    async def test_head(self) -> None:
        """HEAD gets what GET gets, without the body."""
        for path, status in (("/live", 200), ("/ready", 200), ("/api/v1/members", 200), ("/nothing", 404)):
            request = f" {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            got, head = await self.say(b"GET" + request), await self.say(b"HEAD" + request)
            self.assertTrue(head.startswith(b"HTTP/1.1 %d " % status), head)
            self.assertTrue(head.endswith(b"\r\n\r\n"), head)
            self.assertEqual(undated(head), undated(got.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"))

    async def test_other_methods(self) -> None:
        """Nothing but reading is allowed, and the reply says so."""
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"):
            reply = await self.ask("/live", method)
            self.assertEqual((reply.status, reply.headers.get("allow")), (405, "GET, HEAD"), method)

    async def test_headers(self) -> None:
        """Every reply forbids sniffing and storing, and none says what software wrote it."""
        for path in ("/live", "/metrics", "/nothing"):
            headers = (await self.ask(path)).headers
            self.assertEqual((headers["x-content-type-options"], headers["cache-control"]), ("nosniff", "no-store"))
            self.assertNotIn("server", headers)
        star = await self.say(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertTrue(star.startswith(b"HTTP/1.1 200 "), star)
        self.assertNotIn(b"Twisted", star)

    async def test_bug(self) -> None:
        """A bug behind a page is a 500 that tells nothing, and a traceback in the log."""
        self.ready = cast(Any, None)
        reply = await self.ask("/ready")
        self.assertEqual((reply.status, list(reply.value)), (500, ["error"]))
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.assertEqual((await self.ask("/live")).status, 200)


class Members(Served):
    """/api/v1/members, with and without Redis."""

    async def test_shared(self) -> None:
        """All members are listed with all their fields, this node too though the registry left it out."""
        reply = await self.ask("/api/v1/members")
        self.assertEqual(reply.headers["content-type"], "application/json")
        self.assertEqual((reply.value["shared"], reply.value["reason"]), (True, ""))
        own, other = reply.value["members"]
        self.assertEqual(
            own,
            {
                "id": "a",
                "hostname": "host-a",
                "pod_ip": "192.0.2.1",
                "last_heartbeat": 1700000000.5,
                "status": "healthy",
                "stats": {"queries": 7.0},
            },
        )
        self.assertEqual((other["id"], other["status"]), ("b", "leaving"))

    async def test_no_number(self) -> None:
        """What JSON cannot say, a number that is none, is null."""
        reply = await self.ask("/api/v1/members")
        self.assertEqual(reply.value["members"][1]["stats"], {"queries": None})

    async def test_own_once(self) -> None:
        """This node is listed once, as it is now, whatever Redis still holds of it."""
        self.listed = lambda: succeed([OTHER, Member("a", "old", "", 1.0, "starting", {})])
        listed = (await self.ask("/api/v1/members")).value["members"]
        self.assertEqual([(each["id"], each["status"]) for each in listed], [("a", "healthy"), ("b", "leaving")])

    async def test_redis_away(self) -> None:
        """While Redis is away this node is listed alone, and the reply says why."""
        self.listed = lambda: fail(LinkDown("Redis is away"))
        reply = await self.ask("/api/v1/members")
        self.assertEqual((reply.status, reply.value["shared"], reply.value["reason"]), (200, False, "Redis is away"))
        self.assertEqual([each["id"] for each in reply.value["members"]], ["a"])

    async def test_redis_silent(self) -> None:
        """A list that does not come is not waited for."""
        self.listed = Deferred
        asked = Deferred.fromCoroutine(self.ask("/api/v1/members"))
        await self.listing()
        self.clock.advance(MEMBERS_WAIT)
        reply = await asked
        self.assertEqual((reply.status, reply.value["shared"]), (200, False))

    async def test_no_redis(self) -> None:
        """Where Redis is not in use this node is listed alone."""
        alone = Admin(clock=self.clock, tallies=[], ready=lambda: (True, []), own=lambda: OWN)
        self.serve(alone)
        reply = await self.ask("/api/v1/members")
        self.assertEqual((reply.value["shared"], [each["id"] for each in reply.value["members"]]), (False, ["a"]))

    async def test_client_leaves(self) -> None:
        """A client that leaves ends the look-up it asked for, and nothing is logged."""
        cancelled: list[object] = []
        self.listed = lambda: Deferred(cancelled.append)
        talker = await self.talk()
        talker.transport.write(b"GET /api/v1/members HTTP/1.1\r\nHost: x\r\n\r\n")
        await self.listing()
        talker.transport.loseConnection()
        await self.until(0)
        self.assertEqual(len(cancelled), 1)


class Hostile(Served):
    """No client can hold the site up, or make it say more than it should."""

    async def test_garbage(self) -> None:
        """What is no HTTP is 400 and counted."""
        for request in (
            b"\x16\x03\x01\x02\x00garbage\r\n\r\n",
            b"GET /live\r\n\r\n",
            b"GET /live HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET /live HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        ):
            self.assertTrue((await self.say(request)).startswith(b"HTTP/1.1 400 Bad Request\r\n"), request)
        self.assertEqual(self.admin.site.requests.total("400"), 4)

    async def test_long_lines(self) -> None:
        """A request line or header without end is cut off."""
        for request in (
            b"GET /" + b"a" * 100_000,
            b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000,
            b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 100 + b"\r\n",
            b"GET / HTTP/1.1\r\n" + (b"X: " + b"a" * 2000 + b"\r\n") * 6 + b"\r\n",
        ):
            self.assertEqual((await self.say(request))[:12], b"HTTP/1.1 400", request[:40])

    async def test_bodies(self) -> None:
        """A request with a body is refused before the body is read."""
        for headers in (
            b"Content-Length: 1\r\n",
            b"Content-Length: 99999999999\r\n",
            b"Transfer-Encoding: chunked\r\n",
        ):
            heard = await self.say(b"POST /live HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n" + b"z" * 50_000)
            self.assertEqual(heard.count(b"HTTP/1.1"), 1)
            self.assertTrue(heard.startswith(b"HTTP/1.1 413 "), heard)
        self.assertEqual(self.admin.site.requests.total("413"), 3)

    async def test_one_request(self) -> None:
        """A connection carries one request: what is piled up behind it is not answered."""
        heard = await self.say(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
        self.assertEqual(heard.count(b"HTTP/1.1 200"), 1)
        self.assertIn(b"Connection: close\r\n", heard)

    async def test_piled_up_behind_waiting(self) -> None:
        """What is sent behind a request that waits is thrown away, not held."""
        listed: Deferred[Any] = Deferred()
        self.listed = lambda: listed
        talker = await self.talk()
        talker.transport.write(b"GET /api/v1/members HTTP/1.1\r\nHost: x\r\n\r\n" + b"z" * 1_000_000)
        await self.listing()
        listed.callback([])
        heard = await talker.gone
        self.assertEqual(heard.count(b"HTTP/1.1 200"), 1)

    async def test_idle(self) -> None:
        """A client that sends nothing is closed after its time."""
        talker = await self.talk()
        await self.until(1)
        self.clock.advance(PATIENCE)
        self.assertEqual(await talker.gone, b"")
        self.assertEqual(self.admin.site.late.total(), 1)

    async def test_drip(self) -> None:
        """A byte now and then buys no time."""
        talker = await self.talk()
        await self.until(1)
        (channel,) = self.admin.site.channels
        for byte in b"GET /l":
            self.clock.advance(PATIENCE / 6)
            channel.dataReceived(bytes([byte]))
        self.assertEqual(await talker.gone, b"")

    async def test_never_reading(self) -> None:
        """A client that does not read its reply is closed after its time as well."""
        talker = await self.talk()
        talker.transport.pauseProducing()
        await self.until(1)
        (channel,) = self.admin.site.channels
        self.drops.labels, self.drops.counts = ("reason",), {(f"{n:04}" + "x" * 10_000,): n for n in range(1000)}
        talker.transport.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        while not self.admin.site.requests.total("200"):
            await deferLater(reactor, 0.005)
        self.clock.advance(PATIENCE - 1)
        self.assertIn(channel, self.admin.site.channels)
        self.clock.advance(1)
        await self.until(0)
        talker.transport.resumeProducing()
        self.assertLess(len(await talker.gone), 10_000_000)

    async def test_many(self) -> None:
        """One connection too many closes the oldest, and who asks at once is answered all the same."""
        oldest = await self.talk()
        await self.until(1)
        idle = [await self.talk() for _ in range(MOST_CONNECTIONS - 1)]
        await self.until(MOST_CONNECTIONS)
        self.assertEqual((await self.ask("/live")).status, 200)
        self.assertEqual(await oldest.gone, b"")
        self.assertEqual(self.admin.site.evicted.total(), 1)
        for talker in idle:
            talker.transport.loseConnection()
        await self.until(0)
