"""The map of a cluster is kept true, on a clock of the test and with nodes whose every byte the test decides."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from heimdall.interfaces import LinkDown
from heimdall.redislink.atlas import CALM, URGENT
from heimdall.redislink.cluster import Cluster
from heimdall.redislink.greeting import Login
from heimdall.redislink.slots import Node, slot
from heimdall.tally import Count
from tests.redislink.test_link import TIME, Endpoint, Transport
from tests.reported import met

ONE, TWO = ("one", 1), ("two", 2)
KEY_OF_ONE, KEY_OF_TWO = b"b", b"a"
"""Keys in the lower and in the upper half of the slots."""


def shown(*ranges: tuple[int, int, Node]) -> bytes:
    """Return a reply to CLUSTER SLOTS."""
    said = f"*{len(ranges)}\r\n"
    for first, last, (host, port) in ranges:
        said += f"*3\r\n:{first}\r\n:{last}\r\n*2\r\n${len(host)}\r\n{host}\r\n:{port}\r\n"
    return said.encode()


BOTH = shown((0, 8191, ONE), (8192, 16383, TWO))


class Case(SynchronousTestCase):
    """A cluster of two nodes, not started."""

    def setUp(self) -> None:
        self.assertTrue(slot(KEY_OF_ONE) < 8192 <= slot(KEY_OF_TWO))
        self.clock = Clock()
        self.clock.advance(1000)
        self.ends: dict[Node, Endpoint] = {ONE: Endpoint(), TWO: Endpoint()}
        self.map = BOTH
        self.cluster = Cluster(self.clock, [ONE], self.to, Login())
        self.heard: dict[Node, list[str]] = {ONE: [], TWO: []}
        self.changes: list[bool] = []
        self.cluster.watch(lambda: self.changes.append(self.cluster.up))

    def to(self, host: str, port: int) -> Any:
        """Return the way to a node."""
        return self.ends.setdefault((host, port), Endpoint())

    def answer(self, *, of: tuple[Node, ...] = (ONE, TWO)) -> None:
        """Answer everything that any node was asked, until nobody asks anything more."""
        busy = True
        while busy:
            busy = False
            for node in of:
                for connection in self.ends[node].connections:
                    for name in connection.heard() if connection.open else ():
                        busy = True
                        self.heard[node].append(name)
                        said = {"PING": b"+PONG\r\n", "TIME": TIME, "CLUSTER": self.map}
                        connection.say(said.get(name, b"$3\r\n%s\r\n" % node[0].encode()))

    def pass_time(self, seconds: float, **answers: Any) -> None:
        """Let time pass, with everything answered."""
        for _ in range(round(seconds / 0.05)):
            self.clock.advance(0.05)
            self.answer(**answers)

    def start(self) -> None:
        """Start it, and have all of it be up."""
        self.cluster.start()
        self.answer()
        self.assertTrue(self.changes[-1])

    def looks(self, result: str = "read") -> int:
        """How often the map was looked at."""
        [count] = [
            t for t in self.cluster.tallies if isinstance(t, Count) and t.name == "heimdall_redislink_maps_total"
        ]
        return count.total(result)

    def newest(self, node: Node) -> Transport:
        """Return the newest connection to a node."""
        return self.ends[node].connections[-1]


class Maps(Case):
    """When the map is looked at, and what of it is believed."""

    def test_calm(self) -> None:
        """When all is well the map is looked at every ten seconds; starting twice changes nothing."""
        self.start()
        self.cluster.start()
        before = self.looks()
        self.pass_time(5 * CALM)
        self.assertTrue(4 <= self.looks() - before <= 6)

    def test_urgent(self) -> None:
        """A node that is away has the map looked at at once, and twice a second until all is well."""
        self.start()
        before = self.looks()
        self.ends[TWO].refusal = ConnectionRefusedError()
        self.newest(TWO).end(ConnectionDone())
        self.pass_time(0.1)
        self.assertEqual(self.looks() - before, 1)
        self.pass_time(20 * URGENT)
        self.assertTrue(15 <= self.looks() - before <= 22)
        self.assertTrue(self.cluster.up)
        self.failureResultOf(self.cluster.run("GET", KEY_OF_TWO), LinkDown)
        self.map = shown((0, 16383, ONE))
        self.pass_time(1)
        waiting = self.cluster.run("GET", KEY_OF_TWO)
        self.answer()
        self.assertEqual(self.successResultOf(waiting), b"one")

    def test_rubbish(self) -> None:
        """A map without sense is none: the one we have stands."""
        self.start()
        self.map = b"*1\r\n+none\r\n"
        self.pass_time(2 * CALM)
        self.assertGreater(self.looks("failed"), 0)
        waiting = self.cluster.run("GET", KEY_OF_TWO)
        self.answer()
        self.assertEqual(self.successResultOf(waiting), b"two")

    def test_holes(self) -> None:
        """Slots that nobody has are misses, and looked for twice a second."""
        self.map = shown((0, 8191, ONE))
        self.start()
        before = self.looks()
        self.failureResultOf(self.cluster.run("GET", KEY_OF_TWO), LinkDown)
        self.pass_time(20 * URGENT)
        self.assertGreater(self.looks() - before, 15)

    def test_refused(self) -> None:
        """A command is sent on once: who is sent on again gets a miss; errors of other kinds are his who asked."""
        self.start()
        waiting = self.cluster.run("GET", KEY_OF_ONE)
        self.newest(ONE).say(b"-MOVED %d two:2\r\n" % slot(KEY_OF_ONE))
        self.newest(TWO).say(b"-MOVED %d one:1\r\n" % slot(KEY_OF_ONE))
        self.assertIn("MOVED", str(self.failureResultOf(waiting, LinkDown).value))
        self.newest(ONE).clear()
        self.newest(TWO).clear()
        before = self.looks()
        waiting = self.cluster.run("GET", KEY_OF_TWO)
        self.newest(TWO).clear()
        self.newest(TWO).say(b"-CLUSTERDOWN Hash slot not served\r\n")
        self.failureResultOf(waiting, LinkDown)
        self.pass_time(0.6)
        self.assertGreater(self.looks(), before)

    def test_too_many(self) -> None:
        """A map with more masters than any cluster has is believed up to a thousand."""
        self.ends |= {("h", port): Endpoint() for port in range(1, 1200)}
        self.map = shown(*((port, port, ("h", port)) for port in range(1, 1200)))
        self.cluster.start()
        self.answer()
        connections = sum(len(end.connections) for node, end in self.ends.items() if node[0] == "h")
        self.assertTrue(900 < connections <= 1000, connections)

    def test_bug(self) -> None:
        """An error of our own while the map is drawn is logged once, and the map is looked at again."""
        self.cluster._atlas._connect = lambda node: 1 / 0  # type: ignore[assignment,return-value]
        self.cluster.start()
        self.answer()
        self.pass_time(1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertGreater(met(self.clock), 1)


class Scans(Case):
    """SCAN over all masters."""

    def scan(self, cursor: bytes, said: bytes, node: Node) -> object:
        """Take one step, answered by a node."""
        waiting = self.cluster.run("SCAN", cursor)
        self.newest(node).clear()
        self.newest(node).say(said)
        return self.successResultOf(waiting)

    def test_steps(self) -> None:
        """One master after the other is scanned to its end."""
        self.start()
        reply: Any = self.scan(b"0", b"*2\r\n$1\r\n7\r\n*1\r\n$1\r\na\r\n", ONE)
        self.assertEqual(reply[1], [b"a"])
        reply = self.scan(reply[0], b"*2\r\n$1\r\n0\r\n*0\r\n", ONE)
        self.assertNotEqual(reply[0], b"0")
        reply = self.scan(reply[0], b"*2\r\n$1\r\n0\r\n*1\r\n$1\r\nb\r\n", TWO)
        self.assertEqual(reply, [b"0", [b"b"]])

    def test_rubbish(self) -> None:
        """A step that is answered with rubbish, or belongs to another map, fails."""
        self.start()
        waiting = self.cluster.run("SCAN", "0")
        self.newest(ONE).clear()
        self.newest(ONE).say(b"+OK\r\n")
        self.failureResultOf(waiting, LinkDown)
        for cursor in (b"77.0.0", b"1.9.0", b"1.x.0"):
            self.failureResultOf(self.cluster.run("SCAN", cursor), LinkDown)

    def test_before(self) -> None:
        """Before there is a map nothing can be scanned."""
        self.failureResultOf(self.cluster.run("SCAN", "0"), LinkDown)


class Closing(Case):
    """Closed is closed."""

    def test_up(self) -> None:
        """Closed, it is down, connects no more and leaves nothing behind."""
        self.start()
        waiting = self.cluster.run("GET", KEY_OF_ONE)
        self.successResultOf(self.cluster.close())
        self.failureResultOf(waiting, LinkDown)
        self.cluster.start()
        self.assertEqual((self.changes, self.clock.getDelayedCalls()), ([True, False], []))

    def test_looking(self) -> None:
        """Closed while it looks at the map, or before it was started, it does not go on."""
        for started in (True, False):
            cluster = Cluster(self.clock, [ONE], self.to, Login())
            if started:
                cluster.start()
            self.successResultOf(cluster.close())
            self.answer()
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.assertFalse(cluster.up)

    def test_parts(self) -> None:
        """Of a command about keys of two places, what goes wrong at one is told."""
        self.start()
        waiting = self.cluster.run("MGET", KEY_OF_ONE, KEY_OF_TWO)
        everywhere = self.cluster.run("SCRIPT", "LOAD", "x")
        for node in (ONE, TWO):
            self.newest(node).clear()
            self.newest(node).say(b"-ERR no\r\n" * 2)
        for failing in (waiting, everywhere):
            self.assertEqual(str(self.failureResultOf(failing, LinkDown).value), "ERR no")
        self.assertEqual(self.cluster.place(b"123456789"), 0x31C3)


class Ears(Case):
    """Which node is listened to."""

    def test_follows(self) -> None:
        """When the node that we listen to leaves the cluster, another one is listened to."""
        self.cluster.listen("c", lambda _: None)
        self.start()
        heard = [node for node in (ONE, TWO) if "SUBSCRIBE" in self.heard[node]]
        self.assertEqual(len(heard), 1)
        other = TWO if heard == [ONE] else ONE
        self.map = shown((0, 16383, other))
        self.pass_time(2 * CALM)
        self.assertIn("SUBSCRIBE", self.heard[other])
        self.assertEqual([one.open for one in self.ends[heard[0]].connections].count(True), 0)
