"""Tests of the bridge to twisted.names, both ways."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IResolver
from twisted.internet.task import Clock
from twisted.names import authority, dns, error, hosts
from twisted.names.common import ResolverBase
from twisted.python.filepath import FilePath
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from heimdall.bridge import Resolver, ResolverSource
from heimdall.interfaces import ISource, NoAnswer
from heimdall.message import answer as answers
from heimdall.message import reply
from heimdall.message.answer import Answer
from heimdall.message.edns import NO_REACHABLE_AUTHORITY, ExtendedError
from heimdall.message.query import FORMERR, NOTIMP, NXDOMAIN, REFUSED, SERVFAIL, Query, make
from heimdall.message.wire import from_text

SOA = dns.Record_SOA(b"ns.example", b"hostmaster.example", 1, 3600, 600, 86400, 60, 300)


class Scripted(ResolverBase):
    """A resolver that does as it is told."""

    def __init__(self, outcome: object) -> None:
        super().__init__()
        self.outcome = outcome
        self.asked: list[tuple[bytes, int, int, object]] = []

    def _lookup(self, name: bytes, cls: int, type: int, timeout: object) -> Deferred[Any]:
        self.asked.append((name, cls, type, timeout))
        if isinstance(self.outcome, Deferred):
            return self.outcome
        return fail(self.outcome) if isinstance(self.outcome, Exception) else succeed(self.outcome)


def row(name: bytes, payload: Any, ttl: int = 300) -> dns.RRHeader:
    """Return a record of twisted.names."""
    return dns.RRHeader(name, payload.TYPE, dns.IN, ttl, payload)


class AnyResolver(SynchronousTestCase):
    """An IResolver as a source."""

    def source(self, resolver: Any) -> ResolverSource:
        self.clock = Clock()
        return ResolverSource(resolver, self.clock, deadline=4.0)

    def ask(self, outcome: object, text: str = "www.example", qtype: int = 1) -> Answer:
        self.resolver = Scripted(outcome)
        return self.successResultOf(self.source(self.resolver).ask(make(from_text(text), qtype)))

    def test_seams(self) -> None:
        """It is a source."""
        self.assertTrue(verifyObject(ISource, self.source(Scripted(([], [], [])))))

    def test_records(self) -> None:
        """All three sections come through, with their TTLs; an OPT does not."""
        opt = dns.RRHeader(b"", 41, 1232, 0, dns.UnknownRecord(b"", 0))
        found = self.ask(
            (
                [
                    row(b"www.example", dns.Record_CNAME(b"web.example"), 60),
                    row(b"web.example", dns.Record_A("192.0.2.1")),
                ],
                [row(b"example", dns.Record_NS(b"ns.example"))],
                [row(b"ns.example", dns.Record_AAAA("2001:db8::1")), opt],
            )
        )
        self.assertEqual((found.rcode, found.counts, found.ttl, found.keep), (0, (2, 1, 1), 60, True))
        self.assertIn(bytes((192, 0, 2, 1)), found.body)
        self.assertEqual(self.resolver.asked[0][:3], (b"www.example", dns.IN, 1))

    def test_type_without_method(self) -> None:
        """A type that twisted.names has no method for is asked all the same."""
        self.ask(([], [], []), qtype=65)
        self.assertEqual(self.resolver.asked[0][2], 65)

    def test_far_names(self) -> None:
        """Names behind the first 16 KiB come through: no pointer leads too far."""
        rows = [row(b"www.example", dns.Record_MX(at, b"mail%d.far.example" % at)) for at in range(600)]
        found = self.ask((rows, [], []), qtype=15)
        self.assertEqual(found.counts, (600, 0, 0))
        query = make(from_text("www.example"), 15)
        message = dns.Message()
        message.fromStr(reply.fit(query, found, found.body))
        last: Any = message.answers[-1].payload
        self.assertEqual(last.name.name, b"mail599.far.example")

    def test_rcodes(self) -> None:
        """Every error of twisted.names is the response code it stands for."""
        for outcome, rcode in (
            (error.DNSNameError(), NXDOMAIN),
            (error.AuthoritativeDomainError(), NXDOMAIN),
            (error.DomainError(b"www.example"), NXDOMAIN),
            (error.DNSServerError(), SERVFAIL),
            (error.DNSUnknownError(), SERVFAIL),
            (error.DNSFormatError(), FORMERR),
            (error.DNSNotImplementedError(), NOTIMP),
            (NotImplementedError(), NOTIMP),
            (error.DNSQueryRefusedError(), REFUSED),
        ):
            found = self.ask(outcome)
            self.assertEqual((found.rcode, found.keep), (rcode, False))

    def test_message_in_error(self) -> None:
        """A message in the error brings its own code, and the SOA that tells how long the no holds."""
        message = dns.Message(rCode=dns.ENAME)
        message.authority = [row(b"example", SOA)]
        found = self.ask(error.DNSNameError(message))
        self.assertEqual((found.rcode, found.ttl, found.keep), (NXDOMAIN, 60, True))
        message = dns.Message(rCode=9)
        self.assertEqual(self.ask(error.DNSUnknownError(message)).rcode, 9)

    def test_bad_message_in_error(self) -> None:
        """A message in the error that cannot be encoded leaves the error itself."""
        message = dns.Message(rCode=dns.ENAME)
        message.authority = [row(b"example", SOA)] * 3000
        found = self.ask(error.DNSNameError(message))
        self.assertEqual((found.rcode, found.counts), (NXDOMAIN, (0, 0, 0)))

    def nothing(self, outcome: object) -> ResolverSource:
        source = self.source(Scripted(outcome))
        for _ in range(2):
            raised = self.failureResultOf(source.ask(make(from_text("www.example"), 1)), NoAnswer)
            self.assertEqual(raised.value.error.code, NO_REACHABLE_AUTHORITY)
        return source

    def test_no_answer(self) -> None:
        """Time-outs and network errors mean that nothing is known."""
        for outcome in (
            error.DNSQueryTimeoutError(1),
            OSError("No domain name servers available"),
            error.ResolverError(),
        ):
            self.nothing(outcome)

    def test_bug(self) -> None:
        """Any other failure, or records that cannot be encoded, mean the same, and are logged once."""
        self.nothing(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.nothing(([row(b"www.example", dns.Record_TXT(b"x" * 200))] * 400, [], []))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        source = self.nothing("rubbish")
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        self.assertEqual(source.tallies[0].counts, {("none",): 2})  # type: ignore[union-attr]

    def test_silent(self) -> None:
        """A resolver that never fires is given up at the deadline."""
        source = self.source(Scripted(Deferred()))
        deferred = source.ask(make(from_text("www.example"), 1))
        self.clock.advance(3.9)
        self.assertNoResult(deferred)
        self.clock.advance(0.2)
        self.failureResultOf(deferred, NoAnswer)

    def test_cancel(self) -> None:
        """Cancelling reaches the resolver, and leaves no timer."""
        cancelled: list[object] = []
        source = self.source(Scripted(Deferred(cancelled.append)))
        deferred = source.ask(make(from_text("www.example"), 1))
        deferred.cancel()
        self.failureResultOf(deferred, CancelledError)
        self.assertEqual((len(cancelled), self.clock.getDelayedCalls()), (1, []))

    def test_dot_in_label(self) -> None:
        """A name that twisted.names cannot spell is not asked for as another name."""
        source = self.source(Scripted(([], [], [])))
        self.failureResultOf(source.ask(make(b"\x03a.b\x07example\0", 1)), NoAnswer)

    def test_hosts(self) -> None:
        """The hosts file of twisted.names is a source: its addresses, and NXDOMAIN for any other name."""
        path = self.mktemp()
        FilePath(path).setContent(b"192.0.2.9 router.lan\n")
        source = self.source(hosts.Resolver(path.encode(), 60))
        found = self.successResultOf(source.ask(make(from_text("router.lan"), 1)))
        self.assertEqual((found.counts, found.body[-4:]), ((1, 0, 0), bytes((192, 0, 2, 9))))
        self.assertEqual(self.successResultOf(source.ask(make(from_text("other.lan"), 1))).rcode, NXDOMAIN)

    def test_zone(self) -> None:
        """A zone of twisted.names is a source: answers, and a no with its SOA."""
        path = self.mktemp()
        FilePath(path).setContent(
            b"from twisted.names.authority import *\n"
            b"zone = [SOA('example', mname='ns.example', rname='h.example', serial=1, minimum=60, ttl=300),\n"
            b"        A('www.example', '192.0.2.3', ttl=300)]\n"
        )
        source = self.source(authority.PySourceAuthority(path))
        self.assertEqual(self.successResultOf(source.ask(make(from_text("www.example"), 1))).counts[0], 1)
        self.assertEqual(self.successResultOf(source.ask(make(from_text("no.example"), 1))).rcode, NXDOMAIN)


@implementer(ISource)
class Known:
    """A source with one outcome for each name."""

    def __init__(self, **outcomes: Any) -> None:
        self.outcomes = outcomes
        self.asked: list[Query] = []

    def ask(self, query: Query) -> Deferred[Answer]:
        self.asked.append(query)
        outcome = self.outcomes.get(f"{query.name[1:-1].decode()}_{query.qtype}", NXDOMAIN)
        if isinstance(outcome, Deferred):
            return outcome
        if isinstance(outcome, Exception):
            return fail(outcome)
        if isinstance(outcome, int):
            return succeed(answers.make(query, outcome, "upstream"))
        return succeed(answers.local(query, 0, [(query.name, query.qtype, 60, outcome)]))


NOTHING = NoAnswer("no upstream answered", ExtendedError(NO_REACHABLE_AUTHORITY))


class AnyProgram(SynchronousTestCase):
    """A source as an IResolver."""

    def resolver(self, **outcomes: Any) -> Resolver:
        self.clock = Clock()
        self.source = Known(**outcomes)
        return Resolver(self.source, self.clock, timeout=5.0)

    def test_seams(self) -> None:
        """It is a resolver with every method of the interface."""
        self.assertTrue(verifyObject(IResolver, self.resolver()))

    def test_records(self) -> None:
        """A look-up fires with the records of the three sections, without an OPT."""
        resolver = self.resolver(www_1=bytes((192, 0, 2, 1)))
        found, authorities, additionals = self.successResultOf(resolver.lookupAddress(b"WWW"))
        self.assertEqual([record.payload.dottedQuad() for record in found], ["192.0.2.1"])
        self.assertEqual((found[0].ttl, authorities, additionals), (60, [], []))
        self.assertEqual(self.source.asked[0].name, b"\3www\0")

    def test_query(self) -> None:
        """A query of any type can be put, also one that twisted.names has no method for."""
        resolver = self.resolver(www_65=b"\0\1\0")
        deferred: Deferred[Any] = resolver.query(dns.Query(b"www", 65, dns.IN))
        self.assertEqual(self.successResultOf(deferred)[0][0].payload.data, b"\0\1\0")

    def test_rcodes(self) -> None:
        """Every response code is the error that the client of twisted.names raises for it."""
        resolver = self.resolver(f_1=FORMERR, s_1=SERVFAIL, i_1=NOTIMP, r_1=REFUSED, x_1=9, n_1=NOTHING)
        for name, kind in (
            (b"f", error.DNSFormatError),
            (b"s", error.DNSServerError),
            (b"none", error.DNSNameError),
            (b"i", error.DNSNotImplementedError),
            (b"r", error.DNSQueryRefusedError),
            (b"x", error.DNSUnknownError),
            (b"n", error.DNSServerError),
        ):
            self.failureResultOf(resolver.lookupAddress(name), kind)

    def test_bug(self) -> None:
        """Any other failure comes through as it is."""
        self.failureResultOf(self.resolver(www_1=ZeroDivisionError()).lookupAddress(b"www"), ZeroDivisionError)

    def test_not_asked(self) -> None:
        """Another class, a meta type and a name too long are errors, and nobody is asked."""
        resolver = self.resolver()
        self.failureResultOf(resolver.query(dns.Query(b"www", 65, dns.CH)), error.DNSQueryRefusedError)
        self.failureResultOf(resolver.lookupZone(b"example"), error.DNSNotImplementedError)
        self.failureResultOf(resolver.lookupAddress(b"x" * 64 + b".example"), error.DNSFormatError)
        self.failureResultOf(resolver.lookupAddress(b".".join([b"x" * 60] * 5)), error.DNSFormatError)
        self.assertEqual(self.source.asked, [])

    def test_timeouts(self) -> None:
        """A look-up ends after the time-out it names: a number, or a sequence that counts as its sum."""
        for timeout, seconds in ((None, 5.0), (2, 2.0), ((1, 3), 4.0)):
            resolver = self.resolver(www_1=Deferred())
            deferred = resolver.lookupAddress(b"www", timeout=timeout)
            self.clock.advance(seconds - 0.1)
            self.assertNoResult(deferred)
            self.clock.advance(0.2)
            self.failureResultOf(deferred, error.DNSQueryTimeoutError)

    def test_host(self) -> None:
        """The address of a host is its first A, or else its first AAAA."""
        resolver = self.resolver(both_1=bytes((192, 0, 2, 1)), both_28=bytes(16), six_1=0, six_28=bytes(15) + b"\1")
        self.assertEqual(self.successResultOf(resolver.getHostByName("both")), "192.0.2.1")
        self.assertEqual(self.successResultOf(resolver.getHostByName(b"six")), "::1")

    def test_no_host(self) -> None:
        """A host without an address, or that does not exist, is an error that callers of reactors know."""
        resolver = self.resolver(bare_1=0, bare_28=0, fails_1=SERVFAIL)
        self.failureResultOf(resolver.getHostByName("bare"), DNSLookupError)
        self.failureResultOf(resolver.getHostByName("none"), DNSLookupError)
        self.failureResultOf(resolver.getHostByName("fails"), error.DNSServerError)

    def test_both_ways(self) -> None:
        """A source behind a resolver behind a source gives the same answer."""
        resolver = self.resolver(www_1=bytes((192, 0, 2, 1)))
        query = make(from_text("www"), 1)
        found = self.successResultOf(ResolverSource(resolver, self.clock).ask(query))
        self.assertEqual((found.counts, found.ttl, found.body[-4:]), ((1, 0, 0), 60, bytes((192, 0, 2, 1))))

    def test_chain(self) -> None:
        """It can stand in a chain of resolvers, behind one that does not know."""
        from twisted.names.resolve import ResolverChain

        chain = ResolverChain([hosts.Resolver(b"/nonexistent"), self.resolver(www_1=bytes(4))])
        self.assertEqual(len(self.successResultOf(chain.lookupAddress(b"www"))[0]), 1)
