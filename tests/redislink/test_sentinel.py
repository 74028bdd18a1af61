"""Redis behind real sentinels: whoever they make the master is found."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread

from heimdall.interfaces import LinkDown
from heimdall.redislink import Startable
from tests.ports import free_port
from tests.rediscase import RedisCase, real_reactor
from tests.rediscase import really_pause as pause
from tests.rediscase import really_until as until
from tests.redislink.test_live import ends
from tests.redisserver import RedisServer, Sentinel, watched


class Sentinels(RedisCase):
    """A master, a replica and three sentinels that call a master down after a second of real time."""

    reactor = real_reactor

    async def watched(self, **settings: Any) -> tuple[RedisServer, RedisServer, list[Sentinel]]:
        """Start them all."""
        master, replica, sentinels = await deferToThread(watched, **settings)
        for server in (master, replica, *sentinels):
            self.addCleanup(server.stop)
        return master, replica, sentinels

    def url(self, sentinels: list[Sentinel], *, scheme: str = "redis", login: str = "", host: str = "127.0.0.1") -> str:
        """Return the URL of the service."""
        hosts = ",".join(f"{host}:{sentinel.port}" for sentinel in sentinels)
        return f"{scheme}+sentinel://{login}{hosts}/main"

    async def writes_again(self, link: Startable) -> None:
        """Wait until a value can be written."""
        while True:
            try:
                await link.run("SET", "k", "new")
            except LinkDown:
                await pause(0.01)
            else:
                return

    async def test_failover(self) -> None:
        """A master that is killed is followed by its replica, and one that hangs as well; channels too."""
        master, replica, sentinels = await self.watched()
        # One sentinel of four does not exist: the others are asked.
        link = self.linked(self.url(sentinels).replace("//", f"//127.0.0.1:{free_port()},"))
        heard: list[bytes] = []
        link.listen("c", heard.append)
        await until(lambda: link.up and link.hearing)
        await link.run("SET", "k", "old")
        master.kill()
        await self.writes_again(link)
        self.assertEqual(replica.command("GET", "k"), b"new")
        await until(lambda: link.hearing)
        await link.run("PUBLISH", "c", "here")
        await until(lambda: heard == [b"here"])
        # Were it back at once, a sentinel to which the new master seems down for a moment would make it master again.
        asked, port = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"), str(replica.port).encode()
        await until(lambda: all(sentinel.command(*asked)[1] == port for sentinel in sentinels))
        await pause(3.1)
        master.start()  # the sentinels make it a replica of the other

        def follows() -> bool:
            with contextlib.suppress(OSError):  # whoever is connected while it becomes a replica is thrown out
                return bool(master.command("ROLE")[0] == b"slave" and master.command("GET", "k") == b"new")
            return False

        await until(follows, 150)  # a sentinel that stood still for seconds does nothing for half a minute after that
        await pause(3.1)  # no failover within the failover timeout of the last one
        replica.pause()
        await self.writes_again(link)
        self.assertEqual(master.command("GET", "k"), b"new")
        await until(lambda: link.hearing)

    async def test_secrets(self) -> None:
        """Through sentinels with TLS, a password there and another user's here, both are used."""
        master, _, sentinels = await self.watched(tls=True, password="secret")
        file = Path(self.mktemp())
        file.write_text("secret\n")
        link = self.linked(
            self.url(sentinels, scheme="rediss", login="default:secret@"),
            ca_file=master.ca_file,
            sentinel_password_file=str(file),
        )
        without = self.linked(self.url(sentinels, scheme="rediss", login=":secret@"), ca_file=master.ca_file)
        await until(lambda: link.up)
        self.assertEqual(await link.run("SET", "k", "v"), b"OK")
        await until(lambda: ends(without, "sentinel"))
        self.assertNotIn("secret", " ".join(self.events))

    async def test_nobody_knows(self) -> None:
        """Sentinels that are away, or know no such service, are told as such."""
        sentinel = Sentinel(self.server(), quorum=1)
        self.addCleanup(sentinel.stop)
        sentinel.start()
        away = self.linked(f"redis+sentinel://127.0.0.1:{free_port()}/main")
        other = self.linked(self.url([sentinel]) + "-other")
        await until(lambda: ends(away, "sentinel") and ends(other, "sentinel"))
        self.assertIn("no such service", " ".join(self.events))
        self.assertFalse(away.up or other.up)
