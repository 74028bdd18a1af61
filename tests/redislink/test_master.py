"""Who is master is asked of sentinels whose every byte the test decides."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from heimdall.redislink.greeting import Login
from heimdall.redislink.sentinel import PATIENCE, Master, SentinelLink
from tests.redislink.test_link import TIME, Endpoint, Transport


def named(host: str, port: int) -> bytes:
    """Return what a sentinel says of the master."""
    return f"*2\r\n${len(host)}\r\n{host}\r\n${len(str(port))}\r\n{port}\r\n".encode()


class Case(SynchronousTestCase):
    """A link by way of two sentinels, not started."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.sentinels = [Endpoint(), Endpoint()]
        self.servers: dict[tuple[str, int], Endpoint] = {}
        self.says: list[bytes] = [named("one", 1), named("one", 1)]
        self.role = b"*2\r\n$6\r\nmaster\r\n:0\r\n"
        self.master = Master(self.clock, self.sentinels, self.to, Login(), "main")
        self.link = SentinelLink(self.clock, self.master, Login(), Login(master=True))

    def to(self, host: str, port: int) -> Any:
        """Return the way to a server."""
        return self.servers.setdefault((host, port), Endpoint())

    def answer(self) -> None:
        """Answer everything that anybody was asked, until nobody asks anything more."""
        busy = True
        while busy:
            busy = False
            for end, said in [
                *zip(self.sentinels, self.says, strict=True),
                *((one, b"") for one in self.servers.values()),
            ]:
                for connection in end.connections:
                    for name in connection.heard() if connection.open else ():
                        busy = True
                        replies = {"PING": b"+PONG\r\n", "TIME": TIME, "SENTINEL": said, "ROLE": self.role}
                        connection.say(replies.get(name, b"+OK\r\n"))

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with everything answered."""
        for _ in range(round(seconds / 0.05)):
            self.clock.advance(0.05)
            self.answer()

    def start(self) -> None:
        """Start it, and have it be up."""
        self.link.start()
        self.answer()
        self.assertTrue(self.link.up)

    def scout(self) -> Transport:
        """Return the connection that listens to a sentinel."""
        [scout] = [connection for end in self.sentinels for connection in end.connections if connection.open]
        return scout


class Finding(Case):
    """The master is found, whatever some sentinels say."""

    def test_first(self) -> None:
        """The sentinel that answered last is asked first, and the one that did not last."""
        self.sentinels[0].refusal = ConnectionRefusedError()
        self.start()
        self.assertEqual(list(self.servers), [("one", 1)])
        self.assertEqual(self.master.last, ("one", 1))

    def test_silent(self) -> None:
        """A sentinel that is silent costs half a second once."""
        self.sentinels[0].hanging = True
        self.link.start()
        self.answer()
        self.assertFalse(self.link.up)
        self.pass_time(PATIENCE + 0.1)
        self.assertTrue(self.link.up)
        self.servers[("one", 1)].connections[0].end(ConnectionDone())
        self.pass_time(0.2)
        self.assertTrue(self.link.up)

    def test_rubbish(self) -> None:
        """What is no address is passed over, and so is a sentinel that does not know the service."""
        for said in (b"+OK\r\n", b"*-1\r\n", named("", 1), named("h" * 300, 1), named("h", 0), named("h", 70000)):
            self.setUp()
            self.says = [said, named("one", 1)]
            self.start()
            self.assertEqual(list(self.servers), [("one", 1)])

    def test_closed(self) -> None:
        """Closed while the first sentinel is asked, the second is not asked any more."""
        for end in self.sentinels:
            end.hanging = True
        self.link.start()
        for end in self.sentinels:
            end.hanging = False
        self.successResultOf(self.link.close())
        self.assertEqual([len(end.connections) for end in self.sentinels], [0, 0])
        self.assertEqual((self.servers, self.clock.getDelayedCalls()), ({}, []))

    def test_no_master(self) -> None:
        """Who says that it is no master is not used; when it is one at last, it is."""
        self.role = b"*2\r\n$5\r\nslave\r\n:0\r\n"
        self.link.start()
        self.answer()
        self.assertFalse(self.link.up)
        self.role = b"*2\r\n$6\r\nmaster\r\n:0\r\n"
        self.pass_time(0.2)
        self.assertTrue(self.link.up)


class Following(Case):
    """The link goes where the sentinels send it."""

    def setUp(self) -> None:
        super().setUp()
        self.start()
        self.says = [named("two", 2)] * 2

    def switch(self, message: bytes) -> None:
        """Have the sentinel that we listen to say something."""
        said = b"*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n$%d\r\n%s\r\n" % (len(message), message)
        self.scout().say(said)
        self.answer()

    def test_switched(self) -> None:
        """When another master is announced the connections go there at once."""
        self.switch(b"main one 1 two 2")
        self.assertTrue(self.link.up)
        self.assertEqual(list(self.servers), [("one", 1), ("two", 2)])
        self.assertFalse(self.servers[("one", 1)].connections[0].open)

    def test_another_service(self) -> None:
        """What is said of another service, or makes no sense, changes nothing."""
        for message in (b"other one 1 two 2", b"main", b"\xff", b"main one 1 two 2 three"):
            self.switch(message)
        self.assertEqual(list(self.servers), [("one", 1)])

    def test_missed(self) -> None:
        """A switch that nobody could tell us of is seen as soon as a sentinel is heard again."""
        self.scout().end(ConnectionDone())
        self.pass_time(0.5)
        self.assertEqual(list(self.servers), [("one", 1), ("two", 2)])
        self.assertTrue(self.link.up)

    def test_nothing_missed(self) -> None:
        """A sentinel that is heard again and tells of no other master changes nothing."""
        self.says = [named("one", 1)] * 2
        self.scout().end(ConnectionDone())
        self.pass_time(0.5)
        self.assertEqual(len(self.servers[("one", 1)].connections), 1)

    def test_all_away(self) -> None:
        """Sentinels that are all away cost nothing while the master is there."""
        for end in self.sentinels:
            end.refusal = ConnectionRefusedError()
        self.scout().end(ConnectionDone())
        self.pass_time(30)
        self.assertTrue(self.link.up)
