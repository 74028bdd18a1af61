"""Block names, each with all names below it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from zope.interface import implementer

from heimdall.admit import lists
from heimdall.admit.hashes import Hashes
from heimdall.interfaces import Drop, IGate
from heimdall.message.answer import AA, SOA, Answer
from heimdall.message.edns import BLOCKED, ExtendedError
from heimdall.message.query import NXDOMAIN, REFUSED, Query
from heimdall.message.wire import HEADER
from heimdall.tally import Count, Gauge, Tally

A, AAAA = 1, 28

TTL = 60
"""Seconds that a client may keep the answer: a name may come off the list."""

_ERRORS = (ExtendedError(BLOCKED, "blocked here"),)
_NULL = {A: b"\0" * 4, AAAA: b"\0" * 16}
_SOA = b"\x07blocked\x07invalid\0\x06nobody\x07invalid\0" + b"".join(
    n.to_bytes(4, "big") for n in (1, 3600, 1200, 604800, TTL)
)
_RCODES = {"nxdomain": NXDOMAIN, "null": 0, "refused": REFUSED}


@implementer(IGate)
class Blocked:
    """Names that are not to be found, each with all names below it.

    Every answer carries the extended error Blocked (RFC 8914, 4.16).

    :param names: names in presentation form, ``*.`` in front or not.
    :param files: paths of lists, read as :func:`heimdall.admit.lists.names` says; wrong lines are left out,
        counted and logged once for each file.
    :param answer: ``nxdomain``; ``null``, which is 0.0.0.0 for A, :: for AAAA and no data for all else; or
        ``refused``.
    :raises ValueError: one of ``names`` is no domain name, or ``answer`` none of these.
    :raises OSError: a file cannot be read.
    """

    def __init__(self, names: Iterable[str] = (), files: Iterable[str] = (), answer: str = "nxdomain") -> None:
        if answer not in _RCODES:
            raise ValueError(f"{answer!r} is none of {', '.join(_RCODES)}")
        self._rcode = _RCODES[answer]
        self._blocked = Count("heimdall_admit_blocked_total", "Queries for blocked names")
        self._skipped = Count("heimdall_admit_blocked_skipped_total", "Wrong lines of lists, left out")
        self._hashes = Hashes(self._all(names, files))
        self.tallies: list[Tally] = [
            self._blocked,
            self._skipped,
            Gauge("heimdall_admit_blocked_names", "Names on the lists", lambda: len(self._hashes), across="max"),
            Gauge("heimdall_admit_blocked_bytes", "Bytes that these take", lambda: self._hashes.size),
        ]

    def _all(self, names: Iterable[str], files: Iterable[str]) -> Iterator[bytes]:
        yield from map(lists.name, names)
        for path in files:
            for found in lists.each(path, lists.names, self._skipped):
                yield from found

    def judge(self, query: Query) -> Answer | Drop | None:
        """Return the answer that a blocked name gets."""
        at = self._hashes.find(query.name)
        if at < 0:
            return None
        self._blocked.add()
        return self._answer(query, at)

    def _answer(self, query: Query, at: int) -> Answer:
        """Return the answer to a query whose name is blocked from the byte ``at`` on.

        The one record is laid out by hand: blocked names are asked for as often as any, and are never in memory.
        """
        question = query.key[: len(query.question)]
        if self._rcode == REFUSED:
            return Answer(question, REFUSED, origin="blocked", errors=_ERRORS)
        data = None if self._rcode else _NULL.get(query.qtype)
        kind, place, data = (SOA, at, _SOA) if data is None else (query.qtype, 0, data)
        fixed = b"".join(number.to_bytes(2, "big") for number in (0xC000 | HEADER + place, kind, 1, 0, TTL, len(data)))
        return Answer(
            question=question,
            rcode=self._rcode,
            flags=AA,
            counts=(0, 1, 0) if kind == SOA else (1, 0, 0),
            body=fixed + data,
            spots=(6,),
            ttl=TTL,
            origin="blocked",
            errors=_ERRORS,
        )
