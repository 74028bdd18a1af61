"""One question sent to one server, and what that says of the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure

from heimdall.fetch.health import Upstream
from heimdall.fetch.rank import GOOD
from heimdall.interfaces import NoAnswer, Ongoing
from heimdall.message.answer import Answer

if TYPE_CHECKING:
    from heimdall.fetch.upstream import Flight


class Try:
    """A question on its way to a server; ``look`` if nobody waits for it, ``missed`` once its patience is over."""

    __slots__ = ("_over", "_work", "flight", "look", "missed", "sent", "server")

    def __init__(self, flight: Flight, server: Upstream, sent: float, look: bool) -> None:
        self.flight = flight
        self.server = server
        self.sent = sent
        self.look = look
        self.missed = self._over = False
        self._work: Ongoing | None = None

    def start(self) -> None:
        """Ask."""
        flight, server, sent = self.flight, self.server, self.sent
        server.inflight += 1
        server.health.asked(sent)
        work = server.exchange.tell(flight.query, flight.ends - sent, self._told)
        if not self._over:
            self._work = work

    def cancel(self) -> None:
        """Ask no more."""
        if self._work is not None:
            self._work.cancel()

    def _told(self, outcome: Answer | Failure) -> None:
        self._over, self._work = True, None
        self.server.inflight -= 1
        try:
            if isinstance(outcome, Failure):
                self._failed(outcome)
            else:
                self._answered(outcome)
        except Exception:
            self.flight.group.log.failure("an answer of upstream {server} was lost to a bug", server=self.server.text)

    def _answered(self, answer: Answer) -> None:
        flight, server = self.flight, self.server
        group = flight.group
        took = group.clock.seconds() - self.sent
        group.ledger.seconds.observe(took)
        if server.health.replied(took, not answer.rcode or answer.rcode in GOOD):
            group.log.info("upstream {server} answers again", server=server.text)
        if flight.query.trace is not None:
            flight.query.trace.note("upstream", "answered", took=took, server=server.text, rcode=answer.rcode)
        flight.answered(self, answer)

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        if not failure.check(NoAnswer):
            self.flight.group.log.failure("a bug in the way to upstream {server}", failure, server=self.server.text)
        if self.flight.query.trace is not None:
            self.flight.query.trace.note("upstream", "did not answer", server=self.server.text)
        self.miss()
        self.flight.failed(self)

    def miss(self) -> None:
        """Note that it has been waited for in vain."""
        group = self.flight.group
        if self.missed or group.closed:
            return
        self.missed = True
        if self.server.health.missed(self.sent, group.clock.seconds()):
            group.log.warn("upstream {server} does not answer: it is asked only now and then", server=self.server.text)
