"""What lies ready in Redis is taken from there, many names at once: only for what does not, a flight begins.

Most names that memory does not know are known to another node. To look one up, and to hold what was found, is all that
is done for it here.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from zope.interface import classImplements

from heimdall.asking import deferred
from heimdall.cache.look import Seen
from heimdall.cache.once import Once
from heimdall.cache.reading import Asking
from heimdall.cache.redis import Shared
from heimdall.interfaces import IHotCache, ITeller, Ongoing, Told
from heimdall.message.answer import Answer
from heimdall.message.query import Query


class Shelf:
    """Looks in Redis for whoever asks, and asks ``once`` for what is not there, with what was seen instead.

    :param shared: whose look-ups these are.
    :param memory: holds what was found.
    :param once: asked next, and at once for what is on its way, has a client's subnet, or is followed by an operator.
    """

    def __init__(self, shared: Shared, memory: IHotCache, once: Once) -> None:
        self.head = shared.head
        self._reading, self._worth, self._hits = shared.reading, shared.worth, shared.lookups.cell("hit")
        self._memory, self._once, self._flights = memory, once, once.flights
        self._askers: dict[bytes, Asker] = {}

    def ask(self, query: Query) -> Deferred[Answer]:
        """Find the answer to a query; see :class:`~heimdall.interfaces.ISource`."""
        return deferred(self.tell, query)

    def tell(self, query: Query, told: Told) -> Ongoing:
        """Find the answer to a query; see :class:`~heimdall.interfaces.ITeller`."""
        key = query.key
        under_way = key in self._askers or key in self._flights
        if under_way or query.subnet is not None or query.trace is not None or not self._reading.ready:
            return self._once.tell(query, told)
        asker = self._askers[key] = Asker(self, query, told)
        self._reading.ask(asker, True)
        return asker

    def found(self, asker: Asker, values: list[object] | None, now: float) -> None:
        """Tell somebody what lies ready; see :meth:`~heimdall.cache.reading.Asking.found`."""
        if not asker.open:
            return  # he is told by others, or has given up: then a lease of ours ends by itself
        judged = None
        value = None if values is None else values[0]
        if isinstance(value, bytes):
            query = asker.query
            judged = result, answer = self._worth.judge(query, query.key, value, now)
            if result == "hit" and answer is not None:
                self._hits.n += 1
                if answer.ttl:
                    self._memory.put(query, answer, self._reading.at)
                self._leave(asker)
                asker.told(answer)
                if self._once.landed is not None:
                    self._once.landed(query, answer, 1)
                return
        self._go_on(asker, Seen(values, now, judged))

    def late(self, asker: Asker) -> None:
        """Let somebody ask on, since Redis takes too long; what it says after all is looked for again."""
        if asker.open:
            self._go_on(asker, Seen(None, 0.0, late=True))

    def close(self) -> None:
        """Let all ask on."""
        for asker in list(self._askers.values()):
            self._go_on(asker, Seen(None, 0.0))

    def give_up(self, asker: Asker) -> None:
        """Look no more for somebody."""
        self._leave(asker)
        asker.told(Failure(CancelledError()))

    def _go_on(self, asker: Asker, seen: Seen) -> None:
        self._leave(asker)
        asker.query.seen = seen
        asker.work = self._once.tell(asker.query, asker.told)

    def _leave(self, asker: Asker) -> None:
        asker.open = False
        del self._askers[asker.query.key]


class Asker(Asking):
    """Somebody who asks; ``open`` while he waits for us, and then ``work`` is what others do for him."""

    __slots__ = ("_shelf", "open", "query", "told", "work")

    def __init__(self, shelf: Shelf, query: Query, told: Told) -> None:
        self.keys = [shelf.head + query.key]
        self._shelf = shelf
        self.query = query
        self.told = told
        self.open = True
        self.work: Ongoing | None = None

    def found(self, values: list[object] | None, now: float) -> None:
        """Take what was found; see :class:`~heimdall.cache.reading.Asking`."""
        self._shelf.found(self, values, now)

    def late(self) -> None:
        """Note that it takes too long; see :class:`~heimdall.cache.reading.Asking`."""
        self._shelf.late(self)

    def cancel(self) -> None:
        """Wait no longer; see :class:`~heimdall.interfaces.Ongoing`."""
        if self.open:
            self._shelf.give_up(self)
        elif self.work is not None:
            self.work.cancel()


classImplements(Shelf, ITeller)
