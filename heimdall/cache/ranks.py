"""What the cluster asks for most, as it lies in Redis: a list of names by their weight, and a few facts on each.

An ask counts less as time passes, half after ten minutes. Nothing is ever halved for that: a new ask weighs more
than an old one instead, ever more from a landmark on (forward decay: Cormode et al., "Forward decay", ICDE 2009), so
that to count is one addition. Every few days the landmark moves, and all weights with it. The coldest names leave
when there are too many.
"""

from __future__ import annotations

from math import isfinite, log
from struct import Struct, error
from typing import Final
from zlib import crc32

from attrs import frozen
from twisted.internet.defer import Deferred

from heimdall.cache.scripts import Script
from heimdall.interfaces import ILink
from heimdall.message import query
from heimdall.message.query import IN, Query
from heimdall.message.wire import Malformed, skip_name

HALF: Final = 600.0
"""Seconds after which an ask counts half."""

KEPT: Final = 4 * 86400
"""Seconds that all of it is kept when nobody asks anything: the cluster may be off for a long weekend."""

MOST_NODES: Final = 15
"""Nodes that are remembered for a name, those that asked last."""

MINUTES: Final = 60
"""Minutes that a node is remembered there."""

AT_ONCE: Final = 100
"""Names that are counted in one command: Redis works half a millisecond at them."""

PAGE: Final = 250
"""Names that are listed in one command."""

UNKNOWN: Final = (1 << 31) - 1
"""In the place of a TTL: not known."""

EXACT: Final = 1 << 31
"""Added to a TTL that an upstream told just now, not what was left of it."""

SETTLED: Final = 12.0
"""Seconds after which every node that is asked for a name has told so: each tells every ten."""

_AGAIN: Final = 5.0  # when a node tells of a name again, so much later, the others have had their turn
_MOVES: Final = 500  # halvings after which the landmark moves; a float takes 1023
_MOST_IDLE: Final = 400  # halvings that are told apart, of the time in which nobody counted
_ROW: Final = Struct("!IIII")
_ASKED: Final = Struct("!f")
_SIZE: Final = Struct("!H")
_FACTS: Final = Struct("!dfffI")
_NODE: Final = Struct("!IH")

_ADD: Final = Script(
    f"""
local now, node, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local head = redis.call('HGET', KEYS[2], '')
local landmark, begun, last = now, now, now
if head and #head == 24 then
    landmark, begun, last = struct.unpack('>ddd', head)
end
local halvings, passed = (now - landmark) / {HALF}, (last - landmark) / {HALF}
if not (head and #head == 24 and halvings == halvings and passed >= 0 and passed <= {_MOVES}) then
    redis.call('DEL', KEYS[1], KEYS[2])
    landmark, begun, halvings = now, now, 0
elseif halvings > {_MOVES} or now < last - {HALF} then
    -- A clock that was set back starts where the other one ended, and one that leapt keeps the order.
    local idle = math.min(math.max((now - last) / {HALF}, 0), {_MOST_IDLE})
    redis.call('ZUNIONSTORE', KEYS[1], 1, KEYS[1], 'WEIGHTS', 2 ^ -(passed + idle))
    landmark, halvings, last = now, 0, now
end
redis.call('HSET', KEYS[2], '', struct.pack('>ddd', landmark, begun, math.max(now, last)))
local weight, minute = 2 ^ halvings, math.floor(now / 60) % 65536
local function number(value)
    return value >= 0 and value < 1e15 and value or 0
end
local rows, at = ARGV[4], 1
while at < #rows do
    local key, memory, shared, upstream, ttl
    key, memory, shared, upstream, ttl, at = struct.unpack('>Hc0I4I4I4I4', rows, at)
    redis.call('ZINCRBY', KEYS[1], (memory + shared + upstream) * weight, key)
    local nodes, settled, facts = '', 0, redis.call('HGET', KEYS[2], key)
    if facts and #facts >= {_FACTS.size} and (#facts - {_FACTS.size}) % {_NODE.size} == 0 then
        local when, m, s, u, known = struct.unpack('>dfffI4', facts)
        local fade = number(0.5 ^ ((now - when) / {HALF}))
        memory, shared, upstream = memory + number(m) * fade, shared + number(s) * fade, upstream + number(u) * fade
        if known >= {EXACT} or now - when >= {_AGAIN} then
            settled = {EXACT}
        end
        if ttl < {EXACT} and known % {EXACT} ~= {UNKNOWN} then
            ttl = known % {EXACT}
        end
        for place = {_FACTS.size} + 1, #facts, {_NODE.size} do
            local other, seen = struct.unpack('>I4H', facts, place)
            if other ~= node and (minute - seen) % 65536 <= {MINUTES} then
                nodes = nodes .. string.sub(facts, place, place + {_NODE.size - 1})
            end
        end
        nodes = string.sub(nodes, -{_NODE.size * (MOST_NODES - 1)})
    end
    nodes = nodes .. struct.pack('>I4H', node, minute)
    ttl = ttl % {EXACT} + settled
    redis.call('HSET', KEYS[2], key, struct.pack('>dfffI4', now, memory, shared, upstream, ttl) .. nodes)
end
local over = redis.call('ZCARD', KEYS[1]) - most
while over > 0 do
    local cold = redis.call('ZRANGE', KEYS[1], 0, math.min(over, 1000) - 1)
    redis.call('ZREM', KEYS[1], unpack(cold))
    redis.call('HDEL', KEYS[2], unpack(cold))
    over = over - #cold
end
redis.call('EXPIRE', KEYS[1], {KEPT})
redis.call('EXPIRE', KEYS[2], {KEPT})
return over
"""
)
"""``ARGV``: the time in seconds, the number of the node, the names to keep, and the rows, each a key behind its length
and four numbers: how often it was answered from memory, from Redis and from upstream, and the TTL."""

_TOP: Final = Script(
    f"""
local head = redis.call('HGET', KEYS[2], '')
if not head or #head ~= 24 then
    return {{}}
end
local landmark, begun = struct.unpack('>dd', head)
local weight = 2 ^ ((tonumber(ARGV[1]) - landmark) / {HALF})
local listed = redis.call('ZREVRANGE', KEYS[1], ARGV[2], ARGV[3], 'WITHSCORES')
local rows = {{}}
for at = 1, #listed, 2 do
    local key, facts = listed[at], ''
    if ARGV[4] == '1' then
        facts = redis.call('HGET', KEYS[2], key) or ''
    end
    local asked = tonumber(listed[at + 1]) / weight
    rows[#rows + 1] = struct.pack('>Hc0fHc0', #key, key, asked, #facts, facts)
end
return {{string.format('%.3f', begun), table.concat(rows)}}
""",
    reads=True,
)
"""``ARGV``: the time in seconds, the first and the last rank, and whether the facts are wanted. What it returns: since
when was counted, and rows, each a key behind its length, its asks, and its facts behind their length."""


@frozen
class Facts:
    """What is known of a name beside its rank.

    ``memory``, ``redis`` and ``upstream`` are how often it was answered from there, an ask counting less as it gets
    older. ``ttl`` is what its upstream gave, in seconds, None where that is not known. ``nodes`` are the numbers of
    those that asked within the hour, :data:`MOST_NODES` at most; ``settled`` whether all of them had time to tell so.
    """

    memory: float
    redis: float
    upstream: float
    ttl: int | None
    nodes: tuple[int, ...]
    settled: bool = True


@frozen
class Row:
    """A name of the list: the key of the question, how often it was asked, an ask counting less as it gets older."""

    key: bytes
    asked: float
    facts: Facts | None


@frozen
class Asked:
    """What a node tells of a question: how often it was answered from where since it told last, and the TTL."""

    key: bytes
    memory: int
    redis: int
    upstream: int
    ttl: int

    def to_bytes(self) -> bytes:
        """Return the row of it."""
        counts = (min(count, EXACT) for count in (self.memory, self.redis, self.upstream))
        return _SIZE.pack(len(self.key)) + self.key + _ROW.pack(*counts, self.ttl)


class Ranks:
    """The list in Redis.

    :param most: names it holds.
    :param prefix: what all keys begin with.
    """

    def __init__(self, link: ILink, *, most: int = 5000, prefix: str = "heimdall") -> None:
        self._link, self.most = link, most
        # The braces have a Redis Cluster keep both in one place.
        self.keys = [f"{prefix}:hot:{{names}}{part}".encode() for part in ("", ":facts")]

    def add(self, rows: list[Asked], node: int, now: float) -> Deferred[object]:
        """Count; fails with :class:`LinkDown`.

        :param rows: :data:`AT_ONCE` at most.
        :param node: the number of the node that was asked.
        :param now: seconds since 1970 on the clock of Redis.
        """
        told = b"".join(row.to_bytes() for row in rows)
        return _ADD.run(self._link, self.keys, f"{now:.3f}", node, self.most, told)

    def top(self, first: int, last: int, now: float, *, facts: bool = False) -> Deferred[tuple[float, list[Row]]]:
        """Fire with the time since when was counted and the names of these ranks; fails with :class:`LinkDown`.

        :param first: 0 for the one asked for most; ``last`` included.
        """
        listing = _TOP.run(self._link, self.keys, f"{now:.3f}", first, last, int(facts))
        return listing.addCallback(_read, now)

    def clear(self) -> Deferred[object]:
        """Forget all of it."""
        return self._link.run("DEL", *self.keys)


def worth(age: float) -> float:
    """Return what a name that is asked for once a second amounts to, as asks fade, this many seconds after the first.

    Within the first minute: what it amounts to after a minute, for one ask proves nothing.
    """
    fade: float = 0.5 ** (max(age, 60.0) / HALF)
    return HALF / log(2) * (1 - fade)


def number(node: str) -> int:
    """Return the number that a node goes by."""
    return crc32(node.encode())


def question(key: bytes) -> Query | None:
    """Return the question of a key, or None where it is none that we ask by ourselves: with a client's subnet, say."""
    end = len(key) - 5
    try:
        if end < 1 or key[end + 2 : end + 4] != IN or key[-1] > 3 or skip_name(key, 0) != end or key[end - 1]:
            return None
        asked = query.make(key[:end], key[end] << 8 | key[end + 1], do=bool(key[-1] & 1), cd=bool(key[-1] & 2))
    except (Malformed, ValueError):
        return None
    return asked if asked.key == key else None


def _read(reply: object, now: float) -> tuple[float, list[Row]]:
    """Read a reply; what is no row of the list is left out: whoever can write to Redis can write anything."""
    if not isinstance(reply, list) or len(reply) != 2:
        return now, []
    begun, rows = reply
    found = []
    at = 0
    try:
        while at < len(rows):
            key, at = _chunk(rows, at)
            (asked,) = _ASKED.unpack_from(rows, at)
            facts, at = _chunk(rows, at + _ASKED.size)
            if isfinite(asked):
                found.append(Row(key, asked, _facts(facts, now)))
        return float(begun), found
    except (error, TypeError, ValueError):
        return now, found


def _chunk(rows: bytes, at: int) -> tuple[bytes, int]:
    (size,) = _SIZE.unpack_from(rows, at)
    at += _SIZE.size
    return rows[at : at + size], at + size


def _facts(facts: bytes, now: float) -> Facts | None:
    if len(facts) < _FACTS.size or (len(facts) - _FACTS.size) % _NODE.size:
        return None
    when, *counts, ttl = _FACTS.unpack_from(facts)
    try:
        fade = 0.5 ** ((now - when) / HALF)
        memory, redis, upstream = (count * fade for count in counts)
    except OverflowError:
        return None
    if not isfinite(memory + redis + upstream):
        return None
    minute = int(now / 60) % 65536
    nodes = [node for node, seen in _NODE.iter_unpack(facts[_FACTS.size :]) if (minute - seen) % 65536 <= MINUTES]
    settled, ttl = ttl >= EXACT or now - when >= SETTLED, ttl % EXACT
    return Facts(memory, redis, upstream, None if ttl == UNKNOWN else ttl, tuple(nodes), settled)
