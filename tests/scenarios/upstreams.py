"""What a scenario says of upstreams: what they answer, what is wrong with them, and what they were asked."""

from __future__ import annotations

from typing import Any

import dns.message
import dns.name
import dns.rcode
import dns.rrset
from twisted.internet.defer import Deferred, gatherResults

from heimdall.testing import Scripted
from tests.scenarios.moments import until
from tests.scenarios.records import Record, spelt
from tests.scenarios.story import Untrue, sentence

LIES = ("id", "question", "port", "length")


def _garbage(query: dns.message.Message) -> bytes:
    """Return bytes that begin like the reply to a query."""
    return query.id.to_bytes(2, "big") + b"\x81\x80\0\1\0\1\0\0\0\0" + b"\xc0" * 24


def _referral(query: dns.message.Message) -> dns.message.Message:
    """Return what a server says that does not recurse: who else may know."""
    reply = dns.message.make_response(query)
    reply.authority.append(dns.rrset.from_text("example.", 300, "IN", "NS", "ns.example."))
    return reply


def _answered(query: dns.message.Message) -> dns.message.Message:
    """Return a response with an address for a query's name."""
    reply = dns.message.make_response(query, recursion_available=True)
    reply.answer.append(dns.rrset.from_text(query.question[0].name, 300, "IN", "A", "192.0.2.66"))
    return reply


def _without_question(query: dns.message.Message) -> dns.message.Message:
    """Return a response that repeats nothing of a query."""
    reply = _answered(query)
    reply.question = []
    return reply


def _other_owner(query: dns.message.Message) -> dns.message.Message:
    """Return a response with the address of another name."""
    reply = _answered(query)
    reply.answer[0].name = dns.name.from_text("other.example.")
    return reply


def _other_class(query: dns.message.Message) -> bytes:
    """Return a response whose record is of class CH."""
    reply = _answered(query)
    reply.use_edns(False)
    wire = bytearray(reply.to_wire())
    wire[-11] = 3
    return bytes(wire)


def _short_address(query: dns.message.Message) -> bytes:
    """Return a response with an address of three bytes."""
    reply = _answered(query)
    reply.use_edns(False)
    wire = reply.to_wire()
    return wire[:-5] + b"\3" + wire[-4:-1]


def _twice(query: dns.message.Message) -> bytes:
    """Return a response with the same record twice."""
    reply = _answered(query)
    reply.use_edns(False)
    wire = reply.to_wire()
    return wire[:7] + b"\2" + wire[8:] + wire[-16:]


def _failure_with_records(query: dns.message.Message) -> dns.message.Message:
    """Return SERVFAIL with an address."""
    reply = _answered(query)
    reply.set_rcode(dns.rcode.SERVFAIL)
    return reply


MOODS: dict[str, dict[str, Any]] = {
    "is silent": {"drop": True},
    "fails": {"rcode": 2, "say": (), "records": ()},
    "refuses": {"rcode": 5, "say": (), "records": ()},
    "denies everything": {"rcode": 3, "say": (), "records": ()},
    "truncates": {"truncate": True},
    "sends garbage": {"make": _garbage},
    "hangs up": {"hang_up": True},
    "sets AD": {"ad": True},
    "refers elsewhere": {"make": _referral},
    "repeats no question": {"make": _without_question},
    "names another owner": {"make": _other_owner},
    "uses another class": {"make": _other_class},
    "sends an address of three bytes": {"make": _short_address},
    "sends each record twice": {"make": _twice},
    "fails with records": {"make": _failure_with_records},
    "sends code 11": {"rcode": 11, "say": (), "records": ()},
    "finds questions malformed": {"rcode": 1, "say": (), "records": ()},
    "closes after each answer": {"replies_each": 1},
    "takes no EDNS": {"edns": "formerr"},
    "ignores EDNS": {"edns": "ignore"},
}
"""What is wrong with an upstream, as :class:`heimdall.testing.Rule` takes it."""


def _lies(text: str) -> list[str]:
    """Return what an upstream lies about.

    :raises ValueError: that is nothing it can lie about.
    """
    told = text.replace(" and ", ", ").split(", ")
    for one in told:
        if one not in LIES:
            raise ValueError(f"an upstream can lie about its {', '.join(LIES)}; not {one!r}")
    return ["cut" if one == "length" else one for one in told]


class Upstream:
    """One upstream: what it answers, and its moods, by name; ``*`` for all names."""

    def __init__(self, reactor: Any) -> None:
        self.scripted = Scripted(reactor).start()
        self.answers: dict[tuple[str, str], dict[str, Any]] = {("*", "ANY"): {"rcode": 3}}
        self.moods: dict[str, dict[str, Any]] = {}

    def play(self) -> None:
        """Do from now on what was said last. Scripted follows the later of two rules: ``*`` comes first."""
        named = {(name, "ANY"): self.answers["*", "ANY"] for name in self.moods if name != "*"}
        answers = sorted((named | self.answers).items(), key=lambda one: not one[0][0].startswith("*"))
        for (name, qtype), answer in answers:
            mood = self.moods.get("*", {}) | self.moods.get(name, {})
            self.scripted.when(name, qtype, **(answer | mood))


class Upstreams:
    """All upstreams of a scenario; one is there as soon as it is spoken of."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._all: dict[str, Upstream] = {}

    def __iter__(self) -> Any:
        return iter(self._all)

    def address(self, who: str) -> str:
        """Return where an upstream is, as the configuration takes it."""
        return self._get(who).scripted.text

    def _get(self, who: str) -> Upstream:
        if who not in self._all:
            self._all[who] = Upstream(self._reactor)
        return self._all[who]

    def end(self) -> Deferred[Any]:
        """Close all sockets."""
        return gatherResults([one.scripted.stop() for one in self._all.values()])

    @sentence("upstream <who> answers <name> <qtype> <data>[ ttl <ttl>]")
    def answers(self, who: str, name: str, qtype: str, data: str, ttl: int = 300) -> None:
        """Give data, separated by commas; ``nothing`` for a name that exists without such records."""
        say = [] if data == "nothing" else [spelt(one, qtype) for one in data.split(", ")]
        self._answer(who, name, qtype, say=say, ttl=ttl)

    @sentence("upstream <who> answers <name> <qtype>:")
    def answers_records(self, who: str, name: str, qtype: str, block: list[str]) -> None:
        """Give the records below, each ``NAME TTL TYPE DATA``."""
        self._answer(who, name, qtype, records=[Record.of(line).line for line in block])

    @sentence("upstream <who> denies <name>[ ttl <ttl>]")
    def denies(self, who: str, name: str, ttl: int = 300) -> None:
        """Say that a name does not exist; the SOA's minimum is 60 s."""
        self._answer(who, name, "ANY", rcode=3, ttl=ttl)

    def _answer(self, who: str, name: str, qtype: str, **what: Any) -> None:
        upstream = self._get(who)
        upstream.answers[name.lower(), qtype] = what
        upstream.play()

    @sentence("upstream <who> <mood>[ for <name>]", mood="|".join(MOODS))
    def becomes(self, who: str, mood: str, name: str = "*") -> None:
        """Have a fault."""
        self._mood(who, name, **MOODS[mood])

    @sentence("upstream <who> is slow <seconds> s[ for <name>]")
    def slow(self, who: str, seconds: float, name: str = "*") -> None:
        """Reply late."""
        self._mood(who, name, delay=seconds)

    @sentence("upstream <who> lies about its <what>[ for <name>]", what=_lies)
    def lies(self, who: str, what: list[str], name: str = "*") -> None:
        """Send a wrong reply for each lie, then the honest one."""
        self._mood(who, name, lies=what)

    def _mood(self, who: str, name: str, **mood: Any) -> None:
        upstream = self._get(who)
        upstream.moods[name.lower()] = mood
        upstream.play()

    @sentence("upstream <who> is well")
    def well(self, who: str) -> None:
        """Have no fault any more."""
        self._get(who).moods.clear()
        self._get(who).play()

    @sentence("upstream <who> is gone")
    async def gone(self, who: str) -> None:
        """Close the port, over UDP and TCP."""
        await self._get(who).scripted.stop()

    @sentence("upstream <who> comes back")
    def comes_back(self, who: str) -> None:
        """Open the port again."""
        self._get(who).scripted.start()

    @sentence("upstream <who> was asked <count> time[s][ for <name>][ <qtype>][ over <over>]", qtype="[A-Z][A-Z0-9]*")
    async def was_asked(
        self, who: str, count: int, name: str | None = None, qtype: str | None = None, over: str | None = None
    ) -> None:
        """Hold how often it was asked since the scenario began."""
        scripted = self._get(who).scripted
        name = name and name.lower()
        if not await until(self._reactor, lambda: scripted.count(name, qtype, over) == count):
            asked = [f"{one.name} {one.qtype} over {one.over}" for one in scripted.asked]
            raise Untrue(f"it was asked {scripted.count(name, qtype, over)} times; all it was asked: {asked}")
