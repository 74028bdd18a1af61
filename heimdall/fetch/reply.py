"""What becomes of an exchange: the reply, told from what only looks like it (RFC 5452, 9), or the lack of one."""

from __future__ import annotations

from collections.abc import Callable

from heimdall.interfaces import NoAnswer, Ongoing, Told
from heimdall.message import response
from heimdall.message.answer import Answer
from heimdall.message.edns import NETWORK_ERROR, NO_REACHABLE_AUTHORITY, ExtendedError
from heimdall.message.query import FORMERR, NOTIMP, Query, asks, question_of
from heimdall.message.wire import HEADER, Malformed

Odd = Callable[[Answer, Query, float, Told], Ongoing]
"""What takes an answer that may not be the last word: a failure, or one cut short; with its question, when the time for
that is over, and who is to be told."""


class Mismatch(Exception):
    """The bytes are no reply to the question; the text is the label they are counted by."""


def check(wire: bytes, question: bytes) -> Answer:
    """Return the answer in a reply whose id, address and port have been compared already.

    :param question: the folded question that was asked.
    :raises Mismatch: it is malformed, not a reply to a query, or answers another question.
    """
    if wire[2] & 0xF8 != 0x80:
        raise Mismatch("header")
    if len(wire) == HEADER and wire[3] & 15 in (FORMERR, NOTIMP) and not any(wire[4:]):
        # A server that does not know EDNS may repeat no question at all (RFC 6891, 7).
        return Answer(question, wire[3] & 15)
    try:
        if asks(wire, question):
            return response.read(wire, question)
        question_of(wire)
    except Malformed:
        raise Mismatch("malformed") from None
    raise Mismatch("question")


def silent(reason: str = "no reply in time") -> NoAnswer:
    """Return how an exchange ends whose server said nothing."""
    return NoAnswer(reason, ExtendedError(NO_REACHABLE_AUTHORITY, reason))


def unreachable(reason: str) -> NoAnswer:
    """Return how an exchange ends whose question did not get to the server."""
    return NoAnswer(reason, ExtendedError(NETWORK_ERROR, reason))
