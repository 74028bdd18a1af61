"""Ask all nodes at once what they hold for a name, and whether they know of a flush; wait no longer than a moment.

What a node says is not believed to be anything: it is read as JSON of a known form within bounds, or left out.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from struct import Struct
from typing import Any, Final

from attrs import frozen
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from heimdall.interfaces import INotices, LinkDown, Member
from heimdall.message.wire import Malformed, skip_name
from heimdall.tally import Count, Tally

ASK: Final = b"A"
"""The kind of the notice that asks."""

REPLY: Final = b"R"
"""The kind of the notice that replies, to who asked."""

WAIT: Final = 1.0
"""Seconds that nodes have to reply: all of them are over only when a member is silent."""

LEAST: Final = 0.02
"""Seconds that they have even when all members have replied: a node that has just started is no member yet."""

MOST_ASKING: Final = 8
"""Questions of ours under way at once."""

MOST_REPLIES: Final = 1000
"""Nodes whose replies to one question are taken."""

MOST_BYTES: Final = 32 << 10
"""Bytes of one reply; what does not fit is left out, and the reply says so."""

MOST_BYTES_IN_ALL: Final = 1 << 20
"""Bytes of all replies to one question; past that they are left out."""

MOST_A_SECOND: Final = 50
"""Questions of others that we reply to in a second."""

NO_FLUSH: Final = bytes(8)

_QUESTION = Struct("!8s8sHB")
_MOST_HELD = 200
_MOST_LINES = 50
_MOST_TEXT = 500

# The fields of what is held, and what each may be: a longer or another value is left out, and so is any other field.
_TEXTS = ("type", "state", "subnet", "rcode", "origin", "reason")
_NUMBERS = ("age", "ttl", "stored", "uses", "bytes", "size", "count")
_LISTS = ("flags", "records")

Held = Mapping[str, Any]


@frozen
class Told:
    """What a node replied: its name, and whether it knows the flush that was asked about, or what it holds.

    ``whole`` is False where something was left out.
    """

    node: str
    flushed: bool
    held: Sequence[Held]
    whole: bool = True


@frozen
class Round:
    """What came of asking everybody: who replied, who is a member and did not, and why that list may lack some."""

    told: Sequence[Told]
    silent: Sequence[str]
    reason: str = ""


class _Asking:
    """A question under way: who told what, and who should have, once that is known."""

    __slots__ = ("bytes", "done", "hurried", "members", "reason", "replies", "told")

    def __init__(self) -> None:
        self.done: Deferred[Round] = Deferred()
        self.told: dict[bytes, Told] = {}
        self.replies = self.bytes = 0
        self.hurried = False
        self.members: set[str] | None = None
        self.reason = "the list of members took too long"

    def complete(self) -> bool:
        """Whether every member has replied."""
        return self.members is not None and {told.node for told in self.told.values()} >= self.members

    def round(self) -> Round:
        """Return what came of it."""
        told = sorted(self.told.values(), key=lambda each: each.node)
        silent = sorted((self.members or set()) - {each.node for each in told})
        return Round(told, silent, "" if self.members is not None else self.reason)


class Inquiries:
    """Asks the other nodes, and replies to them.

    :param node: the name of this node, as the registry lists it.
    :param held: finds what this node holds in memory, in no more of its time than it has for that: name, type or 0 for
        all, whether to look at every key; or, with the id of a flush, whether that is known.
    :param members: returns who is in the cluster, or fails with :class:`LinkDown`.
    """

    def __init__(
        self,
        notices: INotices,
        clock: IReactorTime,
        *,
        node: str,
        held: Callable[[bytes, int, bool, bytes], Deferred[Told]],
        members: Callable[[], Deferred[Sequence[Member]]],
    ) -> None:
        self._notices, self._clock, self._node = notices, clock, node
        self._held, self._members = held, members
        self._resting = False
        self._asking: dict[bytes, _Asking] = {}
        self._second, self._replied = 0, 0
        self._asked = Count("heimdall_peers_inspect_asked_total", "Questions of other nodes, by end.", "result")
        self._replies = Count("heimdall_peers_inspect_replies_total", "Replies of other nodes, by end.", "result")
        self.tallies: list[Tally] = [self._asked, self._replies]
        notices.on(ASK, self._reply)
        notices.on(REPLY, self._take)

    def ask(self, name: bytes, qtype: int = 0, every: bool = False, flush: bytes = NO_FLUSH) -> Deferred[Round]:
        """Ask every other node; fires within :data:`WAIT`, sooner when every member has replied.

        :param name: the folded wire name.
        :param qtype: a type, or 0 for all.
        :param every: whether to look at every key.
        :param flush: the id of a flush that they may know of.
        :return: fails with :class:`LinkDown` when nobody can be asked.
        """
        if not self._notices.hearing:
            return fail(LinkDown("other nodes cannot be heard"))
        if len(self._asking) >= MOST_ASKING:
            return fail(LinkDown("too many questions to other nodes are under way"))
        identity = secrets.token_bytes(8)
        asking = self._asking[identity] = _Asking()
        timers = [self._clock.callLater(LEAST, self._hurry, asking), self._clock.callLater(WAIT, self._end, asking)]
        asking.done.addBoth(self._over, identity, timers)
        self._notices.tell(ASK, _QUESTION.pack(identity, flush, qtype, every) + name)
        self._members().addCallbacks(self._listed, self._unlisted, callbackArgs=(asking,), errbackArgs=(asking,))
        return asking.done

    def _over(self, result: Round | Failure, identity: bytes, timers: Sequence[IDelayedCall]) -> Round | Failure:
        del self._asking[identity]
        for timer in timers:
            if timer.active():
                timer.cancel()
        return result

    def _listed(self, members: Sequence[Member], asking: _Asking) -> None:
        asking.members = {member.id for member in members if member.id != self._node}
        self._end_early(asking)

    def _unlisted(self, failure: Failure, asking: _Asking) -> None:
        failure.trap(LinkDown)
        asking.reason = failure.getErrorMessage()

    def _hurry(self, asking: _Asking) -> None:
        asking.hurried = True
        self._end_early(asking)

    def _end_early(self, asking: _Asking) -> None:
        if asking.hurried and asking.complete():
            self._end(asking)

    def _end(self, asking: _Asking) -> None:
        if not asking.done.called:
            asking.done.callback(asking.round())

    def rest(self) -> None:
        """Reply no more; another one does that for this node from now on."""
        self._resting = True

    # What others ask.

    def _reply(self, sender: bytes, payload: bytes) -> None:
        if self._resting:
            return
        now = self._clock.seconds()
        if int(now) != self._second:
            self._second, self._replied = int(now), 0
        if self._replied >= MOST_A_SECOND:
            self._asked.add("many")
            return
        try:
            identity, flush, qtype, every, name = _question(payload)
        except Malformed:
            self._asked.add("malformed")
            return
        self._replied += 1
        self._asked.add("replied")
        self._held(name, qtype, every, flush).addCallback(self._tell, sender, identity)

    def _tell(self, found: Told, sender: bytes, identity: bytes) -> None:
        told = {"node": self._node, "flushed": found.flushed, "whole": found.whole}
        left = MOST_BYTES - len(json.dumps(told)) - len(', "held": []')
        rows: list[str] = []
        for held in found.held:
            row = json.dumps(held)
            left -= len(row) + 2
            if left < 1:
                told["whole"] = False
                break
            rows.append(row)
        reply = f'{json.dumps(told)[:-1]}, "held": [{", ".join(rows)}]}}'
        self._notices.tell(REPLY, identity + reply.encode(), sender)

    # What others reply.

    def _take(self, sender: bytes, payload: bytes) -> None:
        identity, reply = payload[:8], payload[8:]
        asking = self._asking.get(identity)
        if asking is None:
            self._replies.add("late")
            return
        asking.replies += 1
        asking.bytes += len(reply)
        if asking.replies > MOST_REPLIES or asking.bytes > MOST_BYTES_IN_ALL:
            self._replies.add("many")
            return
        try:
            asking.told[sender] = _told(reply)
        except (ValueError, KeyError, RecursionError):
            self._replies.add("malformed")
            return
        self._replies.add("taken")
        self._end_early(asking)


def _question(payload: bytes) -> tuple[bytes, bytes, int, bool, bytes]:
    """Read a question; raises :class:`Malformed`."""
    if len(payload) <= _QUESTION.size:
        raise Malformed("a question without a name")
    identity, flush, qtype, every = _QUESTION.unpack_from(payload)
    if skip_name(payload, _QUESTION.size) != len(payload) or payload[-1]:
        raise Malformed("a question about something that is no name")
    return identity, flush, qtype, bool(every), payload[_QUESTION.size :].lower()


def _told(reply: bytes) -> Told:
    """Read what a node replied.

    :raises ValueError: it is no such thing; KeyError and RecursionError say the same.
    """
    if len(reply) > MOST_BYTES:
        raise ValueError("too long")
    told = json.loads(reply)
    if type(told) is not dict or type(told["held"]) is not list or not _is_text(told["node"]) or not told["node"]:
        raise ValueError("not the fields of a reply")
    held = [_known(each) for each in told["held"][:_MOST_HELD] if type(each) is dict]
    return Told(told["node"], told["flushed"] is True, held, told["whole"] is True)


def _known(held: dict[str, Any]) -> Held:
    """Return those fields that we know and that are what they should be."""
    texts = {name: held[name] for name in _TEXTS if _is_text(held.get(name))}
    numbers = {name: held[name] for name in _NUMBERS if _is_number(held.get(name))}
    lists = {
        name: [text for text in held[name] if _is_text(text)][:_MOST_LINES]
        for name in _LISTS
        if type(held.get(name)) is list
    }
    return {**texts, **numbers, **lists, "subnet": texts.get("subnet"), "ad": held.get("ad") is True}


def _is_text(value: object) -> bool:
    return type(value) is str and len(value) <= _MOST_TEXT and value.isprintable()


def _is_number(value: object) -> bool:
    return (type(value) is int or type(value) is float) and abs(value) < 1e15
