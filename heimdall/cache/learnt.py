"""Share what was learnt: the answers that came in one turn of the reactor, all of them at its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from heimdall.bugs import reporter
from heimdall.cache.flight import ALONE, Flights
from heimdall.cache.look import Look
from heimdall.cache.worth import Worth
from heimdall.cache.writer import Writer
from heimdall.interfaces import ILink
from heimdall.message.answer import Answer
from heimdall.message.query import Query


class Learnt:
    """Stores answers of upstreams in Redis, and wakes who waits for them there. Nobody waits for that.

    :param head: what keys begin with.
    :param reader: store nothing.
    """

    _log: ClassVar = Logger()

    def __init__(
        self,
        link: ILink,
        clock: IReactorTime,
        worth: Worth,
        writer: Writer,
        flights: Flights,
        head: bytes,
        reader: bool,
    ) -> None:
        self._link, self._clock, self._worth, self._writer, self._flights = link, clock, worth, writer, flights
        self._head, self._reader = head, reader
        self._bugs = reporter(clock)
        self._waiting: list[tuple[Look, Answer]] = []
        self.stored: Callable[[Query, bytes, bytes], object] | None = None
        """Called with each answer that is stored: its question, key without prefix, and value."""

    def add(self, look: Look, answer: Answer) -> None:
        """Share what was learnt for a query, if it may be kept, at the end of this turn."""
        self._waiting.append((look, answer))
        if len(self._waiting) == 1:
            self._clock.callLater(0, self._store_all)

    def throw_away(self, look: Look) -> None:
        """Delete what is no answer, as nothing takes its place; not before, or others would ask as well."""
        if not self._reader:
            for key in look.spoilt:
                self._writer.forget(self._head + key)
        look.spoilt.clear()

    def _store_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        now, then = self._link.now(), self._clock.seconds() + self._link.doubt()
        for look, answer in waiting:
            try:
                self._store(look, answer, now, then - look.since)  # with the doubt, or a flush before might seem older
            except Exception as bug:
                self._bugs.report(self._log, "an answer could not be stored", bug)

    def _store(self, look: Look, answer: Answer, now: float | None, took: float) -> None:
        worth = self._worth.value(look.query, answer, now, took)
        if worth is None or self._reader:
            self.throw_away(look)
            self._flights.release(look, ALONE)
            return
        key, value, milliseconds = worth
        whole = self._head + key
        self._writer.put(whole, value, milliseconds)
        if self.stored is not None:
            self.stored(look.query, key, value)
        if look.lease == whole:
            self._flights.stored(look)
        self._flights.release(look, value)
