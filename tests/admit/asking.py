"""Ask a gate as a client does, and read its answer with dnspython."""

from __future__ import annotations

import dns.edns
import dns.message
import dns.rcode
import dns.rdatatype
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from heimdall.interfaces import IGate
from heimdall.message import query
from heimdall.message.answer import Answer
from heimdall.message.query import Query
from heimdall.message.reply import fit


def asking(text: str, kind: str = "A", *, client: str = "192.0.2.7", stream: bool = False) -> Query:
    """The query of a client, with EDNS."""
    asked = query.read(dns.message.make_query(text, kind, use_edns=0).to_wire(), (client, 5353), stream)
    assert isinstance(asked, Query)
    return asked


def told(gate: IGate, asked: Query) -> dns.message.Message:
    """The reply that a gate's answer becomes on the wire."""
    answer = gate.judge(asked)
    assert isinstance(answer, Answer), f"the gate said {answer}"
    assert not answer.keep
    return dns.message.from_wire(fit(asked, answer, answer.body))


def rcode(reply: dns.message.Message) -> str:
    """The response code of a reply, as text."""
    return dns.rcode.to_text(reply.rcode())


def rows(reply: dns.message.Message) -> list[str]:
    """The records of the answer section, one text each: name TTL IN type data."""
    return [line for rrset in reply.answer for line in rrset.to_text().splitlines()]


def owner_of_soa(reply: dns.message.Message) -> str:
    """The name of the SOA in the authority section, without the final dot; it has to be alone there."""
    (rrset,) = reply.authority
    assert rrset.rdtype == dns.rdatatype.SOA
    return rrset.name.to_text(omit_final_dot=True)


def extended_errors(reply: dns.message.Message) -> list[int]:
    """The codes of the extended errors of a reply."""
    return [int(option.code) for option in reply.options if isinstance(option, dns.edns.EDEOption)]


def logged(case: SynchronousTestCase) -> list[str]:
    """Return the lines that are logged from now on, as they come."""
    lines: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    case.addCleanup(globalLogPublisher.removeObserver, observe)
    return lines
