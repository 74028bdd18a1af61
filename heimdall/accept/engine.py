"""What every socket asks of the server, and what it does about our own bugs: tell them, answer, go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from heimdall.bugs import reporter
from heimdall.message.query import SERVFAIL, Client, Query, question_of, refusal
from heimdall.message.wire import HEADER, Malformed
from heimdall.tally import Count, Tally

Later = Callable[[bytes, Client], object]
"""What sends a reply that was not known at once: called with the message and the client's address. Never raises."""

Left = tuple[int, Query | None, bool]
"""A message of a batch that nobody knew the reply to: its number, what it asks where that was read, and whether its
client has been let pass."""


Held = tuple[Query, float, Later]
"""A query that waits: with when it came, on the clock, and what sends its reply."""


class Engine(Protocol):
    """The server, as a socket sees it."""

    def take(self, wire: bytes, client: Client, stream: bool, later: Later, passed: bool = False) -> bytes | None:
        """Take one message of a client.

        :param wire: the message, without the length that precedes it on a stream.
        :param stream: whether it came over a stream.
        :param passed: whether the gates for clients have let it pass.
        :return: the reply; no bytes where silence is due; None when ``later`` is called, once, with the reply.
            What is raised here is raised instead: ``later`` is not called then.
        """


class BatchEngine(Engine, Protocol):
    """The same, as it is seen by who reads what is alike by the batch."""

    def take_new(self, query: Query, passed: bool, later: Later) -> bytes | None:
        """Take a query that came in a datagram, was read already, and that memory does not know; see :meth:`take`."""

    def hold(self, held: Sequence[Held]) -> None:
        """Let queries wait that the gates for clients have let pass; once it is their turn, they go on as those."""


class Faults:
    """Exceptions that left the server's code: reported as bugs, and their clients are told SERVFAIL."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._bugs = reporter(clock)
        self._count = Count("heimdall_accept_faults_total", "Queries that met a bug of ours.")
        self.tallies: list[Tally] = [self._count]

    def refuse(self, wire: bytes, error: Exception) -> bytes:
        """Record a bug.

        :param wire: the message that met it.
        :param error: what was raised.
        :return: the reply for the client, SERVFAIL; no bytes if ``wire`` is no query.
        """
        self._count.add()
        self._bugs.report(self._log, "A query met a bug; its client is told SERVFAIL", error)
        if len(wire) < HEADER or wire[2] & 0x80:
            return b""
        try:
            _, end = question_of(wire)
        except Malformed:
            end = HEADER
        return refusal(wire, SERVFAIL, end)
