"""Ask one server as it needs to be asked: over TCP after TC, without EDNS or client subnet where it takes none."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final

from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IReactorFDSet, IReactorTime
from twisted.python.failure import Failure
from zope.interface import classImplements

from heimdall.fetch.edns_support import EdnsSupport
from heimdall.fetch.judgement import TRUNCATED, Unusable
from heimdall.fetch.ledger import Ledger
from heimdall.fetch.stream import Stream
from heimdall.fetch.udp import Udp, Write
from heimdall.interfaces import Exchanging, IExchange, ITransport, NoAnswer, Ongoing
from heimdall.message.answer import Answer
from heimdall.message.query import PLAIN, WITH_OPT, WITH_SUBNET, Query, write

CONNECT: Final = 2.0
"""Seconds a TCP connection may take to be made."""

WHOLE: Final = 2.5
"""Seconds that TCP may take after TC; then the truncated answer has to do."""

_SERVER: Final = re.compile(r"(tcp://)?(?:\[(?P<six>[^\]]+)\]|(?P<four>[^:\[\]]+))(?::(?P<port>\d{1,5}))?")

Outcome = Answer | Unusable | Failure
"""What comes of a question to one server; see :meth:`heimdall.interfaces.IExchange.tell`."""

OnOutcome = Callable[[Outcome], object]


class Server:
    """One server over both its transports.

    :param text: how operators know it: its address.
    :param clock: where time comes from.
    :param datagram: makes the exchange over UDP from what writes messages; None to ask over TCP only.
    :param stream: makes the exchange over TCP.
    :param ad: ask with the AD bit: the server's validation is trusted.
    :param subnet: pass on the client's subnet.
    """

    def __init__(
        self,
        text: str,
        clock: IReactorTime,
        ledger: Ledger,
        *,
        datagram: Callable[[Write], ITransport] | None,
        stream: Callable[[Write], ITransport],
        ad: bool = False,
        subnet: bool = False,
    ) -> None:
        self.clock = clock
        self.ledger = ledger
        self.stream = stream(self._write)
        self.transport = datagram(self._write) if datagram else self.stream
        self.edns = EdnsSupport(text)
        self._ad, self._subnet = ad, subnet

    def _write(self, query: Query, identity: int, form: int) -> bytes:
        return write(query, identity, form, self._ad)

    def tell(self, query: Query, timeout: float, told: OnOutcome) -> Exchanging:
        """Ask; see :class:`~heimdall.interfaces.IExchange`."""
        now = self.clock.seconds()
        if now < self.edns.plain_until:
            form = PLAIN
        elif self._subnet and query.subnet is not None:
            form = WITH_SUBNET
        else:
            form = WITH_OPT
        exchange = Exchange(self, query, form, now + timeout, told)
        work = self.transport.exchange(query, form, timeout, exchange.take)
        if exchange.work is None and not exchange.over:
            exchange.work = work
        return exchange

    def close(self) -> None:
        """Close both transports; what is in flight fails."""
        self.transport.close()
        if self.transport is not self.stream:
            self.stream.close()


classImplements(Server, IExchange)


class Exchange:
    """One question to a server, put in other ways until there is a whole answer: over TCP, without the subnet, plainly.

    Each way is tried once, so there are four at most. ``best`` is what is told if the last one brings nothing better,
    ``heard`` when the server first said something that did not do, ``over`` whether all has been told, and ``work``
    what is under way, if the call that began it has returned.
    """

    __slots__ = (
        "_best", "_ends", "_form", "_lost_edns", "_query", "_server", "_told", "_transport", "heard", "over", "work",
    )  # fmt: skip

    def __init__(self, server: Server, query: Query, form: int, ends: float, told: OnOutcome) -> None:
        self._server = server
        self._transport = server.transport
        self._query = query
        self._form = form
        self._ends = ends
        self._told = told
        self.work: Ongoing | None = None
        self._best: Unusable | None = None
        self.heard: float | None = None
        self._lost_edns = self.over = False

    def _send(self, timeout: float) -> None:
        """Ask in the way that is due."""
        self.work = None
        work = self._transport.exchange(self._query, self._form, timeout, self.take)
        if not self.over and self.work is None:
            self.work = work

    def cancel(self) -> None:
        """Ask no more; see :class:`~heimdall.interfaces.Ongoing`."""
        if not self.over and self.work is not None:
            self.work.cancel()

    def take(self, outcome: Outcome) -> None:
        """Take what came of asking in one way."""
        if isinstance(outcome, Answer):
            if self._best is not None or self._server.edns.suspected:
                self._learn()
            self.over, self.work = True, None
            self._told(outcome)
        elif isinstance(outcome, Unusable):
            self._on_unusable(outcome)
        else:
            # Silence says less than a failure before it.
            self._end(self._best if self._best is not None and outcome.check(NoAnswer) else outcome)

    def _learn(self) -> None:
        """Note what a usable answer says of the server."""
        server = self._server
        if self._lost_edns:
            server.ledger.plain.add()
            server.edns.refused(self._query.name, server.clock.seconds())
        elif self._form != PLAIN and server.edns.suspected:
            server.edns.understood()
        if self._best is not None and self._best.kind == TRUNCATED:
            server.ledger.truncated.add("tcp")

    def _on_unusable(self, outcome: Unusable) -> None:
        """Put the question in the next way, if there is one that may bring more; else tell the best there is."""
        server = self._server
        if outcome.said and self.heard is None:
            self.heard = server.clock.seconds()
        best = self._best
        if best is None or outcome.rank < best.rank:
            self._best = best = outcome
        left = self._ends - server.clock.seconds()
        if left > 0 and outcome.kind == TRUNCATED and self._transport is not server.stream:
            self._transport, left, note = server.stream, min(left, WHOLE), "truncated, asked over TCP"
        elif left > 0 and outcome.plain and self._form != PLAIN:
            self._form, self._lost_edns, note = PLAIN, True, "takes no EDNS, asked without"
        elif left > 0 and outcome.reason == "refused" and self._form == WITH_SUBNET:
            # RFC 7871, 7.1.2: it may be the subnet that is refused.
            self._form, note = WITH_OPT, "refused, asked without the subnet"
        else:
            if best.kind == TRUNCATED:
                server.ledger.truncated.add("kept")
            self._end(best)
            return
        if self._query.trace is not None:
            self._query.trace.note("upstream", note)
        self._send(left)

    def _end(self, outcome: Outcome) -> None:
        self.over, self.work = True, None
        self._told(outcome)


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

    def datagram(write: Write) -> ITransport:
        udp = Udp(reactor, IReactorFDSet(reactor), host, port, write=write, ledger=ledger, ports=ports, cut=cut)
        return ITransport(udp)

    def stream(write: Write) -> ITransport:
        return ITransport(Stream(reactor, endpoint, write=write, ledger=ledger))

    return Server(
        text, reactor, ledger, datagram=None if stream_only else datagram, stream=stream, ad=ad, subnet=subnet
    )


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
