"""Between twisted.names and our sources: any IResolver as an ISource, any ISource as an IResolver."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from socket import AF_INET, AF_INET6, inet_ntop
from struct import Struct
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, fail, maybeDeferred, succeed
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IReactorTime, IResolver
from twisted.logger import Logger
from twisted.names import dns
from twisted.names import error as names
from twisted.names.common import ResolverBase
from twisted.python.failure import Failure
from zope.interface import implementer

from heimdall.interfaces import ISource, NoAnswer
from heimdall.message import query as queries
from heimdall.message import reply, response
from heimdall.message.answer import Answer
from heimdall.message.edns import NO_REACHABLE_AUTHORITY, OPT, ExtendedError
from heimdall.message.query import FORMERR, NOTIMP, NXDOMAIN, REFUSED, SERVFAIL, Query
from heimdall.tally import Count, Tally

Sections = tuple[list[dns.RRHeader], list[dns.RRHeader], list[dns.RRHeader]]
"""The answer, authority and additional records, as twisted.names passes them."""

_HEAD = Struct("!HHHHHH")
_QR_RD_RA = 0x8180
_LARGEST = 65535

# The first that fits counts; a plain DomainError is what hosts files and zones say of a name they lack.
_RCODES: tuple[tuple[type[Exception], int], ...] = (
    (names.DNSFormatError, FORMERR),
    (names.DNSServerError, SERVFAIL),
    (names.DNSNotImplementedError, NOTIMP),
    (names.DNSQueryRefusedError, REFUSED),
    (names.DNSUnknownError, SERVFAIL),
    (names.DomainError, NXDOMAIN),
    (names.AuthoritativeDomainError, NXDOMAIN),
    (NotImplementedError, NOTIMP),
)


@implementer(ISource)
class ResolverSource:
    """A source that asks a resolver of twisted.names.

    :param resolver: the resolver: of the client, a zone, a hosts file, or another program's.
    :param clock: where time comes from.
    :param deadline: seconds that it may take.
    """

    log = Logger()

    def __init__(self, resolver: IResolver, clock: IReactorTime, *, deadline: float = 4.5) -> None:
        self._resolver: Any = resolver
        self._clock = clock
        self._deadline = deadline
        self._told = False
        self._bridged = Count("heimdall_bridge_queries_total", "Questions put to an IResolver, by end.", "result")
        self.tallies: list[Tally] = [self._bridged]

    def ask(self, query: Query) -> Deferred[Answer]:
        """Find the answer; see :class:`~heimdall.interfaces.ISource`.

        A name with a dot inside a label has no form in twisted.names: nothing can be learnt of it.
        """
        labels = _labels(query.name)
        if any(b"." in label for label in labels):
            return fail(self._nothing("the name cannot be put to this resolver"))
        question = dns.Query(b".".join(labels), query.qtype, dns.IN)
        patience = (self._deadline / 4, self._deadline * 3 / 4)
        deferred: Deferred[Sections] = maybeDeferred(self._resolver.query, question, patience)
        deferred.addTimeout(self._deadline, self._clock)
        answered: Deferred[Answer] = deferred.addCallback(self._answer, query)
        return answered.addErrback(self._failed, query)

    def _answer(self, sections: Sections, query: Query, rcode: int = 0) -> Answer:
        answer = response.read(_encode(query, rcode, sections))
        self._bridged.add("failure" if rcode not in (0, NXDOMAIN) else "answer")
        return answer

    def _failed(self, failure: Failure, query: Query) -> Answer:
        """Return the answer that an error stands for."""
        if failure.check(CancelledError):
            self._bridged.add("cancelled")
            failure.raiseException()
        for kind, rcode in _RCODES:
            if failure.check(kind):
                return self._no(failure.value, rcode, query)
        if not failure.check(TimeoutError, names.ResolverError, OSError) and not self._told:
            self._told = True
            self.log.failure("a resolver that is asked through the bridge fails; told only once", failure)
        raise self._nothing("the resolver failed or took too long")

    def _no(self, error: object, rcode: int, query: Query) -> Answer:
        """Return a no with the records that came with it: a SOA tells how long it holds (RFC 2308)."""
        message = error.args[0] if isinstance(error, Exception) and error.args else None
        if not isinstance(message, dns.Message):
            return self._answer(([], [], []), query, rcode)
        try:
            return self._answer((message.answers, message.authority, message.additional), query, message.rCode & 15)
        except Exception:  # whatever a record object of another program raises
            return self._answer(([], [], []), query, rcode)

    def _nothing(self, reason: str) -> NoAnswer:
        self._bridged.add("none")
        return NoAnswer(reason, ExtendedError(NO_REACHABLE_AUTHORITY, reason))


def _labels(name: bytes) -> list[bytes]:
    found = []
    at = 0
    while length := name[at]:
        found.append(name[at + 1 : at + 1 + length])
        at += length + 1
    return found


def _encode(query: Query, rcode: int, sections: Iterable[Iterable[dns.RRHeader]]) -> bytes:
    """Return a reply with these records, no name compressed: twisted.names gets far pointers wrong.

    :raises ValueError: they do not fit a message.
    """
    kept = [[record for record in section if record.type != OPT] for section in sections]
    body = BytesIO()
    for record in (record for section in kept for record in section):
        record.encode(body, None)
    wire = _HEAD.pack(0, _QR_RD_RA | rcode, 1, *map(len, kept)) + query.question + body.getvalue()
    if len(wire) > _LARGEST:
        raise ValueError("the records do not fit a message")
    return wire


@implementer(IResolver)
class Resolver(ResolverBase):
    """A resolver for any Twisted program: ``reactor.installResolver(Resolver(source, reactor))``.

    Its look-ups fire with the records, or fail as those of ``twisted.names.client`` do: an error by response code,
    DNSServerError where nothing could be learnt, DNSQueryTimeoutError after the time-out.

    :param source: who is asked.
    :param clock: where time comes from.
    :param timeout: seconds that a look-up may take that names no time-out itself.
    """

    def __init__(self, source: ISource, clock: IReactorTime, *, timeout: float = 5.0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._source = source
        self._clock = clock
        self._timeout = timeout

    def query(self, query: dns.Query, timeout: Any = None) -> Deferred[Any]:
        """Look up what a query asks for, of its class as well as its name and type."""
        return self._lookup(query.name.name, query.cls, query.type, timeout)

    def _lookup(self, name: bytes, cls: int, type: int, timeout: Any = None) -> Deferred[Sections]:
        """Look up records; a sequence of time-outs counts as their sum."""
        labels = [label for label in name.lower().split(b".") if label]
        wire = b"".join(bytes((len(label) & 63,)) + label for label in labels) + b"\0"
        if cls != dns.IN:
            return fail(names.DNSQueryRefusedError(f"class {cls} is not asked for here"))
        if any(len(label) > 63 for label in labels) or len(wire) > 255:
            return fail(names.DNSFormatError(f"{name!r} is longer than a domain name may be"))
        try:
            query = queries.make(wire, type)
        except ValueError as error:
            return fail(names.DNSNotImplementedError(str(error)))
        deferred = self._source.ask(query)
        deferred.addTimeout(self._seconds(timeout), self._clock)
        return deferred.addCallbacks(self._records, self._none, callbackArgs=(query,))

    def _seconds(self, timeout: Any) -> float:
        if timeout is None:
            return self._timeout
        return float(sum(timeout) if isinstance(timeout, Iterable) else timeout)

    def _records(self, answer: Answer, query: Query) -> Sections:
        message = dns.Message()
        message.fromStr(reply.fit(query, answer, answer.body))
        if answer.rcode:
            raise self._errormap.get(answer.rcode, names.DNSUnknownError)(message)
        return message.answers, message.authority, [record for record in message.additional if record.type != OPT]

    def _none(self, failure: Failure) -> Sections:
        if failure.check(TimeoutError):
            raise names.DNSQueryTimeoutError(0)
        if failure.check(NoAnswer):
            raise names.DNSServerError(failure.getErrorMessage())
        failure.raiseException()

    def getHostByName(self, name: bytes | str, timeout: Any = None, effort: int = 10) -> Deferred[str]:
        """Return the first address of a host, IPv4 before IPv6, as text.

        :param timeout: seconds for each of the two look-ups, or a sequence of them.
        :raises DNSLookupError: it has none.
        """
        host = dns.domainString(name)
        found = self._lookup(host, dns.IN, dns.A, timeout).addCallback(_first, dns.A)
        return found.addCallback(self._or_six, host, timeout).addCallback(_known, name).addErrback(_unknown, name)

    def _or_six(self, found: str | None, host: bytes, timeout: Any) -> Deferred[str | None]:
        if found is not None:
            return succeed(found)
        return self._lookup(host, dns.IN, dns.AAAA, timeout).addCallback(_first, dns.AAAA)


def _first(sections: Sections, kind: int) -> str | None:
    """Return the first address of one type among the answers, whatever chain of CNAMEs leads to it."""
    for record in sections[0]:
        payload: Any = record.payload
        if record.type == kind:
            return inet_ntop(AF_INET if kind == dns.A else AF_INET6, payload.address)
    return None


def _known(found: str | None, name: bytes | str) -> str:
    if found is None:
        raise DNSLookupError(f"no address for {name!r}")
    return found


def _unknown(failure: Failure, name: bytes | str) -> str:
    failure.trap(names.DNSNameError)
    raise DNSLookupError(f"there is no {name!r}")
