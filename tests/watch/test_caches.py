"""The pages on the cache, asked over real sockets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import deferLater

from heimdall.interfaces import LinkDown, Unanswered
from heimdall.message.query import CD, Query
from heimdall.message.wire import from_text
from heimdall.watch.admin import MEMBERS_WAIT, Admin
from heimdall.watch.caches import AT_ONCE, SEARCHING, Caches
from heimdall.watch.trust import Trust
from tests.reported import met
from tests.watch.served import OWN, Reply, Served, reactor

PAGE = "/api/v1/cache"
NAME = from_text("www.example.com")


class Console:
    """Notes what it is asked to do."""

    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []
        self.result: Deferred[Mapping[str, Any]] | None = None

    def flush(self, name: bytes, subtree: bool) -> Deferred[Mapping[str, Any]]:
        self.done.append(("flush", name, subtree))
        return self.result or succeed({"flushed": True})

    def inspect(self, name: bytes, qtype: int, every: bool) -> Deferred[Mapping[str, Any]]:
        self.done.append(("inspect", name, qtype, every))
        return self.result or succeed({"seen": True})

    def follow(self, query: Query) -> Deferred[Mapping[str, Any]]:
        self.done.append(("follow", query.name, query.qtype, query.do, bool(query.flags & CD), query.client[0]))
        return self.result or succeed({"followed": True})


class Pages(Served):
    """What can be asked, and what cannot."""

    def setUp(self) -> None:
        super().setUp()
        self.console = Console()
        self.counted: Deferred[Mapping[str, Any]] = succeed({"names": []})
        self.serve_with(Trust())

    def serve_with(self, trust: Trust) -> None:
        """Serve with these rules."""
        self.admin = Admin(
            clock=self.clock,
            tallies=[],
            ready=lambda: (True, []),
            own=lambda: OWN,
            caches=Caches(self.console, trust),
            trust=trust,
            top=self.top,
        )
        self.serve(self.admin)

    def top(self) -> Deferred[Mapping[str, Any]]:
        """Return what is asked for most."""
        self.asked += 1
        return self.counted

    async def refusal(self, path: str, method: str = "GET", status: int = 400) -> str:
        """Ask for what is refused, and return why."""
        reply = await self.ask(path, method)
        self.assertEqual((reply.status, list(reply.value)), (status, ["error"]), path)
        self.assertEqual(self.console.done, [])
        return str(reply.value["error"])

    async def test_follow(self) -> None:
        """GET of ask has a question asked: for A, without DO and CD, as this machine, where nothing else is said."""
        for asked, question in (
            ("name=WWW.example.com", (NAME, 1, False, False, "127.0.0.1")),
            ("name=www.example.com&type=aaaa&do=1&cd=1&client=192.0.2.1", (NAME, 28, True, True, "192.0.2.1")),
            ("name=www.example.com&type=ANY&client=2001:db8::1", (NAME, 255, False, False, "2001:db8::1")),
        ):
            reply = await self.ask(f"/api/v1/ask?{asked}")
            self.assertEqual((reply.status, reply.value), (200, {"followed": True}), asked)
            self.assertEqual(self.console.done.pop(), ("follow", *question))

    async def test_follow_nothing(self) -> None:
        """What is no question is refused: another machine's name for a client, a type that is none, a transfer."""
        for asked, why in (
            ("type=A", "a name is missing"),
            ("name=a.example&client=localhost", "client is 'localhost', which is no IP address"),
            ("name=a.example&type=AXFR", "no question can be asked for type 252"),
            ("name=a.example&do=yes", "do is 1 or 0"),
        ):
            self.assertIn(why, await self.refusal(f"/api/v1/ask?{asked}"))

    async def test_follow_nobody(self) -> None:
        """Where no process serves that could ask, that is a 503 with the reason, and takes no place away."""
        for _ in range(AT_ONCE + 1):
            self.console.result = fail(Unanswered("no worker serves"))
            reply = await self.ask("/api/v1/ask?name=www.example.com")
            self.assertEqual((reply.status, reply.value), (503, {"error": "no worker serves"}))
        self.assertEqual(met(self.clock), 0)

    async def test_show(self) -> None:
        """GET looks a name up: of one type or all of them, under the likely keys or all."""
        for asked, qtype, every in (
            ("name=www.example.com", 0, False),
            ("name=WWW.example.com.&type=aaaa&all=0", 28, False),
            ("name=www.example.com&type=TYPE65&all=1", 65, True),
            ("type=ANY&name=www.example.com&all=true", 0, True),
        ):
            reply = await self.ask(f"{PAGE}?{asked}")
            self.assertEqual((reply.status, reply.value), (200, {"seen": True}), asked)
            self.assertEqual(self.console.done.pop(), ("inspect", NAME, qtype, every), asked)

    async def test_flush(self) -> None:
        """DELETE flushes a name, or all below it as well."""
        for asked, subtree in (("", False), ("&subtree=0", False), ("&subtree=1", True), ("&subtree=true", True)):
            reply = await self.ask(f"{PAGE}?name=www.example.com{asked}", "DELETE")
            self.assertEqual((reply.status, reply.value), (200, {"flushed": True}), asked)
            self.assertEqual(self.console.done.pop(), ("flush", NAME, subtree), asked)
        await self.ask(f"{PAGE}?name=%2A.b%C3%BCcher.example", "DELETE")
        self.assertEqual(self.console.done.pop()[1], from_text("*.xn--bcher-kva.example"))
        await self.ask(f"{PAGE}?name=.&subtree=1", "DELETE")
        self.assertEqual(self.console.done.pop(), ("flush", b"\0", True))

    async def test_bad(self) -> None:
        """What is not clear is refused, with a reason, and nothing is done."""
        for method in ("GET", "DELETE"):
            for asked, why in (
                ("", "a name is missing"),
                ("?name=", "a name is missing"),
                ("?nam=www.example.com", "'nam' is not known here; there are name, "),
                ("?name=a&name=b", "'name' is given twice"),
                ("?name=a..b", "not a domain name"),
                (f"?name={'a' * 64}.example", "not a domain name"),
                ("?name=%ff", "not UTF-8"),
                ("?%ff=1&name=a", "'\\\\xff' is not known"),
            ):
                self.assertIn(why, await self.refusal(PAGE + asked, method))
        for asked, why in (
            ("type=FOO", "'FOO' is not a type"),
            ("type=%ff", "is not a type"),
            ("all=2", "all is 1 or 0"),
        ):
            self.assertIn(why, await self.refusal(f"{PAGE}?name=a&{asked}"))
        self.assertIn("'subtre' is not known", await self.refusal(f"{PAGE}?name=a&subtre=1", "DELETE"))
        self.assertIn("subtree is 1 or 0", await self.refusal(f"{PAGE}?name=a&subtree=yes", "DELETE"))

    async def test_methods(self) -> None:
        """GET, HEAD and DELETE are all there is; HEAD changes nothing."""
        reply = await self.ask(f"{PAGE}?name=a", "POST")
        self.assertEqual((reply.status, reply.headers["allow"]), (405, "GET, HEAD, DELETE"))
        self.assertEqual((await self.ask(f"{PAGE}?name=a", "HEAD")).status, 200)
        self.assertEqual([done[0] for done in self.console.done], ["inspect"])

    async def test_refused(self) -> None:
        """Whoever may change nothing is told so, whatever he asks for; that is counted."""
        request = b"DELETE /api/v1/cache?name=a HTTP/1.1\r\nHost: evil.example\r\n\r\n"
        self.assertIn(b"HTTP/1.1 403 ", await self.say(request))
        self.assertEqual(self.console.done, [])
        metrics = (await self.ask("/metrics")).body
        self.assertIn(b'\nheimdall_watch_refused_total{why="host"} 1.0\n', metrics)
        request = b"GET /api/v1/cache?name=a HTTP/1.1\r\nHost: heimdall.svc\r\n\r\n"
        self.assertIn(b"HTTP/1.1 403 ", await self.say(request))
        request = request.replace(b"heimdall.svc", b"localhost")
        self.assertIn(b"HTTP/1.1 200 ", await self.say(request))

    async def test_many(self) -> None:
        """So many requests are worked at and no more, until one is done."""
        self.console.result = Deferred()
        pending: list[Deferred[Reply]] = [Deferred.fromCoroutine(self.ask(f"{PAGE}?name=a")) for _ in range(AT_ONCE)]
        while len(self.console.done) < AT_ONCE:
            await deferLater(reactor, 0.005)
        self.assertEqual((await self.ask(f"{PAGE}?name=a")).status, 503)
        self.console.result.callback({"seen": 1})
        for each in pending:
            self.assertEqual((await each).status, 200)
        self.console.result = None
        self.assertEqual((await self.ask(f"{PAGE}?name=a")).status, 200)

    async def test_one_search(self) -> None:
        """One search through all that is held at a time; another is told so, and a common look-up goes on."""
        self.console.result = Deferred()
        searching = Deferred.fromCoroutine(self.ask(f"{PAGE}?name=a&all=1"))
        while not self.console.done:
            await deferLater(reactor, 0.005)
        reply = await self.ask(f"{PAGE}?name=a&all=1")
        self.assertEqual((reply.status, json.loads(reply.body)["error"]), (503, SEARCHING))
        result, self.console.result = self.console.result, None
        self.assertEqual((await self.ask(f"{PAGE}?name=a")).status, 200)
        result.callback({"seen": 1})
        self.assertEqual((await searching).status, 200)
        self.patch(self.console, "inspect", lambda *_: 1 / 0)
        self.assertEqual((await self.ask(f"{PAGE}?name=a&all=1")).status, 500)
        self.flushLoggedErrors(ZeroDivisionError)
        del self.console.inspect
        for status, query in ((400, "all=1"), (200, "name=a&all=1"), (200, "name=a&all=1")):
            self.assertEqual((await self.ask(f"{PAGE}?{query}")).status, status)

    async def test_bug(self) -> None:
        """A bug is a 500 each time and one traceback, and takes no place away."""
        for _ in range(AT_ONCE + 1):
            self.console.result = fail(ZeroDivisionError())
            self.assertEqual((await self.ask(f"{PAGE}?name=a")).status, 500)
        self.assertEqual((len(self.flushLoggedErrors(ZeroDivisionError)), met(self.clock)), (1, AT_ONCE + 1))

    async def test_top(self) -> None:
        """What is asked for most is told, or that nobody can tell."""
        self.assertEqual((await self.ask("/api/v1/top")).value, {"names": []})
        self.counted = fail(LinkDown("Connection refused"))
        reply = await self.ask("/api/v1/top")
        self.assertEqual((reply.status, reply.value), (503, {"error": "Redis cannot be asked: Connection refused"}))
        self.counted, self.asked = Deferred(), 0
        asked = Deferred.fromCoroutine(self.ask("/api/v1/top"))
        await self.listing()
        self.clock.advance(MEMBERS_WAIT)
        late = await asked
        self.assertEqual(late.status, 503)
        self.assertIn("no answer in time; Redis hangs", late.value["error"])

    async def test_from_elsewhere(self) -> None:
        """Who asks from elsewhere without a token sees no name: neither what is held nor what is asked for most."""
        for method, path in (
            (b"GET", b"/api/v1/cache?name=a"), (b"GET", b"/api/v1/cache?name=a&all=1"), (b"GET", b"/api/v1/top"),
            (b"GET", b"/api/v1/ask?name=a"), (b"DELETE", b"/api/v1/cache?name=a"), (b"HEAD", b"/api/v1/top"),
        ):  # fmt: skip
            head = b"%b %b HTTP/1.1\r\nHost: localhost\r\n" % (method, path)
            self.assertIn(b"HTTP/1.1 403 ", await self.say(head + b"X-Forwarded-For: 192.0.2.1\r\n\r\n"), path)
        self.assertEqual(self.console.done, [])
        head = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
        self.assertIn(b"HTTP/1.1 200 ", await self.say(head))

    async def test_not_there(self) -> None:
        """Where there is no cache there is no such page; where nothing is counted, that is said."""
        self.serve(Admin(clock=self.clock, tallies=[], ready=lambda: (True, []), own=lambda: OWN))
        self.assertEqual((await self.ask(f"{PAGE}?name=a")).status, 404)
        reply = await self.ask("/api/v1/top")
        self.assertEqual((reply.status, reply.value), (503, {"error": "nothing is counted, as cache.hot_names is 0"}))
