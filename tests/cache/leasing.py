"""Nodes that share a Redis in memory, for the tests of leases; the scripts are done again in Python."""

from __future__ import annotations

from math import inf

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from heimdall.cache.lease import Leases
from heimdall.cache.redis import Shared
from heimdall.cache.scripts import LINGERS, LOOK, STORE
from heimdall.peers.notices import Notices
from tests.cache.test_once import Source
from tests.fakelink import FakeLink


class ScriptedLink(FakeLink):
    """A link that knows the two scripts, and lets leases end.

    ``ends``  when the leases and what lingers in their place are over, on the clock of the test
    """

    def __init__(self, clock: Clock, beside: ScriptedLink | None = None) -> None:
        super().__init__(clock, beside)
        self.ends: dict[bytes, float] = beside.ends if beside else {}

    def _result(self, command: tuple[bytes | str | int, ...]) -> Deferred[object]:
        if command[0] != "EVALSHA" or self.refusal:
            return super()._result(command)
        size = int(command[2])
        keys = [part for part in command[3 : 3 + size] if isinstance(part, bytes)]
        arguments = [part if isinstance(part, bytes) else str(part).encode() for part in command[3 + size :]]
        if command[1] == LOOK.digest:
            return succeed([self._look(key, *arguments[:2]) for key in keys])
        assert command[1] == STORE.digest
        for number, key in enumerate(keys):
            self._store(key, arguments, *arguments[3 + number * 2 : 5 + number * 2])
        return succeed(size)

    def _look(self, key: bytes, token: bytes, lasts: bytes) -> object:
        if self.ends.get(key, inf) <= self._clock.seconds():
            self._end(key)
        value = self.values.get(key)
        if value is None or value[:9] == b"\0" + token:
            self.values[key] = value or b"\0" + token
            self.ends[key] = self._clock.seconds() + int(lasts) / 1000
            return 1
        if value[0]:
            return value
        if token not in value[9:]:
            self.values[key] = value + token
        return 0

    def _store(self, key: bytes, arguments: list[bytes], value: bytes, lasts: bytes) -> None:
        token, kind, channels = arguments[:3]
        old = self.values.get(key, b"\1")
        ours = old[:9] == b"\0" + token
        if int(lasts):
            self._end(key)
            self.values[key] = value
            self.lifetimes[key] = int(lasts)
        elif ours and len(value) > 1:
            self.values[key] = value
            self.ends[key] = self._clock.seconds() + LINGERS / 1000
        elif ours:
            self._end(key)
        if old[0] == 0 and (ours or len(value) > 1):
            message = kind + token + len(key).to_bytes(2, "big") + key + value
            for at in range(9, len(old), 8):
                super()._result(("PUBLISH", channels + old[at : at + 8].hex().encode(), message))

    def _end(self, key: bytes) -> None:
        self.values.pop(key, None)
        self.ends.pop(key, None)


class Member:
    """A node of the cluster, as far as its shared cache goes: link, leases, source and shared cache.

    :param beside: a node that uses the same Redis.
    """

    def __init__(self, clock: Clock, beside: Member | None = None) -> None:
        self.link: ScriptedLink = ScriptedLink(clock, beside.link if beside else None)
        self.notices = Notices(self.link, clock)
        self.leases = Leases(self.notices, clock)
        self.source = Source()
        self.shared = Shared(self.link, self.source, clock, window=3600, leases=self.leases)
