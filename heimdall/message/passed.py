"""On what terms policies let a question pass: for how long, and whether its name exists whatever upstreams say."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from struct import Struct
from typing import Final

from heimdall.message import edns
from heimdall.message.answer import AA, SOA, Answer
from heimdall.message.edns import ExtendedError
from heimdall.message.query import CD, NXDOMAIN, RD, Client, Query
from heimdall.message.spots import ALONE
from heimdall.message.wire import name_end, suffixes

NO_TTL: Final = 60
"""Seconds that a no of our own lives: a file may change."""

SOA_TAIL: Final = b"\x06nobody\x07invalid\0" + b"".join(n.to_bytes(4, "big") for n in (1, 3600, 1200, 604800, NO_TTL))
"""What stands behind the server's name in the SOA of a no of our own."""

MOST_CHANGED: Final = 1000
"""Names that policies judge otherwise which are told apart; past that it is as if all were meant."""

_FIXED: Final = Struct("!HHHIH")
_POINTER: Final = 0xC00C
_HEAD: Final = Struct("!HHHHHH").pack(0, RD, 1, 0, 0, 0)
_HEAD_CD: Final = Struct("!HHHHHH").pack(0, RD | CD, 1, 0, 0, 0)


class Changes:
    """When the policies of a path said that they judge otherwise from now on, and of which names.

    :ivar number: how often they did.
    """

    __slots__ = ("_all", "_names", "number")

    def __init__(self) -> None:
        self.number = self._all = 0
        self._names: dict[bytes, int] = {}

    def add(self, names: Sequence[bytes] | None) -> None:
        """Note that they did.

        :param names: folded wire names, each with all below it; None for all names.
        """
        self.number += 1
        if names is None or len(self._names) + len(names) > MOST_CHANGED:
            self._all = self.number
            self._names.clear()
        else:
            for name in names:
                self._names[name] = self.number

    def concern(self, name: bytes, number: int) -> bool:
        """Return whether one of a name came after so many of them."""
        if self.number == number:
            return False
        return self._all > number or any(self._names.get(suffix, 0) > number for suffix in suffixes(name))


class Passed:
    """The terms.

    ``until``    when the verdict ends, on the clock of the reactor; infinite where no policy says
    ``changes``  the changes of mind of the policies that were asked; None where none may change its mind
    ``number``   how many there had been when they were asked
    ``exists``   whether the name exists, as it is above one that we answer or route (RFC 8020, 2; RFC 4592, 2.2.2)
    """

    __slots__ = ("changes", "exists", "number", "until")

    def __init__(self) -> None:
        self.until = inf
        self.changes: Changes | None = None
        self.number = 0
        self.exists = False

    def holds(self, name: bytes, now: float) -> bool:
        """Return whether the policies would still say so of a name."""
        return now < self.until and (self.changes is None or not self.changes.concern(name, self.number))

    def applied(self, query: Query, answer: Answer, now: float) -> Answer:
        """Return an answer to a query as it may be given and kept on these terms."""
        if self.exists and answer.rcode == NXDOMAIN and not answer.counts[0]:
            answer = no_data(query, answer)
        left = self.until - now
        # Of several records the others may live longer than the one that ends first.
        if left < answer.ttl or (left < inf and len(answer.spots) > 1):
            answer = answer.at_most(max(int(left), 0))
        return answer


def terms(query: Query) -> Passed:
    """Return the terms on which a query passes, to be changed by the gate that lets it pass."""
    passed = query.passed
    if passed is None:
        passed = query.passed = Passed()
    return passed


def no_data(query: Query, answer: Answer) -> Answer:
    """Return the answer that a name exists and has nothing of the type, in the place of one that it does not exist.

    It has a SOA of our own, since it is we who say so: signatures, and proofs that the name does not exist, say
    otherwise, so they are left out, and AD with them.
    """
    ttl = min(answer.ttl, NO_TTL)
    data = query.name + SOA_TAIL
    stale = ExtendedError(edns.STALE_NXDOMAIN)
    return answer.replace(
        rcode=0,
        flags=answer.flags & AA,
        counts=(0, 1, 0),
        body=_FIXED.pack(_POINTER, SOA, 1, ttl, len(data)) + data,
        spots=ALONE,
        ttl=ttl,
        negative=True,
        errors=tuple(ExtendedError(edns.STALE_ANSWER) if error == stale else error for error in answer.errors),
    )


def asked(key: bytes, client: Client) -> Query:
    """Return the question of a key, as one that nobody in particular asks.

    :param key: of a cache, perhaps for a client's subnet. One that is for every type is asked for addresses.
    :param client: what stands in the place of its address.
    """
    end = name_end(key)
    qtype = key[end] << 8 | key[end + 1] or 1
    return _made(key[:end], qtype, key[:end] + qtype.to_bytes(2, "big") + key[end + 2 : end + 5], client)


def anybodys(query: Query, client: Client) -> Query:
    """Return a question as one that nobody in particular asks: the same for every client, whatever words it uses.

    :param client: what stands in the place of its address.
    """
    return _made(query.name, query.qtype, query.key, client)


def _made(name: bytes, qtype: int, key: bytes, client: Client) -> Query:
    question, marks = key[:-1], key[-1]
    flags = RD | CD if marks & 2 else RD
    wire = (_HEAD_CD if marks & 2 else _HEAD) + question
    return Query(
        wire, flags, question, name, qtype, key, client, False, True, marks & 1 == 1, edns.UDP_SIZE
    )  # fmt: skip
