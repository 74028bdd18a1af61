"""The front of the house: takes one message of one client down the path and sends the reply back.

Everything here runs for every query. A message that is answered from memory meets no Deferred, no record
object and no codec: it is read (``message.query``), judged by the client gates, looked up, fitted
(``message.reply``), counted.

A message that came before may not even come here: see ``repeats``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from heimdall.accept.engine import Faults, Held, Later
from heimdall.accept.repeats import RCODES, Repeats, labels
from heimdall.accept.rush import Rush
from heimdall.asking import said, settled, teller
from heimdall.bugs import reporter
from heimdall.interfaces import Complete, Drop, IGate, IHotCache, ISource, Judge, Tell
from heimdall.message import edns
from heimdall.message.answer import TC, Answer, make
from heimdall.message.edns import ExtendedError
from heimdall.message.query import RD, REFUSED, SERVFAIL, Client, Query, read
from heimdall.message.reply import fit
from heimdall.message.wire import to_text
from heimdall.tally import Cell, Count, Gauge, Tally, Times

_CUT: Final = ExtendedError(edns.NETWORK_ERROR, "the answer could not be had whole")
_DROPPED: Final = ExtendedError(edns.PROHIBITED, "a policy drops this query")
_NOT_RECURSIVE: Final = ExtendedError(edns.NOT_AUTHORITATIVE, "recursion was not desired")


class Front:
    """Our engine: wire images through gates, memory and a source.

    :param client_gates: judged before the memory, for what depends on the client.
    :param memory: asked next, at once.
    :param name_gates: judged when memory does not know, for what depends on the name.
    :param source: asked last.
    :param clock: where times come from.
    :param faults: where our own bugs are recorded.
    :param client_subnet: heed the subnets that clients give (RFC 7871); else they are as if not given.
    :param udp_size: the longest reply over UDP, in bytes.
    :param query_log: log each query.
    """

    _log: ClassVar = Logger()

    def __init__(
        self,
        client_gates: Sequence[IGate],
        memory: IHotCache,
        name_gates: Sequence[IGate],
        source: ISource,
        clock: IReactorTime,
        *,
        complete: Complete | None = None,
        faults: Faults | None = None,
        client_subnet: bool = False,
        udp_size: int = edns.UDP_SIZE,
        query_log: bool = False,
    ) -> None:
        self._recall = memory.get
        self._seconds = clock.seconds
        self._faults = faults or Faults(clock)
        self._bugs = reporter(clock)
        self._pending = 0
        self._drained: Deferred[None] | None = None
        self.queries = Count("heimdall_accept_queries_total", "Messages taken from clients.", "transport")
        self._udp, self._tcp = self.queries.cell("udp"), self.queries.cell("tcp")
        self.answers = Count("heimdall_accept_answers_total", "Replies, by who knew the answer.", "origin", "rcode")
        self._answered: dict[tuple[str, int], Cell] = {}
        self._silent = Count("heimdall_accept_dropped_total", "Messages that get no reply.", "reason")
        self._times = Times("heimdall_accept_query_seconds", "From a query to its reply, all stations.")
        self.tallies: list[Tally] = [
            self.queries,
            self.answers,
            self._silent,
            self._times,
            Gauge("heimdall_accept_pending_queries", "Queries without a reply so far.", lambda: self._pending),
        ]
        self.rush = Rush(clock, self._resume)
        self.tallies += self.rush.tallies
        self.repeats = Repeats(memory, clock, self._judged, self.queries, self.answers, self._times)
        self.tallies += self.repeats.tallies
        self.lead(
            client_gates,
            name_gates,
            source,
            complete=complete,
            client_subnet=client_subnet,
            udp_size=udp_size,
            query_log=query_log,
        )

    def lead(
        self,
        client_gates: Sequence[IGate],
        name_gates: Sequence[IGate],
        source: ISource,
        *,
        complete: Complete | None = None,
        client_subnet: bool,
        udp_size: int,
        query_log: bool,
    ) -> None:
        """Lead what comes in from now on this way; what is under way ends on the way it took."""
        self._client_gates: tuple[Judge, ...] = tuple(gate.judge for gate in client_gates)
        self._name_gates: tuple[Judge, ...] = tuple(gate.judge for gate in name_gates)
        self._tell = teller(source)
        self._complete = complete
        self._client_subnet = client_subnet
        self._udp_size = udp_size
        self._query_log = query_log
        self.repeats.lead(client_gates, udp_size)

    def take(self, wire: bytes, client: Client, stream: bool, later: Later, passed: bool = False) -> bytes | None:
        """Take one message of a client.

        :param wire: the message, without the length that precedes it on a stream.
        :param client: the address it came from, as the socket gives it: host first.
        :param stream: whether it came over a stream.
        :param later: sends the reply when it is not known at once.
        :param passed: whether the gates for clients have let it pass.
        :return: the reply, when it is known at once, or no bytes where silence is due. None otherwise: then
            ``later`` is called once with the reply, perhaps before this returns.
        """
        started = self._seconds()
        (self._tcp if stream else self._udp).n += 1
        repeat = None if stream else self.repeats.get(wire)
        if repeat is not None:
            query = repeat.query
            query.wire, query.client = wire, client
        else:
            message = read(wire, client, stream, self._client_subnet)
            if not isinstance(message, Query):
                return self._bad(message)
            query = message
        refused = None if passed else self._refused(query, started)
        if refused is not None:
            return refused
        if not (stream or repeat):
            self.repeats.learn(query)
        known = self._recall(query, started)
        if known is not None:
            answer, body, place = known
            reply = self._reply(query, answer, body, started)
            if not stream and not self._query_log:
                self.repeats.put(query, answer, place, body, reply)
            return reply
        if repeat is not None:
            # Whoever is asked now may keep the query: not the one that the next client's message will be.
            query = query.again(0.0)
        if self.rush.on and not stream:
            self.rush.hold([(query, started, later)])
            return None
        return self._go_on(query, started, later)

    def take_new(self, query: Query, passed: bool, later: Later) -> bytes | None:
        """Take a query that came in a datagram, was read already, and that memory does not know; see :meth:`take`."""
        started = self._seconds()
        self._udp.n += 1
        refused = None if passed else self._refused(query, started)
        if refused is not None:
            return refused
        if self.rush.on:
            self.rush.hold([(query, started, later)])
            return None
        return self._go_on(query, started, later)

    def hold(self, held: Sequence[Held]) -> None:
        """Let queries wait that the gates for clients have let pass; once it is their turn, they go on as ever."""
        self._udp.n += len(held)
        self.rush.hold(held)

    def _refused(self, query: Query, started: float) -> bytes | None:
        """Return what a client is told that a gate does not let pass, no bytes for silence; None for who may pass."""
        for judge in self._client_gates:
            verdict = judge(query)
            if verdict is not None:
                return self._judged(query, verdict, started)
        return None

    def _go_on(self, query: Query, started: float, later: Later) -> bytes | None:
        """Take a query further that memory does not know; the outcome is that of :meth:`take`."""
        for judge in self._name_gates:
            verdict = judge(query)
            if verdict is not None:
                if isinstance(verdict, Answer) and verdict.alias and self._complete is not None:
                    self._wait(partial(self._complete, verdict), query, started, later)
                    return None
                return self._judged(query, said(query, verdict, self._seconds()), started)
        if not query.flags & RD:
            return self._judged(query, make(query, REFUSED, "local", _NOT_RECURSIVE), started)
        self._wait(self._tell, query, started, later)
        return None

    def _wait(self, tell: Tell, query: Query, started: float, later: Later) -> None:
        """Ask for the answer to a query, whose client waits for it."""
        query.shorten()
        guest = Guest(self, query, started, later)
        self._pending += 1
        try:
            tell(query, guest.told)
        except Exception as bug:
            if guest.open:
                guest.open = False
                self._pending -= 1
                self._drain()
                raise
            # He has his reply; whoever gave it broke behind that.
            self._bugs.report(self._log, "A source broke when it had told its answer", bug)

    def _resume(self, held: Sequence[Held]) -> None:
        """Take queries further that had to wait."""
        for query, started, later in held:
            try:
                reply = self._go_on(query, started, later)
            except Exception as bug:
                reply = self._faults.refuse(query.wire, bug)
            if reply:
                later(reply, query.client)

    def finish(self) -> Deferred[None]:
        """Fire as soon as every query taken so far has its reply."""
        self.rush.close()
        done: Deferred[None] = Deferred()
        if self._pending:
            self._drained = done
        else:
            done.callback(None)
        return done

    def _bad(self, reply: bytes | None) -> bytes:
        if reply is None:
            self._silent.add("no_query")
            return b""
        rcode = reply[3] & 15
        # The only reply to a bad message whose code does not fit the header is BADVERS.
        self.answers.add("local", "badvers" if rcode == 0 else RCODES[rcode])
        return reply

    def _judged(self, query: Query, verdict: Answer | Drop, started: float) -> bytes:
        if isinstance(verdict, Answer):
            return self._reply(query, verdict, verdict.body, started)
        self._silent.add("gate")
        return b""

    def _reply(self, query: Query, answer: Answer, body: bytes, started: float) -> bytes:
        reply = fit(query, answer, body, self._udp_size)
        kind = answer.origin, answer.rcode
        cell = self._answered.get(kind)
        if cell is None:
            cell = self._answered[kind] = self.answers.cell(*labels(answer))
        cell.n += 1
        self._times.observe(self._seconds() - started)
        if self._query_log:
            self._log.info(
                "{client} asked {name} type {qtype}: {rcode} from {origin}",
                client=query.client[0],
                name=to_text(query.name),
                qtype=query.qtype,
                rcode=RCODES.get(answer.rcode, answer.rcode),
                origin=answer.origin,
            )
        return reply

    def told(self, query: Query, started: float, later: Later, outcome: Answer | Failure) -> None:
        """Send the reply to a query that had to wait for what came of it."""
        if isinstance(outcome, Failure):
            self._broken(outcome, query, later)
            return
        answer = outcome
        if answer.flags & TC and query.stream:
            # Half an answer sends a client to TCP; this one came that way.
            answer = make(query, SERVFAIL, answer.origin, _CUT)
        try:
            if query.passed is not None:
                verdict = settled(query, answer, self._name_gates, self._seconds())
                answer = verdict if isinstance(verdict, Answer) else make(query, REFUSED, "local", _DROPPED)
                if answer.alias and self._complete is not None:
                    # A policy says an alias now; what that leads to is asked for with no policy before it.
                    query.passed = None
                    self._wait(partial(self._complete, answer), query, started, later)
                    self._pending -= 1
                    self._drain()
                    return
            reply = self._reply(query, answer, answer.body, started)
        except Exception as bug:
            self._broken(Failure(bug), query, later)
        else:
            self._send(reply, query, later)

    def _broken(self, failure: Failure, query: Query, later: Later) -> None:
        self.answers.add("local", "servfail")
        error = failure.value
        error = error if isinstance(error, Exception) else RuntimeError(error)
        self._send(self._faults.refuse(query.wire, error), query, later)

    def _send(self, reply: bytes, query: Query, later: Later) -> None:
        """Send a reply that was waited for."""
        self._pending -= 1
        try:
            later(reply, query.client)
        except Exception as bug:
            self._bugs.report(self._log, "A reply could not be sent", bug)
        if self._drained is not None:
            self._drain()

    def _drain(self) -> None:
        """Fire for whoever waits for the last reply, if that was it."""
        if self._drained is not None and not self._pending:
            drained, self._drained = self._drained, None
            drained.callback(None)


class Guest:
    """A client who waits for what comes of his query, since when, and what sends him the reply; ``open`` until then."""

    __slots__ = ("_front", "_later", "_query", "_started", "open")

    def __init__(self, front: Front, query: Query, started: float, later: Later) -> None:
        self._front, self._query, self._started, self._later = front, query, started, later
        self.open = True

    def told(self, outcome: Answer | Failure) -> None:
        """Take what came of it; what is said once more is not heard."""
        if self.open:
            self.open = False
            self._front.told(self._query, self._started, self._later, outcome)
