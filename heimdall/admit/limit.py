"""Limit the rate of each client prefix with a token bucket."""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import ip_network
from typing import Final

from twisted.internet.interfaces import IReactorTime
from zope.interface import classImplements

from heimdall.admit import address
from heimdall.episodes import Episodes
from heimdall.interfaces import DROP, Drop, IClientGate
from heimdall.message.answer import Answer, make
from heimdall.message.edns import PROHIBITED, ExtendedError
from heimdall.message.query import REFUSED, Client, Query
from heimdall.slices import let_go
from heimdall.tally import Count, Gauge, Tally

MOST_BUCKETS = 100_000
"""Prefixes that are told apart at once."""

MOST_KNOWN = 50_000
"""Clients whose prefix is remembered; then the oldest is worked out again, which takes a few microseconds."""

_ERROR: Final = ExtendedError(PROHIBITED, "too many queries from this network")


class Limit:
    """How much one network may ask: ``rate`` queries a second, and ``burst`` at once.

    A query over the limit gets silence over UDP, where its address may be forged and a reply would hit somebody
    else, and REFUSED over a stream. It takes no token: who keeps to the rate again is served again. This machine
    itself is no exception; only a query without a client address, which is our own, passes.

    Memory is bounded by keeping two generations of buckets. Once the young one is half of :data:`MOST_BUCKETS`,
    the old one is dropped whole. So a bucket is forgotten only when 50,000 prefixes that were not in the young
    generation have asked since it was last drawn from, and a forgotten prefix begins with a full bucket. To win
    one more burst for his own prefix (or a forged one) an attacker must therefore send 50,000 queries from as
    many others: it pays less than asking from those. An attacker who owns that many prefixes is not held by a
    limit per prefix at all; take a shorter prefix.

    :param clock: seconds are read from it.
    :param rate: queries a second, more than 0.
    :param burst: queries at once, at least 1; 0 for twice the rate.
    :param refusals: tell which prefixes are over the limit; None where nobody does.
    :param prefix4: bits of an IPv4 address that count as one client; ``prefix6`` those of an IPv6 address.
    """

    def __init__(
        self,
        clock: IReactorTime,
        rate: float,
        burst: float = 0.0,
        prefix4: int = 24,
        prefix6: int = 56,
        refusals: Episodes | None = None,
    ) -> None:
        if rate <= 0:
            raise ValueError("a rate limit of nothing: leave the gate out instead")
        self._clock, self._refusals = clock, refusals
        # A bucket is one number: the time at which it will be full again. Each query moves that by one step, and
        # may not move it further ahead than a whole burst takes to come back. The sums are rounded: a token that is
        # due in a thousandth of a step is there.
        self._step = step = 1 / rate
        self._furthest = (max(burst or 2 * rate, 1.0) - 1 + 0.001) * step
        # No bucket gets as far as that, unless the clock is set back: then it begins anew.
        self._astray = self._furthest + 2 * step
        self._cut = {4: 32 - prefix4, 6: 128 - prefix6}
        self._prefixes: OrderedDict[str, int] = OrderedDict()
        self._young: dict[int, float] = {}
        self._old: dict[int, float] = {}
        self._limited = Count("heimdall_admit_limited_total", "Queries over the limit of their prefix")
        self.tallies: list[Tally] = [
            self._limited,
            Gauge(
                "heimdall_admit_limit_prefixes",
                "Client prefixes that are told apart now",
                lambda: len(self._young) + len(self._old),
            ),
            Gauge("heimdall_admit_limit_clients", "Clients whose prefix is remembered", self._prefixes.__len__),
        ]

    def judge(self, query: Query) -> Answer | Drop | None:
        """Return silence, or REFUSED over a stream, to who asks too much."""
        if self.admit(query.client, 1):
            return None
        self._limited.add()
        if self._refusals is not None:
            host = query.client[0]
            self._refusals.note(self._prefixes.get(host, -1), host, self._network)
        return make(query, REFUSED, "local", _ERROR) if query.stream else DROP

    def admit(self, client: Client, count: int) -> bool:
        """Take some tokens of a client, all or none; return whether they were there."""
        host = client[0]
        prefix = self._prefixes.get(host)
        if prefix is None:
            if not host:
                return True
            prefix = self._learn(host)
        now = self._clock.seconds()
        full = self._young.get(prefix)
        if full is None:
            full = self._enter(prefix)
        if full < now or full - now > self._astray:
            full = now
        if full - now + (count - 1) * self._step > self._furthest:
            return False
        self._young[prefix] = full + count * self._step
        return True

    def forget(self, clock: IReactorTime) -> None:
        """Forget who asked how much, as it limits nobody any more."""
        for forgotten in (self._prefixes, self._young, self._old):
            let_go(forgotten, clock)

    def _enter(self, prefix: int) -> float:
        """Bring a bucket into the young generation; return when it is full."""
        if len(self._young) >= MOST_BUCKETS // 2:
            let_go(self._old, self._clock)
            self._old, self._young = self._young, {}
        full = self._old.pop(prefix, 0.0)
        self._young[prefix] = full
        return full

    def _learn(self, host: str) -> int:
        if len(self._prefixes) >= MOST_KNOWN:
            self._prefixes.popitem(last=False)
        self._prefixes[host] = prefix = self._prefix(host)
        return prefix

    def _prefix(self, host: str) -> int:
        """Return a number for the prefix of a client; what is no address shares the number -1."""
        client = address.read(host)
        if client is None:
            return -1
        return int(client) >> self._cut[client.version] << 1 | (client.version == 6)

    def _network(self, host: str) -> str:
        """Return the prefix of a client as a network."""
        client = address.read(host)
        if client is None:
            return host
        bits = (32 if client.version == 4 else 128) - self._cut[client.version]
        return str(ip_network(f"{client}/{bits}", strict=False))


classImplements(Limit, IClientGate)
