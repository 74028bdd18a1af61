"""Tests of following aliases to where their data is: each name by itself, bounded, and never in a circle."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from heimdall.fetch.aliases import LARGEST_KEPT, MOST_KEPT, Aliases
from heimdall.interfaces import ISource, ITeller, NoAnswer
from heimdall.message import response
from heimdall.message.answer import Answer, Row, local, rows_of
from heimdall.message.edns import OTHER, ExtendedError
from heimdall.message.query import AD, NXDOMAIN, SERVFAIL, Query, make
from heimdall.message.response import MOST_LINKS
from heimdall.message.trace import Trace
from heimdall.message.wire import from_text, to_text
from tests.message.messages import SOA, reply_wire

GONE = NoAnswer("gone", ExtendedError(OTHER, "gone"))


@implementer(ISource)
class Names:
    """Knows some names: a response in the presentation form each, an error, or a Deferred."""

    def __init__(self, **known: Any) -> None:
        self.known = {name.replace("_", "."): what for name, what in known.items()}
        self.asked: list[str] = []

    def ask(self, query: Query) -> Deferred[Answer]:
        name = to_text(query.name)
        self.asked.append(name)
        what = self.known[name]
        if isinstance(what, Deferred):
            return what
        if isinstance(what, Exception):
            return fail(what)
        if isinstance(what, Answer):
            return succeed(what)
        rcode, records, authority = what if isinstance(what, tuple) else (0, [what], ())
        texts = [f"{name}. {record}" for record in records]
        wire = reply_wire(f"{name}.", "A", *texts, rcode=rcode, authority=authority)
        return succeed(response.read(wire))


def ask(name: str = "www.example", qtype: int = 1) -> Query:
    """Return a question."""
    return make(from_text(name), qtype)


def told(answer: Answer) -> list[str]:
    """Return the records of the answer section, shortened."""
    rows: list[Row] = rows_of(answer)[0]
    return [
        f"{to_text(name)} {ttl} {to_text(data) if kind == 5 else '.'.join(map(str, data))}"
        for name, kind, ttl, data in rows
    ]


class Case(SynchronousTestCase):
    """A source of upstreams, and one in front, which is asked for what aliases lead to."""

    def follow(self, further: Any = None, **known: Any) -> Aliases:
        self.clock = Clock()
        self.names = Names(**known)
        made = Aliases(self.names, self.clock)
        self.further = further or made
        made.resolve_by(self.further)
        return made


class Following(Case):
    """Where aliases lead."""

    def test_seams(self) -> None:
        """It is a source that calls back."""
        self.assertTrue(verifyObject(ITeller, self.follow()))

    def test_to_an_address(self) -> None:
        """An alias alone is followed over several names, and all links are told, each with its own TTL."""
        source = self.follow(www_example="60 CNAME b.test.", b_test="50 CNAME c.test.", c_test="40 A 192.0.2.1")
        answer = self.successResultOf(source.ask(ask()))
        self.assertEqual(told(answer), ["www.example 60 b.test", "b.test 50 c.test", "c.test 40 192.0.2.1"])
        self.assertEqual((answer.ttl, answer.keep, answer.alias, answer.negative), (40, True, b"", False))
        self.assertEqual(self.names.asked, ["www.example", "b.test", "c.test"])

    def test_traced(self) -> None:
        """An operator who follows a question is told where each alias leads."""
        source = self.follow(www_example="60 CNAME b.test.", b_test="60 CNAME c.test.", c_test="60 A 192.0.2.1")
        query = ask()
        query.trace = Trace(self.clock.seconds)
        self.successResultOf(source.ask(query))
        self.assertEqual([note["target"] for note in query.trace.notes], ["b.test", "c.test"])

    def test_whole_answers(self) -> None:
        """What is whole is handed on as it is, and nobody else is asked."""
        source = self.follow(www_example="60 A 192.0.2.1")
        self.assertEqual(told(self.successResultOf(source.ask(ask()))), ["www.example 60 192.0.2.1"])
        self.assertEqual(self.names.asked, ["www.example"])

    def test_to_nothing(self) -> None:
        """The code and the SOA of the last name are those of the whole: NXDOMAIN, or no data."""
        for rcode in (NXDOMAIN, 0):
            source = self.follow(
                www_example="60 CNAME gone.example.", gone_example=(rcode, [], (SOA,))
            )  # fmt: skip
            answer = self.successResultOf(source.ask(ask()))
            self.assertEqual((answer.rcode, answer.counts, answer.negative), (rcode, (1, 1, 0), True))
            self.assertEqual((answer.keep, answer.ttl), (True, 60))

    def test_to_a_failure(self) -> None:
        """A failure of one link is the failure of the whole, without records, and is not kept."""
        failed = Answer(ask("b.test").key[:-1], SERVFAIL, errors=(ExtendedError(22, "192.0.2.1:53: SERVFAIL"),))
        source = self.follow(www_example="60 CNAME b.test.", b_test=failed)
        answer = self.successResultOf(source.ask(ask()))
        self.assertEqual((answer.rcode, answer.counts, answer.keep), (SERVFAIL, (0, 0, 0), False))
        self.assertEqual(answer.errors, failed.errors)
        silent = self.follow(www_example="60 CNAME b.test.", b_test=GONE)
        self.failureResultOf(silent.ask(ask()), NoAnswer)

    def test_to_what_must_not_be_kept(self) -> None:
        """What leads to a policy's own answer is not kept as one; the alias is remembered until its TTL is over."""
        blocked = local(ask("b.test"), NXDOMAIN, [], origin="blocked")
        source = self.follow(www_example="60 CNAME b.test.", b_test=blocked)
        for _ in range(3):
            answer = self.successResultOf(source.ask(ask()))
            self.assertEqual((answer.rcode, answer.keep), (NXDOMAIN, False))
        self.assertEqual(self.names.asked.count("www.example"), 1)
        self.clock.advance(59)
        self.assertEqual(told(self.successResultOf(source.ask(ask()))), ["www.example 1 b.test"])
        self.clock.advance(1)
        self.successResultOf(source.ask(ask()))
        self.assertEqual(self.names.asked.count("www.example"), 2)

    def test_flushed(self) -> None:
        """A flush of the name forgets where it leads."""
        source = self.follow(www_example="60 CNAME b.test.", b_test="60 A 192.0.2.1")
        self.successResultOf(source.ask(ask()))
        source.forget(lambda name: name == from_text("other.example"))
        self.successResultOf(source.ask(ask()))
        self.assertEqual(self.names.asked.count("www.example"), 1)
        source.forget(lambda name: name == from_text("www.example"))
        self.successResultOf(source.ask(ask()))
        self.assertEqual(self.names.asked.count("www.example"), 2)

    def test_refreshed(self) -> None:
        """A refresh asks for the alias as well: it may lead elsewhere by now."""
        source = self.follow(www_example="60 CNAME b.test.", b_test="60 A 192.0.2.1")
        self.successResultOf(source.ask(ask()))
        self.successResultOf(source.ask(ask().again(5.0)))
        self.assertEqual(self.names.asked.count("www.example"), 2)

    def test_bounds(self) -> None:
        """A thousand aliases are remembered, and none that is long."""
        long = ["www.example.", *(".".join([letter * 60] * 4) + "." for letter in "abcde"), "b.test."]
        chain = [f"{name} 60 CNAME {target}" for name, target in pairwise(long)]
        names: dict[str, Any] = {f"n{n}_test": "60 CNAME b.test." for n in range(MOST_KEPT + 5)}
        names["www_example"] = response.read(reply_wire("www.example.", "A", *chain))
        self.assertGreater(len(names["www_example"].body), LARGEST_KEPT)
        source = self.follow(b_test="60 A 192.0.2.1", **names)
        for n in range(MOST_KEPT + 5):
            self.successResultOf(source.ask(ask(f"n{n}.test")))
        for n in (0, 4, 5, MOST_KEPT + 4):
            self.successResultOf(source.ask(ask(f"n{n}.test")))
        asked = [self.names.asked.count(f"n{n}.test") for n in (0, 4, MOST_KEPT + 4)]
        self.assertEqual((asked, len(source._kept)), ([2, 2, 1], MOST_KEPT))
        source.forget(lambda name: True)
        self.successResultOf(source.ask(ask()))
        self.assertEqual(len(source._kept), 0)

    def test_ad(self) -> None:
        """AD is told of the whole only where each link has it."""
        for first, second in ((AD, AD), (AD, 0), (0, AD)):
            alias = response.read(reply_wire("www.example.", "A", "www.example. 60 CNAME b.test.")).replace(flags=first)
            end = response.read(reply_wire("b.test.", "A", "b.test. 60 A 192.0.2.1")).replace(flags=second)
            answer = self.successResultOf(self.follow(www_example=alias, b_test=end).ask(ask()))
            self.assertEqual(answer.flags, first & second)

    def test_asked_for(self) -> None:
        """Who asks for the alias itself is told that, and ANY as well."""
        alias = reply_wire("www.example.", "CNAME", "www.example. 60 CNAME b.test.")
        source = self.follow(www_example=response.read(alias))
        self.assertEqual(told(self.successResultOf(source.ask(ask(qtype=5)))), ["www.example 60 b.test"])
        self.assertEqual(self.names.asked, ["www.example"])

    def test_cancel(self) -> None:
        """Cancelling ends the work for the link that is asked for, whichever it is."""
        for waits in ("www_example", "b_test"):
            waiting: Deferred[Answer] = Deferred()
            known = {"www_example": "60 CNAME b.test.", "b_test": "60 A 192.0.2.1"} | {waits: waiting}
            source = self.follow(**known)
            asked = source.ask(ask())
            asked.cancel()
            self.failureResultOf(asked, CancelledError)
            self.assertTrue(waiting.called)
            self.assertEqual(source._on_their_way, {})


class Circles(Case):
    """Aliases that lead nowhere."""

    def assertLoop(self, answer: Answer) -> None:
        """The answer is SERVFAIL, and says that the aliases lead in a circle."""
        self.assertEqual((answer.rcode, answer.counts), (SERVFAIL, (0, 0, 0)))
        self.assertIn("circle", answer.errors[0].text)

    def test_circle(self) -> None:
        """A circle over one name or more is SERVFAIL with an extended error, each name asked once."""
        for known in (
            {"www_example": "60 CNAME b.test.", "b_test": "60 CNAME www.example."},
            {"www_example": "60 CNAME b.test.", "b_test": "60 CNAME c.test.", "c_test": "60 CNAME b.test."},
        ):
            source = self.follow(**known)
            self.assertLoop(self.successResultOf(source.ask(ask())))
            self.assertEqual(len(self.names.asked), len(known))
            self.assertEqual(source._on_their_way, {})

    def test_too_long(self) -> None:
        """A chain without an end is given up behind sixteen links."""
        known = {f"n{n}_test": f"60 CNAME n{n + 1}.test." for n in range(100)}
        source = self.follow(**known)
        self.assertLoop(self.successResultOf(source.ask(ask("n0.test"))))
        self.assertEqual(len(self.names.asked), MOST_LINKS + 1)

    def test_as_long_as_may_be(self) -> None:
        """A chain of sixteen links is followed to its end."""
        known = {f"n{n}_test": f"60 CNAME n{n + 1}.test." for n in range(MOST_LINKS)}
        source = self.follow(**known, **{f"n{MOST_LINKS}_test": "60 A 192.0.2.1"})
        self.assertEqual(self.successResultOf(source.ask(ask("n0.test"))).counts, (MOST_LINKS + 1, 0, 0))

    def test_chains_joined(self) -> None:
        """Links that one response brings count as well, and so does what has sixteen already."""
        links = [f"n{n}.test. 60 CNAME n{n + 1}.test." for n in range(MOST_LINKS)]
        wire = reply_wire("n0.test.", "A", *links, f"n{MOST_LINKS}.test. 60 A 192.0.2.1")
        source = self.follow(www_example="60 CNAME n0.test.", n0_test=response.read(wire))
        self.assertLoop(self.successResultOf(source.ask(ask())))

    def test_not_to_be_read(self) -> None:
        """What cannot be joined, since a target brings no records that can be read, is a failure as well."""
        target = ask("b.test")
        broken = Answer(target.key[:-1], 0, counts=(1, 0, 0), body=b"\xc0", origin="local")
        source = self.follow(www_example="60 CNAME b.test.", b_test=broken)
        self.assertLoop(self.successResultOf(source.ask(ask())))

    def test_ended(self) -> None:
        """Who cancels what has ended is not heard."""
        source = self.follow(www_example="60 CNAME b.test.", b_test="60 A 192.0.2.1")
        heard: list[object] = []
        source.tell(ask(), heard.append).cancel()
        self.assertEqual([type(each) for each in heard], [Answer])

    def test_two_that_wait_for_each_other(self) -> None:
        """Of two questions whose aliases lead to each other neither waits for the other's deadline."""
        first: Deferred[Answer] = Deferred()
        second: Deferred[Answer] = Deferred()
        joined: dict[bytes, list[Deferred[Answer]]] = {}

        @implementer(ISource)
        class Flights:
            """Lets all who ask for a name wait for the one question that is on its way."""

            def ask(self, query: Query) -> Deferred[Answer]:
                waiter: Deferred[Answer] = Deferred()
                joined.setdefault(query.name, []).append(waiter)
                return waiter

        source = self.follow(Flights(), a_test=first, b_test=second)
        asked = [source.ask(ask("a.test")), source.ask(ask("b.test"))]
        first.callback(response.read(reply_wire("a.test.", "A", "a.test. 60 CNAME b.test.")))
        second.callback(response.read(reply_wire("b.test.", "A", "b.test. 60 CNAME a.test.")))
        self.assertLoop(self.successResultOf(asked[1]))
        (waiter,) = joined[from_text("b.test")]
        waiter.callback(self.successResultOf(asked[1]) or Answer(ask("b.test").key[:-1], SERVFAIL))
        self.assertEqual(self.successResultOf(asked[0]).rcode, SERVFAIL)
        self.assertEqual(source._on_their_way, {})
