"""What memory holds of each answer, in columns: an answer is a number, its place in each of them.

An object for each answer would take more bytes than its records do, and the garbage collector would walk over all of
them. Columns of plain numbers and a few lists are no work for it. Answers that differ in nothing but question, records
and TTL share one object that says the rest: most addresses look alike.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from typing import Final

from heimdall.message.answer import Answer, Stale
from heimdall.message.query import EVERY_TYPE
from heimdall.message.spots import aged
from heimdall.message.wire import name_end

MOST_FORMS: Final = 2000
"""Forms that are shared, of a kilobyte at most; past that the oldest is forgotten, and answers to come share a new one.
"""

MOST_SPOTS: Final = 8
"""TTLs in a form that is shared: no two answers of many records look alike."""

GROWTH: Final = 1024
"""Places that are made at once."""

SPARE: Final = 64
"""Places left at which more are made: more than there are columns, since each answer makes one of those longer."""

ORIGINS: Final[tuple[str, ...]] = ("upstream", "redis", "memory", "stale", "local", "blocked", "file")
"""Who may have known an answer; a user's own source may say something else, which counts as upstream."""

NOTHING: Final = Answer(b"", 0)
"""What stands in a place that is free."""


class Table:
    """The columns.

    ``keys``        what it is held under: a question's key, perhaps for every type or a client's subnet
    ``forms``       the answer without question, records and TTL
    ``bodies``      its records with the TTLs of the second in which they were last given
    ``ages``        how old it was in that second
    ``types``       the type that was asked for, where the key is that of every type
    ``origins``     who knew it when it came, by its number in :data:`ORIGINS`
    ``born``        when it came; ``expires`` when its TTL is over, ``dies`` when it is forgotten
    ``until``       how long ``bodies`` is right, and may be given without a further look
    ``refresh_at``  when it is refreshed if it is asked for
    ``sizes``       the bytes it takes
    ``uses``        how often it was given, as far as the eviction counts
    ``noted``       how many of those somebody has taken note of; may be negative, as ``uses`` starts anew at times
    ``main``        whether it is in the main queue
    ``before``      its neighbours in that queue, towards the head; ``after`` those towards the end
    """

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.forms: list[Answer] = []
        self.bodies: list[bytes] = []
        self.origins = bytearray()
        self.ages = array("i")
        self.types = array("H")
        self.born, self.expires, self.dies = array("d"), array("d"), array("d")
        self.until, self.refresh_at = array("d"), array("d")
        self.sizes = array("I")
        # Not in an array: to count there takes longer, and small numbers take no room of their own.
        self.uses: list[int] = []
        self.noted = array("q")
        self.main = bytearray()
        self.before: list[int] = []
        self.after: list[int] = []
        self._numbers = (
            self.ages, self.types, self.born, self.expires, self.dies, self.until, self.refresh_at, self.sizes,
            self.noted, self.main, self.origins,
        )  # fmt: skip
        self._links = (self.uses, self.before, self.after)
        self.size = 0
        """Places that there are."""
        # The column that is made longer next.
        self._next = 0
        self._free: list[int] = []
        # The oldest first.
        self._shared: OrderedDict[object, Answer] = OrderedDict()
        self._last: object = None
        self._last_form = NOTHING

    def __len__(self) -> int:
        """Return how many places are in use."""
        return self.size - len(self._free)

    @property
    def shared(self) -> int:
        """How many forms are shared."""
        return len(self._shared)

    def enter(self, key: bytes) -> int:
        """Return a place for what is to be held under a key."""
        free = self._free
        if len(free) < SPARE:
            self._grow()
            while not free:
                self._grow()
        place = free.pop()
        self.keys[place] = key
        return place

    def _grow(self) -> None:
        """Make one column longer, by room for a thousand more; with the last of them there are new places.

        To make them longer for each answer would cost more than all else. To make all of them longer at once is a
        pause: the system may have to move what is in them.
        """
        number, numbers = self._next, self._numbers
        if number < len(numbers):
            column = numbers[number]
            if isinstance(column, array):
                column.frombytes(bytes(GROWTH * column.itemsize))
            else:
                column.extend(bytes(GROWTH))
        elif number < len(numbers) + len(self._links):
            self._links[number - len(numbers)].extend([0] * GROWTH)
        elif number == len(numbers) + len(self._links):
            self.forms += [NOTHING] * GROWTH
        elif number == len(numbers) + len(self._links) + 1:
            self.bodies += [b""] * GROWTH
        else:
            self.keys += [b""] * GROWTH
            first = self.size
            self.size = first + GROWTH
            self._free += range(first + GROWTH - 1, first - 1, -1)
            number = -1
        self._next = number + 1

    def clear(self, place: int) -> None:
        """Let go of what is in a place; it is given to nobody else yet."""
        self.keys[place] = self.bodies[place] = b""
        self.forms[place] = NOTHING
        self.until[place] = 0.0
        self.ages[place] = 0
        self.uses[place] = self.noted[place] = 0

    def free(self, place: int) -> None:
        """Give a place to whoever comes next."""
        self.main[place] = False
        self._free.append(place)

    def answer(self, place: int) -> Answer:
        """Return what is in a place as it came."""
        form, key = self.forms[place], self.keys[place]
        end = name_end(key)
        qtype = key[end : end + 2]
        if qtype == EVERY_TYPE:
            qtype = self.types[place].to_bytes(2, "big")
        return form.replace(
            question=key[:end] + qtype + key[end + 2 : end + 4],
            body=aged(self.bodies[place], form.spots, -self.ages[place]),
            ttl=round(self.expires[place] - self.born[place]),
        )

    def form(self, answer: Answer) -> tuple[Answer, bool]:
        """Return the form of an answer, and whether others may share it."""
        if isinstance(answer, Stale):
            return answer.replace(question=b"", body=b""), False
        origin = "stale" if answer.origin == "stale" else "memory"
        alike = (
            answer.rcode, answer.flags, answer.counts, answer.spots, answer.keep, origin, answer.errors,
            answer.negative, answer.scope,
        )  # fmt: skip
        if alike == self._last:  # nearly always, and a comparison costs less than a hash
            return self._last_form, True
        form = self._shared.get(alike)
        if form is not None:
            self._last, self._last_form = alike, form
            return form, True
        if len(answer.spots) > MOST_SPOTS:
            return answer.replace(question=b"", body=b"", ttl=0, origin=origin), False
        if len(self._shared) >= MOST_FORMS:
            self._shared.popitem(last=False)
        form = self._shared[alike] = answer.replace(question=b"", body=b"", ttl=0, origin=origin)
        return form, False
