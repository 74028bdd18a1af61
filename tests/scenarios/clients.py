"""What a scenario says of clients: what they ask, and what has to come back."""

from __future__ import annotations

from typing import Any

import dns.flags
import dns.message
from twisted.internet.defer import Deferred, FirstError, gatherResults

from tests.scenarios.asking import Manner, Timeless, ask
from tests.scenarios.nodes import FIRST, Nodes
from tests.scenarios.outcome import Outcome
from tests.scenarios.story import Untrue, sentence

PAUSE = 0.25
"""Seconds to wait for a reply that must not come."""

MOST = 60.0
"""Seconds to wait for one that must."""


class Clients:
    """All clients: each asks over a socket of its own."""

    def __init__(self, reactor: Any, nodes: Nodes) -> None:
        self._reactor, self._nodes = reactor, nodes

    @sentence("[node <who>: ]ask <name> <qtype>[ <manner>] -> <outcome>", manner=Manner.of, outcome=Outcome.of)
    async def asks(
        self,
        name: str,
        qtype: str,
        outcome: Outcome,
        who: str = FIRST,
        manner: Manner | None = None,
        block: list[str] | None = None,
    ) -> None:
        """Ask, and hold what comes back; the whole answer section where it stands below the line."""
        manner = manner or Manner()
        node = await self._nodes.running(who)
        answers = node.running.path.server.front.answers
        before = answers.counts
        replies = await self._replies(name, qtype, manner, outcome, node.port)
        for reply in replies:
            wrong = list(outcome.wrong(reply, block or [], self._nodes.slack))
            if wrong:
                raise Untrue("; ".join(wrong) + f"\n{reply}")
        origins = {one[0] for one, count in answers.counts.items() if count > before.get(one, 0)}
        if outcome.origin and origins != {outcome.origin}:
            raise Untrue(f"the answer came from {' and '.join(sorted(origins))}")

    async def _replies(
        self, name: str, qtype: str, manner: Manner, outcome: Outcome, port: int
    ) -> list[dns.message.Message]:
        if not manner.at_once:
            asked = [await self._one(name, qtype, manner, outcome, port) for _ in range(manner.times)]
        else:
            asking = (self._one(name, qtype, manner, outcome, port) for _ in range(manner.times))
            try:
                asked = await gatherResults(list(map(Deferred.fromCoroutine, asking)), consumeErrors=True)
            except FirstError as error:
                error.subFailure.raiseException()
        return [reply for reply in asked if reply is not None]

    async def _one(
        self, name: str, qtype: str, manner: Manner, outcome: Outcome, port: int
    ) -> dns.message.Message | None:
        """Ask once; return the reply, None for silence where that is expected."""
        query = manner.query(name, qtype, outcome.ede is not None)
        wire = query.to_wire()
        began = self._reactor.seconds()
        try:
            reply = await ask(self._reactor, wire, port, manner, MOST if outcome.rcode else PAUSE)
        except Timeless:
            if outcome.rcode:
                raise Untrue(f"no reply came within {MOST:g} s") from None
            return None
        message = dns.message.from_wire(reply)
        if not outcome.rcode:
            raise Untrue(f"there is a reply:\n{message}")
        if (took := self._reactor.seconds() - began) > outcome.within:
            raise Untrue(f"it took {took:.3f} s")
        most = 65535 if manner.tcp else min(max(query.payload, 512), 1232)
        if len(reply) > most:
            raise Untrue(f"the reply is {len(reply)} bytes long; {most} is the most")
        _fit(wire, reply, message)
        return message


def _fit(wire: bytes, reply: bytes, message: dns.message.Message) -> None:
    """Hold what is true of every reply: it has the asker's spelling of the question, RD and CD, and RA.

    :raises Untrue: it is not.
    """
    end = wire.index(b"\0", 12) + 5
    if wire[12:end] != reply[12:end]:
        raise Untrue(f"the question in the reply is spelt otherwise: {message.question}")
    kept = int(dns.flags.RD | dns.flags.CD)
    asked = int.from_bytes(wire[2:4], "big")
    if (asked ^ message.flags) & kept or not message.flags & dns.flags.RA or not message.flags & dns.flags.QR:
        raise Untrue(f"the flags of the reply do not fit the query: {dns.flags.to_text(message.flags)}")
