"""Asking upstreams what they can do, over real sockets."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as any_reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from heimdall.probe import upstreams as module
from heimdall.probe.found import FAIL, NOTE, OK, Found
from heimdall.probe.upstreams import upstreams
from heimdall.testing import Scripted

reactor: Any = any_reactor


class Upstreams(TestCase):
    """What is said of a server."""

    timeout = 600

    def setUp(self) -> None:
        self.server = Scripted(reactor).start()
        self.addCleanup(self.server.stop)
        self.server.when(".", qtype="NS", say=["a.example."])
        self.patch(module, "WAIT", 60.0)

    async def found(self, text: str = "", name: str = ".") -> Found:
        """Ask the server."""
        [found] = await deferToThread(upstreams, [(text or self.server.text, name)])
        return found

    async def test_good(self) -> None:
        """A server that answers over both transports, with EDNS, is ok; its time is told."""
        found = await self.found()
        self.assertEqual((found.part, found.what, found.state), ("upstream", self.server.text, OK))
        self.assertRegex(found.said, r"^answers in [0-9.]+ m?s, EDNS, TCP$")
        self.assertEqual(
            {name: found.facts[name] for name in ("reached", "rcode", "edns", "tcp", "recursion", "validates")},
            {"reached": True, "rcode": "NOERROR", "edns": True, "tcp": True, "recursion": True, "validates": False},
        )
        self.assertEqual([(one.over, one.qtype) for one in self.server.asked], [("udp", "NS"), ("tcp", "NS")])

    async def test_name(self) -> None:
        """A server of a route is asked about the names that it has."""
        self.server.when("a.example", qtype="SOA", say=["ns.a.example. me.a.example. 1 2 3 4 5"])
        found = await self.found(name="a.example")
        self.assertEqual((found.state, self.server.count("a.example", "SOA")), (OK, 2))

    async def test_refusing(self) -> None:
        """A server that refuses is reached, but somebody should look at it."""
        self.server.when(rcode=5)
        found = await self.found()
        self.assertEqual((found.state, found.facts["rcode"]), (NOTE, "REFUSED"))
        self.assertIn("answers REFUSED for .", found.said)

    async def test_no_edns(self) -> None:
        """A server without EDNS is noted, be it that it ignores it or does not take it."""
        for edns in ("ignore", "formerr"):
            self.server.when(".", qtype="NS", say=["a.example."], edns=edns)
            found = await self.found()
            self.assertEqual((found.state, found.facts["edns"]), (NOTE, False))
            self.assertIn("knows no EDNS", found.said)

    async def test_no_tcp(self) -> None:
        """A server that hangs up on TCP is noted; one that is asked over TCP alone has then failed."""
        self.server.when(".", over="tcp", hang_up=True)
        found = await self.found()
        self.assertEqual((found.state, found.facts["tcp"]), (NOTE, False))
        found = await self.found(f"tcp://{self.server.text}")
        self.assertEqual((found.state, found.facts["reached"]), (FAIL, False))

    async def test_silent(self) -> None:
        """A server that says nothing has failed, and it is not waited for long."""
        self.patch(module, "WAIT", 0.2)
        self.server.silent = True
        found = await self.found()
        self.assertEqual((found.state, found.facts["reached"]), (FAIL, False))
        self.assertIn("no answer over UDP", found.said)

    async def test_order(self) -> None:
        """Many are asked at once, and told in the order that they were named."""
        other = Scripted(reactor).start()
        self.addCleanup(other.stop)
        found = await deferToThread(upstreams, [(other.text, "."), (self.server.text, ".")])
        self.assertEqual([(each.what, each.state) for each in found], [(other.text, NOTE), (self.server.text, OK)])
