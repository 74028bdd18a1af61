"""Let the networks ask that may, and refuse all others."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import Final

from twisted.internet.interfaces import IReactorTime
from zope.interface import classImplements

from heimdall.admit import address
from heimdall.episodes import Episodes
from heimdall.interfaces import Drop, IAddressGate
from heimdall.message.answer import Answer, make
from heimdall.message.edns import PROHIBITED, ExtendedError
from heimdall.message.query import REFUSED, Client, Query
from heimdall.slices import let_go
from heimdall.tally import Count, Gauge, Tally

MOST_KNOWN = 50_000
"""Clients whose verdict is remembered; then the oldest is judged again, which takes a few microseconds."""

_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_ERROR: Final = ExtendedError(PROHIBITED, "this network may not ask here")


class Acl:
    """Who may ask: the clients of some networks; the others get REFUSED and an extended error (RFC 8914, 4.19).

    A client whose address is IPv4 inside IPv6 is judged as IPv4. A query without a client address is our own, or
    came over a Unix socket, and passes.

    :param networks: in the form ``192.0.2.0/24`` or ``2001:db8::/32``; a lone address is a network of one.
    :param refusals: tell which clients are refused; None where nobody does.
    :raises ValueError: a text is no network.
    """

    def __init__(self, networks: Iterable[str], refusals: Episodes | None = None) -> None:
        self._refusals = refusals
        found = [_network(text) for text in networks]
        self._ranges = {
            4: _ranges(collapse_addresses(n for n in found if isinstance(n, IPv4Network))),
            6: _ranges(collapse_addresses(n for n in found if isinstance(n, IPv6Network))),
        }
        self._known: OrderedDict[str, bool] = OrderedDict()
        self._refused = Count("heimdall_admit_refused_total", "Queries of networks that may not ask")
        self.tallies: list[Tally] = [
            self._refused,
            Gauge("heimdall_admit_known_clients", "Clients whose verdict is remembered.", self._known.__len__),
        ]

    def judge(self, query: Query) -> Answer | Drop | None:
        """Return REFUSED to who may not ask."""
        if self.admit(query.client, 1):
            return None
        self._refused.add()
        if self._refusals is not None:
            self._refusals.note(query.client[0], query.client[0])
        return make(query, REFUSED, "local", _ERROR)

    def admit(self, client: Client, count: int) -> bool:
        """Return whether a client may ask."""
        host = client[0]
        allowed = self._known.get(host)
        return self._learn(host) if allowed is None else allowed

    def forget(self, clock: IReactorTime) -> None:
        """Forget whom it has judged, as it judges nobody any more."""
        let_go(self._known, clock)

    def _learn(self, host: str) -> bool:
        if not host:
            return True
        if len(self._known) >= MOST_KNOWN:
            self._known.popitem(last=False)
        self._known[host] = allowed = self._allowed(host)
        return allowed

    def _allowed(self, host: str) -> bool:
        client = address.read(host)
        if client is None:
            return False
        firsts, lasts = self._ranges[client.version]
        at = bisect_right(firsts, int(client))
        return at > 0 and int(client) <= lasts[at - 1]


classImplements(Acl, IAddressGate)


def _network(text: str) -> IPv4Network | IPv6Network:
    """Return the network of a text; one inside ``::ffff:0:0/96`` as the IPv4 network it stands for."""
    try:
        network = ip_network(text, strict=False)
    except ValueError as error:
        raise ValueError(f"{text!r} is no network: {error}") from None
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


def _ranges(networks: Iterable[IPv4Network | IPv6Network]) -> tuple[list[int], list[int]]:
    """Return the first and the last addresses of networks, as numbers in rising order."""
    ordered = sorted(networks, key=lambda network: int(network.network_address))
    return [int(n.network_address) for n in ordered], [int(n.broadcast_address) for n in ordered]
