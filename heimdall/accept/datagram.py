"""DNS over UDP: read datagrams many at a time, hand each to the server, send the replies back."""

from __future__ import annotations

import errno
import socket
from ipaddress import ip_address
from typing import cast

from twisted.internet.interfaces import IReactorFDSet, IReactorTime
from twisted.names import dns

from heimdall.accept.batch import BatchReader, Known
from heimdall.accept.coalesce import Coalescing
from heimdall.accept.engine import BatchEngine, Faults, Later
from heimdall.accept.reader import Reader, WideReader
from heimdall.accept.rush import Rush
from heimdall.accept.slots import possible
from heimdall.message.query import Client
from heimdall.tally import Count, Tally

_REASONS = {
    errno.EAGAIN: "full",
    errno.ENOBUFS: "full",
    errno.ENOMEM: "full",
    errno.EPERM: "denied",
    errno.EACCES: "denied",
    errno.EMSGSIZE: "size",
    errno.ECONNREFUSED: "unreachable",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.ENETDOWN: "unreachable",
    errno.EHOSTDOWN: "unreachable",
    errno.EADDRNOTAVAIL: "unreachable",
}


class Datagrams(dns.DNSDatagramProtocol):
    """The datagram protocol of twisted.names with our engine, and the sockets it reads itself.

    It can be handed to ``listenUDP`` like any protocol; :meth:`listen` costs half as much per query.

    :param server: takes the messages.
    :param clock: where times come from.
    :param faults: where our own bugs are recorded.
    :param known: asked before the server, for many messages at once. None to read one at a time.
    :param rush: told whether more comes than we keep up with.
    """

    def __init__(
        self,
        server: BatchEngine,
        clock: IReactorTime,
        faults: Faults,
        known: Known | None = None,
        rush: Rush | None = None,
    ) -> None:
        dns.DNSDatagramProtocol.__init__(self, server, clock)
        self.engine = server
        self._known = known if possible() else None
        self._rush = rush
        self.clock = clock
        self.faults = faults
        self.coalescing = Coalescing(clock)
        self._readers: list[Reader] = []
        self._cut = True
        self._errors = Count(
            "heimdall_accept_datagram_errors_total", "Datagrams the kernel did not take or give.", "way", "reason"
        )
        self.tallies: list[Tally] = [self._errors]

    def lead(self, *, cut: bool, coalesce: float) -> None:
        """Read and send from now on in this way.

        :param cut: whether replies leave as messages that the kernel cuts up; see ``segments``.
        :param coalesce: seconds to wait for more before a read, while much is asked; see ``coalesce``.
        """
        self._cut = cut
        self.coalescing.seconds = coalesce
        for reader in self._readers:
            reader.cut(cut)

    def datagramReceived(self, data: bytes, addr: Client) -> None:
        """Answer one datagram that a Twisted port has read."""
        reply = self.answer(data, addr, self._write)
        if reply:
            self._write(reply, addr)

    def answer(self, wire: bytes, client: Client, later: Later) -> bytes | None:
        """Hand a message to the server; return its reply, SERVFAIL if it failed."""
        try:
            return self.engine.take(wire, client, False, later)
        except Exception as error:
            return self.faults.refuse(wire, error)

    def listen(self, udp: socket.socket, reactor: IReactorFDSet) -> None:
        """Read a socket until :meth:`pause` or :meth:`close`.

        :param udp: bound and not blocking. Bound to a wildcard address it must deliver packet information
            (:func:`heimdall.accept.sockets.bind` asks for it).
        """
        host = udp.getsockname()[0].partition("%")[0]
        wide = ip_address(host).is_unspecified
        if self._known is not None:
            reader: Reader = BatchReader(udp, self, reactor, self._known, wide, self._rush)
        else:
            reader = (WideReader if wide else Reader)(udp, self, reactor)
        reader.cut(self._cut)
        self._readers.append(reader)
        reader.resume()

    def pause(self) -> None:
        """Read no more queries; replies can still be sent."""
        for reader in self._readers:
            reader.stop()

    def close(self) -> None:
        """Read no more queries and close every socket."""
        self.pause()
        for reader in self._readers:
            reader.close()
        self._readers.clear()

    def reading(self) -> bool:
        """Return whether every socket is read, or rests for a moment."""
        return all(reader.reading() for reader in self._readers)

    def failed(self, way: str, error: OSError) -> None:
        """Count what the kernel refused; ``way`` is send or receive."""
        self._errors.add(way, _REASONS.get(error.errno or 0, "other"))

    def _write(self, reply: bytes, client: Client) -> None:
        if self.transport is None:
            return
        try:
            # Twisted's types know no flow and no scope; its sockets do.
            self.transport.write(reply, cast(tuple[str, int], client))
        except OSError as error:
            self.failed("send", error)
