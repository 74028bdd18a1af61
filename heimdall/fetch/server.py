"""Ask one server as it needs to be asked: over TCP after TC, without EDNS where it knows none."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IReactorFDSet, IReactorTime
from twisted.python.failure import Failure
from zope.interface import classImplements

from heimdall.asking import exchange
from heimdall.fetch.ledger import Ledger
from heimdall.fetch.reply import Odd
from heimdall.fetch.stream import Stream
from heimdall.fetch.udp import Udp, Write
from heimdall.interfaces import IExchange, NoAnswer, Ongoing, Told
from heimdall.message.answer import TC, Answer
from heimdall.message.query import FORMERR, NOTIMP, Query, write

PLAIN: Final = 900.0
"""Seconds that a server which refused EDNS is asked without it."""

CONNECT: Final = 2.0
"""Seconds a TCP connection may take to be made."""

WHOLE: Final = 2.5
"""Seconds that TCP may take after TC; then the truncated answer has to do."""

_SERVER: Final = re.compile(r"(tcp://)?(?:\[(?P<six>[^\]]+)\]|(?P<four>[^:\[\]]+))(?::(?P<port>\d{1,5}))?")


class Way(Protocol):
    """The exchange with a server over one transport."""

    def tell(self, query: Query, timeout: float, told: Told, odd: Odd | None = None) -> Ongoing:
        """Ask, and have ``odd`` take the answer that may not be the last word."""

    def close(self) -> None:
        """Close every socket."""


Look = Callable[[Answer, Query, float], Answer | Deferred[Answer]]
"""What finds out what an answer is worth."""


class Server:
    """One server over both its transports.

    :param clock: where time comes from.
    :param datagram: makes the exchange over UDP from what writes messages; None to ask over TCP only.
    :param stream: makes the exchange over TCP.
    :param ad: ask with the AD bit: the server's validation is trusted.
    :param subnet: pass on the client's subnet.
    """

    def __init__(
        self,
        clock: IReactorTime,
        ledger: Ledger,
        *,
        datagram: Callable[[Write], Way] | None,
        stream: Callable[[Write], Way],
        ad: bool = False,
        subnet: bool = False,
    ) -> None:
        self._clock = clock
        self._ledger = ledger
        self._stream = stream(self._write)
        self._way = datagram(self._write) if datagram else self._stream
        self._ad, self._subnet = ad, subnet
        self._plain_until = 0.0
        self._bare: set[Query] = set()

    def _write(self, query: Query, identity: int) -> bytes:
        with_opt = not (self._plain_until or (self._bare and query in self._bare))
        return write(query, identity, ad=self._ad, with_opt=with_opt, subnet=self._subnet)

    def tell(self, query: Query, timeout: float, told: Told) -> Ongoing:
        """Ask; see :class:`~heimdall.interfaces.IExchange`."""
        if self._plain_until and self._clock.seconds() >= self._plain_until:
            self._plain_until = 0.0
        bare = self._plain_until or (self._bare and query in self._bare)
        return self._way.tell(query, timeout, told, self._cut_short if bare else self._odd)

    def _odd(self, answer: Answer, query: Query, ends: float, told: Told) -> Ongoing:
        """Tell what an answer comes to that may not be the last word."""
        return self._found(self._look, answer, query, ends, told)

    def _cut_short(self, answer: Answer, query: Query, ends: float, told: Told) -> Ongoing:
        """Tell what an answer comes to that was asked for without EDNS."""
        return self._found(self._follow, answer, query, ends, told)

    def _found(self, look: Look, answer: Answer, query: Query, ends: float, told: Told) -> Ongoing:
        looking: Deferred[Answer] = succeed(answer).addCallback(look, query, ends)
        return looking.addBoth(told)

    def _look(self, answer: Answer, query: Query, ends: float) -> Answer | Deferred[Answer]:
        """Ask without EDNS if that may be what the server did not take."""
        left = ends - self._clock.seconds()
        if answer.rcode not in (FORMERR, NOTIMP) or left <= 0:
            return self._follow(answer, query, ends)
        if query.trace is not None:
            query.trace.note("upstream", "takes no EDNS, asked without")
        self._bare.add(query)
        again = exchange(IExchange(self._way), query, left).addBoth(self._dressed, query)
        again.addCallbacks(self._plain, self._still, errbackArgs=(answer,))
        return again.addCallback(self._follow, query, ends)

    def _follow(self, answer: Answer, query: Query, ends: float) -> Answer | Deferred[Answer]:
        """Get the whole of an answer that was cut to fit a datagram."""
        left = ends - self._clock.seconds()
        if not answer.flags & TC or self._way is self._stream or left <= 0:
            return answer
        if query.trace is not None:
            query.trace.note("upstream", "truncated, asked over TCP")
        left = min(left, WHOLE)
        whole = exchange(IExchange(self._stream), query, left)
        return whole.addCallbacks(self._whole, self._cut, errbackArgs=(answer,))

    def _whole(self, answer: Answer) -> Answer:
        self._ledger.truncated.add("tcp")
        return answer

    def _cut(self, failure: Failure, answer: Answer) -> Answer:
        failure.trap(NoAnswer)
        self._ledger.truncated.add("kept")
        return answer

    def _dressed(self, result: Answer | Failure, query: Query) -> Answer | Failure:
        self._bare.discard(query)
        return result

    def _plain(self, answer: Answer) -> Answer:
        """Remember that EDNS was what the server did not take (RFC 6891, 7)."""
        if answer.rcode not in (FORMERR, NOTIMP):
            self._plain_until = self._clock.seconds() + PLAIN
            self._ledger.plain.add()
        return answer

    def _still(self, failure: Failure, answer: Answer) -> Answer:
        failure.trap(NoAnswer)
        return answer

    def close(self) -> None:
        """Close both transports; what is in flight fails."""
        self._way.close()
        if self._way is not self._stream:
            self._stream.close()


classImplements(Server, IExchange)


def reach(
    reactor: IReactorTime,
    text: str,
    ledger: Ledger,
    *,
    ad: bool = False,
    subnet: bool = False,
    ports: int = 64,
    cut: bool = True,
) -> Server:
    """Return the way to a server.

    :param reactor: keeps time, watches sockets and connects.
    :param text: HOST[:PORT], IPv6 in brackets, ``tcp://`` in front to use TCP alone.
    :param ports: UDP sockets to draw from.
    :param cut: whether the kernel may cut up questions that leave together.
    :raises ValueError: the text is no such thing; the message says why.
    """
    stream_only, host, port = parse(text)
    endpoint = (TCP6ClientEndpoint if ":" in host else TCP4ClientEndpoint)(reactor, host, port, timeout=CONNECT)

    def datagram(write: Write) -> Udp:
        return Udp(reactor, IReactorFDSet(reactor), host, port, write=write, ledger=ledger, ports=ports, cut=cut)

    def stream(write: Write) -> Stream:
        return Stream(reactor, endpoint, write=write, ledger=ledger)

    return Server(reactor, ledger, datagram=None if stream_only else datagram, stream=stream, ad=ad, subnet=subnet)


def parse(text: str) -> tuple[bool, str, int]:
    """Return whether a server is to be asked over TCP alone, its address and its port.

    :raises ValueError: the text is not HOST[:PORT]; the message says why.
    """
    match = _SERVER.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not HOST[:PORT] or tcp://HOST[:PORT]")
    host = match["six"] or match["four"]
    port = int(match["port"] or 53)
    if not 0 < port < 65536:
        raise ValueError(f"{text!r} has no port between 1 and 65535")
    try:
        six = ip_address(host).version == 6
    except ValueError:
        raise ValueError(f"{text!r} has no IP address: a name would have to be resolved by ourselves") from None
    if six != bool(match["six"]):
        raise ValueError(f"{text!r}: IPv6 addresses, and they alone, stand in brackets")
    return bool(match[1]), host, port
