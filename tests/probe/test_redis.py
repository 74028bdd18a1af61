"""Looking at a real Redis as a node would use it."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any
from unittest import mock

from heimdall.probe import redis as module
from heimdall.probe.found import FAIL, NOTE, OK, Found
from heimdall.probe.redis import WAIT, redis
from heimdall.redislink import connect_to
from tests.ports import free_port
from tests.rediscase import RedisCase, reactor

USER = "user heimdall on >{password} resetkeys ~heimdall:* resetchannels &heimdall:* "
GRANTED = "+@read +@write +@scripting +@pubsub +@connection +time -@dangerous +role +cluster|slots"


class Looking(RedisCase):
    """What is found."""

    behind = 0.0

    async def found(self, url: str, *, reader: bool = False, asked: bool = True, **settings: Any) -> dict[str, Found]:
        """Look, and return what was found by what it is of; this machine's clock is ``behind`` that of Redis."""
        self.patch(module, "time", mock.Mock(time=lambda: reactor.wall() - self.behind))
        link = connect_to(reactor, url, reads_only=reader, **settings)
        found = await redis(reactor, link, "heimdall", shown="there", reader=reader, asked=asked)
        return {each.what: each for each in found}

    async def test_good(self) -> None:
        """A Redis with a bound and an eviction policy is ok in everything, and nothing of ours is left there."""
        server = self.server(maxmemory="64mb", maxmemory_policy="allkeys-lru")
        found = await self.found(server.url)
        self.assertEqual({what: each.state for what, each in found.items()}, dict.fromkeys(found, OK))
        self.assertEqual(list(found), ["there", "version", "memory", "clock", "rights"])
        self.assertRegex(found["there"].said, r"^answers in [0-9.]+ ms$")
        self.assertRegex(found["version"].said, r"^(Redis|Valkey) \d+\.\d+.*, master, standalone$")
        self.assertEqual(found["memory"].said, "64 MB, allkeys-lru when full")
        self.assertEqual(found["clock"].facts["ahead"], 0.0)
        self.assertIn("hear", found["rights"].facts["tried"])
        self.assertEqual(server.command("DBSIZE"), 0)

    async def test_clock(self) -> None:
        """A clock that is more than a minute from that of Redis is told of, by how much, and which way."""
        for self.behind, state, said in (
            (59.0, OK, ""),
            (61.5, NOTE, "61.500 s ahead of"),
            (-61.5, NOTE, "61.500 s behind"),
        ):
            clock = (await self.found(self.server().url))["clock"]
            self.assertEqual((clock.state, clock.facts["ahead"]), (state, self.behind))
            self.assertIn(said, clock.said)

    async def test_memory(self) -> None:
        """A Redis without a bound, or one that refuses writes when it is full, is to be looked at."""
        found = await self.found(self.server().url)
        self.assertEqual(found["memory"].state, NOTE)
        self.assertIn("maxmemory is not set", found["memory"].said)
        found = await self.found(self.server(maxmemory="64mb", maxmemory_policy="noeviction").url)
        self.assertEqual(found["memory"].state, NOTE)
        self.assertIn("noeviction", found["memory"].said)

    async def test_documented_user(self) -> None:
        """The user that docs/redis.md recommends may do all that a node does."""
        page = (Path(__file__).parent.parent.parent / "docs" / "redis.md").read_text()
        self.assertIn(GRANTED, page)
        password = secrets.token_hex(8)
        server = self.server(users=[USER.format(password=password) + GRANTED])
        found = await self.found(server.url.replace("//", f"//heimdall:{password}@"))
        self.assertEqual((found["rights"].state, found["rights"].facts["lacks"]), (OK, {}))
        self.assertEqual(found["itself"].state, NOTE)
        self.assertIn("version and memory cannot be seen", found["itself"].said)

    async def test_lacking(self) -> None:
        """What a user may not do is named, one by one."""
        password = secrets.token_hex(8)
        server = self.server(users=[USER.format(password=password) + GRANTED + " -@scripting -zadd -publish"])
        found = await self.found(server.url.replace("//", f"//heimdall:{password}@"))
        self.assertEqual(found["rights"].state, FAIL)
        self.assertEqual(sorted(found["rights"].facts["lacks"]), ["hear", "lease", "publish", "rank"])
        self.assertIn("docs/redis.md", found["rights"].said)

    async def test_reader(self) -> None:
        """Of a node that only reads nothing is tried that writes."""
        server = self.server()
        found = await self.found(server.url, reader=True)
        self.assertEqual(
            (found["rights"].state, found["rights"].facts["tried"]), (OK, ["read", "search", "publish", "hear"])
        )

    async def test_password(self) -> None:
        """A wrong password is told as such, with what to do, and not shown."""
        server = self.server(password="the-right-one")
        found = await self.found(server.url.replace("//", "//:the-wrong-one@"))
        [only] = found.values()
        self.assertEqual(only.state, FAIL)
        self.assertIn("the password was refused; correct the user", only.said)
        self.assertNotIn("-one", repr(only))

    async def test_away(self) -> None:
        """A Redis that is not there has failed, with why and what to do; one that nobody asked for is noted."""
        url = f"redis://127.0.0.1:{free_port()}"
        [only] = (await self.found(url)).values()
        self.assertEqual(only.state, FAIL)
        self.assertIn("start Redis, or correct its address", only.said)
        [only] = (await self.found(url, asked=False)).values()
        self.assertEqual(only.state, NOTE)
        self.assertIn("--no-redis", only.said)

    async def test_hung(self) -> None:
        """A Redis that hangs is told in time."""
        server = self.server()
        server.pause()
        began = reactor.seconds()
        [only] = (await self.found(server.url)).values()
        self.assertEqual(only.state, FAIL)
        self.assertAlmostEqual(reactor.seconds() - began, WAIT, 1)
        server.resume()
