"""The link and a real Redis, to which everything happens that can happen to one."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.protocol import Factory, Protocol

from heimdall.interfaces import LinkDown
from heimdall.redislink import Startable
from heimdall.tally import Count
from tests.ports import free_port
from tests.rediscase import RedisCase, pause, reactor, real_reactor, really_until, until
from tests.redisserver import RedisServer


def ends(link: Startable, reason: str) -> int:
    """How often a link could not connect, or lost its connection, for a reason."""
    [count] = [t for t in link.tallies if isinstance(t, Count) and t.name == "heimdall_redislink_errors_total"]
    return count.total(reason)


class Reaching(RedisCase):
    """Every way to reach a Redis."""

    async def test_plain(self) -> None:
        """Replies come back as bytes and numbers, and the clock of Redis is known to some milliseconds."""
        link = self.linked(self.server().url)
        await until(lambda: link.up)
        self.assertEqual(await link.run("SET", b"k\xff", b"\0\r\n1", "PX", 1000), b"OK")
        self.assertEqual(await link.run("MGET", b"k\xff", "none"), [b"\0\r\n1", None])
        self.assertEqual(await link.run("DEL", b"k\xff"), 1)
        self.assertAlmostEqual(link.now() or 0.0, reactor.wall(), 3)

    async def test_unix_socket_and_database(self) -> None:
        """A Unix socket is as good as a port, and each database is apart."""
        server = self.server(unix=True)
        link, other = self.linked(server.url + "?db=3"), self.linked(server.url)
        await until(lambda: link.up and other.up)
        await link.run("SET", "k", "v")
        self.assertEqual((await link.run("GET", "k"), await other.run("GET", "k")), (b"v", None))

    async def test_no_such_database(self) -> None:
        """A database that Redis does not have is told as such."""
        link = self.linked(self.server().url + "/77")
        await until(lambda: ends(link, "database"))
        self.assertIn("number of the database", self.events[0])

    async def test_tls(self) -> None:
        """TLS is verified: the right CA is taken, a missing one and a host of another name are not."""
        server = self.server(tls=True)
        good = self.linked(server.url, ca_file=server.ca_file)
        address = self.linked(server.url.replace("localhost", "127.0.0.1"), ca_file=server.ca_file)
        stranger = self.linked(server.url)
        host = self.linked(server.url.replace("localhost", "127.1.2.3"), ca_file=server.ca_file)
        plain = self.linked(f"redis://127.0.0.1:{server.port}")
        await until(lambda: good.up and address.up)
        self.assertEqual(await good.run("PING"), b"PONG")
        await until(lambda: ends(stranger, "tls") and ends(plain, "lost"))
        self.assertFalse(stranger.up or host.up or plain.up)

    async def test_tls_name(self) -> None:
        """A certificate for another host is refused."""
        server = self.server(tls=True, bind="127.0.0.1 127.1.2.3")
        link = self.linked(server.url.replace("localhost", "127.1.2.3"), ca_file=server.ca_file)
        await until(lambda: ends(link, "tls"))
        self.assertFalse(link.up)

    async def test_password_file(self) -> None:
        """A wrong password is told once, and never shown; a new one in the file is taken up by itself."""
        server = self.server(password="the-right-one")
        file = Path(self.mktemp())
        file.write_text("the-wrong-one\n")
        link = self.linked(server.url, password_file=str(file))
        await until(lambda: ends(link, "password") >= 3)
        self.assertEqual(len(self.events), 1)
        file.write_text("the-right-one\n")
        await until(lambda: link.up)
        self.assertEqual(await link.run("PING"), b"PONG")
        self.assertNotIn("-one", " ".join(self.events))

    async def test_url_password(self) -> None:
        """User and password may stand in the URL; none where one is needed is told."""
        server = self.server(password="p@ss")
        good = self.linked(server.url.replace("//", "//default:p%40ss@"))
        without = self.linked(server.url)
        needless = self.linked(self.server().url.replace("//", "//:p@"))
        await until(lambda: good.up and ends(without, "password") and ends(needless, "password"))

    async def test_not_redis(self) -> None:
        """Whatever else listens there is told from a Redis, and does no harm."""

        class Chatter(Protocol):
            def connectionMade(self) -> None:
                if self.transport is not None:
                    self.transport.write(b"220 mail.example ESMTP\r\n")

        port = reactor.listenTCP(0, Factory.forProtocol(Chatter), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        link = self.linked(f"redis://127.0.0.1:{port.getHost().port}")
        await until(lambda: ends(link, "protocol") >= 2)
        self.assertEqual(len(self.events), 1)


class Surviving(RedisCase):
    """What happens to a Redis that was there."""

    async def test_away_at_start(self) -> None:
        """A Redis that comes later is found."""
        server = RedisServer()
        self.addCleanup(server.stop)
        link = self.linked(server.url)
        await until(lambda: ends(link, "refused") >= 2)
        server.start()
        await until(lambda: link.up)
        self.assertEqual(len(self.events), 2)

    async def test_killed_and_restarted(self) -> None:
        """A Redis that dies fails what waits at once, and is used again when it is back."""
        server = self.server()
        link = self.linked(server.url)
        await until(lambda: link.up)
        server.pause()
        waiting = link.run("GET", "k")
        server.kill()
        await self.assertFailure(waiting, LinkDown)
        self.assertFalse(link.up)
        server.start()
        await until(lambda: link.up)
        self.assertEqual(await link.run("PING"), b"PONG")
        self.assertEqual(len(self.events), 3)

    async def test_hung_for_a_moment(self) -> None:
        """A Redis that hangs is noticed in a moment, and used again as soon as it answers."""
        server = self.server()
        link = self.linked(server.url, slow=0.1)
        await until(lambda: link.up)
        server.pause()
        waiting = link.run("PING")
        noticed = await until(lambda: not link.up)
        self.assertTrue(0.1 <= noticed < 0.21, noticed)
        await self.assertFailure(link.run("PING"), LinkDown)
        server.resume()
        self.assertEqual(await waiting, b"PONG")
        await until(lambda: link.up)
        self.assertEqual(ends(link, "silent"), 0)

    async def test_hung_for_long(self) -> None:
        """A Redis that goes on hanging fails every command in time, and is found again when it goes on."""
        server = self.server()
        link = self.linked(server.url, slow=0.1, time_limit=0.3, silent=1.5)
        await until(lambda: link.up)
        server.pause()
        began = reactor.seconds()
        failure = await self.assertFailure(link.run("PING"), LinkDown)
        self.assertEqual(str(failure), "no reply within 0.3 s")
        self.assertTrue(0.3 <= reactor.seconds() - began < 0.41)
        await until(lambda: ends(link, "silent") and ends(link, "timeout"))
        server.resume()
        await until(lambda: link.up)

    async def test_client_pause(self) -> None:
        """CLIENT PAUSE is no more than a slow Redis."""
        server = self.server()
        link = self.linked(server.url, slow=0.1)
        await until(lambda: link.up)
        server.hold()
        waiting = link.run("SET", "k", "v")
        await until(lambda: not link.up)
        self.assertNoResult(waiting)
        server.release()
        self.assertEqual(await waiting, b"OK")
        await until(lambda: link.up)

    async def test_half_open(self) -> None:
        """A listener that takes the connection and says nothing is given up, again and again."""
        port = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        link = self.linked(f"redis://127.0.0.1:{port.getHost().port}", silent=0.2)
        await until(lambda: ends(link, "timeout") >= 2)
        self.assertEqual(len(self.events), 1)
        await link.close()
        await pause(0.01)

    async def test_killed_by_an_operator(self) -> None:
        """A connection that an operator kills is made anew."""
        server = self.server()
        link = self.linked(server.url)
        await until(lambda: link.up)
        self.assertIn(b"name=heimdall", server.command("CLIENT", "LIST"))
        server.command("CLIENT", "KILL", "TYPE", "normal")
        await until(lambda: not link.up)
        await until(lambda: link.up)

    async def test_nobody_there(self) -> None:
        """Closing a link that never found its Redis leaves nothing behind."""
        link = self.linked(f"redis://127.0.0.1:{free_port()}")
        await until(lambda: ends(link, "refused"))
        await link.close()
        self.assertFalse(link.up)


class Crowded(RedisCase):
    """A Redis that has no place for the connection by which a test looks whether it is busy."""

    reactor = real_reactor

    async def test_no_more_clients(self) -> None:
        """A Redis that takes no more clients is tried again."""
        server = self.server(maxclients="1")
        first = self.linked(server.url)
        await really_until(lambda: first.up)
        self.events.clear()
        second = self.linked(server.url)
        await really_until(lambda: self.events)
        self.assertIn("max number of clients", self.events[0])
        await first.close()
        await really_until(lambda: second.up)
