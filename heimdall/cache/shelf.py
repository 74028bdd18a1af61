"""What lies ready in Redis is taken from there, many names at once: only for what does not, a flight begins.

Most names that memory does not know are known to another node. To look one up, and to hold what was found, is all that
is done for it here.
"""

from __future__ import annotations

from typing import ClassVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
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

    log: ClassVar = Logger()

    def __init__(self, shared: Shared, memory: IHotCache, once: Once) -> None:
        self.head = shared.head
        self.reading, self.worth, self._hits = shared.reading, shared.worth, shared.lookups.cell("hit")
        self.bugs = once.bugs
        self.once, self._memory, self._flights = once, memory, once.flights
        self.askers: dict[bytes, Asker] = {}
        self.ready: list[tuple[Asker, Answer]] = []
        """What was found for whom, in the reply of Redis that is being read."""
        shared.reading.handed_out = self._tell_ready

    def ask(self, query: Query) -> Deferred[Answer]:
        """Find the answer to a query; see :class:`~heimdall.interfaces.ISource`."""
        return deferred(self.tell, query)

    def tell(self, query: Query, told: Told) -> Ongoing:
        """Find the answer to a query; see :class:`~heimdall.interfaces.ITeller`."""
        key = query.key
        under_way = key in self.askers or key in self._flights
        if under_way or query.subnet is not None or query.trace is not None or not self.reading.ready:
            return self.once.tell(query, told)
        asker = self.askers[key] = Asker(self, query, told)
        self.reading.ask(asker, True)
        return asker

    def _tell_ready(self) -> None:
        """Hold what was found, and tell it: one step at a time for all of it, as the same code again costs half."""
        ready, self.ready = self.ready, []
        self._hits.n += len(ready)
        memory, at, landed = self._memory, self.reading.at, self.once.landed
        for asker, answer in ready:
            if answer.ttl:
                try:
                    memory.put(asker.query, answer, at)
                except Exception as bug:
                    self.bugs.report(self.log, "an answer of Redis could not be held", bug)
        for asker, answer in ready:
            asker.tell(answer)
        if landed is not None:
            for asker, answer in ready:
                try:
                    landed(asker.query, answer, 1)
                except Exception as bug:
                    self.bugs.report(self.log, "an answer of Redis could not be counted", bug)

    def close(self) -> None:
        """Let all ask on."""
        for asker in list(self.askers.values()):
            asker.go_on(Seen(None, 0.0))


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
        """Take what lies ready, to be told with the rest, or ask on; see :class:`~heimdall.cache.reading.Asking`."""
        if not self.open:
            return  # he is told by others, or has given up: then a lease of ours ends by itself
        judged = None
        value = None if values is None else values[0]
        if isinstance(value, bytes):
            shelf, query = self._shelf, self.query
            judged = result, answer = shelf.worth.judge(query, query.key, value, now)
            if result == "hit" and answer is not None:
                shelf.ready.append((self, answer))
                return
        self.go_on(Seen(values, now, judged))

    def tell(self, answer: Answer) -> None:
        """Tell him an answer, unless he has been told something, or has given up."""
        if self.open:
            self._leave()
            try:
                self.told(answer)
            except Exception as bug:
                shelf = self._shelf
                shelf.bugs.report(shelf.log, "who asked for type {qtype} met a bug", bug, qtype=self.query.qtype)

    def late(self) -> None:
        """Ask on, since Redis takes too long; what it says after all is looked for again."""
        if self.open:
            self.go_on(Seen(None, 0.0, late=True))

    def go_on(self, seen: Seen) -> None:
        """Ask on, with what was seen."""
        self._leave()
        self.query.seen = seen
        self.work = self._shelf.once.tell(self.query, self.told)

    def cancel(self) -> None:
        """Wait no longer; see :class:`~heimdall.interfaces.Ongoing`."""
        if self.open:
            self._leave()
            self.told(Failure(CancelledError()))
        elif self.work is not None:
            self.work.cancel()

    def _leave(self) -> None:
        self.open = False
        del self._shelf.askers[self.query.key]


classImplements(Shelf, ITeller)
