"""Look up the host of Redis: the way of this machine, or at servers of its own, so that we never wait for ourselves."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IAddress, IHostnameResolver, IHostResolution, IResolutionReceiver
from twisted.names import dns
from zope.interface import implementer

WAITS = (0.5, 1.0)
"""Seconds that each server gets, round by round."""


MOST_THREADS = 4
"""Names that are looked up at once."""

_KINDS: dict[int, Any] = {socket.AF_INET: IPv4Address, socket.AF_INET6: IPv6Address}


@implementer(IHostResolution)
class Resolution:
    """One name that is looked up; the receiver is told of each address, and of the end.

    :param wanted: kinds of addresses; None for all.
    """

    def __init__(self, receiver: IResolutionReceiver, name: str, wanted: Sequence[type[IAddress]] | None) -> None:
        self.name = name
        self.cancelled: Deferred[Any] | None = None
        self._receiver, self._wanted = receiver, wanted
        receiver.resolutionBegan(self)

    def found(self, address: IAddress | None) -> None:
        """Hand an address over, if it is wanted."""
        if address is not None and (self._wanted is None or type(address) in self._wanted):
            self._receiver.addressResolved(address)

    def end(self) -> None:
        """Say that there are no more."""
        self._receiver.resolutionComplete()

    def cancel(self) -> None:
        """Give it up."""
        if self.cancelled is not None:
            self.cancelled.cancel()


@implementer(IHostnameResolver)
class HostNames:
    """Asks the C library, in threads that nobody waits for.

    The reactor's own threads would be waited for when the process ends, and a DNS that hangs keeps such a thread for
    ten seconds and more.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._under_way = 0

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """Look up a name, and hand over its addresses; none when nobody knows it, or the threads are all busy."""
        resolution = Resolution(resolutionReceiver, hostName, addressTypes)
        if self._under_way >= MOST_THREADS:
            resolution.end()
            return resolution
        self._under_way += 1

        def look_up() -> None:
            try:
                found = socket.getaddrinfo(hostName, portNumber, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError):
                found = []
            self._reactor.callFromThread(answered, found)

        def answered(found: list[Any]) -> None:
            self._under_way -= 1
            for family, _, _, _, address in found:
                kind = _KINDS.get(family)
                resolution.found(kind(transportSemantics, *address) if kind is not None else None)
            resolution.end()

        threading.Thread(target=look_up, daemon=True, name="heimdall-names").start()
        return resolution


@implementer(IHostnameResolver)
class Names:
    """Asks some DNS servers and no others, for both kinds of addresses at once. Names must be complete.

    :param servers: IP addresses and ports.
    """

    def __init__(self, reactor: Any, servers: Sequence[tuple[str, int]]) -> None:
        from twisted.names.client import Resolver

        self._resolver = Resolver(servers=list(servers), reactor=_Quiet(reactor), timeout=WAITS)

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """Look up a name, and hand over its addresses; none when nobody knows it."""
        resolution = Resolution(resolutionReceiver, hostName, addressTypes)
        name = hostName.encode("idna") if not hostName.isascii() else hostName.encode()
        asked = [self._resolver.lookupAddress(name), self._resolver.lookupIPV6Address(name)]
        resolution.cancelled = both = DeferredList(asked, consumeErrors=True)

        def answered(results: list[tuple[bool, Any]]) -> None:
            for good, result in results:
                for record in result[0] if good else ():
                    resolution.found(_address(record.payload, portNumber, transportSemantics))

        both.addCallback(answered)
        both.addBoth(lambda _: resolution.end())
        return resolution


class _Quiet:
    """A reactor whose protocols do not tell the log that they start and stop."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenUDP(self, port: int, protocol: Any, *arguments: Any, **more: Any) -> Any:
        protocol.noisy = False
        return self._reactor.listenUDP(port, protocol, *arguments, **more)


def _address(data: Any, port: int, semantics: str) -> IAddress | None:
    kind: Any = semantics
    if isinstance(data, dns.Record_A):
        return IPv4Address(kind, data.dottedQuad(), port)
    if isinstance(data, dns.Record_AAAA):
        return IPv6Address(kind, socket.inet_ntop(socket.AF_INET6, data.address), port)
    return None
