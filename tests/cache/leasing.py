"""Nodes that share a Redis in memory, for the tests of leases; the scripts are done again in Python."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from heimdall.cache.lease import Leases
from heimdall.cache.redis import Shared
from heimdall.cache.scripts import LOOK, STORE
from heimdall.peers.notices import Notices
from tests.cache.test_once import Source
from tests.fakelink import FakeLink


class ScriptedLink(FakeLink):
    """A link that knows the two scripts."""

    def _result(self, command: tuple[bytes | str | int, ...]) -> Deferred[object]:
        if command[0] != "EVALSHA" or self.refusal:
            return super()._result(command)
        size = int(command[2])
        keys = [part for part in command[3 : 3 + size] if isinstance(part, bytes)]
        arguments = [part if isinstance(part, bytes) else str(part).encode() for part in command[3 + size :]]
        if command[1] == LOOK.digest:
            return succeed([self._look(key, arguments[0]) for key in keys])
        assert command[1] == STORE.digest
        for number, key in enumerate(keys):
            self._store(key, arguments, *arguments[3 + number * 2 : 5 + number * 2])
        return succeed(size)

    def _look(self, key: bytes, token: bytes) -> object:
        value = self.values.get(key)
        if value is None:
            self.values[key] = b"\0" + token
            return 1
        if value[0]:
            return value
        if value[1:9] == token:
            return 1
        if token not in value[9:]:
            self.values[key] = value + token
        return 0

    def _store(self, key: bytes, arguments: list[bytes], value: bytes, lasts: bytes) -> None:
        token, kind, channels = arguments[:3]
        old = self.values.get(key, b"\1")
        if int(lasts):
            self.values[key] = value
            self.lifetimes[key] = int(lasts)
        elif old[0] == 0 and old[1:9] == token:
            del self.values[key]
        if old[0] == 0:
            message = kind + token + len(key).to_bytes(2, "big") + key + value
            for at in range(9, len(old), 8):
                super()._result(("PUBLISH", channels + old[at : at + 8].hex().encode(), message))


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
