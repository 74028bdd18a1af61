"""Make the reply that one client gets: id, spelling, flags, size and OPT fitted to its query (RFC 1035, 6891)."""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Final

from heimdall.message import edns
from heimdall.message.answer import AA, TC, Answer
from heimdall.message.edns import ExtendedError
from heimdall.message.query import AD, CD, RD, SERVFAIL, Query
from heimdall.message.wire import HEADER, records

_HEAD: Final = Struct("!HHHHH")
_QR_RA: Final = 0x8080
_REPEATED: Final = RD | CD
_OPT: Final = edns.opt()
_OPT_DO: Final = edns.opt(do=True)

STREAM_SIZE: Final = 65535

LEAST_SIZE: Final = 512
"""What everybody takes over UDP (RFC 1035, 2.3.4)."""


def fit(query: Query, answer: Answer, body: bytes, udp_size: int = edns.UDP_SIZE) -> bytes:
    """Return the reply to ``query`` that carries ``answer``.

    The AD bit is told only to who asked for it by AD or DO (RFC 6840, 5.8). Over UDP the reply is no longer
    than the client's size or ``udp_size``, whichever is less: extended errors are left out first, with TC set
    (RFC 8914, 3); then additional records, silently; after that, others from the end, with TC set (RFC 2181, 9).

    :param body: the answer's records with the TTLs of this moment.
    :param udp_size: the most bytes we send over UDP; 512 at least.
    """
    opt = b""
    if query.edns:
        if answer.errors or answer.rcode > 15 or query.subnet is not None:
            opt = _opt(query, answer, answer.errors)
        else:
            opt = _OPT_DO if query.do else _OPT
    flags = _QR_RA | query.flags & _REPEATED
    if answer.flags or answer.rcode:
        flags |= _said(query, answer)
    answers, authorities, additionals = answer.counts
    head = _HEAD.pack(flags, 1, answers, authorities, additionals + 1 if opt else additionals)
    reply = b"".join((query.wire[:2], head, query.question, body, opt))
    if len(reply) <= LEAST_SIZE:
        return reply
    limit = STREAM_SIZE if query.stream else query.size if query.size < udp_size else udp_size
    return reply if len(reply) <= limit else _shorter(query, answer, body, flags, opt, limit)


def _said(query: Query, answer: Answer) -> int:
    """Return the flags that come from the answer."""
    # A code of more than 4 bits cannot be told without an OPT, and half of it would say something else.
    rcode = answer.rcode if answer.rcode < 16 or query.edns else SERVFAIL
    flags = answer.flags & (AA | TC) | rcode & 15
    return flags | AD if answer.flags & AD and (query.do or query.flags & AD) else flags


def _shorter(query: Query, answer: Answer, body: bytes, flags: int, opt: bytes, limit: int) -> bytes:
    """Return a reply that fits into ``limit`` bytes, which the whole one does not."""
    question, counts = query.question, answer.counts
    if opt and answer.errors:
        opt = _opt(query, answer, ())
        flags |= TC
    if HEADER + len(question) + len(body) + len(opt) > limit:
        body, cut, counts = _cut(question, body, counts, limit - len(opt))
        flags |= cut
    head = _HEAD.pack(flags, 1, counts[0], counts[1], counts[2] + (1 if opt else 0))
    return b"".join((query.wire[:2], head, question, body, opt))


def _opt(query: Query, answer: Answer, errors: Iterable[ExtendedError]) -> bytes:
    options = b"".join(map(edns.error_option, errors))
    if query.subnet is not None:
        options += query.subnet.to_reply(answer.scope or 0)  # RFC 7871, 7.2.1
    return edns.opt(query.do, answer.rcode, options)


def _cut(
    question: bytes, body: bytes, counts: tuple[int, int, int], limit: int
) -> tuple[bytes, int, tuple[int, int, int]]:
    """Return the records that fit into ``limit`` bytes, TC if one is missing that is needed, and their counts.

    The additional section is left out whole: half an RRset is worse than none.
    """
    start = end = HEADER + len(question)
    kept = 0
    needed = counts[0] + counts[1]
    for record in records(b"\0" * HEADER + question + body, start, needed):
        if record[4] > limit:
            break
        kept += 1
        end = record[4]
    answers = min(kept, counts[0])
    return body[: end - start], 0 if kept == needed else TC, (answers, kept - answers, 0)
