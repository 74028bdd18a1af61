"""Judge what came from an upstream, once: can it be used, what is to be done else, and who is to blame.

Whatever has the id of a question in flight, and came from the address and port that were asked, is an event of that
server, now: the table in docs/errors.md lists what each one leads to. Only what may come from a stranger is waited past
(RFC 5452, 9).
"""

from __future__ import annotations

from typing import Final

from heimdall.interfaces import NoAnswer
from heimdall.message import response
from heimdall.message.answer import TC, Answer
from heimdall.message.edns import NETWORK_ERROR, NO_REACHABLE_AUTHORITY, ExtendedError
from heimdall.message.query import (
    BADVERS,
    FORMERR,
    NOTIMP,
    REFUSED,
    SERVFAIL,
    WITH_SUBNET,
    Query,
    asks,
    question_of,
)
from heimdall.message.response import GOOD
from heimdall.message.wire import HEADER, Malformed

TRUNCATED: Final = "truncated"
"""Ask the same server over TCP: the response was cut to fit a datagram."""

FAILED: Final = "failed"
"""Ask the next server; the last failure is for the client."""

STRAY: Final = "stray"
"""Wait on: it answers another question, or comes from a stranger."""

_NAMES: Final = {FORMERR: "FORMERR", SERVFAIL: "SERVFAIL", NOTIMP: "NOTIMP", REFUSED: "REFUSED", BADVERS: "BADVERS"}

# Of the failures, what says most to a client, that first. Others become SERVFAIL.
_TOLD: Final[tuple[int, ...]] = (SERVFAIL, REFUSED, NOTIMP, FORMERR)


class Unusable:
    """What came from an upstream, or became of asking it, and is no answer.

    ``kind``    :data:`TRUNCATED`, :data:`FAILED` or :data:`STRAY`
    ``reason``  what it is counted by: ``servfail``, ``malformed``, ``question`` and so on
    ``text``    the same for people
    ``answer``  what a client gets of it, where nobody has anything better
    ``blamed``  whether it counts against the server; if not, it is the trouble of the one name
    ``plain``   whether the same question without EDNS may be answered (RFC 6891, 7)
    ``said``    whether the server said it, and not the system
    """

    __slots__ = ("answer", "blamed", "kind", "plain", "reason", "said", "text")

    def __init__(
        self,
        kind: str,
        reason: str,
        text: str,
        answer: Answer,
        *,
        blamed: bool = True,
        plain: bool = False,
        said: bool = True,
    ) -> None:
        self.kind = kind
        self.reason = reason
        self.text = text
        self.answer = answer
        self.blamed = blamed
        self.plain = plain
        self.said = said

    @property
    def rank(self) -> int:
        """How little it is worth, less is better: half an answer, then what a server said, then what it did not say."""
        if self.kind == TRUNCATED:
            return 0
        if self.answer.rcode in _TOLD and self.reason == _NAMES[self.answer.rcode].lower():
            return 1 + _TOLD.index(self.answer.rcode)
        return 1 + len(_TOLD)

    def told_of(self, server: str) -> Answer:
        """Return what a client is told if nobody has anything better: it names the server and the reason (RFC 8914).

        :param server: how operators know the server: its address.
        """
        if self.kind == TRUNCATED:
            return self.answer
        network = self.reason == "malformed" or not self.said
        error = ExtendedError(NETWORK_ERROR if network else NO_REACHABLE_AUTHORITY, f"{server}: {self.text}")
        return self.answer.replace(errors=(*self.answer.errors[:3], error))


def judge(wire: bytes, query: Query, form: int) -> Answer | Unusable:
    """Judge a message that has the id of a question in flight, and came from the server that was asked.

    :param wire: two bytes at least.
    :param form: how the question was put; see :func:`heimdall.message.query.write`.
    """
    question = query.key[:-1]
    if len(wire) < HEADER:
        return _malformed(question, f"a response of {len(wire)} bytes")
    if wire[2] & 0xF8 != 0x80:
        return _malformed(question, "a message that is no response to a query")
    if not asks(wire, question):
        return _another(wire, question)
    try:
        answer = response.read(wire, question, query.do, query.subnet if form == WITH_SUBNET else None)
    except response.OtherSubnet as other:
        return Unusable(STRAY, "subnet", str(other), Answer(question, SERVFAIL))
    except response.Referral as referral:
        return Unusable(FAILED, "referral", str(referral), Answer(question, SERVFAIL))
    except Malformed as malformed:
        return _unread(wire, question, str(malformed))
    if answer.keep:
        return answer  # nearly always, and then all is well
    if answer.rcode not in GOOD:
        return _failure(answer, response.rcode_with_opt(wire, HEADER + len(question)) in (None, BADVERS))
    if answer.flags & TC:
        return Unusable(TRUNCATED, "truncated", "truncated", answer, blamed=False)
    return answer


def _another(wire: bytes, question: bytes) -> Unusable:
    """Judge a response that does not repeat the question as it was put."""
    if wire[4:6] == b"\0\0":
        rcode = wire[3] & 15
        # RFC 6891, 7, and RFC 8906, 3.2.1: who does not understand a query may repeat nothing of it.
        extended = response.rcode_with_opt(wire, HEADER)
        if rcode not in GOOD or extended == BADVERS:
            return _failure(Answer(question, extended or rcode), extended in (None, BADVERS))
        return _unread(wire, question, "a response without its question")
    try:
        question_of(wire)
    except Malformed as malformed:
        return _unread(wire, question, str(malformed))
    return Unusable(STRAY, "question", "another question", Answer(question, SERVFAIL))


def _unread(wire: bytes, question: bytes, why: str) -> Unusable:
    """Return what a response comes to that cannot be read: if it says so itself, it was cut."""
    rcode = wire[3] & 15
    if wire[2] << 8 & TC and rcode in GOOD:
        return Unusable(TRUNCATED, "truncated", "truncated", Answer(question, rcode, TC), blamed=False)
    return _malformed(question, why)


def _malformed(question: bytes, text: str) -> Unusable:
    return Unusable(FAILED, "malformed", text, Answer(question, SERVFAIL))


def _failure(answer: Answer, plain: bool) -> Unusable:
    """Return what a failure comes to that the server tells by its response code.

    :param plain: whether it may not understand EDNS: there is no OPT in the response, or one of another version.
    """
    rcode = answer.rcode
    name = _NAMES.get(rcode)
    # What the server says of our EDNS is between it and us, and a code that we do not know means nothing to others.
    answer = answer.replace(rcode=rcode if rcode in _TOLD else SERVFAIL, flags=0)
    return Unusable(
        FAILED,
        name.lower() if name else "rcode",
        name or f"response code {rcode}",
        answer,
        blamed=rcode != FORMERR,
        plain=plain and rcode in (FORMERR, NOTIMP, BADVERS),
    )


def unreachable(query: Query, text: str, reason: str = "unreachable", blamed: bool = True) -> Unusable:
    """Return what becomes of a question that does not get to the server, or not back, as the system says at once.

    :param text: why, for people.
    """
    return Unusable(FAILED, reason, text, Answer(query.key[:-1], SERVFAIL), blamed=blamed, said=False)


def silent(reason: str = "no reply in time") -> NoAnswer:
    """Return how an exchange ends whose server said nothing."""
    return NoAnswer(reason, ExtendedError(NO_REACHABLE_AUTHORITY, reason))
