"""The operator's HTTP, asked over real sockets."""

from __future__ import annotations

import re
from typing import Any, cast

from twisted.internet.defer import Deferred, fail, succeed

from heimdall.interfaces import LinkDown, Member
from heimdall.watch.admin import MEMBERS_WAIT, REUSED, Admin
from heimdall.watch.trust import Trust
from tests.watch.served import OTHER, OWN, Served, undated
from tests.watch.test_metrics import promtool


class Pages(Served):
    """Each page says what it should."""

    async def test_live(self) -> None:
        """/live is ok while the reactor turns, ready or not."""
        self.ready = (False, ["starting"])
        reply = await self.ask("/live")
        self.assertEqual((reply.status, reply.body), (200, b"ok\n"))

    async def test_ready(self) -> None:
        """/ready is 200 when queries may come, else 503 with the reasons; a gauge says the same."""
        reply = await self.ask("/ready")
        self.assertEqual((reply.status, reply.value), (200, {"ready": True, "reasons": []}))
        self.assertIn(b"\nheimdall_watch_ready_up 1.0\n", (await self.ask("/metrics")).body)
        self.ready = (False, ["no upstream answers"])
        self.assertIn(b"\nheimdall_watch_ready_up 0.0\n", (await self.ask("/metrics")).body)
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

    async def test_metrics_from_elsewhere(self) -> None:
        """To other machines the metrics are written once a second, whatever they ask for; here each time."""
        scrape = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.1\r\nAccept: %b\r\n\r\n"

        async def requests(accept: bytes = b"*/*") -> bytes:
            found = re.search(rb"heimdall_watch_requests_total{status=\"200\"} (\d+)", await self.say(scrape % accept))
            return b"0" if found is None else found[1]

        first = await requests()
        self.assertEqual([await requests(b"x%d" % number) for number in range(3)], [first] * 3)
        await requests(b"application/openmetrics-text")
        self.assertNotEqual((await self.ask("/metrics")).body, (await self.ask("/metrics")).body)
        self.clock.advance(REUSED)
        self.assertNotEqual(await requests(), first)

    async def test_index(self) -> None:
        """/ names every page there is, and each of them is there."""
        reply = await self.ask("/")
        paths = [line for line in reply.body.decode().splitlines() if line.startswith("/")]
        self.assertEqual(paths, ["/", "/metrics", "/live", "/ready", "/api/v1/members", "/api/v1/top"])
        for path in paths:
            # Nothing is counted here, which that page says.
            self.assertEqual((await self.ask(path)).status, 503 if path == "/api/v1/top" else 200, path)

    async def test_browser(self) -> None:
        """/ is a page to a browser, and every file it asks for is there, by its kind."""
        reply = await self.ask("/", accept="text/html,*/*;q=0.8")
        self.assertEqual(reply.headers["content-type"], "text/html; charset=utf-8")
        wanted = [path.decode() for path in re.findall(rb'(?:src|href)="(/browser/[^"]+)"', reply.body)]
        self.assertGreater(len(wanted), 2)
        kinds = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
        for path in wanted:
            reply = await self.ask(path)
            self.assertEqual((reply.status, reply.headers["content-type"]), (200, kinds[path.rpartition(".")[2]]), path)
            wanted += [f"/browser/{name.decode()}" for name in re.findall(rb'from "\./([^"]+)"', reply.body)]
        self.assertEqual((await self.ask("/browser/main.js", "DELETE")).status, 405)
        self.assertEqual((await self.ask("/browser/../site.py")).status, 404)

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

    async def test_policy(self) -> None:
        """Every reply forbids a browser whatever the page does not need: others' code, frames, HTML made of texts."""
        for path in ("/", "/live", "/browser/main.js", "/nothing"):
            headers = (await self.ask(path, accept="text/html")).headers
            policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
            self.assertEqual(policy["default-src"], "'none'")
            self.assertEqual({policy[f"{what}-src"] for what in ("script", "style", "img", "connect")}, {"'self'"})
            self.assertEqual({policy[what] for what in ("base-uri", "form-action", "frame-ancestors")}, {"'none'"})
            self.assertEqual(policy["require-trusted-types-for"], "'script'")
            self.assertEqual(headers["referrer-policy"], "no-referrer")
            self.assertEqual(headers["cross-origin-resource-policy"], "same-origin")

    async def test_overview(self) -> None:
        """/api/v1/overview gives what it is given, on one line, and is not there where there is nothing to see."""
        self.assertEqual((await self.ask("/api/v1/overview")).status, 404)
        told: Any = {"a": [1]}
        ready, own = (lambda: self.ready), (lambda: OWN)
        self.serve(Admin(clock=self.clock, tallies=[], ready=ready, own=own, overview=lambda: succeed(told)))
        self.assertEqual((await self.ask("/api/v1/overview")).body, b'{"a": [1]}\n')

    async def test_rebound(self) -> None:
        """A browser that was led here by another's name gets nothing of the API, but metrics and probes."""
        trust = Trust()
        self.serve(Admin(clock=self.clock, tallies=[], ready=lambda: self.ready, own=lambda: OWN, trust=trust))
        for path, status in (("/api/v1/members", b"403"), ("/live", b"200"), ("/metrics", b"200")):
            heard = await self.say(f"GET {path} HTTP/1.1\r\nHost: evil.example\r\n\r\n".encode())
            self.assertEqual(heard[9:12], status, path)

    async def test_star(self) -> None:
        """What is asked of the server as a whole says nothing of it either."""
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
