"""The link's rules of time, on a clock of the test and against a Redis whose every byte the test decides."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import (
    ConnectError,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
)
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from heimdall.interfaces import ILink, LinkDown
from heimdall.redislink import Link
from heimdall.redislink.gone import REMEDIES, Gone
from heimdall.redislink.greeting import Login
from heimdall.redislink.wire import MOST_UNREAD, Wire
from heimdall.tally import Count, Gauge

GREETING = b"+OK\r\n"
TIME = b"*2\r\n$10\r\n1767225600\r\n$6\r\n500000\r\n"


class Transport(StringTransport):
    """One end of a connection; an abort is told to the protocol at once."""

    def __init__(self, protocol: Protocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.open = True

    def abortConnection(self) -> None:
        """Close."""
        self.end(ConnectionLost())

    def end(self, why: Exception) -> None:
        """Be closed, for a reason."""
        if self.open:
            self.open = False
            self.protocol.connectionLost(Failure(why))

    def say(self, data: bytes) -> None:
        """Send bytes to the link."""
        self.protocol.dataReceived(data)

    def heard(self) -> list[str]:
        """Return the names of the commands that came since the last look."""
        words = self.value().decode("latin-1").split("\r\n")
        self.clear()
        return [words[index + 2] for index, word in enumerate(words) if word.startswith("*")]


@implementer(IStreamClientEndpoint)
class Endpoint:
    """The way to the test's Redis."""

    def __init__(self) -> None:
        self.refusal: Exception | None = None
        self.connections: list[Transport] = []
        self.hanging = False

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Connect at once, or refuse, or leave it open."""
        if self.hanging:
            return Deferred()
        if self.refusal is not None:
            return fail(self.refusal)
        protocol: Any = protocolFactory.buildProtocol(None)  # type: ignore[arg-type]
        transport = Transport(protocol)
        self.connections.append(transport)
        protocol.makeConnection(transport)
        return succeed(protocol)


class Case(SynchronousTestCase):
    """A link, not started, and its log."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(5000)
        self.endpoint = Endpoint()
        self.secret = "hidden"
        self.events: list[str] = []
        observer: ILogObserver = self.observe  # type: ignore[assignment]
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.link = Link(
            self.clock,
            self.endpoint,
            Login("me", lambda: self.secret, 2),
            shown="redis://there",
            most_waiting=50,
        )

    def observe(self, event: LogEvent) -> None:
        if str(event.get("log_namespace", "")).startswith("heimdall"):
            self.events.append(str(event["log_format"]).format(**event))

    @property
    def redis(self) -> Transport:
        """The newest connection."""
        return self.endpoint.connections[-1]

    def pass_time(self, seconds: float, step: float = 0.01) -> None:
        """Let time pass in small steps."""
        for _ in range(round(seconds / step)):
            self.clock.advance(step)

    def come_back(self) -> None:
        """Let time pass until the link has connected anew."""
        connections = len(self.endpoint.connections)
        for _ in range(501):
            if len(self.endpoint.connections) == connections:
                self.clock.advance(0.01)

    def answer(self) -> None:
        """Answer everything that was asked, and what is asked because of that."""
        while names := self.redis.heard():
            for name in names:
                self.redis.say({"TIME": TIME, "PING": b"+PONG\r\n"}.get(name, b"$1\r\na\r\n"))

    def welcome(self) -> None:
        """Answer the greeting of a new connection."""
        self.assertEqual(self.redis.heard(), ["AUTH", "SELECT", "PING", "CLIENT"])
        self.redis.say(GREETING * 4)
        self.assertEqual(self.redis.heard(), ["TIME"])
        self.redis.say(TIME)

    def start(self) -> None:
        """Start the link and have it be up."""
        self.link.start()
        self.welcome()
        self.assertTrue(self.link.up)

    def count(self, what: str, *values: str) -> int:
        """Read one of the counters."""
        [count] = [
            t for t in self.link.tallies if isinstance(t, Count) and t.name == f"heimdall_redislink_{what}_total"
        ]
        return count.total(*values)


class Connecting(Case):
    """It connects for ever."""

    def test_provides(self) -> None:
        """It is a link."""
        self.assertTrue(verifyObject(ILink, self.link))

    def test_up(self) -> None:
        """It is up when Redis has taken the password, the database and a PING, and told the time."""
        self.link.start()
        self.link.start()
        self.assertFalse(self.link.up)
        self.failureResultOf(self.link.run("GET", "a"), LinkDown)
        self.assertIsNone(self.link.now())
        self.assertIn(b"AUTH\r\n$2\r\nme\r\n$6\r\nhidden\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n2\r\n", self.redis.value())
        self.welcome()
        self.assertTrue(self.link.up)
        self.assertEqual(len(self.endpoint.connections), 1)
        gauges = {tally.name: tally.read() for tally in self.link.tallies if isinstance(tally, Gauge)}
        self.assertEqual(list(gauges.values())[:3], [1.0, 0.0, 0.0])
        self.assertEqual(next(iter(gauges)), "heimdall_redislink_connection_up")
        self.assertEqual(self.events, ["Redis answers at redis://there"])

    def test_waits_grow(self) -> None:
        """While Redis is away it is tried again and again, with waits that grow to some 5 s; that is told once."""
        self.endpoint.refusal = ConnectionRefusedError()
        self.link.start()
        self.pass_time(300, 0.05)
        tries = self.count("errors", "refused")
        self.assertTrue(60 < tries < 140, tries)
        self.assertEqual(len(self.events), 1)
        self.assertIn("no Redis at redis://there", self.events[0])
        self.assertIn(REMEDIES["refused"], self.events[0])
        self.endpoint.refusal = None
        self.come_back()
        self.welcome()
        self.assertEqual(self.events[1:], ["Redis answers at redis://there"])

    def test_unknown_name(self) -> None:
        """A host name that nobody knows is asked for every 30 s at most."""
        self.endpoint.refusal = DNSLookupError()
        self.link.start()
        self.pass_time(600, 0.1)
        self.assertTrue(20 <= self.count("errors", "name") < 60, self.count("errors", "name"))

    def test_no_answer_to_connect(self) -> None:
        """An attempt that nobody answers ends, and so does a greeting."""
        self.endpoint.hanging = True
        self.link.start()
        self.pass_time(3.01)
        self.assertEqual(self.count("errors", "timeout"), 1)
        self.endpoint.hanging = False
        self.pass_time(0.2)
        self.assertEqual(len(self.endpoint.connections), 1)
        self.pass_time(3.01)
        self.assertEqual(self.count("errors", "timeout"), 2)
        self.assertFalse(self.endpoint.connections[0].open)

    def test_refused_password(self) -> None:
        """A password that is not taken is told once, without it; a new one is used at the next attempt."""
        self.link.start()
        for _ in range(3):
            self.redis.say(b"-ERR unknown command 'AUTH', with args: 'me' 'hidden'\r\n" + b"-NOAUTH first\r\n" * 3)
            self.come_back()
        self.assertEqual(self.count("errors", "password"), 3)
        self.assertEqual(len(self.events), 1)
        self.assertNotIn("hidden", self.events[0])
        self.failureResultOf(self.link.run("PING"), LinkDown)
        self.secret = "better"
        self.redis.end(ConnectionDone())
        self.come_back()
        self.assertIn(b"better", self.redis.value())
        self.welcome()
        self.assertTrue(self.link.up)

    def test_refusals(self) -> None:
        """Whatever Redis refuses in the greeting has its reason in the log."""
        for replies, reason in (
            (b"+OK\r\n-ERR DB index is out of range\r\n+PONG\r\n+OK\r\n", "database"),
            (b"+OK\r\n+OK\r\n-LOADING Redis is loading\r\n+OK\r\n", "loading"),
            (b"+OK\r\n+OK\r\n-NOPERM no\r\n+OK\r\n", "permission"),
            (b"+OK\r\n+OK\r\n-SOMETHING \x1b[31melse\r\n+OK\r\n", "other"),
            (b"+OK\r\n+OK\r\n+PONG\r\n-NOPERM no\r\n-NOPERM no TIME\r\n", "permission"),
            (b"+OK\r\n+OK\r\n+PONG\r\n+OK\r\n+noon\r\n", "other"),
            (b"+OK\r\n+OK\r\n+PONG\r\n+OK\r\n*2\r\n$30\r\n%d\r\n$1\r\n0\r\n" % (10**29), "other"),
            (b"+OK\r\n+OK\r\n+PONG\r\n+OK\r\n" + TIME, ""),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", "protocol"),
        ):
            events = len(self.events)
            endpoint, self.endpoint = self.endpoint, Endpoint()
            link = Link(self.clock, self.endpoint, Login("me", lambda: "hidden", 2))
            link.start()
            for line in (replies,) if reason == "protocol" else replies.splitlines(True)[:4]:
                self.redis.say(line)
            if self.redis.open and replies.count(b"\r\n") > 4:
                self.redis.say(b"".join(replies.splitlines(True)[4:]))
            self.endpoint = endpoint
            self.assertEqual(link.up, not reason)
            if reason:
                self.assertIn(REMEDIES[reason], self.events[events])
                self.assertNotIn("\x1b", self.events[events])

    def test_password_file(self) -> None:
        """A password file that cannot be read is told, and read again at the next attempt."""

        def missing() -> str:
            raise FileNotFoundError("/etc/secret")

        self.link = Link(self.clock, self.endpoint, Login(password=missing))
        self.link.start()
        self.pass_time(1)
        self.assertGreater(self.count("errors", "password_file"), 1)
        self.assertEqual(len(self.events), 1)

    def test_no_password(self) -> None:
        """Without password and database neither is sent."""
        self.link = Link(self.clock, self.endpoint)
        self.link.start()
        self.assertEqual(self.redis.heard(), ["PING", "CLIENT"])

    def test_lost(self) -> None:
        """A connection that ends fails what waits for it, at once, and is made anew."""
        self.start()
        waiting = self.link.run("GET", "a")
        self.redis.end(ConnectionDone())
        self.assertIn("closed", str(self.failureResultOf(waiting, LinkDown).value))
        self.assertFalse(self.link.up)
        self.pass_time(0.2)
        self.welcome()
        self.assertTrue(self.link.up)
        self.assertEqual(self.count("errors", "lost"), 1)

    def test_short_lives(self) -> None:
        """A Redis that ends every connection soon is not asked more and more often; a good one resets the wait."""
        self.link.start()
        for _ in range(12):
            self.welcome()
            self.redis.end(ConnectionDone())
            self.come_back()
        self.welcome()
        self.redis.end(ConnectionDone())
        connections = len(self.endpoint.connections)
        self.pass_time(2.4)
        self.assertEqual(len(self.endpoint.connections), connections)
        self.come_back()
        self.welcome()
        for _ in range(120):
            self.pass_time(0.1)
            self.answer()
        self.redis.end(ConnectionDone())
        self.pass_time(0.11)
        self.assertEqual(len(self.endpoint.connections), connections + 2)


class Closing(Case):
    """Closed is closed."""

    def test_before_start(self) -> None:
        """A link that never was started is closed at once, and stays so."""
        self.successResultOf(self.link.close())
        self.link.start()
        self.assertEqual(self.endpoint.connections, [])

    def test_up(self) -> None:
        """Closing ends the connection, fails what waits, and connects no more."""
        self.start()
        waiting = self.link.run("GET", "a")
        self.successResultOf(self.link.close())
        self.failureResultOf(waiting, LinkDown)
        self.failureResultOf(self.link.run("GET", "a"), LinkDown)
        self.successResultOf(self.link.close())
        self.pass_time(60, 0.1)
        self.assertEqual((len(self.endpoint.connections), self.clock.getDelayedCalls()), (1, []))

    def test_greeting(self) -> None:
        """Closing during the greeting ends it."""
        self.link.start()
        self.successResultOf(self.link.close())
        self.assertEqual((self.redis.open, self.clock.getDelayedCalls()), (False, []))

    def test_away(self) -> None:
        """Closing between two attempts, or during one, makes it the last."""
        for endpoint in (Endpoint(), Endpoint()):
            endpoint.refusal = ConnectError()
            endpoint.hanging = endpoint is self.endpoint
            link = Link(self.clock, endpoint)
            link.start()
            self.successResultOf(link.close())
            self.assertEqual(self.clock.getDelayedCalls(), [])
        hanging = Endpoint()
        hanging.hanging = True
        link = Link(self.clock, hanging)
        link.start()
        self.successResultOf(link.close())
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Running(Case):
    """A command always ends, in order, in time."""

    def setUp(self) -> None:
        super().setUp()
        self.start()

    def test_replies(self) -> None:
        """Replies are bytes, numbers, None and lists of these; an error is a failure in Redis's words."""
        waiting = [self.link.run("GET", name) for name in "abcdef"]
        self.redis.say(b"$2\r\n12\r\n:7\r\n$-1\r\n*2\r\n$1\r\n\xff\r\n$-1\r\n+OK\r\n-OOM no\r\n")
        self.assertEqual([self.successResultOf(one) for one in waiting[:5]], [b"12", 7, None, [b"\xff", None], b"OK"])
        self.assertEqual(str(self.failureResultOf(waiting[5], LinkDown).value), "OOM no")

    def test_cancelled(self) -> None:
        """A caller that gives up leaves its place in the order, so that no reply goes to another."""
        first, second = self.link.run("GET", "a"), self.link.run("GET", "b")
        first.addErrback(lambda _: None)
        first.cancel()
        self.redis.say(b"$1\r\na\r\n$1\r\nb\r\n")
        self.assertEqual(self.successResultOf(second), b"b")

    def test_again_at_once(self) -> None:
        """A caller that tries again as soon as the connection is lost is refused at once, however often it does."""
        tries = 0

        def again(_: Failure) -> object:
            nonlocal tries
            tries += 1
            return self.link.run("GET", "a").addErrback(again) if tries < 20 else None

        waiting = self.link.run("GET", "a").addErrback(again)
        self.redis.end(ConnectionDone())
        self.successResultOf(waiting)
        garbled = Wire(self.clock.seconds, lambda _: None)
        transport = Transport(garbled)
        garbled.makeConnection(transport)
        transport.say(b"garbage\r\n")
        self.failureResultOf(garbled.send("PING"), LinkDown)

    def test_in_flight(self) -> None:
        """No more than so many commands are in flight."""
        for _ in range(50):
            self.link.run("GET", "a")
        self.failureResultOf(self.link.run("GET", "a"), LinkDown)
        self.assertEqual(self.count("commands", "full"), 1)

    def test_time_limit(self) -> None:
        """A command whose reply does not come fails after a second, and so do those behind it."""
        first = self.link.run("GET", "a")
        self.pass_time(0.08)
        second = self.link.run("GET", "b")
        self.pass_time(0.91)
        self.assertNoResult(first)
        self.pass_time(0.07)
        self.failureResultOf(first, LinkDown)
        self.assertNoResult(second)
        self.pass_time(0.08)
        self.failureResultOf(second, LinkDown)
        self.assertEqual(self.count("commands", "late"), 2)

    def test_unasked(self) -> None:
        """A reply that nobody asked for ends the connection: the order can no longer be told."""
        self.redis.say(b"+hello\r\n")
        self.assertFalse(self.link.up)
        self.assertEqual(self.count("errors", "protocol"), 1)
        self.redis.say(b"+late words\r\n")

    def test_garbage(self) -> None:
        """Bytes that are no reply end the connection, and fail what waits."""
        waiting = self.link.run("GET", "a")
        self.redis.say(b"\0\1\2garbage\r\n")
        self.failureResultOf(waiting, LinkDown)
        self.assertEqual(self.count("errors", "protocol"), 1)

    def test_endless_reply(self) -> None:
        """A reply that never ends is not gathered for ever."""
        waiting = self.link.run("GET", "a")
        self.redis.say(b"$500000000\r\n")
        block = bytes(MOST_UNREAD // 8)
        for _ in range(8):
            self.redis.say(block)
        self.failureResultOf(waiting, LinkDown)
        self.assertEqual(self.count("errors", "protocol"), 1)


class Slow(Case):
    """A Redis that is slow is done without, until it answers in time again."""

    def setUp(self) -> None:
        super().setUp()
        self.start()
        self.events.clear()

    def test_overdue(self) -> None:
        """A reply outstanding for 100 ms makes the link slow: it refuses at once what is asked of it."""
        self.link.run("GET", "a")
        self.pass_time(0.09)
        self.assertTrue(self.link.up)
        self.pass_time(0.03)
        self.assertFalse(self.link.up)
        self.assertEqual(self.link.state, "slow")
        self.failureResultOf(self.link.run("GET", "a"), LinkDown)
        self.assertEqual(len(self.events), 1)

    def test_recovers(self) -> None:
        """When late replies arrive a PING asks whether it is well again; a reply in time says so."""
        late = self.link.run("GET", "a")
        self.pass_time(0.5)
        self.redis.heard()
        self.redis.say(b"$1\r\na\r\n")
        self.assertEqual(self.successResultOf(late), b"a")
        self.assertFalse(self.link.up)
        self.assertEqual(self.redis.heard(), ["PING"])
        self.pass_time(0.2)
        self.redis.say(b"+PONG\r\n")
        self.assertFalse(self.link.up)
        self.assertEqual(self.redis.heard(), ["PING"])
        self.pass_time(0.02)
        self.redis.say(b"+PONG\r\n")
        self.assertTrue(self.link.up)
        self.assertEqual(self.events[1:], ["Redis answers at redis://there"])

    def test_reply_in_time_behind_a_late_one(self) -> None:
        """A reply that took less than the limit is enough to be up again."""
        self.link.run("GET", "a")
        self.pass_time(0.08)
        self.link.run("GET", "b")
        self.pass_time(0.04)
        self.assertFalse(self.link.up)
        self.redis.say(b"$1\r\na\r\n$1\r\nb\r\n")
        self.assertTrue(self.link.up)

    def test_our_own_stall(self) -> None:
        """When it was this process that stood still, the replies in the socket are read before anything is judged."""
        self.link.run("GET", "a")
        self.clock.callLater(0.5, self.redis.say, b"$1\r\na\r\n")
        self.clock.advance(0.5)
        self.clock.advance(0)
        self.assertTrue(self.link.up)
        self.assertEqual(self.count("changes", "slow"), 0)

    def test_flapping(self) -> None:
        """A Redis that is near the limit is told about every half minute, not at every turn."""
        for _ in range(100):
            self.link.run("GET", "a")
            self.pass_time(0.15)
            self.answer()
        self.assertEqual(self.count("changes", "slow"), 100)
        self.assertEqual(len(self.events), 2)

    def test_silent(self) -> None:
        """A connection without any reply for 3 s is given up and made anew."""
        waiting = self.link.run("GET", "a")
        self.pass_time(2.95)
        self.assertTrue(self.redis.open)
        self.pass_time(0.1)
        self.assertFalse(self.redis.open)
        self.failureResultOf(waiting, LinkDown)
        self.assertEqual(self.count("errors", "silent"), 1)
        self.pass_time(0.2)
        self.welcome()
        self.assertTrue(self.link.up)

    def test_idle(self) -> None:
        """A connection that nothing is asked of is asked for the time, so that its silence shows."""
        self.redis.heard()
        self.pass_time(5.01)
        self.assertEqual(self.redis.heard(), ["TIME"])
        self.pass_time(0.15)
        self.assertFalse(self.link.up)
        self.pass_time(3)
        self.assertFalse(self.endpoint.connections[0].open)


class Replicas(Case):
    """A Redis that is no master, or no longer."""

    READONLY = b"-READONLY You can't write against a read only replica.\r\n"

    def test_read_only(self) -> None:
        """A refused write has the connection made anew, as its address may lead to the new master by now."""
        self.start()
        write, read = self.link.run("SET", "a", "b"), self.link.run("GET", "a")
        self.redis.say(self.READONLY + b"$1\r\nc\r\n")
        self.assertTrue(str(self.failureResultOf(write, LinkDown).value).startswith("READONLY"))
        self.assertEqual(self.successResultOf(read), b"c")
        self.assertTrue(self.redis.open)
        self.clock.advance(0)
        self.assertEqual([one.open for one in self.endpoint.connections], [False, True])
        self.welcome()
        self.assertTrue(self.link.up)
        self.assertEqual(self.count("errors", "readonly"), 1)

    def test_read_only_script(self) -> None:
        """Redis 6 hides the word in what it says of a script; a replica without its master says another one."""
        for said in (
            b"-ERR Error running script (call to f_0): @user_script:1: -READONLY You can't write\r\n",
            b"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
        ):
            self.start()
            self.link.run("EVALSHA", "a", 0).addErrback(lambda _: None)
            self.redis.say(said)
            self.clock.advance(0)
            self.assertEqual(self.count("errors", "readonly"), 1)
            self.setUp()

    def test_stays_read_only(self) -> None:
        """A Redis that never takes a write is left more and more rarely, is read from all the time, and told once."""
        self.start()
        for _ in range(3000):
            self.clock.advance(0.1)
            if self.redis.value() and not self.link.up:
                self.welcome()
            elif self.link.up:
                self.answer()
                self.link.run("SET", "a", "b").addErrback(lambda _: None)
                self.redis.heard()
                self.redis.say(self.READONLY)
        self.assertTrue(7 <= self.count("errors", "readonly") <= 11, self.count("errors", "readonly"))
        self.assertEqual(len(self.events), 2)

    def test_no_master(self) -> None:
        """Where a master is wanted, who says it is none is left, and tried again later."""
        self.link = Link(self.clock, self.endpoint, Login(master=True))
        self.link.start()
        self.assertEqual(self.redis.heard(), ["PING", "CLIENT", "ROLE"])
        self.redis.say(b"+PONG\r\n+OK\r\n*2\r\n$5\r\nslave\r\n$1\r\nh\r\n")
        self.assertFalse(self.redis.open)
        self.assertEqual(self.count("errors", "role"), 1)
        self.come_back()
        self.redis.heard()
        self.redis.say(b"+PONG\r\n+OK\r\n*2\r\n$6\r\nmaster\r\n:1\r\n")
        self.assertEqual(self.redis.heard(), ["TIME"])

    def test_again(self) -> None:
        """Sent elsewhere, a link goes at once: from a connection, from an attempt, and from a wait."""
        self.start()
        switched = Gone("switched", "elsewhere")
        self.link.again(switched)
        self.assertEqual(len(self.endpoint.connections), 2)
        self.endpoint.hanging = True
        self.redis.end(ConnectionDone())
        self.pass_time(0.2)
        self.endpoint.hanging = False
        self.link.again(switched)
        self.assertEqual(len(self.endpoint.connections), 3)
        self.endpoint.refusal = ConnectError()
        self.redis.end(ConnectionDone())
        self.pass_time(1)
        self.endpoint.refusal = None
        self.link.again(switched)
        self.assertEqual(len(self.endpoint.connections), 4)
        self.welcome()
        self.assertTrue(self.link.up)


class Clocks(Case):
    """The time on Redis's clock is known, whatever ours says."""

    def setUp(self) -> None:
        super().setUp()
        self.start()

    def test_reckoned(self) -> None:
        """The time goes on with our monotonic clock from what Redis told."""
        self.assertEqual(self.link.now(), 1767225600.5)
        self.clock.advance(3)
        self.assertEqual(self.link.now(), 1767225603.5)

    def test_half_the_way(self) -> None:
        """Redis read its clock half a round trip ago; it is read again every 5 s."""
        self.pass_time(5)
        self.assertEqual(self.redis.heard(), ["TIME"])
        self.pass_time(0.04)
        self.redis.say(TIME)
        self.assertAlmostEqual(self.link.now() or 0.0, 1767225600.52, 3)

    def test_vague(self) -> None:
        """A reading that was long on its way is not taken, nor an error, nor rubbish: the old reckoning stands."""
        before = self.link.now() or 0.0
        for reply in (TIME, b"-ERR no\r\n", b"+noon\r\n", b"*1\r\n:1\r\n"):
            self.pass_time(5)
            self.assertIn("TIME", self.redis.heard())
            self.pass_time(0.2 if reply == TIME else 0)
            self.redis.say(reply)
            if self.redis.heard():
                self.redis.say(b"+PONG\r\n")
        self.assertAlmostEqual(self.link.now() or 0.0, before + 20.2, 3)

    def test_away(self) -> None:
        """The time is known while Redis is away."""
        self.redis.end(ConnectionDone())
        self.endpoint.hanging = True
        self.clock.advance(100)
        self.assertEqual(self.link.now(), 1767225700.5)


class Reasons(SynchronousTestCase):
    """Every way to fail has its reason."""

    def test_reasons(self) -> None:
        """Errors of the transport are sorted by what a person can do about them."""
        for error, reason in (
            (DNSLookupError(), "name"),
            (ConnectTimeout(), "timeout"),
            (ConnectionRefusedError(), "refused"),
            (ConnectError(), "refused"),
            (ConnectionLost(), "lost"),
            (LinkDown("WRONGPASS no"), "password"),
            (LinkDown(""), "other"),
            (Gone("silent", "x"), "silent"),
        ):
            self.assertEqual(Gone.of(error).reason, reason)

    def test_remedies(self) -> None:
        """A lost connection ends with a reason once, whatever comes behind."""
        clock = Clock()
        wire = Wire(clock.seconds, lambda _: None)
        transport = Transport(wire)
        wire.makeConnection(transport)
        wire.abort(Gone("silent", "first"))
        wire.abort(Gone("protocol", "second"))
        self.assertEqual(self.successResultOf(wire.lost).reason, "silent")

    def test_refused_in_script(self) -> None:
        """What a script was refused begins with the same word whichever Redis says it."""
        clock = Clock()
        for said, meant in (
            ("ERR Error running script (call to f_0a): @user_script:1: @user_script: 1: -OOM not now.", "OOM not now."),
            ("@user_script: 9: -READONLY it is a replica.", "READONLY it is a replica."),
            ("ERR Error running script (call to f_0a): @user_script:1: WRONGTYPE of value", "WRONGTYPE of value"),
            ("OOM not now. script: 0a, on @user_script:3.", "OOM not now. script: 0a, on @user_script:3."),
            ("ERR Error running script (call to f_0a): @user_script:1: a word", ""),
        ):
            wire = Wire(clock.seconds, lambda _: None)
            wire.makeConnection(Transport(wire))
            running = wire.send("EVAL")
            wire.dataReceived(f"-{said}\r\n".encode())
            self.assertEqual(self.failureResultOf(running, LinkDown).getErrorMessage(), meant or said)
