"""The cache shared through Redis: its budget, its stale answers, its writes, and whatever may be wrong with Redis."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from heimdall.cache.entry import from_bytes, to_bytes
from heimdall.cache.redis import Shared
from heimdall.cache.seal import Seal
from heimdall.interfaces import REFUSALS, ILink, ISource, NoAnswer
from heimdall.message import edns, query
from heimdall.message.answer import TC, Answer
from heimdall.message.edns import ExtendedError
from heimdall.message.query import NXDOMAIN, REFUSED, SERVFAIL, Query
from heimdall.tally import Count
from tests.cache.questions import failure, negative, positive, question, scoped, ttls
from tests.cache.test_once import Source
from tests.fakelink import FakeLink
from tests.reported import met

NOTHING = NoAnswer("all silent", ExtendedError(edns.NO_REACHABLE_AUTHORITY))


class Case(SynchronousTestCase):
    """A link in memory, a source at hand, and a clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.link = FakeLink(self.clock)
        self.source = Source()
        self.shared = Shared(self.link, self.source, self.clock, window=3600)
        self.events: list[str] = []
        observer: ILogObserver = self.observe  # type: ignore[assignment]
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def observe(self, event: LogEvent) -> None:
        if str(event.get("log_namespace", "")).startswith("heimdall"):
            self.events.append(str(event["log_format"]).format(**event))

    def lay(self, answer: Answer, age: float = 0.0, of: Query | None = None, key: bytes | None = None) -> None:
        """Have another node have stored an answer some seconds ago."""
        asked = of or question()
        now = self.link.now() or 0.0
        self.link.values[b"heimdall:c1:" + (key or asked.key)] = to_bytes(answer, key or asked.key, now - age, Seal())

    def held(self, of: Query | None = None) -> tuple[Answer, float] | None:
        """What Redis holds for a question."""
        asked = of or question()
        value = self.link.values.get(b"heimdall:c1:" + asked.key)
        if value is None:
            return None
        return from_bytes(value, asked.key, len(asked.question), self.link.now() or 0.0, Seal())[:2]

    def turn(self, seconds: float = 0.0) -> None:
        """Let some time pass, and what was put off to the next turn be done."""
        self.clock.advance(0)
        self.clock.advance(seconds)
        self.clock.advance(0)

    def count(self, what: str, *values: str) -> int:
        """Read one of the counters, by the end of its name."""
        [count] = [t for t in self.shared.tallies if isinstance(t, Count) and t.name.endswith(f"redis_{what}_total")]
        return count.total(*values)


class LookingUp(Case):
    """What Redis knows is answered from there."""

    def test_provides(self) -> None:
        """It is a source, and the link of these tests is one."""
        self.assertTrue(verifyObject(ISource, self.shared))
        self.assertTrue(verifyObject(ILink, self.link))

    def test_hit(self) -> None:
        """A fresh value is the answer, its TTLs aged, and nobody else is asked."""
        self.lay(positive(ttl=60), age=15)
        asked = self.shared.ask(question())
        self.turn()
        answer = self.successResultOf(asked)
        self.assertEqual((answer.origin, answer.ttl, ttls(answer.body, answer)), ("redis", 45, [45]))
        self.assertEqual((self.source.asked, self.count("lookups", "hit")), ([], 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_miss(self) -> None:
        """What Redis does not hold is asked for further on, and stored with its TTL and the stale window."""
        asked = self.shared.ask(question())
        self.turn()
        self.source.give(positive(ttl=60))
        self.assertEqual(self.successResultOf(asked).origin, "upstream")
        self.turn()
        self.assertEqual(self.link.lifetimes, {b"heimdall:c1:" + question().key: 3660_000})
        held = self.held()
        assert held is not None
        self.assertEqual((held[0].body, held[1]), (positive(ttl=60).body, 60))
        self.assertEqual((self.count("lookups", "miss"), self.count("writes", "stored")), (1, 1))

    def test_one_turn_one_command(self) -> None:
        """The look-ups of one turn of the reactor travel together, at most 256 in a command."""
        names = [f"host{number}.example" for number in range(300)]
        for name in names[:290]:
            self.lay(positive(name), of=question(name))
        waiting = [self.shared.ask(question(name)) for name in names]
        self.assertEqual(self.link.commands, [])
        self.turn()
        self.assertEqual([len(command) - 1 for command in self.link.commands], [256, 44])
        for name, one in zip(names[:290], waiting[:290], strict=True):
            self.assertEqual(self.successResultOf(one).question, question(name).key[:-1])
        self.assertEqual(len(self.source.asked), 10)

    def test_kept_apart(self) -> None:
        """An answer for DO or CD is none for those who set neither."""
        self.lay(positive(), of=query.make(question().name, 1, do=True))
        self.lay(positive(), of=query.make(question().name, 1, cd=True))
        self.shared.ask(question())
        self.turn()
        self.assertEqual(len(self.source.asked), 1)

    def test_refresh(self) -> None:
        """A refresh takes a value that lives longer than what is held; a shorter one only if nothing else comes."""
        self.lay(positive(ttl=60))
        self.assertEqual(self.source.asked, [])
        longer = self.shared.ask(question().again(30.0))
        self.turn()
        self.assertEqual(self.successResultOf(longer).origin, "redis")
        shorter = self.shared.ask(question().again(90.0))
        self.turn()
        self.assertNoResult(shorter)
        self.source.give(NOTHING)
        self.assertEqual(self.successResultOf(shorter).ttl, 60)

    def test_refresh_by_a_clock_read_anew(self) -> None:
        """A refresh does not take what is held already for news because Redis's clock was read anew meanwhile."""
        self.lay(positive(ttl=60))
        self.turn(54)
        self.link.offset -= 0.02
        self.shared.ask(question().again(6.0))
        self.turn()
        self.assertEqual(len(self.source.asked), 1)

    def test_negative(self) -> None:
        """That a name does not exist is shared like any answer."""
        asked = self.shared.ask(question("no.example"))
        self.turn()
        self.source.give(negative())
        self.successResultOf(asked)
        self.turn()
        again = self.shared.ask(question("no.example"))
        self.turn()
        answer = self.successResultOf(again)
        self.assertEqual((answer.rcode, answer.origin), (NXDOMAIN, "redis"))

    def test_many_waiting(self) -> None:
        """When too many look-ups wait for Redis, further questions go on at once."""
        self.link.holding = True
        for _ in range(10_000):
            self.shared.ask(question())
        self.assertEqual(self.source.asked, [])
        self.shared.ask(question())
        self.assertEqual((len(self.source.asked), self.count("lookups", "down")), (1, 1))
        self.turn(0.02)
        self.link.release()
        self.shared.ask(question())
        self.turn()
        self.assertEqual(self.count("lookups", "down"), 1)


class Subnets(Case):
    """Answers meant for a part of the clients (RFC 7871)."""

    def setUp(self) -> None:
        super().setUp()
        option = edns.option(edns.CLIENT_SUBNET, b"\0\1\x18\0\xc0\0\2")
        plain = question()
        head = b"\0\7\1\0\0\1\0\0\0\0\0\1"
        asked = query.read(head + plain.question + edns.opt(options=option), subnets=True)
        assert isinstance(asked, Query)
        self.query = asked

    def test_scopes(self) -> None:
        """An answer is stored for its scope, and found by who lies in it."""
        asked = self.shared.ask(self.query)
        self.turn()
        self.source.give(scoped(positive(), 16))
        self.successResultOf(asked)
        self.turn()
        self.assertEqual(list(self.link.values), [b"heimdall:c1:" + self.query.key_for(16)])
        again = self.shared.ask(self.query)
        self.turn()
        self.assertEqual(self.successResultOf(again).scope, 16)

    def test_no_scope(self) -> None:
        """An answer that tells no scope is for all who give a subnet."""
        asked = self.shared.ask(self.query)
        self.turn()
        self.source.give(positive())
        self.successResultOf(asked)
        self.turn()
        again = self.shared.ask(self.query)
        self.turn()
        self.assertEqual(self.successResultOf(again).origin, "redis")

    def test_closest(self) -> None:
        """Of several answers the one for the closest network counts, and rubbish there does not hide the others."""
        closest, wider = self.query.key_for(24), self.query.key_for(8)
        self.lay(scoped(positive(ttl=50), 24), of=self.query, key=closest)
        self.lay(scoped(positive(ttl=70), 8), of=self.query, key=wider)
        first = self.shared.ask(self.query)
        self.turn()
        self.assertEqual(self.successResultOf(first).ttl, 50)
        self.link.values[b"heimdall:c1:" + closest] = b"rubbish"
        second = self.shared.ask(self.query)
        self.turn()
        self.assertEqual(self.successResultOf(second).ttl, 70)


class Budget(Case):
    """Redis has some milliseconds; then the upstream is asked as well, and the first answer counts."""

    def setUp(self) -> None:
        super().setUp()
        self.link.holding = True

    def test_late(self) -> None:
        """When the budget has passed the upstream is asked, and its answer counts if it is first."""
        asked = self.shared.ask(question())
        self.turn(0.019)
        self.assertEqual(self.source.asked, [])
        self.turn(0.001)
        self.assertEqual(len(self.source.asked), 1)
        self.source.give(positive())
        self.assertEqual(self.successResultOf(asked).origin, "upstream")
        self.link.release()
        self.assertEqual((self.count("lookups", "late"), self.count("lookups")), (1, 1))

    def test_late_hit(self) -> None:
        """A late hit still counts while the upstream is out, and the upstream is called off."""
        self.lay(positive())
        asked = self.shared.ask(question())
        self.turn(0.02)
        self.link.release()
        self.assertEqual(self.successResultOf(asked).origin, "redis")
        self.assertEqual(self.source.cancelled, 1)

    def test_upstream_first_in_vain(self) -> None:
        """When the upstream failed while Redis is still out, what Redis says is waited for."""
        self.lay(positive(ttl=60), age=100)
        stale = self.shared.ask(question())
        nothing = self.shared.ask(question("b.example"))
        self.turn(0.02)
        for _, waiting in self.source.asked:
            waiting.errback(NOTHING)
        self.assertNoResult(stale)
        self.assertNoResult(nothing)
        self.link.release()
        self.assertEqual(self.successResultOf(stale).origin, "stale")
        self.failureResultOf(nothing, NoAnswer)

    def test_gives_up(self) -> None:
        """A link that gives a look-up up ends the wait for it."""
        asked = self.shared.ask(question())
        self.turn(0.02)
        self.source.give(failure())
        self.assertNoResult(asked)
        self.link.break_down("no reply within 1 s")
        self.assertEqual(self.successResultOf(asked).rcode, SERVFAIL)

    def test_fails_within_budget(self) -> None:
        """A link that breaks is a miss at once."""
        self.shared.ask(question())
        self.turn()
        self.link.break_down("lost")
        self.assertEqual((len(self.source.asked), self.count("lookups", "down")), (1, 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_down(self) -> None:
        """A link that is down is not asked, nor waited for."""
        self.link.up = False
        asked = self.shared.ask(question())
        self.source.give(positive())
        self.assertEqual(self.successResultOf(asked).origin, "upstream")
        self.turn()
        self.assertEqual(self.link.commands, [])
        self.assertEqual((self.count("lookups", "down"), self.count("writes", "down")), (1, 1))

    def test_cancelled(self) -> None:
        """Who no longer waits ends the work for it, wherever it stands."""
        before, during = self.shared.ask(question()), self.shared.ask(question("b.example"))
        before.cancel()
        self.turn(0.02)
        self.assertEqual([asked.name for asked, _ in self.source.asked], [question("b.example").name])
        during.cancel()
        self.assertEqual(self.source.cancelled, 1)
        self.link.release()
        for waiting in (before, during):
            self.failureResultOf(waiting, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Stale(Case):
    """What is past its TTL is an answer only when there is none else (RFC 8767)."""

    def setUp(self) -> None:
        super().setUp()
        self.lay(positive(ttl=60), age=100)
        self.asked = self.shared.ask(question())
        self.turn()

    def test_fresh_first(self) -> None:
        """An upstream that answers is better, and its answer takes the place of the stale one."""
        self.source.give(positive(ttl=90))
        self.assertEqual(self.successResultOf(self.asked).ttl, 90)
        self.turn()
        held = self.held()
        assert held is not None
        self.assertEqual((held[1], self.count("lookups", "stale")), (90, 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_behind_a_failure(self) -> None:
        """Behind an upstream that knows nothing it is the answer, with TTLs of 30 s, and says what it is."""
        self.source.give(NOTHING)
        answer = self.successResultOf(self.asked)
        self.assertEqual((answer.origin, ttls(answer.body, answer)), ("stale", [30]))
        self.assertEqual([error.code for error in answer.errors], [edns.STALE_ANSWER])
        self.turn()
        self.assertEqual(self.count("writes"), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_behind_an_rcode(self) -> None:
        """A SERVFAIL or REFUSED is a failure too."""
        self.source.give(failure())
        self.assertEqual(self.successResultOf(self.asked).origin, "stale")
        refused = self.shared.ask(question())
        self.turn()
        self.source.give(failure(rcode=REFUSED))
        self.assertEqual(self.successResultOf(refused).origin, "stale")

    def test_nxdomain_is_news(self) -> None:
        """That a name is gone is an answer."""
        self.source.give(negative("a.example"))
        self.assertEqual(self.successResultOf(self.asked).rcode, NXDOMAIN)

    def test_stale_nxdomain(self) -> None:
        """A stale no says that it is one (RFC 8914, 4.20)."""
        self.lay(negative("b.example"), age=400, of=question("b.example"))
        asked = self.shared.ask(question("b.example"))
        self.turn()
        self.source.give(NOTHING)
        self.assertEqual(self.successResultOf(asked).errors, (ExtendedError(edns.STALE_NXDOMAIN),))

    def test_slow_upstream(self) -> None:
        """After 1.8 s it is the answer, and what the upstream says later is stored."""
        self.turn(1.79)
        self.assertNoResult(self.asked)
        self.turn(0.01)
        self.assertEqual(self.successResultOf(self.asked).origin, "stale")
        self.assertEqual(self.source.cancelled, 0)
        self.source.give(positive(ttl=90))
        self.turn()
        held = self.held()
        assert held is not None
        self.assertEqual(held[1], 90)

    def test_slow_failure(self) -> None:
        """An upstream that fails after all leaves nothing behind."""
        self.turn(1.8)
        self.successResultOf(self.asked)
        self.source.give(NOTHING)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_bug_in_a_source(self) -> None:
        """An error that is none of ours is passed on as it is."""
        self.source.give(ZeroDivisionError())
        self.failureResultOf(self.asked, ZeroDivisionError)

    def test_cancelled(self) -> None:
        """Who no longer waits ends the wait for the upstream."""
        self.asked.cancel()
        self.failureResultOf(self.asked, CancelledError)
        self.assertEqual((self.source.cancelled, self.clock.getDelayedCalls()), (1, []))

    def test_too_old(self) -> None:
        """What is past the stale window is nothing."""
        self.lay(positive(ttl=60), age=3660, of=question())
        old = self.shared.ask(question())
        self.turn()
        self.source.give(NOTHING)
        self.failureResultOf(old, NoAnswer)

    def test_switched_off(self) -> None:
        """Without stale answers nothing is kept past its TTL, and nothing stale is used."""
        self.shared = Shared(self.link, self.source, self.clock, stale=False)
        asked = self.shared.ask(question())
        self.turn()
        self.source.give(NOTHING)
        self.failureResultOf(asked, NoAnswer)
        again = self.shared.ask(question())
        self.turn()
        self.source.give(positive(ttl=90))
        self.successResultOf(again)
        self.turn()
        self.assertEqual(list(self.link.lifetimes.values()), [90_000])


@implementer(ISource)
class Known:
    """A source that answers at once, always the same."""

    def __init__(self, answer: Answer | Exception) -> None:
        self.answer = answer

    def ask(self, query: Query) -> Deferred[Answer]:
        """Answer."""
        return fail(self.answer) if isinstance(self.answer, Exception) else succeed(self.answer)


class Storing(Case):
    """Writes are bounded, never waited for, and only of what may be shared."""

    def stored(self, answer: Answer, asked: Query | None = None) -> int:
        """Have the upstream say this; return how many values Redis holds then."""
        shared = Shared(self.link, Known(answer), self.clock)
        waiting = shared.ask(asked or question())
        self.turn()
        self.successResultOf(waiting)
        self.turn()
        return len(self.link.values)

    def test_not_shared(self) -> None:
        """Failures, truncated answers, those with nothing left to live, and what is no news stay out."""
        known = positive()
        for answer in (
            failure(),
            known.replace(flags=TC, keep=False),
            known.replace(ttl=0),
            known.replace(rcode=SERVFAIL),
            known.replace(origin="stale"),
            known.replace(origin="redis"),
            positive("other.example"),
        ):
            self.assertEqual(self.stored(answer), 0, answer)
        self.assertEqual(self.stored(known), 1)

    def test_vague_clock(self) -> None:
        """What is stored counts as asked earlier by what is not known of Redis's clock: no flush may seem older."""
        self.link.vague = 3.0
        asked = self.shared.ask(question())
        self.turn(1.0)
        self.source.give(positive())
        self.successResultOf(asked)
        self.turn()
        value = self.link.values[b"heimdall:c1:" + question().key]
        now = self.link.now() or 0.0
        *_, when = from_bytes(value, question().key, len(question().question), now, Seal())
        self.assertAlmostEqual(now - when, 4.0, delta=0.01)

    def test_no_clock(self) -> None:
        """Without the clock of Redis nothing is stored, and nothing believed."""
        self.lay(positive("b.example"), of=question("b.example"))
        self.link.now = lambda: None  # type: ignore[method-assign]
        self.assertEqual(self.stored(positive()), 1)
        self.assertEqual(self.stored(positive("b.example").replace(origin="upstream"), question("b.example")), 1)

    def test_bounded(self) -> None:
        """More writes than may wait are not made, but counted; they go out in bounded batches."""
        self.shared = Shared(self.link, Known(positive()), self.clock, most_writes=300)
        self.link.holding = True
        writer = self.shared._writer
        for number in range(310):
            writer.put(b"key%d" % number, b"value", 1000)
        self.assertEqual(self.count("writes", "full"), 10)
        self.turn()
        self.assertEqual(len(self.link.commands), 256)
        self.turn()
        self.assertEqual(len(self.link.commands), 256)
        self.link.release()
        self.turn()
        self.assertEqual((len(self.link.commands), self.count("writes", "stored")), (300, 300))

    def test_bytes_bounded(self) -> None:
        """Not only their number is bounded, and a second value of a key takes the place of the first."""
        writer = self.shared._writer
        for number in range(700):
            writer.put(b"key%d" % number, bytes(65_000), 1000)
        full = self.count("writes", "full")
        self.assertEqual(full, 700 - (32 << 20) // 65_000)
        writer.put(b"key0", bytes(10), 1000)
        writer.put(b"more", bytes(60_000), 1000)
        self.assertEqual(self.count("writes", "full"), full)
        self.turn()
        self.assertEqual(len(self.link.values[b"key0"]), 10)

    def test_link_breaks_between(self) -> None:
        """What waits when the link breaks is dropped and counted, and writing goes on when it is back."""
        writer = self.shared._writer
        for number in range(300):
            writer.put(b"key%d" % number, b"value", 1000)
        self.link.up = False
        self.turn()
        self.turn()
        self.assertEqual(self.count("writes", "failed"), 300)
        self.link.up = True
        writer.put(b"key", b"value", 1000)
        self.turn()
        self.assertEqual(self.link.values, {b"key": b"value"})


class Refusals(Case):
    """What Redis refuses is counted by reason, and told once."""

    def test_write_errors(self) -> None:
        """A Redis that refuses to write costs a log line when it starts and one when it is over."""
        self.shared = Shared(self.link, Known(positive(ttl=5)), self.clock, window=0)
        self.link.refusal = {"SET": "WRONGTYPE Operation against a key holding the wrong kind of value"}
        for _ in range(5):
            self.successResultOf(self.asked())
        self.assertEqual((self.count("write_errors", "wrongtype"), self.count("writes", "failed")), (5, 5))
        self.assertEqual(self.events, ["Redis refuses to write: WRONGTYPE; done without"])
        self.link.refusal = {}
        self.successResultOf(self.asked())
        self.assertEqual(len(self.events), 1)
        self.clock.advance(10)
        self.successResultOf(self.asked())
        self.assertEqual(self.events[1:], ["Redis does write again"])

    def test_of_all(self) -> None:
        """What is about all of Redis, and not about one command, is counted here and told by the link alone."""
        self.shared = Shared(self.link, Known(positive(ttl=5)), self.clock, window=0)
        for word in REFUSALS:
            self.link.refusal = {"SET": f"{word} whatever it says"}
            self.successResultOf(self.asked())
            self.assertEqual(self.count("write_errors", word.lower()), 1)
        self.assertEqual(self.events, [])

    def asked(self) -> Deferred[Answer]:
        asked = self.shared.ask(question())
        self.turn()
        self.turn()
        return asked

    def test_read_errors(self) -> None:
        """Whatever a look-up is refused with is a miss."""
        self.link.refusal = {"MGET": "NOPERM this user has no permissions", "SET": "SOMETHING new"}
        self.shared = Shared(self.link, Known(positive()), self.clock)
        for _ in range(3):
            self.assertEqual(self.successResultOf(self.asked()).origin, "upstream")
        self.assertEqual((self.count("read_errors", "noperm"), self.count("write_errors", "link")), (3, 3))
        self.assertEqual(self.events, [])  # the link tells of rights

    def test_rubbish(self) -> None:
        """A value that is no answer is a miss, counted by reason, and deleted when no answer takes its place."""
        asked = self.shared.ask(question())
        self.link.values[b"heimdall:c1:" + question().key] = b"\3rubbish, and long enough to have a head and more"
        self.turn()
        self.turn()
        self.assertEqual((self.count("lookups", "rubbish"), self.count("rubbish", "damaged")), (1, 1))
        self.source.give(positive(ttl=0))
        self.successResultOf(asked)
        self.turn()
        self.assertEqual(self.link.values, {})

    def test_swapped(self) -> None:
        """A value that lies under the key of another name is never its answer."""
        self.lay(positive("b.example"), of=question("b.example"))
        values = self.link.values
        values[b"heimdall:c1:" + question().key] = values.pop(b"heimdall:c1:" + question("b.example").key)
        asked = self.shared.ask(question())
        self.turn()
        self.source.give(positive())
        self.assertEqual(self.successResultOf(asked).origin, "upstream")
        self.assertEqual(self.count("rubbish", "damaged"), 1)

    def test_replies_of_no_kind(self) -> None:
        """A reply that fits no look-up, in kind or in number, is a miss."""
        for reply in (b"OK", [], [b"a", b"b"], [7], [[None]], 3, None):
            link = FakeLink(self.clock)
            link.run = lambda *command, reply=reply: succeed(reply)  # type: ignore[method-assign]
            shared = Shared(link, Known(positive()), self.clock)
            asked = shared.ask(question())
            self.turn()
            self.assertEqual(self.successResultOf(asked).origin, "upstream")

    def test_link_breaks(self) -> None:
        """A link that raises where it should fail is a bug; look-ups go on, and so do writes when it is well again."""
        run = self.link.run

        def broken(*command: bytes | str | int) -> Deferred[object]:
            raise ZeroDivisionError

        self.link.run = broken  # type: ignore[method-assign]
        for name in ("a.example", "b.example"):
            asked = self.shared.ask(question(name))
            self.turn()
            self.source.give(positive(name))
            self.turn()
            self.assertEqual(self.successResultOf(asked).origin, "upstream")
        self.link.run = run  # type: ignore[method-assign]
        self.assertEqual((self.shared.reading._waiting, self.shared._writer._under_way), (0, 0))
        self.shared.ask(question("c.example"))
        self.turn()
        self.source.give(positive("c.example"))
        self.turn()
        self.assertIsNotNone(self.held(question("c.example")))
        self.flushLoggedErrors(ZeroDivisionError)

    def test_bug(self) -> None:
        """A bug of our own is told with its traceback, once; the questions that met it are answered all the same."""
        broken = [True]

        def covers(name: bytes, asked: float) -> bool:
            if broken:
                raise TypeError("a bug")
            return False

        shared = Shared(self.link, self.source, self.clock, covers=covers)
        waiting = [shared.ask(question()) for _ in range(2)]
        self.lay(positive())
        self.turn()
        broken.clear()
        self.assertEqual((len(self.flushLoggedErrors(TypeError)), met(self.clock)), (1, 2))
        for (_, source), one in zip(self.source.asked, waiting, strict=True):
            source.callback(positive())
            self.assertEqual(self.successResultOf(one).origin, "upstream")

    def test_bug_in_storing(self) -> None:
        """A bug in storing one answer is logged; who asked has it, and what else was learnt is stored."""

        def covers(name: bytes, asked: float) -> bool:
            if name == first.name:
                raise TypeError("a bug")
            return False

        first, second = question("a.example"), question("b.example")
        shared = Shared(self.link, self.source, self.clock, covers=covers)
        waiting = [shared.ask(query) for query in (first, second)]
        self.turn()
        for (_, source), name in zip(self.source.asked, ("a.example", "b.example"), strict=True):
            source.callback(positive(name))
        self.turn()
        self.assertEqual([self.successResultOf(one).origin for one in waiting], ["upstream", "upstream"])
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.assertEqual((self.held(first), self.held(second) is None), (None, False))

    def test_source_raises(self) -> None:
        """A source that raises instead of answering fails its own question only."""

        class Bad(Known):
            def ask(self, query: Query) -> Deferred[Answer]:
                raise ZeroDivisionError

        shared = Shared(self.link, Bad(positive()), self.clock)
        asked = shared.ask(question())
        self.turn()
        self.failureResultOf(asked, ZeroDivisionError)
