"""Carry answers out of the memory of all workers, and into it; Redis is the parent's to carry for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from heimdall.cache.carry import MEMORY, Carry
from heimdall.interfaces import LinkDown, Unanswered
from heimdall.message.bundle import Record
from heimdall.workers.hand import Hand

PATIENCE: Final = 10.0
"""Seconds that a worker may take for one piece."""


class Carriers:
    """The workers, as who carries.

    :param own: carries for this process; asked anew each time.
    :param serving: returns the workers that serve.
    """

    def __init__(self, own: Callable[[], Carry], serving: Callable[[], Sequence[Hand]]) -> None:
        self._own, self._serving = own, serving
        self._number = 0

    def now(self) -> float:
        """Return the seconds since 1970, by the clock that ages are reckoned on."""
        return self._own().now()

    async def expected(self, tier: str) -> int:
        """Return about how many answers a tier holds, those that several workers hold so many times.

        :raises LinkDown: Redis or a worker cannot tell.
        """
        if tier != MEMORY:
            return await self._own().expected(tier)
        return sum([int(str(await self._ask(hand, "expected", tier))) for hand in self._serving()])

    async def out(self, tier: str) -> AsyncIterator[list[Record]]:
        """Yield what a tier holds, some at a time, one worker after the other.

        :raises LinkDown: Redis or a worker cannot tell.
        """
        if tier != MEMORY:
            async for records in self._own().out(tier):
                yield records
            return
        # A worker goes on with each export by its number.
        self._number += 1
        number = self._number
        for hand in self._serving():
            said = await self._ask(hand, "out", {"export": number, "tier": tier})
            while isinstance(said, list):
                yield [(bytes.fromhex(key), bytes.fromhex(value)) for key, value in said]
                said = await self._ask(hand, "out", {"export": number, "tier": None})

    async def into(self, tier: str, records: Sequence[Record]) -> dict[str, int]:
        """Take answers into a tier, into the memory of every worker; return how many came to what, at the last one.

        :raises LinkDown: Redis or a worker cannot be asked.
        """
        if tier != MEMORY:
            return await self._own().into(tier, records)
        what = {"tier": tier, "records": [(key.hex(), value.hex()) for key, value in records]}
        counts: dict[str, int] = {}
        for hand in self._serving():
            said = await self._ask(hand, "into", what)
            counts = dict(said) if isinstance(said, dict) else {}
        return counts

    async def _ask(self, hand: Hand, verb: str, what: object) -> object:
        try:
            said: object = await hand.channel.ask(verb, what, PATIENCE)
        except Unanswered as error:
            raise LinkDown(f"worker {hand.number + 1}: {error}") from None
        return said
