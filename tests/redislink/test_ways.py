"""The ways to a Redis: certificates of ours and theirs, users with few rights, names from servers of our choice."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint
from twisted.internet.interfaces import IHostResolution, IResolutionReceiver
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.names import dns, server
from twisted.names.authority import BindAuthority
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from heimdall.interfaces import LinkDown
from heimdall.redislink import Startable
from heimdall.redislink.names import MOST_THREADS, HostNames, Names
from heimdall.redislink.ways import Ways
from tests.house.tree import ROOT
from tests.rediscase import RedisCase, reactor, until
from tests.redislink.test_live import ends
from tests.redisserver import make_certificates, need

ACL = re.findall(r"^```acl\n(.*?)\n```$", (ROOT / "docs" / "redis.md").read_text(encoding="utf-8"), re.M)


class Kinds(SynchronousTestCase):
    """Which way is taken to which host."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        make_certificates(self.folder)

    def ways(self, **settings: Any) -> Ways:
        clock: Any = Clock()
        return Ways(clock, names=Names(Clock(), [("192.0.2.1", 53)]), **settings)

    def test_hosts(self) -> None:
        """An IP address needs no name to be looked up; a name outside ASCII is asked for in Punycode."""
        ways = self.ways()
        self.assertIsInstance(ways.to("192.0.2.1", 1), TCP4ClientEndpoint)
        self.assertIsInstance(ways.to("2001:db8::1", 1), TCP6ClientEndpoint)
        self.assertIsInstance(ways.to("cache", 1), HostnameEndpoint)
        self.assertIsInstance(ways.unix("/run/r.sock"), UNIXClientEndpoint)
        self.assertIn("xn--mnchen-3ya", repr(ways.to("münchen", 1).__dict__))

    def test_good_files(self) -> None:
        """Certificates of the system or of a file are trusted; ours may be in one file with its key, or in two."""
        ca, cert, key = (str(self.folder / name) for name in ("ca.pem", "client.pem", "client.key"))
        both = self.folder / "both"
        both.write_bytes(Path(cert).read_bytes() + Path(key).read_bytes() + Path(ca).read_bytes())
        for settings in (
            {},
            {"ca_file": ca},
            {"cert_file": cert, "key_file": key},
            {"ca_file": ca, "cert_file": str(both)},
        ):
            self.ways(tls=True, **settings).secure("cache")

    def test_bad_files(self) -> None:
        """A file that is missing, empty, broken or locked is named in the refusal."""
        (self.folder / "empty").write_bytes(b"nothing")
        (self.folder / "broken").write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        (self.folder / "locked").write_bytes(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n")
        cert = str(self.folder / "client.pem")
        for name, settings in (
            ("missing", {"ca_file": "?"}),
            ("empty", {"ca_file": "?"}),
            ("broken", {"ca_file": "?"}),
            ("empty", {"cert_file": "?"}),
            ("missing", {"cert_file": cert, "key_file": "?"}),
            ("empty", {"cert_file": cert, "key_file": "?"}),
            ("locked", {"cert_file": cert, "key_file": "?"}),
            ("client.pem", {"cert_file": cert}),
        ):
            file = str(self.folder / name)
            settings = {key: file if value == "?" else value for key, value in settings.items()}
            error = self.assertRaises(ValueError, self.ways, tls=True, **settings)
            self.assertIn(file, str(error))

    def test_installed_later(self) -> None:
        """Names are looked up by the machine, whatever resolver is installed in the reactor."""
        made: Any = Clock()
        made.nameResolver = "our own path"
        named: Any = Ways(made).to("cache", 1)
        self.assertIsInstance(named._reactor.nameResolver, HostNames)
        self.assertIs(named._reactor.installNameResolver("another"), named._reactor.nameResolver)
        self.assertEqual(named._reactor.seconds(), 0.0)


class Machine(RedisCase):
    """Names that the machine is asked for."""

    async def test_by_name(self) -> None:
        """A Redis is found by a name that the machine knows."""
        redis = self.server()
        link = self.linked(f"redis://localhost:{redis.port}")
        await until(lambda: link.up)

    async def test_unknown(self) -> None:
        """A name that nobody knows is told as such, and asked for again, by few threads at a time."""
        names = HostNames(reactor)
        ended: list[object] = []

        class Receiver:
            def resolutionBegan(self, resolution: object) -> None: ...
            def addressResolved(self, address: object) -> None: ...
            def resolutionComplete(self) -> None:
                ended.append(self)

        receiver: Any = Receiver()
        for _ in range(MOST_THREADS + 1):
            names.resolveHostName(receiver, "no.such.name.invalid")
        self.assertGreaterEqual(len(ended), 1)
        await until(lambda: len(ended) == MOST_THREADS + 1)


class Secured(RedisCase):
    """Real servers that want to know who comes."""

    async def test_client_certificate(self) -> None:
        """A Redis that asks for a certificate gets ours; a renewed one is used at the next connect."""
        redis = self.server(tls=True, tls_auth_clients="yes")
        folder = Path(self.mktemp())
        folder.mkdir()
        cert, key = folder / "cert", folder / "key"
        make_certificates(folder)
        (folder / "client.pem").rename(cert)
        (folder / "client.key").rename(key)
        link = self.linked(redis.url, ca_file=redis.ca_file, cert_file=str(cert), key_file=str(key))
        without = self.linked(redis.url, ca_file=redis.ca_file)
        await until(lambda: sum(ends(link, why) for why in ("tls", "lost")) >= 2)
        self.assertFalse(link.up or without.up)
        cert.write_bytes(Path(redis.cert_file).read_bytes())
        key.write_bytes(Path(redis.key_file).read_bytes())
        await until(lambda: link.up)
        self.assertEqual(await link.run("PING"), b"PONG")
        self.assertFalse(without.up)
        # Files that are broken later are told, and do no other harm.
        cert.write_bytes(b"")
        redis.command("CLIENT", "KILL", "TYPE", "normal")
        await until(lambda: ends(link, "tls") and "PEM form" in self.events[-1])

    async def test_users(self) -> None:
        """The rights that the documentation asks for are enough, and those of a reader are too few to write."""
        need(7)
        self.assertEqual(len(ACL), 2)
        redis = self.server(users=["user default off", *ACL])
        heard: list[bytes] = []
        full = self.linked(redis.url.replace("//", "//heimdall:password@"))
        reader = self.linked(redis.url.replace("//", "//heimdall-reader:password@"))
        for link in (full, reader):
            link.listen("heimdall:n:all", heard.append)
        await until(lambda: all(link.up and link.hearing for link in (full, reader)))
        commands: tuple[tuple[str | int, ...], ...] = (
            ("SET", "heimdall:k", "v", "PX", 1000),
            ("MGET", "heimdall:k"),
            ("EVAL", "return redis.call('APPEND', KEYS[1], 'w')", 1, "heimdall:k"),
            ("ZADD", "heimdall:z", 1, "a"),
            ("ZREVRANGE", "heimdall:z", 0, -1),
            ("SCAN", 0, "MATCH", "heimdall:*", "COUNT", 10),
            ("PEXPIRE", "heimdall:z", 1000),
            ("ROLE",),
            ("DEL", "heimdall:k"),
        )
        for command in commands:
            await full.run(*command)
        await full.run("PUBLISH", "heimdall:n:all", "m")
        await until(lambda: heard == [b"m", b"m"])
        refused: tuple[tuple[Startable, tuple[str | int, ...]], ...] = (
            (full, ("GET", "other")),
            (full, ("FLUSHALL",)),
            (full, ("PUBLISH", "other", "m")),
            (reader, ("SET", "heimdall:k", "v")),
            (reader, ("EVAL", "return 1", 0)),
        )
        for link, command in refused:
            failure = await self.assertFailure(link.run(*command), LinkDown)
            self.assertTrue(str(failure).startswith("NOPERM"), failure)
        self.assertIsNone(await reader.run("GET", "heimdall:none"))


@implementer(IResolutionReceiver)
class Receiver:
    """Takes what is found."""

    def __init__(self) -> None:
        self.found: list[Any] = []
        self.over = False

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Note whose it is."""
        self.began = resolutionInProgress

    def addressResolved(self, address: Any) -> None:
        """Note an address."""
        self.found.append(address)

    def resolutionComplete(self) -> None:
        """Note the end."""
        self.over = True


class Looking(RedisCase):
    """Names that a DNS server of our choice knows."""

    def name_server(self, zone: str) -> int:
        """Start a DNS server with a zone, and return its port."""
        file = Path(self.mktemp())
        file.write_text(f"$ORIGIN example.\n$TTL 60\nexample. IN SOA a.example. b.example. 1 1 1 1 1\n{zone}")
        factory = server.DNSServerFactory(authorities=[BindAuthority(str(file))])
        protocol = dns.DNSDatagramProtocol(factory)
        port = reactor.listenUDP(0, protocol, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    async def test_found(self) -> None:
        """Redis is found by a name that only that server knows."""
        redis = self.server()
        at = self.name_server("cache IN A 127.0.0.1\n")
        link = self.linked(f"redis://cache.example:{redis.port}", resolver=[("127.0.0.1", at)])
        await until(lambda: link.up)
        other = self.linked(f"redis://nobody.example:{redis.port}", resolver=[("127.0.0.1", at)])
        await until(lambda: ends(other, "name"))

    async def test_addresses(self) -> None:
        """Addresses of both kinds are handed over, or those that are wanted."""
        at = self.name_server("cache IN A 192.0.2.7\ncache IN AAAA 2001:db8::7\n")
        names = Names(reactor, [("127.0.0.1", at)])
        four, six = IPv4Address("TCP", "192.0.2.7", 5), IPv6Address("TCP", "2001:db8::7", 5)
        for wanted, expected in ((None, {four, six}), ([IPv6Address], {six})):
            receiver = Receiver()
            names.resolveHostName(receiver, "cache.example", 5, wanted)
            await until(lambda receiver=receiver: receiver.over)  # type: ignore[misc]
            self.assertEqual(set(receiver.found), expected)
            self.assertEqual(receiver.began.name, "cache.example")

    async def test_quiet(self) -> None:
        """A look-up does not tell the log that its sockets' protocols start and stop."""
        at = self.name_server("cache IN A 192.0.2.7\n")
        said: list[str] = []

        def heard(event: LogEvent) -> None:
            said.append(formatEvent(event))

        observer: ILogObserver = heard  # type: ignore[assignment]
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        receiver = Receiver()
        Names(reactor, [("127.0.0.1", at)]).resolveHostName(receiver, "cache.example")
        await until(lambda: receiver.over)
        self.assertEqual([line for line in said if "Starting protocol" in line], [])

    async def test_nobody_answers(self) -> None:
        """A server that is silent makes a name unknown in some seconds; a look-up that is given up ends at once."""
        silent = reactor.listenUDP(0, dns.DNSDatagramProtocol(Silent()), interface="127.0.0.1")
        self.addCleanup(silent.stopListening)
        names = Names(reactor, [("127.0.0.1", silent.getHost().port)])
        receiver, given_up = Receiver(), Receiver()
        resolution = names.resolveHostName(given_up, "cache.example")
        resolution.cancel()
        self.assertTrue(given_up.over)
        names.resolveHostName(receiver, "cache.example")
        await until(lambda: receiver.over)
        self.assertEqual(receiver.found, [])


class Silent:
    """Hears queries, and says nothing."""

    def messageReceived(self, *_: object) -> None:
        """Say nothing."""
