"""What Redis refuses, and why: told once with what to do about it, and once when it is over."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import hiredis
from twisted.internet.defer import maybeDeferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from heimdall.interfaces import REFUSALS, LinkDown
from heimdall.redislink import Startable, refusals
from heimdall.redislink.refusals import HOLD, HOLD_RIGHT, MOST, REASONS, STATES, Refusals, refusal, right
from heimdall.tally import Gauge
from tests.rediscase import RedisCase, real_reactor
from tests.rediscase import really_pause as pause
from tests.rediscase import really_until as until
from tests.redisserver import RedisServer, need

AT = "redis://redis:6379/0"


class Named(SynchronousTestCase):
    """What an error says."""

    def test_words(self) -> None:
        """In the words of every Redis, of commands, keys and channels, in scripts and out of them."""
        for text, named in (
            ("NOPERM this user has no permissions to run the 'evalsha' command", "the command evalsha"),
            ("NOPERM this user has no permissions to run the 'zadd' command or its subcommand", "the command zadd"),
            ("NOPERM User heimdall has no permissions to run the 'cluster|slots' command", "the command cluster|slots"),
            ("NOPERM this user has no permissions to access one of the keys used as arguments", "the keys"),
            ("NOPERM No permissions to access a key", "the keys"),
            ("NOPERM this user has no permissions to access one of the channels used as arguments", "the channels"),
            ("NOPERM No permissions to access a channel", "the channels"),
            ("ERR The user executing the script can't run this command or", "a command that our scripts run"),
            ("ERR ACL failure in script: User u has no permissions to run the 'set' command", "the command set"),
            ("ERR The user executing the script can't publish to the channel mentioned in the command", "the channels"),
            ("NOPERM whatever", "a command that our scripts run"),
            ("WRONGTYPE Operation against a key holding the wrong kind of value", ""),
            ("READONLY You can't write against a read only replica.", ""),
            ("", ""),
        ):
            self.assertEqual(right(text), named, text)

    def test_states(self) -> None:
        """Each state in which Redis refuses commands has a remedy, and those who store tell of none of them again."""
        for word, state in STATES.items():
            self.assertEqual(refusal(f"{word} whatever it says"), state)
            self.assertEqual((state.reason, bool(state.remedy)), (word.lower(), True))
        self.assertEqual({*STATES, "NOPERM"}, REFUSALS)
        self.assertEqual(len(set(REASONS)), len(REASONS))

    def test_unknown_command(self) -> None:
        """A command that Redis does not know is one that is missing, but for those that may be."""
        for text, named in (
            ("ERR unknown command 'evalsha', with args beginning with: 'x'", "it does not know the command evalsha"),
            ("ERR unknown command `EVALSHA`, with args beginning with:", "it does not know the command evalsha"),
            (
                "ERR Unknown Redis command called from script script: x",
                "it does not know a command that our scripts run",
            ),
            ("ERR unknown command 'EVALSHA_RO', with args beginning with:", None),
            ("ERR unknown command 'eval_ro', with args beginning with:", None),
            ("ERR wrong number of arguments for 'get' command", None),
            ("NOSCRIPT No matching script. Please use EVAL.", None),
            ("MOVED 3999 127.0.0.1:6381", None),
        ):
            found = refusal(text)
            self.assertEqual(None if found is None else found.text, named, text)


class Kept(RedisCase):
    """What is kept in mind."""

    def noted(self, kept: Refusals, text: str, now: float, at: str = AT) -> None:
        """Have an error reply noted."""
        found = refusal(text)
        if found is not None:
            kept.note(found, now, at)

    def texts(self, kept: Refusals, now: float) -> list[str]:
        """Return what is refused, in words."""
        return [each.text for each in kept.current(now)]

    def test_told_once(self) -> None:
        """Each right is told once, however often it is refused; that none is refused any more, as well."""
        kept = Refusals()
        for now in range(0, 300, 60):
            self.noted(kept, "NOPERM this user has no permissions to run the 'set' command", float(now))
        self.noted(kept, "NOPERM this user has no permissions to access a key", 240.0)
        self.noted(kept, "ERR no", 240.0)
        self.noted(kept, "NOPERM No permissions to access a channel", 240.0, "")
        self.assertEqual(self.texts(kept, 240.0), ["the channels", "the command set", "the keys"])
        self.assertEqual(self.texts(kept, 239.0 + HOLD_RIGHT), ["the channels", "the command set", "the keys"])
        self.assertEqual(self.texts(kept, 240.0 + HOLD_RIGHT), [])
        self.assertEqual(self.texts(kept, 250.0 + HOLD_RIGHT), [])
        self.assertEqual(self.events, [
            f"Redis at {AT} does not let its user use the command set; give it what docs/redis.md lists",
            f"Redis at {AT} does not let its user use the keys; give it what docs/redis.md lists",
            "Redis refuses no right that we need any more",
        ])  # fmt: skip

    def test_state_told_once(self) -> None:
        """So is each state that Redis is in, with the remedy; one ends while another goes on."""
        kept = Refusals()
        for now in range(20):
            self.noted(kept, "OOM command not allowed when used memory > 'maxmemory'.", float(now))
        self.noted(kept, "MISCONF Redis is configured to save RDB snapshots", 25.0)
        self.assertEqual([each.reason for each in kept.current(26.0)], ["misconf", "oom"])
        self.assertEqual([each.reason for each in kept.current(19.0 + HOLD)], ["misconf"])
        self.assertEqual(kept.current(25.0 + HOLD), [])
        misconf, oom = STATES["MISCONF"], STATES["OOM"]
        self.assertEqual(self.events, [
            f"Redis at {AT} refuses commands: {oom.text}; {oom.remedy}",
            f"Redis at {AT} refuses commands: {misconf.text}; {misconf.remedy}",
            f"Redis at {AT} refuses commands no more: {oom.text}",
            f"Redis at {AT} refuses commands no more: {misconf.text}",
        ])  # fmt: skip

    def test_bounded(self) -> None:
        """A server that makes refusals up has us keep few of them."""
        kept = Refusals()
        for number in range(2 * MOST):
            self.noted(kept, f"NOPERM no permissions to run the 'x{number}' command", 0.0, "")
        self.assertEqual(len(kept.current(0.0)), MOST)


class Real(RedisCase):
    """A real Redis, brought into each state."""

    reactor = real_reactor

    def setUp(self) -> None:
        super().setUp()
        self.hold(inf)

    def hold(self, seconds: float) -> None:
        """Set after how long without another refusal one is over: never, or as soon as somebody looks."""
        self.patch(refusals, "HOLD", seconds)
        self.patch(refusals, "HOLD_RIGHT", seconds)

    async def answered(self, link: Startable, *command: str) -> None:
        """Run a command again and again until it is not refused."""
        while True:
            with contextlib.suppress(LinkDown):
                await link.run(*command)
                return
            await pause(0.01)

    def reasons(self, link: Startable) -> set[str]:
        """Return why Redis refuses commands, as the metric says it."""
        [gauge] = [each for each in link.tallies if each.name == "heimdall_redislink_refusal_up"]
        assert isinstance(gauge, Gauge)
        read = gauge.read()
        assert isinstance(read, dict)
        self.assertEqual(set(read), set(REASONS))
        return {reason for reason, up in read.items() if up}

    async def check(
        self, server: RedisServer, reason: str, begin: Callable[[], object], end: Callable[[], object], *command: str
    ) -> Startable:
        """See that a link tells of a state that begins and ends, though it stays connected."""
        link = self.linked(server.url)
        link.listen("x", lambda _: None)
        await until(lambda: link.up and link.hearing)
        await link.run("SET", "a", "b")
        self.assertEqual((list(link.refusals), self.reasons(link)), ([], set()))
        begin()

        def refused() -> bool:
            link.run(*command).addErrback(lambda _: None)
            return self.reasons(link) == {reason}

        await until(refused)
        state = STATES[reason.upper()]
        self.assertEqual(list(link.refusals), [state.text])
        await maybeDeferred(end)
        await self.answered(link, *command)
        await self.answered(link, "SET", "a", "b")
        self.hold(0.0)
        self.assertEqual((list(link.refusals), self.reasons(link)), ([], set()))
        told = [event for event in self.events if "refuses commands" in event]
        at = server.url + "/0"
        self.assertEqual(told, [
            f"Redis at {at} refuses commands: {state.text}; {state.remedy}",
            f"Redis at {at} refuses commands no more: {state.text}",
        ])  # fmt: skip
        return link

    async def test_misconf(self) -> None:
        """One that cannot save its data takes no writes; it is read and heard all the same, by who comes then too."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        server = self.server(dir=str(folder))

        def begin() -> None:
            server.command("SET", "known", "value")
            folder.rmdir()
            server.command("CONFIG", "SET", "save", "3600 1")
            server.command("BGSAVE")

        link = await self.check(
            server, "misconf", begin, lambda: server.command("CONFIG", "SET", "stop-writes-on-bgsave-error", "no"),
            "SET", "a", "b",
        )  # fmt: skip
        self.hold(inf)
        server.command("CONFIG", "SET", "stop-writes-on-bgsave-error", "yes")
        other = self.linked(server.url, silent=1.0)
        other.listen("x", lambda _: None)
        await until(lambda: other.up and other.hearing)
        self.assertEqual(await other.run("GET", "known"), b"value")
        with self.assertRaisesRegex(LinkDown, "MISCONF"):
            await other.run("SET", "a", "b")
        self.assertTrue(link.up and link.hearing)

    async def test_oom(self) -> None:
        """One that is full."""
        server = self.server(maxmemory_policy="noeviction")
        await self.check(
            server, "oom", lambda: server.command("CONFIG", "SET", "maxmemory", "1"),
            lambda: server.command("CONFIG", "SET", "maxmemory", "0"), "SET", "a", "b",
        )  # fmt: skip

    async def test_noreplicas(self) -> None:
        """One that lacks its replicas."""
        server = self.server()
        await self.check(
            server, "noreplicas", lambda: server.command("CONFIG", "SET", "min-replicas-to-write", "1"),
            lambda: server.command("CONFIG", "SET", "min-replicas-to-write", "0"), "SET", "a", "b",
        )  # fmt: skip

    async def test_readonly(self) -> None:
        """One that has become a replica."""
        server = self.server()
        await self.check(
            server, "readonly", lambda: server.command("REPLICAOF", "127.0.0.1", "1"),
            lambda: server.command("REPLICAOF", "NO", "ONE"), "SET", "a", "b",
        )  # fmt: skip

    async def test_masterdown(self) -> None:
        """A replica that has lost its master, and says nothing without it."""
        server = self.server(replica_serve_stale_data="no")
        await self.check(
            server, "masterdown", lambda: server.command("REPLICAOF", "127.0.0.1", "1"),
            lambda: server.command("REPLICAOF", "NO", "ONE"), "GET", "a",
        )  # fmt: skip

    async def test_busy(self) -> None:
        """One that runs somebody's endless script."""
        server = self.server(lua_time_limit="10")
        running = threading.Thread(target=_run, args=(server, "EVAL", "while true do end", 0), daemon=True)
        await self.check(server, "busy", running.start, lambda: server.command("SCRIPT", "KILL"), "GET", "a")
        running.join()

    async def test_loading(self) -> None:
        """One that loads its data again while we are connected."""
        need(7)
        server = self.server(enable_debug_command="yes", loading_process_events_interval_bytes="1024")
        for number in range(100):
            server.command("SET", f"k{number}", "x" * 2000)
        server.command("CONFIG", "SET", "key-load-delay", "20000")
        loading = threading.Thread(target=_run, args=(server, "DEBUG", "RELOAD"), daemon=True)
        await self.check(server, "loading", loading.start, lambda: deferToThread(loading.join), "GET", "a")

    async def test_clusterdown(self) -> None:
        """One of a cluster that does not have all its slots; a node that asks for one key only is told so as well."""
        server = self.server(cluster_enabled="yes")
        every = ("CLUSTER", "ADDSLOTSRANGE", 0, 16383) if _has(server, "ADDSLOTSRANGE") else None
        link = self.linked(server.url)
        await until(lambda: link.up)
        with self.assertRaisesRegex(LinkDown, "CLUSTERDOWN"):
            await link.run("GET", "a")
        self.assertEqual(self.reasons(link), {"clusterdown"})
        if every is not None:
            server.command(*every)
            await self.answered(link, "GET", "a")
            self.hold(0.0)
            self.assertEqual(list(link.refusals), [])
            self.assertIn("refuses commands no more: CLUSTERDOWN", self.events[-1])

    async def test_unknown(self) -> None:
        """One that does not know a command."""
        link = self.linked(self.server().url)
        await until(lambda: link.up)
        with self.assertRaises(LinkDown):
            await link.run("NOSUCHCOMMAND", "a")
        self.assertEqual(self.reasons(link), {"unknown"})
        self.assertIn("it does not know the command nosuchcommand; use Redis 6 or newer", self.events[-1])

    async def test_noauth(self) -> None:
        """One that wants a password of us from now on, or another one, is away; what to do about it is told."""
        server = self.server(password="secret")
        for url, said in ((server.url, "NOAUTH"), (server.url.replace("//", "//:wrong@"), "the user or the password")):
            link = self.linked(url)
            await until(lambda said=said: any(said in event for event in self.events))  # type: ignore[misc]
            self.assertFalse(link.up)
            self.assertIn("correct the user, the password or the password file", self.events[-1])

    async def test_rights(self) -> None:
        """A right that is given again is missing no more; what the greeting tries may be refused."""
        server = self.server()
        server.command("ACL", "SETUSER", "u", "on", ">p", "~*", "+ping", "+time", "+get")
        link = self.linked(server.url.replace("//", "//u:p@"))
        await until(lambda: link.up)
        self.assertEqual(list(link.refusals), [])
        link.run("SET", "a", "b").addErrback(lambda _: None)
        await until(lambda: list(link.refusals) == ["the command set"])
        self.assertEqual(self.reasons(link), {"noperm"})
        server.command("ACL", "SETUSER", "u", "+set")
        await link.run("SET", "a", "b")
        self.hold(0.0)
        self.assertEqual(list(link.refusals), [])
        self.assertEqual(self.events[-1], "Redis refuses no right that we need any more")

    async def test_clients(self) -> None:
        """One that takes no more connections says so; the remedy is told."""
        server = self.server(maxclients="1")
        link = self.linked(server.url)
        link.listen("x", lambda _: None)
        await until(lambda: any("raise maxclients" in event for event in self.events))


def _run(server: RedisServer, *command: Any) -> None:
    """Run a command that may be ended by another one."""
    with contextlib.suppress(hiredis.ReplyError):
        server.command(*command)


def _has(server: RedisServer, subcommand: str) -> bool:
    """Say whether Redis knows a command of a cluster."""
    return any(subcommand.encode() in line for line in server.command("CLUSTER", "HELP"))
