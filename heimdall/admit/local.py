"""Answer the names of hosts files and of records in the configuration here."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address

from zope.interface import implementer

from heimdall.admit import address
from heimdall.admit.existing import above
from heimdall.admit.lists import each
from heimdall.interfaces import Drop, IGate
from heimdall.message.answer import CNAME, SOA, Answer, local, make
from heimdall.message.edns import OTHER, ExtendedError
from heimdall.message.passed import NO_TTL, SOA_TAIL
from heimdall.message.query import ANY, DS, SERVFAIL, Query
from heimdall.message.response import MOST_LINKS
from heimdall.message.wire import from_text, to_text
from heimdall.tally import Count, Gauge, Tally

A, PTR, AAAA = 1, 12, 28

_LOOP = ExtendedError(OTHER, "the aliases of this name lead in a circle, or too far")

TTL = NO_TTL
"""Seconds that a record lives whose TTL is not given, and that a no lives: a file may change."""

MOST_BYTES = 60_000
"""Bytes of records that one name and type may have: an answer fits a message of 64 KiB with room for an alias."""

_Row = tuple[bytes, int, int, bytes]


@implementer(IGate)
class Local:
    """Names that are answered here, whatever the world says of them.

    A name that has records here is known here whole: another type gets NODATA, never a look at the upstream, but for
    DS, which belongs to the parent. A local alias is followed from one local name to the next; one that leads outside
    says so, and is followed there by others. ANY gets the records of one type (RFC 8482, 4.1).

    :param hosts: paths of files in hosts format. Each name gets the address, and the address the first name that
        is given for it (a PTR record); the unspecified address gets none. Wrong lines are left out, counted and
        logged once for each file.
    :param records: records as in a zone file, ``name [TTL] [IN] TYPE data``, all names absolute.
    :raises ValueError: one of ``records`` is wrong; the message names it.
    :raises OSError: a file cannot be read.
    """

    def __init__(self, hosts: Iterable[str] = (), records: Iterable[str] = ()) -> None:
        self._names: dict[bytes, dict[int, list[_Row]]] = {}
        self.existing: set[bytes] = set()
        """The names that stand above these."""
        self._answered = Count("heimdall_admit_local_total", "Queries answered from local records")
        self._skipped = Count("heimdall_admit_local_skipped_total", "Wrong lines of hosts files, left out")
        self.tallies: list[Tally] = [
            self._answered,
            self._skipped,
            Gauge("heimdall_admit_local_names", "Names with local records", lambda: len(self._names), across="max"),
        ]
        for text in records:
            self._add(read_record(text))
        for path in hosts:
            for _ in each(path, self._take, self._skipped):
                pass

    def judge(self, query: Query) -> Answer | Drop | None:
        """Return the answer to a question for a local name."""
        kinds = self._names.get(query.name)
        if kinds is None:
            return None
        if query.qtype == DS and DS not in kinds:
            return None  # that question belongs to the parent, whose proof lets a validating client take our records
        self._answered.add()
        if query.qtype == ANY:
            return local(query, 0, next(iter(kinds.values())))
        owner = query.name
        chain: list[_Row] = []
        while query.qtype not in kinds and CNAME in kinds:
            chain += kinds[CNAME]
            owner = chain[-1][3].lower()
            if owner not in self._names:
                return local(query, 0, chain, alias=owner)
            if len(chain) > MOST_LINKS:
                return make(query, SERVFAIL, "local", _LOOP)
            kinds = self._names[owner]
        return local(query, 0, chain + kinds.get(query.qtype, [(owner, SOA, TTL, owner + SOA_TAIL)]))

    def _take(self, line: bytes) -> None:
        """Add what one line of a hosts file says.

        :raises ValueError: it is wrong.
        """
        words = line.partition(b"#")[0].decode("utf-8-sig").split()
        if not words:
            return
        host = address.read(words[0])
        if host is None:
            raise ValueError(f"{words[0]!r} is no IP address")
        if len(words) < 2:
            raise ValueError(f"no name stands behind {words[0]}")
        # What localhost is, is not for a file to say (RFC 6761, 6.3).
        names = [name for name in map(from_text, words[1:]) if not name.endswith(b"\x09localhost\0")]
        for name in names:
            self._add((name, A if isinstance(host, IPv4Address) else AAAA, TTL, host.packed))
        if names and not host.is_unspecified:
            reverse = from_text(host.reverse_pointer)
            if PTR not in self._names.get(reverse, ()):
                self._add((reverse, PTR, TTL, names[0]))

    def _add(self, row: _Row) -> None:
        name, kind, _, data = row
        kinds = self._names.get(name, {})
        rows = kinds.get(kind, [])
        if any(data == other[3] for other in rows):
            return
        if (kind == CNAME and kinds) or CNAME in kinds:
            raise ValueError(f"{to_text(name)} has an alias, and may have nothing beside it (RFC 1034, 3.6.2)")
        if sum(len(name) + 10 + len(other[3]) for other in (*rows, row)) > MOST_BYTES:
            raise ValueError(f"the records of {to_text(name)} do not fit a message")
        if not kinds:
            above(name, self.existing)
        ttl = min(other[2] for other in (*rows, row))  # RFC 2181, 5.2
        self._names.setdefault(name, kinds)[kind] = [(name, kind, ttl, other[3]) for other in (*rows, row)]


def read_record(text: str) -> tuple[bytes, int, int, bytes]:
    """Return the name, type, TTL in seconds and data of a record in presentation form.

    :raises ValueError: it is wrong; the message names it and says why.
    """
    import dns.exception
    import dns.name
    import dns.rdata
    import dns.rdataclass
    import dns.rdatatype
    import dns.ttl

    try:
        if "\n" in text:
            raise ValueError("more than one line")
        owner, rest = _split([text])
        name = from_text(owner)
        if name.startswith(b"\1*"):
            raise ValueError("no wildcards here")
        ttl = TTL
        kind, rest = _split(rest)
        if kind[0].isdigit():
            ttl = dns.ttl.from_text(kind)
            kind, rest = _split(rest)
        if kind.upper() == "IN":
            kind, rest = _split(rest)
        number = dns.rdatatype.from_text(kind)
        if dns.rdatatype.is_metatype(number):
            raise ValueError(f"{kind} is no type of a record")
        data = dns.rdata.from_text(dns.rdataclass.IN, number, "".join(rest), origin=dns.name.root, relativize=False)
        return name, int(number), ttl, data.to_wire() or b""
    except (dns.exception.DNSException, ValueError) as error:
        raise ValueError(f"{text!r} is no record: {error}") from None


def _split(rest: list[str]) -> tuple[str, list[str]]:
    """Return the first word of what is left of a record's text, and what is left then."""
    word, *rest = rest[0].split(maxsplit=1) if rest and rest[0].strip() else [""]
    if not word:
        raise ValueError("it is cut short")
    return word, rest
