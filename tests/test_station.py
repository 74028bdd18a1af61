"""What serves, through many changes of its configuration: nothing piles up."""

from __future__ import annotations

import gc
from collections import Counter
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred

from heimdall import station
from heimdall.accept.front import Front
from heimdall.admit.limit import Limit
from heimdall.cache.flush import Flushes
from heimdall.cache.once import Once
from heimdall.cache.redis import Shared
from heimdall.config.settings import Admit, Fetch, Redis, Settings
from heimdall.fetch.udp import Udp
from heimdall.fetch.upstream import Group
from heimdall.pipeline import Path, lay
from heimdall.redislink.link import Link
from heimdall.redislink.wire import Wire
from heimdall.station import Station
from tests.cache.questions import positive, question
from tests.rediscase import RedisCase, pause, reactor, until

KINDS = (Path, Front, Group, Udp, Once, Shared, Link, Wire, Flushes, Limit)
"""What each path has of its own, but for the front."""

TIMES = 8


def alive() -> Counter[str]:
    """Count what is there of each kind."""
    return Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, KINDS))


class Changes(RedisCase):
    """One station, with a real Redis or without."""

    def serve(self, redis: Redis, **fetch: Any) -> Station:
        """Serve with these settings, and with short good-byes."""
        self.patch(station, "LAST_WORDS", 0.02)
        self.settings = Settings(fetch=Fetch(upstreams=("127.0.0.1:1",), **fetch), redis=redis, admit=Admit(rate=100.0))
        path = lay(self.settings, reactor)
        made = Station(path, reactor, (), "one")
        self.addCleanup(made.close)
        path.start()
        return made

    async def check_nothing_left(self, served: Station) -> None:
        """Change the configuration many times; count what is there before and after."""
        await served.change(self.settings)
        await served.settled()
        before = alive()
        for _ in range(TIMES):
            await served.change(self.settings)
            self.assertLessEqual(len(served._former), 1)
        await served.settled()
        gone = alive()
        gone.subtract(before)
        self.assertEqual({kind: count for kind, count in gone.items() if count}, {})

    async def test_nothing_left(self) -> None:
        """However often the configuration is changed, there is one path, and of each of its parts as many as before."""
        await self.check_nothing_left(self.serve(Redis(enabled=False)))

    async def test_nothing_left_of_redis(self) -> None:
        """With a Redis as well: its connections are closed with the path, and nothing keeps them."""
        redis = self.server()
        served = self.serve(Redis(url=redis.url, secret="0123456789abcdef"))
        await until(lambda: served.path.link is not None and served.path.link.up)
        await self.check_nothing_left(served)

        def connected() -> int:
            return int(redis.command("CLIENT", "LIST").count(b"name=heimdall"))

        await until(lambda: connected() <= 2)

    async def test_one_before(self) -> None:
        """A path with a question under way stays open, and the next change waits until that has its answer."""
        served = self.serve(Redis(enabled=False), deadline=0.6)
        first = served.path
        asked = first.inside.ask(question("silent.example"))
        await served.change(evolve(self.settings, fetch=evolve(self.settings.fetch, deadline=0.6)))
        self.assertEqual(list(served._former), [first])
        second = served.path
        changing = served.change(self.settings)
        settled = served.settled()
        self.assertFalse(changing.called or settled.called)
        await settled
        self.assertTrue(asked.called)
        await changing
        self.assertEqual(list(served._former), [second])
        await served.settled()

    async def test_still_starting(self) -> None:
        """A change while the embedded Redis still starts is taken in, and the start ends well behind it."""
        served = self.serve(Redis(url="redis://127.0.0.1:1"))
        redis: Deferred[None] = Deferred()
        started = served.start(redis)
        await served.change(self.settings)
        redis.callback(None)
        await started
        await served.settled()

    async def test_owed_flushes(self) -> None:
        """What is flushed while Redis is away, and the next path waits for it, is owed to Redis by that path."""
        served = self.serve(Redis(url="redis://127.0.0.1:1"))
        changing = served.change(self.settings)
        await pause(0.1)
        self.assertFalse(changing.called)
        assert served.path.sharing is not None
        served.path.sharing.flushes.flush(question("bank.example").name, True).addErrback(lambda _: None)
        await changing
        assert served.path.sharing is not None
        self.assertEqual(len(served.path.sharing.flushes._owed), 1)
        await served.settled()

    async def test_counted_once(self) -> None:
        """While two paths are open, what they share is counted once."""
        served = self.serve(Redis(enabled=False), deadline=0.3)
        served.path.inside.ask(question("silent.example"))
        await served.change(self.settings)
        tallies = list(served.tallies)
        self.assertEqual(len(tallies), len(set(tallies)))
        await served.settled()

    async def test_judged(self) -> None:
        """What is in memory is judged by the new rules, and what the path before learnt since, by them too."""
        served = self.serve(Redis(enabled=False), deadline=0.3)
        names = ("a.example", "b.example")
        served.path.memory.put(question(names[0]), positive(names[0]), reactor.seconds())
        served.path.inside.ask(question("silent.example"))
        await served.change(evolve(self.settings, admit=Admit(block=names)))
        served.path.memory.put(question(names[1]), positive(names[1]), reactor.seconds())
        await served.settled()
        await until(lambda: served.path.forgetting._work is None)
        held = [served.path.memory.life(question(name).key) is not None for name in names]
        self.assertEqual(held, [False, False])
