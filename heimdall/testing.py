"""An upstream that does as it is told: real sockets, real messages, and every fault that a server can have.

A test starts one on the loopback, tells it what to do with which question, and reads afterwards what was asked::

    upstream = Scripted(reactor).start()
    upstream.when("www.example", "A", say=["192.0.2.1"])
    upstream.when("slow.example", say=["192.0.2.2"], delay=0.3)
    upstream.when("*.gone.example", rcode=3)
    upstream.when("forged.example", say=["192.0.2.3"], lies=["id", "question", "port"])
    ...
    assert upstream.count("www.example") == 1
    yield upstream.stop()
"""

from __future__ import annotations

import re
import secrets
import socket
from collections.abc import Callable, Iterable
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.rrset
from attrs import define, frozen
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IDelayedCall, IListeningPort, ITCPTransport
from twisted.internet.protocol import DatagramProtocol, Factory, connectionDone
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure

Make = Callable[[dns.message.Message], dns.message.Message | bytes | None]
Send = Callable[[bytes], object]

_SOA = "ns.invalid. hostmaster.invalid. 1 3600 600 86400 60"


@frozen
class Asked:
    """One query that came in.

    ``name`` in lower case without the final dot; ``qtype`` as text; ``over`` udp or tcp; ``when`` in seconds on the
    reactor's clock; ``port`` and ``identity`` it came from and under; ``wire`` the message itself.
    """

    name: str
    qtype: str
    over: str
    when: float
    port: int
    identity: int
    wire: bytes


@define(kw_only=True)
class Rule:
    """What to do with some queries; all times are seconds.

    ``say``       data of records of the type asked for, as in a zone file; none and rcode 0 make a NODATA
    ``records``   more records for the answer section: "name TTL TYPE data" each
    ``rcode``     the response code; ``ad`` the AD bit
    ``delay``     before the reply is sent
    ``drop``      say nothing
    ``truncate``  over UDP: no records, and TC
    ``lies``      what is sent before the honest reply: with a wrong id or question, cut short, or from another port
    ``garbage``   these bytes instead of a reply
    ``hang_up``   close a TCP connection instead of replying
    ``replies_each``  close a TCP connection behind so many replies; None for never
    ``edns``      yes; ignore, as a server that knows none; formerr, as a server that takes none
    ``make``      a function that makes the reply instead: a message, bytes to send as they are, or None
    ``times``     how many queries it is for; None for all
    """

    say: Iterable[str] = ()
    records: Iterable[str] = ()
    ttl: int = 300
    rcode: int = 0
    ad: bool = False
    delay: float = 0.0
    drop: bool = False
    truncate: bool = False
    lies: Iterable[str] = ()
    garbage: bytes | None = None
    hang_up: bool = False
    replies_each: int | None = None
    edns: str = "yes"
    make: Make | None = None
    times: int | None = None

    def reply(self, query: dns.message.Message, over: str) -> bytes | None:
        """Return the honest reply; None for silence."""
        if self.drop or self.garbage is not None:
            return self.garbage
        if self.edns == "formerr" and query.edns >= 0:
            return query.id.to_bytes(2, "big") + b"\x80\x01" + bytes(8)
        if self.edns == "ignore":
            query.use_edns(-1)
        made = self.make(query) if self.make else self._message(query, over)
        return made.to_wire(max_size=65535) if isinstance(made, dns.message.Message) else made

    def _message(self, query: dns.message.Message, over: str) -> dns.message.Message:
        reply = dns.message.make_response(query, recursion_available=True)
        reply.set_rcode(dns.rcode.Rcode(self.rcode))
        if self.ad:
            reply.flags |= dns.flags.AD
        if self.truncate and over == "udp":
            reply.flags |= dns.flags.TC
            return reply
        question = query.question[0]
        kind = dns.rdatatype.to_text(question.rdtype)
        sets = [(question.name.to_text(), str(self.ttl), kind, data) for data in self.say]
        sets += [tuple(line.split(None, 3)) for line in self.records]  # type: ignore[misc]
        for name, ttl, of, data in sets:
            found = dns.rrset.from_text(name, int(ttl), "IN", of, data)
            rrset = reply.find_rrset(reply.answer, found.name, found.rdclass, found.rdtype, create=True)
            for rdata in found:
                rrset.add(rdata, found.ttl)
        if not sets and self.rcode in (0, 3):
            reply.authority.append(dns.rrset.from_text(dns.name.root, self.ttl, "IN", "SOA", _SOA))
        return reply


class Scripted:
    """An upstream over UDP and TCP on one port.

    A question that no rule is for gets NXDOMAIN. A rule given later goes before those given earlier.

    :param reactor: the reactor.
    :param host: the loopback address to listen on.
    :ivar asked: every query that came in, in order.
    :ivar silent: set it to make the whole server say nothing.
    """

    def __init__(self, reactor: Any, host: str = "127.0.0.1") -> None:
        self.host = host
        self.port = 0
        self.asked: list[Asked] = []
        self.silent = False
        self._reactor = reactor
        self._rules: list[tuple[re.Pattern[str], str, str, Rule]] = []
        self._ports: list[IListeningPort] = []
        self._delayed: set[IDelayedCall] = set()
        self._connections: set[_Connection] = set()

    @property
    def text(self) -> str:
        """Its address, as ``--upstream`` takes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def when(self, name: str | re.Pattern[str] = "*", qtype: str = "ANY", over: str = "", **what: Any) -> Rule:
        """Say what to do with some queries.

        :param name: without the final dot; ``*.`` in front for every name below, ``*`` alone for all; or a pattern.
        :param qtype: the type asked for; ANY for all.
        :param over: udp or tcp; empty for both.
        :param what: see :class:`Rule`.
        """
        if isinstance(name, str):
            name = re.compile(".*" if name == "*" else re.escape(name.lower()).replace(r"\*\.", r".+\."))
        rule = Rule(**what)
        self._rules.insert(0, (name, qtype, over, rule))
        return rule

    def count(self, name: str | None = None, qtype: str | None = None, over: str | None = None) -> int:
        """Return how many queries came in: for a name, of a type, over udp or tcp."""
        return sum(
            name in (None, one.name) and qtype in (None, one.qtype) and over in (None, one.over) for one in self.asked
        )

    def start(self) -> Scripted:
        """Listen; on the port it had before, if it had one."""
        while True:
            datagrams = self._reactor.listenUDP(self.port, _Datagrams(self), interface=self.host, maxPacketSize=65535)
            port = datagrams.getHost().port
            try:
                streams = self._reactor.listenTCP(port, _Connections(self), interface=self.host)
            except CannotListenError:
                datagrams.stopListening()
                if self.port:
                    raise
                continue
            self.port, self._ports = port, [datagrams, streams]
            return self

    def stop(self) -> Deferred[Any]:
        """Close every socket; nothing that is delayed is sent any more."""
        for call in self._delayed:
            if call.active():
                call.cancel()
        gone = [connection.abort() for connection in list(self._connections)]
        ports, self._ports = self._ports, []
        return gatherResults([*gone, *(maybeDeferred(port.stopListening) for port in ports)])

    def received(self, wire: bytes, over: str, port: int, send: Send, hang_up: Callable[[], object]) -> None:
        """Treat a query as its rule says."""
        try:
            query = dns.message.from_wire(wire)
            question = query.question[0]
        except (dns.exception.DNSException, IndexError):
            return
        name = question.name.to_text(omit_final_dot=True).lower()
        qtype = dns.rdatatype.to_text(question.rdtype)
        self.asked.append(Asked(name, qtype, over, self._reactor.seconds(), port, query.id, wire))
        rule = self._rule(name, qtype, over)
        if rule.hang_up and over == "tcp":
            hang_up()
            return
        reply = rule.reply(query, over)
        if self.silent or reply is None:
            return
        if not rule.delay:
            self._send(rule, reply, send, hang_up)
            return
        self._delayed = {call for call in self._delayed if call.active()}
        self._delayed.add(self._reactor.callLater(rule.delay, self._send, rule, reply, send, hang_up))

    def _rule(self, name: str, qtype: str, over: str) -> Rule:
        for pattern, of, via, rule in self._rules:
            if pattern.fullmatch(name) and of in ("ANY", qtype) and via in ("", over) and rule.times != 0:
                if rule.times:
                    rule.times -= 1
                return rule
        return Rule(rcode=3)

    def _send(self, rule: Rule, reply: bytes, send: Send, hang_up: Callable[[], object]) -> None:
        for lie in rule.lies:
            if lie == "id":
                send((int.from_bytes(reply[:2], "big") ^ secrets.randbelow(65535) + 1).to_bytes(2, "big") + reply[2:])
            elif lie == "question":
                send(reply[:13] + bytes((reply[13] ^ 1,)) + reply[14:])
            elif lie == "cut":
                send(reply[: len(reply) - 1])
            elif lie == "port" and isinstance(send, _Back):
                send.from_elsewhere(reply)
        if rule.replies_each is not None and getattr(send, "replies", 0) >= rule.replies_each:
            return
        send(reply)
        if rule.replies_each is not None and getattr(send, "replies", 0) >= rule.replies_each:
            hang_up()


class _Back:
    """The way back to who sent a datagram."""

    def __init__(self, transport: Any, address: Any) -> None:
        self._transport, self._address = transport, address

    def __call__(self, wire: bytes) -> None:
        self._transport.write(wire, self._address)

    def from_elsewhere(self, wire: bytes) -> None:
        """Send from a port that was not asked."""
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as other:
            other.bind((self._transport.getHost().host, 0))
            other.sendto(wire, self._address)


class _Datagrams(DatagramProtocol):
    noisy = False

    def __init__(self, upstream: Scripted) -> None:
        self._upstream = upstream

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self._upstream.received(datagram, "udp", addr[1], _Back(self.transport, addr), lambda: None)


class _Connection(Int16StringReceiver):
    def __init__(self, upstream: Scripted) -> None:
        self._upstream = upstream
        self._gone: Deferred[None] = Deferred()
        self.replies = 0

    def connectionMade(self) -> None:
        self._tcp = ITCPTransport(self.transport)
        self._upstream._connections.add(self)

    def stringReceived(self, string: bytes) -> None:
        port = self._tcp.getPeer().port
        self._upstream.received(string, "tcp", port, self, self._tcp.loseConnection)

    def __call__(self, wire: bytes) -> None:
        self.replies += 1
        self._tcp.write(len(wire).to_bytes(2, "big") + wire)

    def abort(self) -> Deferred[None]:
        self._tcp.abortConnection()
        return self._gone

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._upstream._connections.discard(self)
        self._gone.callback(None)


class _Connections(Factory):
    noisy = False

    def __init__(self, upstream: Scripted) -> None:
        self._upstream = upstream

    def buildProtocol(self, addr: IAddress | None) -> _Connection:
        return _Connection(self._upstream)
