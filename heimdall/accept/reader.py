"""Read datagrams one by one: what serves where the C library knows no batches, and for whatever is odd in one."""

from __future__ import annotations

import socket
from functools import partial
from typing import Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorTime, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import classImplements

from heimdall.accept.coalesce import Coalescing
from heimdall.accept.engine import BatchEngine, Faults, Later
from heimdall.accept.sockets import IP_PKTINFO
from heimdall.message.query import Client

BATCH: Final = 128
"""Datagrams that are read before the reactor gets its turn again."""

LARGEST: Final = 4096
"""Bytes that are read of a datagram: no query of sense is longer."""

REST: Final = 0.1
"""Seconds without reading after a wake-up in which nothing but errors came."""

_log: Final = Logger(__name__)


class Taker(Protocol):
    """Who answers the datagrams, and counts what the kernel refused."""

    clock: IReactorTime
    faults: Faults
    engine: BatchEngine
    coalescing: Coalescing

    def answer(self, wire: bytes, client: Client, later: Later) -> bytes | None:
        """Hand a message to the server; return its reply, SERVFAIL if it failed."""

    def failed(self, way: str, error: OSError) -> None:
        """Count what the kernel refused; ``way`` is send or receive."""


class Reader:
    """Reads a socket that is bound to one address.

    Nothing that the kernel or the server says ends it: errors are counted, and a socket that gives nothing
    but errors is left alone for a moment, again and again.
    """

    def __init__(self, udp: socket.socket, datagrams: Taker, reactor: IReactorFDSet) -> None:
        self.udp = udp
        self._datagrams, self._answer = datagrams, datagrams.answer
        self._reactor = reactor
        self._resting: IDelayedCall | None = None
        self._stopped = False
        self._deaf = False

    def fileno(self) -> int:
        """Return what the reactor waits on."""
        return self.udp.fileno()

    def logPrefix(self) -> str:
        """Return what the reactor calls us in its log."""
        return "datagrams"

    def doRead(self) -> None:
        """Answer the datagrams that are there, up to :data:`BATCH`."""
        receive, answer, later, send = self.udp.recvfrom, self._answer, self._send, self.udp.sendto
        errors = 0
        for _ in range(BATCH):
            try:
                wire, client = receive(LARGEST)
            except BlockingIOError:
                break
            except OSError as error:
                errors += 1
                self._datagrams.failed("receive", error)
                continue
            reply = answer(wire, client, later)
            if reply:
                try:
                    send(reply, client)
                except OSError as error:
                    self._datagrams.failed("send", error)
        self._heard(errors)

    def connectionLost(self, reason: Failure) -> None:
        """Come back: the reactor drops a descriptor for an error that says nothing about the next datagram."""
        if not self._stopped:
            self.udp.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._rest()

    def resume(self) -> None:
        """Read from now on."""
        self._resting = None
        self._reactor.addReader(self)

    def reading(self) -> bool:
        """Return whether datagrams are read, or will be after a rest."""
        return self.udp.fileno() >= 0 and (self._resting is not None or self in self._reactor.getReaders())

    def stop(self) -> None:
        """Read no more."""
        self._stopped = True
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
        self._reactor.removeReader(self)

    def cut(self, on: bool) -> None:
        """Let the kernel cut up replies, or not: those that are sent one at a time are never cut."""

    def close(self) -> None:
        """Close the socket."""
        self.udp.close()

    def _heard(self, errors: int) -> None:
        """Rest if nothing but errors came; say when that begins and ends."""
        if errors == BATCH:
            if not self._deaf:
                self._deaf = True
                _log.warn("Nothing but errors when reading datagrams on {address}", address=self.udp.getsockname())
            self._reactor.removeReader(self)
            self._rest()
        elif self._deaf and not errors:
            self._deaf = False
            _log.info("Reading datagrams again on {address}", address=self.udp.getsockname())

    def _rest(self) -> None:
        if self._resting is None:
            self._resting = self._datagrams.clock.callLater(REST, self.resume)

    def _send(self, reply: bytes, client: Client) -> None:
        try:
            self.udp.sendto(reply, client)
        except OSError as error:
            self._datagrams.failed("send", error)


classImplements(Reader, IReadDescriptor)

Packet = list[tuple[int, int, bytes]]
"""Packet information: which of our addresses a datagram came to, or leaves from."""


class WideReader(Reader):
    """Reads a socket that is bound to every address, and replies from the one the query came to (RFC 2181, 4.1)."""

    def __init__(self, udp: socket.socket, datagrams: Taker, reactor: IReactorFDSet) -> None:
        super().__init__(udp, datagrams, reactor)
        self._source = _source6 if udp.family == socket.AF_INET6 else _source4
        self._space = socket.CMSG_SPACE(20)

    def doRead(self) -> None:
        """Answer the datagrams that are there, up to :data:`BATCH`."""
        receive, answer, send, space = self.udp.recvmsg, self._answer, self._send_from, self._space
        errors = 0
        for _ in range(BATCH):
            try:
                wire, packet, _, client = receive(LARGEST, space)
            except BlockingIOError:
                break
            except OSError as error:
                errors += 1
                self._datagrams.failed("receive", error)
                continue
            source = self._source(packet)
            reply = answer(wire, client, partial(send, source))
            if reply:
                send(source, reply, client)
        self._heard(errors)

    def _send_from(self, source: Packet, reply: bytes, client: Client) -> None:
        try:
            self.udp.sendmsg((reply,), source, 0, client)
        except OSError as error:
            self._datagrams.failed("send", error)


def _source4(packet: Packet) -> Packet:
    """Return what makes a reply leave from the local address of ``struct in_pktinfo``, by any interface."""
    return [
        (level, kind, b"\0\0\0\0" + data[4:8] + b"\0\0\0\0")
        for level, kind, data in packet
        if level == socket.IPPROTO_IP and kind == IP_PKTINFO
    ]


def _source6(packet: Packet) -> Packet:
    """Return what makes a reply leave from the address of ``struct in6_pktinfo``.

    The interface counts only where the address means nothing without it (RFC 4007).
    """
    return [
        (level, kind, data if data[:2] == b"\xfe\x80" else data[:16] + b"\0\0\0\0")
        for level, kind, data in packet
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO
    ]
