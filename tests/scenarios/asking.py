"""A client: sends one query over UDP or TCP, and waits for the reply that has its id."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dns.edns
import dns.flags
import dns.message
from attrs import define
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.interfaces import ITCPTransport, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.protocols.basic import Int16StringReceiver

HOST = "127.0.0.1"

# The words that take a value: what it is called here, and what reads it.
_VALUES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "size": ("size", int),
    "subnet": ("subnet", str),
    "version": ("version", int),
    "class": ("rdclass", str),
    "as": ("address", str),
}


@define
class Manner:
    """How a client asks; read from the words behind the question."""

    do: bool = False
    cd: bool = False
    ad: bool = False
    rd: bool = True
    tcp: bool = False
    size: int = 0
    subnet: str = ""
    version: int = 0
    rdclass: str = "IN"
    address: str = HOST
    times: int = 1
    at_once: bool = False

    @classmethod
    def of(cls, text: str) -> Manner:
        """Read the words; raises ValueError for one that means nothing."""
        made = cls()
        words = text.split()
        while words:
            word = words.pop(0)
            if word in ("do", "cd", "ad", "tcp"):
                setattr(made, word, True)
            elif word == "no-rd":
                made.rd = False
            elif word == "edns":
                made.size = 1232
            elif word in _VALUES and words:
                name, read = _VALUES[word]
                setattr(made, name, read(words.pop(0)))
            elif word.isdecimal() and words and words.pop(0) in ("times", "time"):
                made.times = int(word)
            elif word == "at" and words and words.pop(0) == "once":
                made.at_once = True
            else:
                raise ValueError(
                    f"{word!r}: a client asks with do, cd, ad, tcp, edns, no-rd, size N, subnet NET, version N, "
                    "class CLASS, as ADDRESS, N times, at once"
                )
        return made

    def query(self, name: str, qtype: str, edns: bool) -> dns.message.Message:
        """Return the query; ``edns`` if it has to have an OPT for what is expected."""
        query = dns.message.make_query(name, qtype, self.rdclass)
        query.flags = (
            (dns.flags.RD if self.rd else 0) | (dns.flags.CD if self.cd else 0) | (dns.flags.AD if self.ad else 0)
        )
        if edns or self.do or self.size or self.subnet or self.version:
            options = [dns.edns.ECSOption.from_text(f"ECS {self.subnet}")] if self.subnet else []
            query.use_edns(self.version, dns.flags.DO if self.do else 0, payload=self.size or 1232, options=options)
        return query


class Timeless(Exception):
    """No reply came in time."""


async def ask(reactor: Any, wire: bytes, port: int, manner: Manner, seconds: float) -> bytes:
    """Send a query, and return the reply.

    :raises Timeless: none came within ``seconds``.
    """
    reply: Deferred[bytes] = Deferred()
    if manner.tcp:
        endpoint = TCP4ClientEndpoint(reactor, HOST, port, bindAddress=(manner.address, 0))
        stream = await connectProtocol(endpoint, _Stream(wire, reply))
        close = stream.close
    else:
        datagrams = reactor.listenUDP(0, _Datagrams(wire, port, reply), interface=manner.address, maxPacketSize=65535)
        close = datagrams.stopListening
    try:
        return await reply.addTimeout(seconds, reactor)
    except TimeoutError:
        raise Timeless from None
    finally:
        await close()


class _Datagrams(DatagramProtocol):
    noisy = False
    transport: IUDPTransport

    def __init__(self, wire: bytes, port: int, reply: Deferred[bytes]) -> None:
        self._wire, self._port, self._reply = wire, port, reply

    def startProtocol(self) -> None:
        self.transport.connect(HOST, self._port)
        self.transport.write(self._wire, None)

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        if datagram[:2] == self._wire[:2] and not self._reply.called:
            self._reply.callback(datagram)


class _Stream(Int16StringReceiver):
    def __init__(self, wire: bytes, reply: Deferred[bytes]) -> None:
        self._wire, self._reply = wire, reply
        self._lost: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.sendString(self._wire)

    def stringReceived(self, string: bytes) -> None:
        if string[:2] == self._wire[:2] and not self._reply.called:
            self._reply.callback(string)

    def connectionLost(self, reason: Any = None) -> None:
        self._lost.callback(None)

    def close(self) -> Deferred[None]:
        """Hang up; fires when that is done."""
        ITCPTransport(self.transport).abortConnection()
        return self._lost
