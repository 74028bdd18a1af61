"""An embedded Redis, with the real program: it serves, is watched, comes back, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import stat
from pathlib import Path
from typing import Any

from heimdall.redis_server import embedded as module
from heimdall.redis_server import launcher
from heimdall.redis_server.embedded import EmbeddedRedis
from heimdall.redis_server.home import Home, user_of
from tests.redis_server.stage import command, fill, folder, runs, small_disk
from tests.rediscase import RedisCase, reactor, until
from tests.redisserver import binary, need, valkey, version

MEMORY = 8_000_000


class Case(RedisCase):
    """Starts such a Redis, and ends it."""

    def redis(self, named: Path | str = "", program: str = "", **environ: str) -> EmbeddedRedis:
        """Return one that is not started yet."""
        redis = EmbeddedRedis(reactor, program or binary(), Home(str(named), environ), MEMORY)
        self.addCleanup(redis.stop)
        return redis

    async def started(self, named: Path | str = "", program: str = "", **environ: str) -> EmbeddedRedis:
        """Return one that answers."""
        redis = self.redis(named, program, **environ)
        redis.start()
        await until(lambda: redis.up)
        return redis

    def ask(self, redis: EmbeddedRedis, *words: bytes | str | int) -> Any:
        """Run a command there; None where that does not work."""
        return command(redis.home.socket, *words)

    def process(self, redis: EmbeddedRedis) -> int:
        """Return its number."""
        return int(Path(redis.home.folder, "redis.pid").read_text())

    def ended(self, redis: EmbeddedRedis) -> int:
        """Return how often it ended, as it is counted."""
        return redis._endings.total()


class Serving(Case):
    """From start to end."""

    async def test_settings(self) -> None:
        """It is on a socket of mode 0600 and no port, with bounded memory, and evicts only what has a TTL."""
        redis = await self.started(folder(self))
        status = os.stat(redis.home.socket)
        self.assertEqual((stat.S_ISSOCK(status.st_mode), status.st_mode & 0o777), (True, 0o600))
        told = {
            name: self.ask(redis, "CONFIG", "GET", name)[1]
            for name in ("port", "maxmemory", "maxmemory-policy", "save", "appendonly", "appendfsync")
        }
        self.assertEqual(
            told,
            {
                "port": b"0", "maxmemory": b"8000000", "maxmemory-policy": b"volatile-lru", "save": b"",
                "appendonly": b"yes", "appendfsync": b"everysec",
            },
        )  # fmt: skip
        for path in Path(redis.home.folder).rglob("*"):
            self.assertEqual(path.stat().st_mode & 0o077, 0, path)

    async def test_temporary(self) -> None:
        """Without a folder it writes no file of data, and leaves nothing behind."""
        runtime = folder(self).parent
        redis = await self.started(XDG_RUNTIME_DIR=str(runtime))
        self.assertEqual(self.ask(redis, "CONFIG", "GET", "appendonly")[1], b"no")
        self.assertEqual(len(list(runtime.iterdir())), 1)
        process = self.process(redis)
        await redis.stop()
        self.assertEqual((list(runtime.iterdir()), runs(process)), ([], False))

    async def test_kept(self) -> None:
        """What is in a folder, of whatever name, is there for the next one: after an end, and after a crash."""
        place = folder(self) / 'o\'er the "wall" \\ ü'
        for number in range(3):
            redis = await self.started(place)
            self.assertEqual(self.ask(redis, "DBSIZE"), number)
            self.ask(redis, "SET", f"k{number}", "v")
            if number == 1:
                (place / "redis.sock").unlink()
                (place / "redis.sock").write_text("a socket that nobody listens at")
                os.kill(self.process(redis), signal.SIGKILL)
            await redis.stop()
            self.assertTrue((place / "data").is_dir())

    async def test_memory(self) -> None:
        """Another bound of memory holds at once, and for the next process."""
        redis = await self.started(folder(self))
        redis.limit(2 * MEMORY)
        await until(lambda: self.ask(redis, "CONFIG", "GET", "maxmemory") == [b"maxmemory", b"16000000"])
        os.kill(self.process(redis), signal.SIGKILL)
        await until(lambda: self.ended(redis) and redis.up)
        self.assertEqual(self.ask(redis, "CONFIG", "GET", "maxmemory")[1], b"16000000")

    async def test_evicts(self) -> None:
        """When its memory is full it takes more, at the cost of what has a TTL, and keeps what has none."""
        redis = await self.started(folder(self))
        self.ask(redis, "SET", "registry", "kept")
        taken = [self.ask(redis, "SET", f"k{number}", bytes(20_000), "EX", 600) for number in range(1000)]
        # Redis 6 refuses some while it rewrites its file.
        self.assertGreater(taken.count(b"OK"), 900)
        self.assertEqual(self.ask(redis, "GET", "registry"), b"kept")
        self.assertLess(self.ask(redis, "DBSIZE"), 1000)

    async def test_valkey(self) -> None:
        """Valkey does it as well; its data, which an older Redis cannot read, keep that from nothing."""
        place = folder(self)
        redis = await self.started(place, valkey())
        self.ask(redis, "SET", "k", "v")
        self.ask(redis, "BGREWRITEAOF")
        await until(lambda: list(place.glob("data/appendonlydir/*.2.base.rdb")))
        await redis.stop()
        redis = await self.started(place)
        found = version() or 9
        self.assertEqual(self.ask(redis, "GET", "k"), b"v" if found >= 9 else None)
        # Before Redis 7 the data were elsewhere: it sees none.
        told = any("could not read what it had kept" in event for event in self.events)
        self.assertEqual(told, 7 <= found < 9)


class Falling(Case):
    """What goes wrong."""

    async def test_killed(self) -> None:
        """One that is killed is counted, told once, and started again with what it held."""
        redis = await self.started(folder(self))
        self.ask(redis, "SET", "k", "v")
        before = self.process(redis)
        os.kill(before, signal.SIGKILL)
        await until(lambda: self.ended(redis) and redis.up)
        self.assertEqual((self.ask(redis, "GET", "k"), self.ended(redis)), (b"v", 1))
        self.assertNotEqual(self.process(redis), before)
        self.assertEqual(sum("was killed by SIGKILL" in event for event in self.events), 1)

    async def test_without_the_kernel(self) -> None:
        """Where the kernel does nothing for it, its keeper may be killed, and is replaced together with it."""
        file = folder(self).with_suffix(".py")
        text = Path(launcher.__file__).read_text()
        file.write_text(text.replace("if not tied():", "if True:"))
        self.patch(launcher, "__file__", str(file))
        redis = await self.started(folder(self))
        self.ask(redis, "SET", "k", "v")
        assert redis._child is not None
        before, keeper = self.process(redis), redis._child.process
        self.assertNotEqual(before, keeper)
        os.kill(keeper, signal.SIGKILL)
        await until(lambda: self.ended(redis) and redis.up)
        self.assertEqual((runs(before), self.ask(redis, "GET", "k")), (False, b"v"))
        after = self.process(redis)
        await redis.stop()
        # One that had to be killed is no child of ours: it is gone a moment later.
        await until(lambda: not runs(after))

    async def test_removed(self) -> None:
        """Where somebody removes the folder, the next Redis has one that is closed to others, and locked."""
        redis = await self.started(folder(self))
        place = Path(redis.home.folder)
        before = self.process(redis)
        shutil.rmtree(place)
        os.kill(before, signal.SIGKILL)
        await until(lambda: self.ended(redis) and redis.up)
        modes = [path.stat().st_mode & 0o777 for path in (place, place / "data")]
        self.assertEqual((modes, user_of(str(place))), ([0o700, 0o700], os.getpid()))

    async def test_hung(self) -> None:
        """One that gives no sign of life is killed, and started again."""
        redis = await self.started(folder(self))
        before, patient = self.process(redis), module.HUNG
        os.kill(before, signal.SIGSTOP)
        self.patch(module, "REPLY", 0.1)
        self.patch(module, "HUNG", 0.5)
        await until(lambda: any("gave no sign of life" in event for event in self.events))
        self.patch(module, "HUNG", patient)
        await until(lambda: redis.up and runs(self.process(redis)) and self.process(redis) != before)
        self.assertFalse(runs(before))

    async def test_hung_at_the_end(self) -> None:
        """One that hangs when it is to end is killed."""
        self.patch(module, "ENDS", 0.1)
        redis = await self.started(folder(self))
        process = self.process(redis)
        os.kill(process, signal.SIGSTOP)
        await redis.stop()
        self.assertFalse(runs(process))

    async def test_does_not_start(self) -> None:
        """A program that ends at once is told once, tried later and later, and costs no data; then it heals."""
        place, program = folder(self), folder(self)
        redis = await self.started(place)
        self.ask(redis, "SET", "k", "v")
        await redis.stop()
        program.write_text("#!/bin/sh\necho 1:M 1 Jan 2026 00:00:00.000 '#' no such luck\nexit 3\n")
        program.chmod(0o755)
        self.patch(module, "LONGEST", 0.2)
        redis = self.redis(place, str(program))
        await redis.start()
        self.assertFalse(redis.up)
        await until(lambda: redis._failures > 3 * module.TRIES)
        self.assertEqual((redis._wait, self.ended(redis)), (0.2, 0))
        self.assertEqual(
            [event for event in self.events if "does not start" in event],
            ["The embedded Redis does not start: it ended with 3: no such luck; the node goes on without, and tries"],
        )
        program.write_text(f'#!/bin/sh\nexec {binary()} "$@"\n')
        await until(lambda: redis.up)
        self.assertEqual(self.ask(redis, "GET", "k"), b"v")

    async def test_broken_data(self) -> None:
        """Data that Redis cannot read are set aside, and that is told once."""
        place = folder(self)
        redis = await self.started(place)
        self.ask(redis, "SET", "k", "v")
        await redis.stop()
        for file in place.glob("data/**/*.manifest"):
            file.write_text("rubbish\n")
        for file in place.glob("data/*.aof"):  # where an older Redis keeps it
            file.write_text("rubbish\n")
        redis = await self.started(place)
        self.assertEqual((self.ask(redis, "GET", "k"), redis.up), (None, True))
        self.assertEqual(sum("could not read what it had kept" in event for event in self.events), 1)
        self.assertTrue(list((place / "data.unreadable").rglob("*")))
        os.kill(self.process(redis), signal.SIGKILL)
        await until(lambda: self.ended(redis) and redis.up)
        self.assertEqual(sum("could not read what it had kept" in event for event in self.events), 1)

    async def test_full_disk(self) -> None:
        """On a full disk it goes on reading and refuses to write; with room again it writes, all by itself."""
        place = small_disk(self)
        redis = await self.started(place / "redis")
        self.ask(redis, "SET", "k", "v")
        free = fill(place)
        await until(lambda: self.ask(redis, "SET", "k2", bytes(5000)) is None)
        self.assertEqual(self.ask(redis, "GET", "k"), b"v")
        free()
        await until(lambda: self.ask(redis, "SET", "k2", "v") == b"OK")
        self.assertEqual(self.ended(redis), 0)

    async def test_full_at_start(self) -> None:
        """On a full disk it does not start, which is told once; with room it does, with the data that it had."""
        need(7)
        place = small_disk(self)
        redis = await self.started(place / "redis")
        self.ask(redis, "SET", "k", "v")
        # What it adds to its file at the start takes room.
        self.ask(redis, "BGREWRITEAOF")
        await until(lambda: list(place.glob("redis/data/**/*.2.base.rdb")))
        await redis.stop()
        for file in place.glob("redis/data/**/*.incr.aof"):
            file.unlink()
        for file in place.glob("redis/data/**/*.manifest"):
            lines = file.read_text().splitlines(keepends=True)
            file.write_text("".join(line for line in lines if "type i" not in line))
        free = fill(place)
        redis = self.redis(place / "redis")
        redis.start()
        await until(lambda: redis._failures > module.TRIES)
        free()
        await until(lambda: redis.up)
        self.assertEqual(self.ask(redis, "GET", "k"), b"v")
        self.assertEqual(sum("does not start" in event for event in self.events), 1, self.events)

    async def test_folder_taken(self) -> None:
        """Where a folder could not be had, for want of room, and another has it since, that is told, and tried."""
        place = folder(self)
        first = await self.started(place)
        second = self.redis(place)
        await second.start()
        self.assertFalse(second.up)
        self.assertTrue(any(f"uses {place} already" in event for event in self.events))
        await first.stop()
        await until(lambda: second.up)
