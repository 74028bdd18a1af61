"""The scripts that run inside Redis: a look-up that takes the lease as well, and a store that wakes who waits.

They are one round trip each, and atomic: between "nobody knows" and "I ask" no other node fits. A lease is a value
whose first byte is 0: ``0, the token of who asks, the tokens of who waits``, eight bytes a token. It ends when the
answer takes its place, or by itself unless its holder looks again.
"""

from __future__ import annotations

from hashlib import sha1
from typing import Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from heimdall.interfaces import ILink, LinkDown

TOKEN: Final = 8
"""Bytes of a node's token."""

MOST_WAITING: Final = 64
"""Nodes that one lease remembers; whoever comes later is not woken, and asks when its patience ends."""

LINGERS: Final = 250
"""Milliseconds that a value stays where the lease was under which it was asked for."""


class Script:
    """A script that Redis keeps by its ``digest``; sent whole when it does not know it (any more).

    :param reads: it changes nothing: run so that a node which only reads may run it too (Redis 7).
    """

    def __init__(self, text: str, *, reads: bool = False) -> None:
        self._text, self._reads = text, reads
        self.digest = sha1(text.encode(), usedforsecurity=False).hexdigest()

    def run(self, link: ILink, keys: list[bytes], *arguments: bytes | str | int) -> Deferred[object]:
        """Run it on keys that live in one place; fires and fails as :meth:`heimdall.interfaces.ILink.run`."""
        return self._run(link, "_RO" if self._reads else "", (len(keys), *keys, *arguments))

    def _run(self, link: ILink, kind: str, parts: tuple[bytes | str | int, ...]) -> Deferred[object]:
        running = link.run(f"EVALSHA{kind}", self.digest, *parts)
        return running.addErrback(self._again, link, kind, parts)

    def _again(
        self, failure: Failure, link: ILink, kind: str, parts: tuple[bytes | str | int, ...]
    ) -> Deferred[object]:
        failure.trap(LinkDown)
        text = failure.getErrorMessage()
        if kind and text.startswith("ERR unknown command"):
            return self._run(link, "", parts)  # a Redis before 7
        if not text.startswith("NOSCRIPT"):
            failure.raiseException()
        return link.run(f"EVAL{kind}", self._text, *parts)


LOOK: Final = Script(
    f"""
local found = redis.call('MGET', unpack(KEYS))
local me = ARGV[1]
for i, key in ipairs(KEYS) do
    local value = found[i]
    if not value then
        local taken = redis.pcall('SET', key, '\\0' .. me, 'PX', ARGV[2])
        found[i] = taken.ok and 1 or false
    elseif string.byte(value) == 0 then
        if string.sub(value, 2, 9) == me then
            redis.pcall('PEXPIRE', key, ARGV[2])
            found[i] = 1
        else
            if #value < 1 + {TOKEN} * ({MOST_WAITING} + 1) and not string.find(value, me, 10, true) then
                redis.pcall('APPEND', key, me)
            end
            found[i] = 0
        end
    end
end
return found
"""
)
"""Look keys up. ``ARGV``: our token, milliseconds a lease lasts. For each key: its value; 1 where the lease is ours,
from now on or once more; 0 where another node has it, and will wake us; nothing where Redis takes no leases, being full
or read-only."""

STORE: Final = Script(
    f"""
local refused = nil
for i, key in ipairs(KEYS) do
    local value, lasts = ARGV[2 + i * 2], tonumber(ARGV[3 + i * 2])
    local old = redis.call('GET', key)
    local lease = old and string.byte(old) == 0
    local ours = lease and string.sub(old, 2, 9) == ARGV[1]
    if lasts > 0 then
        local stored = redis.pcall('SET', key, value, 'PX', lasts)
        if stored.err then refused = stored end
    elseif ours and #value > 1 then
        redis.pcall('SET', key, value, 'PX', {LINGERS})
    elseif ours then
        redis.pcall('DEL', key)
    end
    if lease and (ours or #value > 1) then
        local message = ARGV[2] .. ARGV[1] .. struct.pack('>I2', #key) .. key .. value
        for at = 10, #old, {TOKEN} do
            local hex = string.gsub(string.sub(old, at, at + {TOKEN - 1}), '.', function(c)
                return string.format('%02x', string.byte(c))
            end)
            redis.call('PUBLISH', ARGV[3] .. hex, message)
        end
    end
end
return refused or #KEYS
"""
)
"""Store values and wake who waits. ``ARGV``: our token, the kind of the notice, what channels begin with; then for each
key a value and the milliseconds it lasts. With 0 of them the lease at that key is given up, if it is ours; who waits
there is told the value, and it stays there for a moment, to be found by whoever comes for the lease with an older look
at another key. A value of no byte or one is only told. What Redis refuses is told at the end."""
