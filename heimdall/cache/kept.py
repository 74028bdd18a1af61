"""What memory tells of an answer that it holds, for people to look at: never on the path of a query."""

from __future__ import annotations

from attrs import frozen

from heimdall.message.answer import Answer


@frozen
class Kept:
    """An answer in memory, for people to look at.

    ``body`` its records with the TTLs of this moment; ``origin`` where it came from; ``age`` seconds that it has been
    here, and ``left`` those until its TTL is over, below 0 when it is; ``uses`` how often it was given, as far as the
    eviction counts.
    """

    key: bytes
    answer: Answer
    body: bytes
    origin: str
    age: float
    left: float
    uses: int
