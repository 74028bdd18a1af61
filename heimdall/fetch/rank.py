"""How much the answer of one server is worth while another one may give a better one."""

from __future__ import annotations

from typing import Final

from heimdall.message.answer import TC, Answer
from heimdall.message.query import FORMERR, NOTIMP, NXDOMAIN, REFUSED, SERVFAIL

YXDOMAIN: Final = 6
"""The code of a DNAME that leads too far (RFC 6672, 2.2)."""

GOOD: Final[tuple[int, ...]] = (0, NXDOMAIN, YXDOMAIN)
"""The codes that say something of a name; all others say that the server knows nothing."""

# Of those, what says most to a client, that first.
_FAILURES: Final[tuple[int, ...]] = (SERVFAIL, REFUSED, NOTIMP, FORMERR)


def rank(answer: Answer) -> int | None:
    """Return how little an answer is worth: the less, the better; None for a good one, which nobody can better.

    Half an answer that could not be had whole is worth more than a failure: a client may ask for it over TCP itself.
    """
    if answer.rcode in GOOD:
        return 0 if answer.flags & TC else None
    return 1 + (_FAILURES.index(answer.rcode) if answer.rcode in _FAILURES else len(_FAILURES))
