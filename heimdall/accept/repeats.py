"""Messages that come again: but for the id, most messages came before, bit by bit.

What such a message means is read once, and its reply is fitted once as long as memory gives the same image, which is
for a second. Nothing is skipped for that: what depends on a client is judged, memory is asked and counters count for
each. A message is remembered when memory gives its image for the second time in a second: what is asked less often
is not worth the room. It is answered here all the same, if it is ``alike`` to others.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from twisted.internet.interfaces import IReactorTime

from heimdall.accept.alike import MOST_BYTES as SHAPES_BYTES
from heimdall.accept.alike import Alike
from heimdall.accept.engine import Left
from heimdall.accept.passing import Passing
from heimdall.accept.slots import STRIDE, Slots
from heimdall.interfaces import Drop, IGate, IHotCache
from heimdall.message.answer import Answer
from heimdall.message.edns import UDP_SIZE
from heimdall.message.query import Query
from heimdall.message.reply import fit
from heimdall.slices import let_go
from heimdall.tally import Count, Gauge, Tally, Times

MOST_BYTES = 8 << 20
"""Bytes that messages may take; past that the oldest is forgotten, and if it is in use it is soon there again."""

REPEAT_BYTES: Final = 700
"""Bytes that a message takes besides twice its own, those of its reply, and three times those of its name (a test
measures it)."""

LONGEST: Final = 512
"""Bytes of a message that is remembered: hardly a longer one comes again, bit by bit."""

_NO_ID: Final = b"\0\0"

RCODES: Final = {0: "noerror", 1: "formerr", 2: "servfail", 3: "nxdomain", 4: "notimp", 5: "refused", 16: "badvers"}


def labels(answer: Answer) -> tuple[str, str]:
    """Return what an answer is counted by: who knew it, and its response code."""
    return answer.origin, RCODES.get(answer.rcode, "other")


class Repeat:
    """A message that was answered from memory: the query it is, and the reply to it for the image ``body``.

    ``form``   the answer in memory, but for its records
    ``plain``  whether it is counted as nearly all answers are: memory knew it, and it is no failure
    ``size``   the bytes that it takes, while it is remembered
    """

    __slots__ = ("body", "form", "labels", "place", "plain", "query", "reply", "size")

    def __init__(self, query: Query, answer: Answer, place: int, body: bytes, reply: bytes) -> None:
        self.query = query
        self.size = 0
        self.set(answer, place, body, reply)

    def set(self, answer: Answer, place: int, body: bytes, reply: bytes) -> None:
        """Take note of the reply, and of what it was made from."""
        self.place = place if place >= 0 else ~place
        self.form, self.body, self.reply = answer, body, reply[2:]
        self.labels = labels(answer)
        self.plain = self.labels == ("memory", "noerror")


class Repeats:
    """The messages that came before.

    :param judged: makes the reply for a query that one of them did not let pass; no bytes for silence.
    :param queries: where messages are counted; ``answers`` and ``times`` likewise for replies.
    """

    def __init__(
        self,
        memory: IHotCache,
        clock: IReactorTime,
        judged: Callable[[Query, Answer | Drop, float], bytes],
        queries: Count,
        answers: Count,
        times: Times,
    ) -> None:
        self._recall, self._again = memory.get, memory.again
        self._seconds = clock.seconds
        self._judged = judged
        self._queries, self._answers, self._times = queries, answers, times
        # One goes for one that comes: to free ten thousand at once would be a pause of milliseconds.
        self._repeats: OrderedDict[bytes, Repeat] = OrderedDict()
        self._bytes = 0
        self._clock = clock
        self._alike = Alike()
        self._passing = Passing(())
        self.tallies: list[Tally] = [
            Gauge(
                "heimdall_accept_packet_cache_used_bytes",
                "Bytes that messages take which came before, and their replies.",
                lambda: self.used,
            ),
            Gauge(
                "heimdall_accept_packet_cache_limit_bytes",
                "Bytes that they may take.",
                lambda: MOST_BYTES + SHAPES_BYTES,
            ),
            Gauge("heimdall_accept_packet_cache_messages", "Messages that are remembered.", lambda: len(self._repeats)),
            Gauge("heimdall_accept_known_hosts", "Hosts known as such that may ask.", lambda: len(self._passing)),
        ]
        self.lead((), UDP_SIZE)

    def lead(self, gates: Sequence[IGate], udp_size: int) -> None:
        """Forget all, and answer from now on what these gates let pass.

        :param gates: those that judge a client.
        :param udp_size: the longest reply, in bytes.
        """
        for forgotten in (self._repeats, self._alike.forget(), self._passing.forget()):
            let_go(forgotten, self._clock)
        self._repeats = OrderedDict()
        self._bytes = 0
        self._passing = Passing(gates)
        self._udp_size = udp_size

    @property
    def used(self) -> int:
        """What all that is remembered takes, everything counted."""
        return self._bytes + self._alike.bytes

    def get(self, wire: bytes) -> Repeat | None:
        """Return what is known of a message, if it came before."""
        return self._repeats.get(wire[2:])

    def learn(self, query: Query) -> None:
        """Remember what a message looks like, to read the next one like it by one look-up."""
        self._alike.learn(query)

    def put(self, query: Query, answer: Answer, place: int, body: bytes, reply: bytes) -> None:
        """Remember what a message means and what it is told, for when it comes again, or one like it.

        :param place: what memory calls the place of the answer; less than 0 if nobody was given it before lately.
        """
        repeat = self.get(query.wire)
        if repeat is not None:
            if repeat.body is not body or repeat.form is not answer:
                repeat.set(answer, place, body, reply)
                self._measure(repeat)
        elif place >= 0:
            self._keep(query.wire[2:], Repeat(query.again(0.0), answer, place, body, reply))

    def _keep(self, rest: bytes, repeat: Repeat) -> Repeat:
        """Remember a message that is not remembered yet; return it."""
        repeat.query.wire = _NO_ID  # each time that it comes again it has another one
        if len(rest) <= LONGEST:
            self._bytes += 2 * len(rest)
            self._repeats[rest] = repeat
            self._measure(repeat)
        return repeat

    def _measure(self, repeat: Repeat) -> None:
        """Note the bytes that a message takes now; the oldest leave, where that is too much."""
        size = REPEAT_BYTES + len(repeat.reply) + len(repeat.body) + 3 * len(repeat.query.name)
        self._bytes += size - repeat.size
        repeat.size = size
        while self._bytes > MOST_BYTES:
            rest, oldest = self._repeats.popitem(last=False)
            self._bytes -= oldest.size + 2 * len(rest)

    def answer(self, slots: Slots, count: int) -> tuple[list[Left], list[int]]:
        """Write the replies to those of ``count`` messages over them that came before and are still so answered.

        This loop is what a query from memory costs, besides its share of two system calls.

        :return: the messages that have to be taken the long way, and which get no reply.
        """
        now = self._seconds()
        repeats, again, alike, recall = self._repeats.get, self._again, self._alike.read, self._recall
        read, view, sizes = slots.bytes, slots.view, slots.sizes
        hosts = slots.hosts(count)
        apart = self._passing.apart(slots, hosts)
        left: list[Left] = []
        silent: list[int] = []
        answered = 0
        for index, length in enumerate(slots.lengths(count)):
            start = index * STRIDE + 2
            rest: bytes = read[start : start - 2 + length]
            repeat = repeats(rest)
            if repeat is None:
                query = alike(rest)
                known = None
                if query is not None:
                    query.wire = read[start - 2 : start - 2 + length]
                    known = recall(query, now)
                if query is None or known is None:
                    whole = None if query is None else query.again(0.0)
                    left.append((index, whole, not apart or hosts[index] not in apart))
                    continue
                repeat = self._first(query, known)
            elif not (again(repeat.place, repeat.body, now) or self._refit(repeat, now)):
                whole = repeat.query.again(0.0)
                whole.wire = read[start - 2 : start - 2 + length]
                left.append((index, whole, not apart or hosts[index] not in apart))
                continue
            if apart and hosts[index] in apart:
                try:
                    verdict = self._passing.judge(slots, index, repeat.query)
                except Exception:  # the replies before it are written already: it alone goes the long way
                    left.append((index, None, False))
                    continue
                if verdict is not None:
                    reply = self._judged(repeat.query, verdict, now)
                    if reply:
                        slots.put(index, reply)
                    else:
                        silent.append(index)
                    continue
            reply = repeat.reply
            size = len(reply)
            view[start : start + size] = reply
            sizes[index] = size + 2
            if repeat.plain:
                answered += 1
            else:
                origin, rcode = repeat.labels
                self._answers.add(origin, rcode)
                self._times.observe(self._seconds() - now)
        self._queries.add("udp", by=count - len(left))
        if answered:
            self._answers.add("memory", "noerror", by=answered)
            self._times.observe(self._seconds() - now, by=answered)
        return left, silent

    def _first(self, query: Query, known: tuple[Answer, bytes, int]) -> Repeat:
        """Return what a message is that never came before but is alike to others; ``known`` is what memory told."""
        answer, body, place = known
        reply = fit(query, answer, body, self._udp_size)
        if place >= 0:
            return self._keep(query.wire[2:], Repeat(query.again(0.0), answer, place, body, reply))
        return Repeat(query, answer, place, body, reply)

    def _refit(self, repeat: Repeat, now: float) -> bool:
        """Fit a reply anew, since a second has passed or the answer is another; return whether memory has one."""
        known = self._recall(repeat.query, now)
        if known is None:
            return False
        answer, body, place = known
        reply = fit(repeat.query, answer, body, self._udp_size)
        repeat.set(answer, place, body, reply)
        self._measure(repeat)
        return True
