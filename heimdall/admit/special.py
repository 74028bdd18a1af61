"""Answer special-use names and private reverse zones here, and every question for ANY.

None of these names means anything to an upstream: asking would only tell strangers what is asked for.

The zones are those of the registry of locally served zones (RFC 6303, 7793, 8375, 9462, 9665), and the special-use
names that a caching server has to answer itself: localhost, invalid, test (RFC 6761), local (RFC 6762), onion
(RFC 7686) and alt (RFC 9476). Left out on purpose: the example names, which RFC 6761 wants treated as any other,
and ipv4only.arpa, whose answer tells a client about the NAT64 of its network (RFC 8880): we have none, so the
answer of whoever runs it must pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from attrs import frozen
from zope.interface import classImplements

from heimdall.interfaces import Drop, IGate
from heimdall.message.answer import NS, SOA, Answer, local
from heimdall.message.query import ANY, NXDOMAIN, Query
from heimdall.message.wire import from_text, suffixes
from heimdall.tally import Count, Tally

A: Final = 1
PTR: Final = 12
HINFO: Final = 13
AAAA: Final = 28
DS: Final = 43

TTL: Final = 10800
"""Seconds that the records of an empty zone live (RFC 6303, 3)."""

ANY_TTL: Final = 3600
"""Seconds that the answer to ANY lives: long, as RFC 8482 asks for in 4.2."""

_TOPS: Final = ("invalid", "test", "local", "onion", "alt")

_EMPTY: Final = (
    # RFC 6303, 4.1 and 4.2; RFC 7793
    "10.in-addr.arpa",
    *(f"{second}.172.in-addr.arpa" for second in range(16, 32)),
    "168.192.in-addr.arpa",
    "0.in-addr.arpa",
    "127.in-addr.arpa",
    "254.169.in-addr.arpa",
    "2.0.192.in-addr.arpa",
    "100.51.198.in-addr.arpa",
    "113.0.203.in-addr.arpa",
    "255.255.255.255.in-addr.arpa",
    *(f"{second}.100.in-addr.arpa" for second in range(64, 128)),
    # RFC 6303, 4.3 to 4.6
    "0." * 32 + "ip6.arpa",
    "1." + "0." * 31 + "ip6.arpa",
    "d.f.ip6.arpa",
    *(f"{nibble}.e.f.ip6.arpa" for nibble in "89ab"),
    "8.b.d.0.1.0.0.2.ip6.arpa",
    "home.arpa",  # RFC 8375
    "service.arpa",  # RFC 9665
)

_LOOPBACK: Final = {A: b"\x7f\0\0\1", AAAA: b"\0" * 15 + b"\1"}
_POINTERS: Final = ("1.0.0.127.in-addr.arpa", "1." + "0." * 31 + "ip6.arpa")
_LOCALHOST: Final = b"\x09localhost\0"
# RFC 6303, 3: mailbox, serial, refresh, retry, expire, minimum
_SOA_TAIL: Final = b"\x06nobody\x07invalid\0" + b"".join(n.to_bytes(4, "big") for n in (1, 3600, 1200, 604800, TTL))
_RFC8482: Final = b"\x07RFC8482\0"


@frozen(eq=False)
class _Zone:
    """A zone answered here.

    ``everywhere``  data by type that each of its names has
    ``full``        whether each name below it exists
    ``delegated``   whether its parent is a real zone, which alone can tell that it is not signed
    """

    name: bytes
    everywhere: dict[int, bytes]
    full: bool
    delegated: bool


class Special:
    """The names that are answered here because no upstream may be asked for them.

    An empty zone has its SOA and NS, and NXDOMAIN below (RFC 6303, 3). Of a zone under arpa the type DS at its
    top passes: that question belongs to the parent, whose proof lets a validating client accept our answers
    (RFC 8375, 4). In resolver.arpa every name exists without data: we offer no other way to reach us (RFC 9462, 4).
    The top-level names do not exist, with all below them; localhost is this machine, with all below it.

    A question for ANY gets one HINFO record, for whatever name (RFC 8482, 4.2).

    :param except_for: names, in presentation form, that pass with all below them because somebody else knows
        them: ``cluster.local``, or ``10.in-addr.arpa`` of the own network. The root among them means nothing.
    :raises ValueError: one of these is no domain name.
    """

    def __init__(self, except_for: Iterable[str] = ()) -> None:
        passing = {from_text(text) for text in except_for} - {b"\0"}
        self._zones: dict[bytes, _Zone | None] = dict.fromkeys(passing)
        self._records: dict[tuple[bytes, int], bytes] = {}
        for zone in _zones():
            if passing.isdisjoint(suffixes(zone.name)):
                self._zones[zone.name] = zone
                if zone.delegated or zone.everywhere:
                    self._records[zone.name, SOA] = zone.name + _SOA_TAIL
                    self._records[zone.name, NS] = zone.name
        for text in _POINTERS:
            self._records[from_text(text), PTR] = _LOCALHOST
        # What stands above a name that exists, exists too: without data (RFC 8020).
        self.names = {*passing, *(name for name, _ in self._records)}
        """The names that exist, but for those above them."""
        self._existing = {above for name in self.names for above in suffixes(name)}
        self._tops = tuple({list(suffixes(name))[-2] for name in self._zones})
        # Nearly all names end otherwise: to see that costs less than to compare each of those.
        self._ends = {top[-3:] for top in self._tops}
        self._special = Count("heimdall_admit_special_total", "Queries for special-use names and for ANY")
        self.tallies: list[Tally] = [self._special]

    def judge(self, query: Query) -> Answer | Drop | None:
        """Return the answer to a question for a special-use name, or for ANY."""
        if query.name[-3:] in self._ends and query.name.endswith(self._tops):
            for suffix in suffixes(query.name):
                if suffix in self._zones:
                    zone = self._zones[suffix]
                    if zone is not None:
                        return self._answer(query, zone)
                    break
        return self._minimal(query) if query.qtype == ANY else None

    def _answer(self, query: Query, zone: _Zone) -> Answer | None:
        name, kind = query.name, query.qtype
        if kind == DS and zone.delegated and name == zone.name:
            return None
        data = self._records.get((name, kind)) or zone.everywhere.get(kind)
        if data is not None:
            self._special.add()
            return local(query, 0, [(name, kind, TTL, data)])
        exists = zone.full or name in self._existing
        if exists and kind == ANY:
            return self._minimal(query)
        self._special.add()
        return local(query, 0 if exists else NXDOMAIN, [(zone.name, SOA, TTL, zone.name + _SOA_TAIL)])

    def _minimal(self, query: Query) -> Answer:
        self._special.add()
        return local(query, 0, [(query.name, HINFO, ANY_TTL, _RFC8482)])


classImplements(Special, IGate)


def _zones() -> Iterator[_Zone]:
    """Yield all zones that are answered here."""
    yield _Zone(_LOCALHOST, _LOOPBACK, full=True, delegated=False)
    yield _Zone(from_text("resolver.arpa"), {}, full=True, delegated=True)
    for text in _EMPTY:
        yield _Zone(from_text(text), {}, full=False, delegated=True)
    for text in _TOPS:
        yield _Zone(from_text(text), {}, full=False, delegated=False)
