"""Ask the gates for names about a question that no client asks: one that is refreshed, loaded, or told by a node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from heimdall.bugs import notes_of
from heimdall.interfaces import IGate
from heimdall.message.passed import asked
from heimdall.message.query import EVERY_TYPE, Query
from heimdall.message.wire import name_end
from heimdall.tally import Count, Tally

QUIET: Final = 60.0
"""Seconds in which a policy that breaks is logged once."""

NOBODY: Final = ("", 0)


class Unasked:
    """Asks the gates that a client's question would meet."""

    _log: ClassVar = Logger()

    def __init__(self, gates: Sequence[IGate], clock: IReactorTime) -> None:
        self._judges = [gate.judge for gate in gates]
        self._seconds = clock.seconds
        self._quiet_until = 0.0
        self._faults = Count("heimdall_admit_faults_total", "Policies that broke where no client asked.")
        self.tallies: list[Tally] = [self._faults]

    def passes(self, query: Query) -> bool | None:
        """Return whether they let a question pass, and note on what terms; None where one of them broke."""
        try:
            return all(judge(query) is None for judge in self._judges)
        except Exception as error:
            self._faults.add()
            now = self._seconds()
            if now >= self._quiet_until:
                self._quiet_until = now + QUIET
                said = "A policy broke, so an answer is not kept any longer{notes}"
                self._log.failure(said, notes=notes_of(error))
            return None

    def refuses(self, key: bytes) -> bool:
        """Return whether what memory holds under a key is not to be given any more: they do not let it pass.

        What they cannot judge has to be asked about again; so has a name that may be held as one that does not exist.
        """
        query = asked(key, NOBODY)
        passes, passed = self.passes(query), query.passed
        if not passes or passed is None:
            return not passes
        # A policy speaks of one type: what is held for all of them is asked for again.
        end = name_end(key)
        return passed.exists or (passed.changes is not None and key[end : end + 2] == EVERY_TYPE)
