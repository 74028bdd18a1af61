"""The registry of the cluster: who is listed, for how long, and what hostile entries come to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from heimdall.interfaces import ILink, IRegistry, LinkDown, Member
from heimdall.peers.registry import Registry
from heimdall.redislink import Startable
from heimdall.tally import Count, Gauge
from tests.fakelink import FakeLink
from tests.rediscase import PATIENT, RedisCase, pause, reactor, until
from tests.redisserver import RedisServer


def total(registry: Registry, what: str, *values: str) -> int:
    """Read one of the counters."""
    [count] = [t for t in registry.tallies if isinstance(t, Count) and t.name == f"heimdall_peers_{what}_total"]
    return count.total(*values)


def on_the_list(registry: Registry) -> object:
    """Read how many nodes it saw."""
    [gauge] = [tally for tally in registry.tallies if isinstance(tally, Gauge)]
    return gauge.read()


class Index(FakeLink):
    """A link that takes the commands of sorted sets as well, and remembers what was written."""

    def _result(self, command: tuple[bytes | str | int, ...]) -> Deferred[object]:
        if str(command[0]).startswith("Z") or command[0] == "PEXPIRE":
            return succeed(0) if not self.refusal else super()._result(command)
        return super()._result(command)


class Beating(SynchronousTestCase):
    """When a node says that it is alive."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(77)
        self.link = Index(self.clock)
        self.status: str = "healthy"
        self.stats: Mapping[str, float] = {"queries": 7}
        self.registry = self.node(self.link)
        self.events: list[str] = []
        observer: ILogObserver = self.observe  # type: ignore[assignment]
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def observe(self, event: LogEvent) -> None:
        if str(event.get("log_namespace", "")).startswith("heimdall"):
            self.events.append(str(event["log_format"]).format(**event))

    def node(self, link: ILink, **settings: Any) -> Registry:
        named: dict[str, Any] = {"node": "one", "hostname": "host", "pod_ip": "10.0.0.1"} | settings
        return Registry(link, self.clock, status=lambda: self.status, stats=lambda: self.stats, **named)

    def test_on_the_list_at_once(self) -> None:
        """A node that starts before Redis is connected is on the list as soon as it is, and nobody is warned."""
        self.link.become(up=False)
        self.registry.start()
        self.addCleanup(self.registry.leave)
        self.clock.advance(0.3)
        self.assertNotIn(b"heimdall:node:one", self.link.values)
        self.link.become(up=True)
        self.assertEqual(self.written()["status"], "healthy")
        self.assertEqual(self.events, ["this node is in the registry as one"])

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)

    def written(self) -> dict[str, Any]:
        """What is written of the node."""
        told = json.loads(self.link.values[b"heimdall:node:one"])
        assert isinstance(told, dict)
        return told

    def test_provides(self) -> None:
        """It is a registry."""
        self.assertTrue(verifyObject(IRegistry, self.registry))

    def test_what_is_written(self) -> None:
        """The first heartbeat writes the fields of the node, on Redis's clock, with a native expiry."""
        self.registry.start()
        told = self.written()
        told.pop("run")
        self.assertEqual(
            told,
            {
                "id": "one",
                "hostname": "host",
                "pod_ip": "10.0.0.1",
                "last_heartbeat": self.link.now(),
                "status": "healthy",
                "stats": {"queries": 7},
            },
        )
        self.assertEqual(self.link.lifetimes, {b"heimdall:node:one": 70_000})

    def test_every_five_seconds(self) -> None:
        """Heartbeats come every 5 s; starting twice changes nothing."""
        self.registry.start()
        self.registry.start()
        self.pass_time(62)
        self.assertEqual(self.link.names().count("ZADD"), 13)

    def test_only_news(self) -> None:
        """What is written of a node is written again when it changed, its age apart, and once a minute."""
        self.stats = {"queries": 7, "uptime_seconds": 1}
        self.registry.start()
        self.pass_time(1)
        self.link.commands.clear()
        for status, queries, written in (("healthy", 7, 0), ("degraded", 7, 1), ("degraded", 8, 1), ("degraded", 8, 0)):
            self.status, self.stats = status, {"queries": queries, "uptime_seconds": self.clock.seconds()}
            self.link.commands.clear()
            self.pass_time(5)
            self.assertEqual(self.link.names(), ["ZADD", "ZCOUNT"] + ["SET"] * written)
        self.link.commands.clear()
        self.pass_time(60)
        self.assertEqual((self.link.names().count("SET"), self.link.names().count("GET")), (1, 1))

    def test_failing(self) -> None:
        """A heartbeat that failed is tried again a second later; the log tells of each change once."""
        self.registry.start()
        self.link.up = False
        self.pass_time(30)
        self.assertGreater(total(self.registry, "heartbeats", "failed"), 20)
        self.link.up = True
        self.pass_time(1.1)
        self.link.commands.clear()
        self.pass_time(20)
        self.assertEqual(self.link.names().count("ZADD"), 4)
        self.assertEqual(
            self.events,
            [
                "this node is in the registry as one",
                "this node cannot be written into the registry: away",
                "this node is in the registry as one",
            ],
        )

    def test_hanging(self) -> None:
        """A heartbeat that nobody answers ends by itself, and the next one comes."""
        self.link.holding = True
        self.registry.start()
        self.pass_time(20)
        self.assertGreaterEqual(total(self.registry, "heartbeats", "failed"), 3)
        self.link.release()
        self.pass_time(6)
        self.assertGreaterEqual(total(self.registry, "heartbeats", "ok"), 1)

    def test_no_clock(self) -> None:
        """Without the clock of Redis there is no heartbeat, and no list."""
        self.link.now = lambda: None  # type: ignore[method-assign]
        self.successResultOf(self.registry.beat())
        self.assertEqual(total(self.registry, "heartbeats", "failed"), 1)
        self.failureResultOf(self.registry.members(), LinkDown)

    def test_broken_reports(self) -> None:
        """A status that is none, or an error in what reports it, fails that heartbeat only."""
        self.registry.start()
        self.status = "tired"
        self.pass_time(10)
        self.status, self.stats = "degraded", None  # type: ignore[assignment]
        self.pass_time(10)
        self.stats = {}
        self.pass_time(10)
        self.assertEqual(self.written()["status"], "degraded")

    def test_stats_are_bounded(self) -> None:
        """Numbers that are none are left out, too many are cut, and too long ones are not sent at all."""
        self.stats = {"good": 1.5, "bad": float("nan"), "endless": float("inf")}
        self.successResultOf(self.registry.beat())
        self.assertEqual(self.written()["stats"], {"good": 1.5})
        self.stats = {f"number{number}": number for number in range(1000)}
        self.successResultOf(self.registry.beat())
        self.assertEqual(len(self.written()["stats"]), 64)
        self.stats = {"long" * 1000: 1, "longer" * 1000: 2}
        self.successResultOf(self.registry.beat())
        self.assertEqual(self.written()["stats"], {})

    def test_names(self) -> None:
        """Without a name a node is called by its host, and two on one host are told apart."""
        one, two = (self.node(self.link, node="") for _ in range(2))
        self.assertTrue(one.id.startswith("host-") and two.id.startswith("host-"))
        self.assertNotEqual(one.id, two.id)

    def test_namesake(self) -> None:
        """Two that were given one name are told once, and the one that leaves does not take the other off."""
        other = self.node(self.link)
        self.registry.start()
        self.pass_time(5)
        self.assertEqual(len(self.events), 1)
        other.start()
        self.pass_time(120)
        self.assertEqual(len([event for event in self.events if "too" in event]), 2)
        self.successResultOf(other.beat())
        self.successResultOf(self.registry.leave())
        self.assertIn(b"heimdall:node:one", self.link.values)
        self.successResultOf(other.leave())
        self.assertEqual(self.link.values, {})

    def test_restart(self) -> None:
        """A node that comes back under its name takes up its place without a word."""
        self.registry.start()
        again = self.node(self.link)
        again.start()
        self.assertEqual(len(self.events), 2)
        self.assertNotIn("too", " ".join(self.events))

    def test_leaving(self) -> None:
        """Leaving deletes the node at once, and ends its heartbeats for good."""
        self.registry.start()
        self.successResultOf(self.registry.leave())
        self.assertEqual(self.link.values, {})
        self.registry.start()
        self.successResultOf(self.registry.beat())
        self.pass_time(20)
        self.assertEqual((self.link.values, self.clock.getDelayedCalls()), ({}, []))

    def test_leaving_a_hanging_redis(self) -> None:
        """Leaving ends within a second, whatever Redis does."""
        self.registry.start()
        self.link.holding = True
        leaving = self.registry.leave()
        self.pass_time(0.9)
        self.assertNoResult(leaving)
        self.pass_time(0.2)
        self.successResultOf(leaving)
        self.link.break_down("lost")
        self.successResultOf(self.registry.leave())


class Listing(RedisCase):
    """Who is listed, by a real Redis."""

    redis: RedisServer
    link: Startable

    async def begin(self) -> None:
        """Start a Redis and a link to it."""
        self.redis = self.server()
        self.link = self.linked(self.redis.url)
        await until(lambda: self.link.up)

    def node(self, name: str, **settings: Any) -> Registry:
        registry = Registry(
            self.link,
            reactor,
            node=name,
            hostname="host",
            pod_ip="10.0.0.1",
            status=lambda: "healthy",
            **({"stats": lambda: {"queries": 1}} | settings),
        )
        self.addCleanup(registry.leave)
        return registry

    def put(self, node: str, value: bytes | Mapping[str, object], score: float | None = None) -> None:
        """Write an entry as an enemy would."""
        text = value if isinstance(value, bytes) else json.dumps(value).encode()
        now = self.link.now() or 0.0
        self.redis.command("SET", "heimdall:node:" + node, text)
        self.redis.command("ZADD", "heimdall:nodes", str(now if score is None else score), node)

    def ids(self, members: Sequence[Member]) -> list[str]:
        return [member.id for member in members]

    async def test_members(self) -> None:
        """All nodes that live are listed by every one of them with their fields, and counted; none before the first."""
        await self.begin()
        one, two = self.node("one"), self.node("two")
        self.assertEqual(list(await one.members()), [])
        one.start()
        two.start()
        await until(lambda: total(one, "heartbeats", "ok") and total(two, "heartbeats", "ok"))
        listed = await two.members()
        self.assertEqual(self.ids(listed), ["one", "two"])
        self.assertEqual((listed[0].hostname, listed[0].pod_ip, listed[0].status), ("host", "10.0.0.1", "healthy"))
        self.assertEqual(listed[0].stats, {"queries": 1.0})
        self.assertAlmostEqual(listed[0].last_heartbeat, self.link.now() or 0.0, 0)
        await two.beat()
        self.assertEqual(on_the_list(two), 2)
        await one.leave()
        self.assertEqual(self.ids(await two.members()), ["two"])
        await two.beat()
        self.assertEqual(on_the_list(two), 1)
        self.assertEqual(self.redis.command("ZRANGE", "heimdall:nodes", 0, -1), [b"two"])

    async def test_silence(self) -> None:
        """A node that falls silent is off the list when its time is over, and off the index a little later."""
        await self.begin()
        one, two = (self.node(name, heartbeat=0.05, expiry=0.5) for name in ("one", "two"))
        await one.beat()
        await two.beat()
        self.assertEqual(self.ids(await two.members()), ["one", "two"])
        await pause(0.6)
        await two.beat()
        self.assertEqual(self.ids(await two.members()), ["two"])
        self.assertEqual(self.redis.command("ZRANGE", "heimdall:nodes", 0, -1), [b"two"])
        await until(lambda: not self.redis.command("DBSIZE"))

    async def test_age(self) -> None:
        """How long a node runs is told as of its last heartbeat, though that alone is never written again."""
        await self.begin()
        one = self.node("one", stats=lambda: {"uptime_seconds": 5.0})
        await one.beat()
        await pause(0.2)
        await one.beat()
        [member] = await one.members()
        self.assertAlmostEqual(member.stats["uptime_seconds"], 5.2, 3)

    async def test_hostile_entries(self) -> None:
        """Entries that are no node are skipped and counted, and do not hide the others."""
        await self.begin()
        one = self.node("one")
        await one.beat()
        now = self.link.now() or 0.0
        good: dict[str, object] = {
            "id": "x",
            "hostname": "h",
            "pod_ip": "",
            "last_heartbeat": now,
            "status": "leaving",
            "stats": {},
        }
        self.put("x", good)
        bad: list[bytes | Mapping[str, object]] = [
            b"",
            b"\xff\xfe",
            b"[" * 4000,
            b"7",
            b"{}",
            b"1" * 5000,
            good | {"id": 7},
            good | {"id": "one"},
            good | {"hostname": "h" * 300},
            good | {"hostname": "\x1b[31m"},
            good | {"status": "splendid"},
            good | {"status": []},
            good | {"stats": []},
            good | {"stats": {"a": "b"}},
            good | {"stats": {"a": True}},
            good | {"stats": {"a": float("nan")}},
            good | {"stats": {"a": 10**400}},
            good | {"stats": {str(number): 1 for number in range(65)}},
            good | {"last_heartbeat": "now"},
        ]
        for number, value in enumerate(bad):
            named = {"id": f"bad{number}"} if isinstance(value, dict) and value["id"] == "x" else {}
            self.put(f"bad{number}", value | named if isinstance(value, dict) else value)
        for number, score in enumerate((now - 1000, now + 1000)):
            self.put(f"untimely{number}", good | {"id": f"untimely{number}"}, score)
        self.redis.command("ZADD", "heimdall:nodes", str(now), b"\xff\xfe")
        self.redis.command("LPUSH", "heimdall:node:list", "x")
        self.redis.command("ZADD", "heimdall:nodes", str(now), "list")
        self.assertEqual(self.ids(await one.members()), ["one", "x"])
        self.assertEqual(total(one, "skipped"), len(bad))

    async def test_flooded_index(self) -> None:
        """An index full of rubbish is cut with the next heartbeat, and never hides who is alive for long."""
        await self.begin()
        one = self.node("one")
        now = self.link.now() or 0.0
        flood = [part for number in range(3000) for part in (str(now - 5), f"ghost{number}")]
        self.redis.command("ZADD", "heimdall:nodes", *flood, "1e300", "eternal", "-1e300", "ancient")
        await one.beat()
        self.assertEqual(self.redis.command("ZCARD", "heimdall:nodes"), 1000)
        self.assertEqual(self.ids(await one.members()), ["one"])

    async def test_keys_of_another_type(self) -> None:
        """Keys that somebody else has put to another use are taken back."""
        await self.begin()
        one = self.node("one")
        self.redis.command("SET", "heimdall:nodes", "mine")
        await self.assertFailure(one.members(), LinkDown)
        await one.beat()
        await until(lambda: not self.redis.command("EXISTS", "heimdall:nodes", "heimdall:node:one"))
        self.redis.command("LPUSH", "heimdall:node:one", "mine")
        await one.beat()
        await one.beat()
        self.assertEqual(self.ids(await one.members()), ["one"])

    async def test_own_keys(self) -> None:
        """The registry writes under names of its own, which the cache never has."""
        await self.begin()
        await self.node("one", prefix="other").beat()
        self.assertEqual(sorted(self.redis.command("KEYS", "*")), [b"other:node:one", b"other:nodes"])

    async def test_restarted_redis(self) -> None:
        """After a restart of Redis, empty, the nodes list themselves again."""
        await self.begin()
        one = self.node("one", heartbeat=0.5)
        one.start()
        await until(lambda: total(one, "heartbeats", "ok"))
        self.redis.kill()
        await until(lambda: total(one, "heartbeats", "failed"))
        self.redis.start()
        before = total(one, "heartbeats", "ok")
        await until(lambda: total(one, "heartbeats", "ok") > before)
        self.assertEqual(self.ids(await one.members()), ["one"])

    async def test_hung_redis(self) -> None:
        """A Redis that hangs keeps nobody from leaving, nor the list from failing in time."""
        await self.begin()
        one = self.node("one")
        await one.beat()
        self.redis.pause()
        began = reactor.seconds()
        await self.assertFailure(one.members(), LinkDown)
        await one.leave()
        self.assertAlmostEqual(reactor.seconds() - began, PATIENT["time_limit"], 0)
        self.redis.resume()
