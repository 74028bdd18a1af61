"""What memory tells of an answer that it holds, for people to look at: never on the path of a query."""

from __future__ import annotations

from attrs import frozen

from heimdall.cache.table import ORIGINS, Table
from heimdall.message.answer import Answer, Stale
from heimdall.message.spots import aged


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


def kept(table: Table, place: int, now: float) -> Kept:
    """Return what is in a place; an answer that is given past its TTL is as old as it is in truth."""
    answer, age = table.answer(place), now - table.born[place]
    stale = answer if isinstance(answer, Stale) else None
    return Kept(
        key=table.keys[place],
        answer=answer,
        body=aged(answer.body, answer.spots, int(age)),
        origin=ORIGINS[table.origins[place]],
        age=stale.age + age if stale else age,
        left=-stale.late - age if stale else table.expires[place] - now,
        uses=table.uses[place],
    )
