"""What a scenario says of Redis: whether it is there, what it refuses, and what has become of its values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from heimdall.cache.entry import Rubbish, from_bytes
from heimdall.cache.seal import SIZE, Seal
from heimdall.message.wire import skip_name
from tests.redisserver import RedisServer
from tests.scenarios.moments import until
from tests.scenarios.story import Untrue, sentence

HEAD = b"heimdall:c1:"
"""What the keys of answers begin with; behind it stand the question and the variant."""


class Store:
    """The Redis of a scenario: a real one, on a port of its own; there is none until it is spoken of."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._server: RedisServer | None = None
        self._seal = Seal()
        self.answers = False
        """Whether it runs and does as it is asked."""

    @property
    def spoken_of(self) -> bool:
        """Whether the scenario has a Redis, be it away."""
        return self._server is not None

    @property
    def server(self) -> RedisServer:
        """The server; made when it is spoken of first."""
        if self._server is None:
            self._server = RedisServer()
        return self._server

    @property
    def port(self) -> int:
        """Where it listens; 0 for nowhere."""
        return self.server.port if self.spoken_of else 0

    @property
    def place(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.server.port}"

    @property
    def url(self) -> str:
        """The URL with the right password."""
        password = self.server.password
        return f"redis://:{password}@{self.place}" if password else self.server.url

    def end(self) -> None:
        """Kill it, and take its files away."""
        if self._server is not None:
            self._server.stop()

    @sentence("redis is away")
    def away(self) -> None:
        """Be configured, and not there."""
        assert self.server is not None

    @sentence("redis wants the password <password>")
    def wants(self, password: str) -> None:
        """Run, for those who know a password."""
        self._server = RedisServer(password=password)
        self.runs()

    @sentence("redis runs")
    def runs(self) -> None:
        """Start, empty."""
        self.server.start()
        self.answers = True

    @sentence("redis dies")
    def dies(self) -> None:
        """End at once, as by kill -9."""
        self.answers = False
        self.server.kill()

    @sentence("redis restarts")
    def restarts(self) -> None:
        """End at once and start again, empty."""
        self.server.restart()
        self.answers = True

    @sentence("redis hangs")
    def hangs(self) -> None:
        """Stop answering with all connections open, as by kill -STOP."""
        self.answers = False
        self.server.pause()

    @sentence("redis goes on")
    def goes_on(self) -> None:
        """Answer again after it hung."""
        self.server.resume()
        self.answers = True

    @sentence("redis is full")
    def full(self) -> None:
        """Be out of memory, with nothing that may be thrown out."""
        self._command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        self._command("CONFIG", "SET", "maxmemory", "1")

    @sentence("redis is read-only")
    def read_only(self) -> None:
        """Be a replica whose master is not there."""
        self._command("REPLICAOF", "127.0.0.1", "1")

    @sentence("redis is well")
    def well(self) -> None:
        """Take writes again."""
        self._command("CONFIG", "SET", "maxmemory", "0")
        self._command("REPLICAOF", "NO", "ONE")

    @sentence("redis forgets everything")
    def forgets(self) -> None:
        """Lose all keys."""
        self._command("FLUSHALL")

    @sentence("redis has rubbish in every value")
    def rubbish(self) -> None:
        """Hold bytes that nobody of us has written; no 0 in front, which would make it a lease."""
        self._rewrite(lambda value: bytes(byte ^ 0xFF for byte in value))

    @sentence("redis has a byte changed in every value")
    def changed(self) -> None:
        """Hold values with an error of one byte near the end: where the data of an answer is."""
        self._rewrite(lambda value: value[:-1] + bytes((value[-1] ^ 1,)))

    @sentence("redis has every value cut short")
    def cut(self) -> None:
        """Hold values without their last bytes."""
        self._rewrite(lambda value: value[: len(value) - 5])

    @sentence("answers are sealed with <secret>")
    def sealed(self, secret: str) -> None:
        """Take those answers for good from now on that nodes with this secret take."""
        self._seal = Seal(secret.encode())

    @sentence("redis has the address in every value forged")
    def forged(self) -> None:
        """Hold what somebody writes who knows all of us but the secret: another address, sealed as anybody can."""
        for key in self._keys():
            value = self._command("GET", key)[:-SIZE]
            value = value[:-1] + bytes((value[-1] ^ 1,))
            self._command("SET", key, value + Seal().sign(key.removeprefix(HEAD), value), "KEEPTTL")

    @sentence("redis has lists in place of its values")
    def lists(self) -> None:
        """Hold keys of another type."""
        for key in self._keys():
            self._command("DEL", key)
            self._command("RPUSH", key, "rubbish")

    @sentence("redis has its values swapped")
    def swapped(self) -> None:
        """Hold under each key the value of the next."""
        keys = self._keys()
        if len(keys) < 2:
            raise Untrue(f"{len(keys)} values cannot be swapped")
        values = [self._command("GET", key) for key in keys]
        for key, value in zip(keys, values[1:] + values[:1], strict=True):
            self._command("SET", key, value, "KEEPTTL")

    @sentence("redis holds <count> answer[s]")
    async def holds(self, count: int) -> None:
        """Hold how many good answers it has; they are written a moment after they were learnt."""
        if not await until(self._reactor, lambda: len(self._good()) == count):
            raise Untrue(f"it holds {len(self._good())} among {self._keys()}")

    def _good(self) -> list[bytes]:
        """Return the keys whose values are answers to their questions."""
        return [key for key in self._keys() if self._is_good(key)]

    def _is_good(self, key: bytes) -> bool:
        if self._command("TYPE", key) != b"string":
            return False
        question = key.removeprefix(HEAD)
        now = self._reactor.wall()
        try:
            from_bytes(self._command("GET", key), question, skip_name(question, 0) + 4, now, self._seal)
        except Rubbish:
            return False
        return True

    def _keys(self) -> list[bytes]:
        return sorted(self._command("KEYS", HEAD + b"*"))

    def _command(self, *command: bytes | str | int) -> Any:
        return self.server.command(*command)

    def _rewrite(self, change: Callable[[bytes], bytes]) -> None:
        keys = self._keys()
        if not keys:
            raise Untrue("there is no value that could be spoilt")
        for key in keys:
            self._command("SET", key, change(self._command("GET", key)), "KEEPTTL")
