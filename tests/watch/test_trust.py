"""Who may change things over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.logger import Logger, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import Request
from twisted.web.test.requesthelper import DummyRequest

from heimdall.episodes import EVERY, Episodes
from heimdall.watch.trust import LONGEST, Trust

TOKEN = "0123456789abcdef"
HERE = IPv4Address("TCP", "127.0.0.1", 50000)
ELSEWHERE = IPv4Address("TCP", "192.0.2.1", 50000)


class Trusting(SynchronousTestCase):
    """Requests that would change something."""

    def setUp(self) -> None:
        self.file = Path(self.mktemp())
        self.file.write_text(TOKEN + "\n")
        self.trust = Trust(str(self.file), ("Heimdall-0",))

    def refused(self, client: Any = HERE, **headers: str) -> str:
        """Return why a request is refused."""
        return self.trust.refuse(self.request(client, **headers))

    def request(self, client: Any = HERE, **headers: str) -> Request:
        """Return a request."""
        request = DummyRequest([b""])
        request.client = client
        for name, value in ({"host": "localhost:9053"} | headers).items():
            request.requestHeaders.addRawHeader(name.replace("_", "-").encode(), value.encode())
        return cast(Request, request)

    def test_here(self) -> None:
        """Whoever asks on this machine may, over IPv4 and IPv6."""
        for client in (
            HERE,
            IPv4Address("TCP", "127.9.9.9", 1),
            IPv6Address("TCP", "::1", 1),
            IPv6Address("TCP", "::ffff:127.0.0.1", 1),
        ):
            self.assertEqual(self.refused(client), "", client)
        self.trust = Trust()
        self.assertEqual(self.refused(HERE), "")

    def test_elsewhere(self) -> None:
        """Whoever asks from another machine may not, nor is anybody of this one whose request is passed on."""
        for client in (
            ELSEWHERE,
            IPv6Address("TCP", "fe80::1%eth0", 1),
            IPv6Address("TCP", "::ffff:192.0.2.1", 1),
            UNIXAddress("/tmp/socket"),
        ):
            self.assertIn("token", self.refused(client), client)
        for name in ("x_forwarded_for", "forwarded", "x_real_ip"):
            self.assertIn("token", self.refused(HERE, **{name: "127.0.0.1"}), name)
        self.assertEqual(self.trust._refused.total("elsewhere"), 7)

    def test_told(self) -> None:
        """Who is refused is told once for each reason, and once when that is over."""
        clock, log = Clock(), Logger("heimdall.test")
        self.trust = Trust(str(self.file), (), Episodes(clock, log, "refused: {who}", "{count} times: {who}"))
        with capturedLogs() as logged:
            for _ in range(3):
                self.refused(ELSEWHERE)
                self.refused(ELSEWHERE, authorization="Bearer guessed")
                self.refused(HERE, host="evil.example")
            clock.advance(EVERY)
            clock.advance(EVERY)
        who = ["192.0.2.1 shows no token", "192.0.2.1 shows a wrong token"]
        who.append("127.0.0.1 asks for a name that is not this machine's")
        told = [formatEvent(event) for event in logged]
        self.assertEqual(told, [*(f"refused: {each}" for each in who), *(f"3 times: {each}" for each in who)])

    def test_token(self) -> None:
        """Whoever shows the token may, from anywhere and by any name; another token is refused even here."""
        for shown in (f"Bearer {TOKEN}", f"bearer  {TOKEN} "):
            self.assertEqual(self.refused(ELSEWHERE, authorization=shown, host="heimdall.dns.svc:9053"), "")
        for shown in (f"Bearer {TOKEN}x", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, "Bearer \xe9"):
            for client in (HERE, ELSEWHERE):
                self.assertEqual(self.refused(client, authorization=shown), "this is not the token", shown)
        self.trust = Trust()
        self.assertIn("not the token", self.refused(HERE, authorization="Bearer "))

    def test_file(self) -> None:
        """The token may be changed while we run; a file that cannot be used lets nobody in, and is told of once."""
        self.file.write_text("another token of 16 and more")
        self.assertEqual(self.refused(ELSEWHERE, authorization="Bearer another token of 16 and more"), "")
        for text in ("short", "x" * (LONGEST + 1), ""):
            self.file.write_text(text)
            self.assertIn("not the token", self.refused(ELSEWHERE, authorization=f"Bearer {text}"))
        self.file.unlink()
        self.assertIn("not the token", self.refused(ELSEWHERE, authorization="Bearer "))

    def test_other_sites(self) -> None:
        """A page of another site that somebody looks at may not, be it with the token."""
        for headers in (
            {"origin": "http://evil.example"},
            {"origin": "null"},
            {"origin": "http://localhost:80"},
            {"sec_fetch_site": "cross-site"},
            {"sec_fetch_site": "same-site"},
            {"origin": "http://evil.example", "authorization": f"Bearer {TOKEN}"},
        ):
            self.assertIn("another site", self.refused(HERE, **headers), headers)
        self.assertEqual(self.refused(HERE, origin="http://localhost:9053", sec_fetch_site="same-origin"), "")
        self.assertEqual(self.refused(HERE, sec_fetch_site="none"), "")

    def test_rebound_names(self) -> None:
        """A name that somebody else had lead here is not taken for ours; our own names and addresses are."""
        for host in (
            "evil.example",
            "evil.example:9053",
            "127.0.0.1.evil.example",
            "localhost.evil.example:1",
            "a:b:c",
        ):
            self.assertIn("IP address", self.refused(HERE, host=host), host)
        for host in ("127.0.0.1", "127.0.0.1:9053", "[::1]:9053", "[::1]", "LOCALHOST", "heimdall-0:9053", ""):
            self.assertEqual(self.refused(HERE, host=host), "", host)

    def test_readers(self) -> None:
        """Everybody may read, but a browser of this machine that came by a name of somebody else's (DNS rebinding)."""
        self.assertEqual(self.trust.refuse_reader(self.request(ELSEWHERE, host="dns.corp.example")), "")
        for host in ("localhost:9053", "127.0.0.1:9053", "[::1]:9053", "heimdall-0:9053", "192.0.2.7"):
            self.assertEqual(self.trust.refuse_reader(self.request(HERE, host=host)), "", host)
        passed_on = self.request(HERE, host="dns.corp.example", x_forwarded_for="192.0.2.1")
        self.assertEqual(self.trust.refuse_reader(passed_on), "")
        self.assertIn("localhost", self.trust.refuse_reader(self.request(HERE, host="evil.example:9053")))
        self.assertEqual(self.trust._refused.total("host"), 1)
