"""What a fault did to those who asked: a row of numbers out of what came of each query."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isnan
from typing import Any, Final

from attrs import asdict, field, frozen

from tests.chaos.stage import AGAIN, DELAY, HOT, NEW, TTL
from tests.load import FAILED, GOOD, NEVER, WRONG, Told, quantile

SETTLING: Final = 0.1
"""Seconds of a fault that are left out where it says so: that long Redis may be waited for."""

NEAR: Final = 0.6 * DELAY
"""An answer that took less did not come from the upstream."""

FLUSHED: Final = 0.1
"""Seconds after which a flush must have reached every node."""

RUN: Final = 20
"""Queries in a row of which nine in ten must do well for the cluster to be in full use again."""


@frozen
class Times:
    """The 99th percentile of the answers' times, in milliseconds, for names that are held and for new ones."""

    held: float
    new: float

    @classmethod
    def of(cls, told: Sequence[Told]) -> Times:
        """Return those of some queries."""
        return cls(*(_rounded(1000 * quantile([o.took for o in told if o.ask.kind == k], 0.99)) for k in (HOT, NEW)))


@frozen
class Row:
    """What came of a fault.

    ``old`` are the answers with data that was flushed; ``answered`` is the share of the queries during the fault
    that had their answer; ``later`` the times during it without its first moments; ``full`` the seconds until full
    use, None when that was not seen; ``hits`` the share of answers from Redis among those it could have given,
    before and after; ``ages`` the seconds by which an age was wrong at most; ``trouble`` how many lines of the logs
    tell of exceptions.
    """

    text: str
    asked: int
    lost: int
    failed: int
    wrong: int
    old: int
    retried: int
    answered: float
    before: Times
    during: Times
    later: Times
    worst: float
    full: float | None
    hits: tuple[float, float]
    ages: float
    trouble: int
    evidence: list[str] = field(factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return it as it is kept."""
        return asdict(self)


def judge(
    text: str,
    told: Sequence[Told],
    began: float,
    ended: float,
    *,
    healing: float,
    changed: float = inf,
    victim: int | None = None,
    trouble: Sequence[str] = (),
) -> Row:
    """Return what came of a fault that lasted from ``began`` to ``ended``.

    :param healing: from when on full use may come.
    :param changed: when all data was flushed, and no node may answer with it any more.
    :param victim: the node it was done to; None when it was done to Redis.
    :param trouble: lines of the logs that tell of exceptions.
    """
    old = [one for one in told if one.sent > changed + FLUSHED and one.verdict == GOOD and not one.age]
    bad = [one for one in told if one.verdict in (WRONG, FAILED, NEVER)] + old
    during = [one for one in told if began <= one.sent < ended]
    return Row(
        text=text,
        asked=len(told),
        lost=sum(one.verdict == NEVER for one in told),
        failed=sum(one.verdict == FAILED for one in told),
        wrong=sum(one.verdict == WRONG for one in told),
        old=len(old),
        retried=sum(one.retries > 0 for one in told),
        answered=round(sum(one.verdict not in (NEVER, FAILED) for one in during) / max(len(during), 1), 5),
        before=Times.of([one for one in told if one.sent < began]),
        during=Times.of(during),
        later=Times.of([one for one in during if one.sent >= began + SETTLING]),
        worst=_rounded(1000 * max((one.took for one in during), default=0.0)),
        full=full_use(told, healing, victim),
        hits=(share(told, 0.0, began), share(told, ended, float("inf"))),
        ages=round(max(map(abs, age_errors(told)), default=0.0), 2),
        trouble=len(trouble),
        evidence=[
            f"{one.sent - began:+.3f} s {one.ask.kind} {one.ask.text}: {one.verdict} {one.detail}" for one in bad
        ][:5]
        + [line[:200] for line in trouble[:3]],
    )


def full_use(told: Sequence[Told], ended: float, victim: int | None) -> float | None:
    """Return the seconds from the end of a fault until all is as before, None if that is not seen.

    Done to a node: it answers by itself again. Done to Redis: what one node learnt, another finds there.
    """
    if victim is None:
        first = {one.ask.text: one.sent for one in told if one.ask.kind == NEW}
        tries = [(o.sent, o.took < NEAR) for o in told if o.ask.kind == AGAIN and first.get(o.ask.text, 0.0) >= ended]
    else:
        tries = [(o.sent, not o.retries) for o in told if o.ask.node == victim and o.sent >= ended]
    tries.sort()
    for at in range(len(tries) - RUN):
        run = tries[at : at + RUN]
        if run[0][1] and sum(well for _, well in run) >= 0.9 * RUN:
            return round(run[0][0] - ended, 3)
    return None


def share(told: Sequence[Told], began: float, ended: float) -> float:
    """Return the share of names just asked elsewhere that Redis knew, of those first asked between two times."""
    first = {one.ask.text: one.sent for one in told if one.ask.kind == NEW}
    near = [
        o.took < NEAR for o in told if o.ask.kind == AGAIN and began <= first.get(o.ask.text, -1.0) and o.sent < ended
    ]
    return round(sum(near) / len(near), 3) if near else 0.0


def age_errors(told: Sequence[Told]) -> list[float]:
    """Return by how many seconds the TTLs were wrong of answers that came out of Redis: less is aged too much."""
    born = {o.ask.text: o.sent + o.took for o in told if o.ask.kind == NEW and o.verdict not in (NEVER, FAILED)}
    errors = []
    for one in told:
        if one.ask.kind != AGAIN or one.took >= NEAR or one.ask.text not in born or one.verdict in (NEVER, FAILED):
            continue
        age = one.sent + one.took - born[one.ask.text]
        # A TTL is whole seconds, rounded either way.
        error = one.ttl - (TTL - age)
        errors.append(min(error + 1, 0.0) if error < 0 else max(error - 1, 0.0))
    return errors


def _rounded(milliseconds: float) -> float:
    return milliseconds if isnan(milliseconds) else round(milliseconds, 2)
