"""Redis is swept of what was flushed: a real one."""

from __future__ import annotations

from itertools import count
from typing import Any
from unittest import mock

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from heimdall.cache.flush import Flushes
from heimdall.cache.sweep import AT_ONCE, Sweep
from heimdall.message.wire import from_text
from heimdall.peers.notices import Notices
from heimdall.slices import REST
from tests.cache.questions import question
from tests.rediscase import RedisCase, reactor, until

MANY = 5 * AT_ONCE


class Sweeping(RedisCase):
    """What a sweep takes and what it leaves."""

    async def start(self) -> None:
        """Connect, and lay some values."""
        self.redis = self.server()
        self.link = self.linked(self.redis.url)
        await until(lambda: self.link.up)
        self.flushes = Flushes(self.link, Notices(self.link, reactor), reactor)
        self.sweep = Sweep(self.link, self.flushes, reactor)
        for name in ("a.example", "www.a.example", "aa.example", "b.example", "*.a.example"):
            for qtype in (1, 28, 999):
                self.redis.command("SET", b"heimdall:c1:" + question(name, qtype).key, b"\2value")
        self.redis.command("SET", "heimdall:node:a.example", "a member")
        self.redis.command("SET", "other:c1:" + "x" * 9, "another program's")

    def left(self) -> set[bytes]:
        """The keys that are left, of answers."""
        return set(self.redis.command("KEYS", "heimdall:c1:*"))

    async def test_name(self) -> None:
        """A name goes with all its types, and nothing else goes."""
        await self.start()
        await self.flushes.flush(from_text("a.example"), False)
        await self.sweep.run()
        gone = {b"heimdall:c1:" + question("a.example", qtype).key for qtype in (1, 28, 999)}
        self.assertEqual((len(self.left()), self.left() & gone), (12, set()))
        self.assertEqual(self.redis.command("EXISTS", "heimdall:node:a.example", "other:c1:" + "x" * 9), 2)

    async def test_subtree(self) -> None:
        """A subtree goes whole; a star in a name is a star."""
        await self.start()
        await self.flushes.flush(from_text("*.a.example"), True)
        await self.sweep.run()
        self.assertEqual(len(self.left()), 12)
        await self.flushes.flush(from_text("a.example"), True)
        await self.sweep.run()
        self.assertEqual(len(self.left()), 6)

    async def start_many(self) -> None:
        """Connect, and lay more values than are looked at in a few steps; all of them are flushed."""
        await self.start()
        keys = [b"heimdall:c1:" + question(f"n{number}.a.example").key for number in range(MANY)]
        self.redis.command("MSET", *(part for key in keys for part in (key, b"\2value")))
        await self.flushes.flush(from_text("a.example"), True)

    async def test_many(self) -> None:
        """Many keys are swept in steps, and what is done is not done again."""
        await self.start_many()
        await self.sweep.run()
        self.assertEqual(len(self.left()), 6)
        self.assertEqual(self.redis.command("ZCARD", self.flushes.todo_key), 0)
        self.assertEqual(self.redis.command("EXISTS", "heimdall:flushes:sweeper"), 0)

    async def test_rests(self) -> None:
        """Between two steps Redis and queries have their turn, four times as long as the step took."""
        await self.start_many()
        rests: list[float] = []

        def later(seconds: float, *what: Any) -> IDelayedCall:
            rests.append(seconds)
            return IReactorTime(reactor).callLater(seconds, *what)

        # A clock by which each step takes a millisecond.
        self.sweep._clock = mock.Mock(seconds=count(0, 0.001).__next__, callLater=later)
        await self.sweep.run()
        self.assertGreaterEqual(len(rests), MANY // AT_ONCE - 1)
        for seconds in rests:
            self.assertAlmostEqual(seconds, 0.001 * REST)

    async def test_stopped(self) -> None:
        """A sweep that is stopped in the middle ends there, and is left to another node."""
        await self.start_many()

        def later(*what: Any) -> IDelayedCall:
            IReactorTime(reactor).callLater(0, self.sweep.stop)
            return IReactorTime(reactor).callLater(*what)

        self.sweep._clock = mock.Mock(seconds=count(0, 0.001).__next__, callLater=later)
        await self.sweep.run()
        self.assertGreater(len(self.left()), 6)
        self.assertEqual(self.redis.command("ZCARD", self.flushes.todo_key), 1)
        self.assertEqual((self.sweep._running, self.sweep._failures.total()), (False, 1))

    async def test_stopped_while_redis_works(self) -> None:
        """So does one that waits for Redis just then, and none begins any more."""
        await self.start_many()
        swept = self.sweep.run()
        self.sweep.stop()
        await swept
        await self.sweep.run()
        self.assertGreater(len(self.left()), MANY - 2 * AT_ONCE)

    async def test_one_at_a_time(self) -> None:
        """While another node sweeps, this one does not."""
        await self.start()
        self.redis.command("SET", "heimdall:flushes:sweeper", "somebody", "PX", 10_000)
        await self.flushes.flush(from_text("a.example"), False)
        run = self.patch_run()
        await self.sweep.run()
        self.assertEqual(run, ["ZCARD", "SET"])
        self.assertEqual(len(self.left()), 15)

    async def test_nothing_to_do(self) -> None:
        """While there is nothing to be swept, that is all that is asked."""
        await self.start()
        run = self.patch_run()
        await self.sweep.run()
        self.assertEqual(run, ["ZCARD"])

    def patch_run(self) -> list[object]:
        """Return a list of the commands that are run from now on."""
        names: list[object] = []
        run = self.link.run

        def noted(*command: bytes | str | int) -> Any:
            names.append(command[0])
            return run(*command)

        self.patch(self.link, "run", noted)
        return names

    async def test_rubbish(self) -> None:
        """Rubbish among what is to be swept is thrown away."""
        await self.start()
        self.redis.command("ZADD", self.flushes.todo_key, 1, "rubbish")
        await self.sweep.run()
        self.assertEqual(self.redis.command("ZCARD", self.flushes.todo_key), 0)

    async def test_redis_dies(self) -> None:
        """A sweep that Redis does not survive is counted, and left to another."""
        await self.start()
        await self.flushes.flush(from_text("a.example"), False)
        self.redis.kill()
        await self.sweep.run()
        await self.sweep.run()
        self.assertFalse(self.sweep._running)

    async def test_by_itself(self) -> None:
        """A started sweep does what is due now and then, and reads the log of flushes."""
        await self.start()
        self.sweep.start()
        self.addCleanup(self.sweep.stop)
        await self.flushes.flush(from_text("a.example"), False)
        self.sweep.run()
        await until(lambda: len(self.left()) == 12)
