"""Redis behind sentinels: they are asked who the master is, and tell when it is another one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from zope.interface import implementer

from heimdall.redislink.ear import Ear
from heimdall.redislink.errand import errand
from heimdall.redislink.gone import Gone
from heimdall.redislink.greeting import Login
from heimdall.redislink.link import Link

PATIENCE: Final = 0.5
"""Seconds that one sentinel gets to answer."""

To = Callable[[str, int], IStreamClientEndpoint]
"""Makes the way to a host and port."""


@implementer(IStreamClientEndpoint)
class Master:
    """The way to whoever is master at the moment.

    :param sentinels: the ways to the sentinels; the one that answered last is asked first.
    :param to: makes the way to the master.
    :param login: who we are at the sentinels.
    :param service: what they call the master.
    """

    def __init__(
        self, clock: IReactorTime, sentinels: Sequence[IStreamClientEndpoint], to: To, login: Login, service: str
    ) -> None:
        self.last: tuple[str, int] | None = None
        self._clock, self._sentinels, self._to, self._login = clock, list(sentinels), to, login
        self.service = service

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Ask who is master, and connect to it."""

        async def connect() -> IProtocol:
            self.last = await self.find()
            return await self._to(*self.last).connect(protocolFactory)

        return Deferred.fromCoroutine(connect())

    async def find(self) -> tuple[str, int]:
        """Return host and port of the master.

        :raises Gone: no sentinel knows.
        """
        why = ""
        for sentinel in list(self._sentinels):
            command = ("SENTINEL", "get-master-addr-by-name", self.service)
            try:
                reply = await errand(self._clock, sentinel, self._login, PATIENCE, *command)
            except CancelledError:
                raise
            except Exception as error:
                why = str(Gone.of(error))
                self._put_last(sentinel)
                continue
            match reply:
                case [bytes(host), bytes(port)] if _sound(host, port):
                    return host.decode(), int(port)
            why = "it knows no such service" if reply is None else "it talks rubbish"
            self._put_last(sentinel)
        raise Gone("sentinel", f"no sentinel tells us where {self.service} is; the last one: {why}")

    def _put_last(self, sentinel: IStreamClientEndpoint) -> None:
        self._sentinels.remove(sentinel)
        self._sentinels.append(sentinel)

    def sentinel(self) -> IStreamClientEndpoint:
        """Return the way to any one sentinel, another one each time it is taken."""
        return _Turns(list(self._sentinels))


@implementer(IStreamClientEndpoint)
class _Turns:
    """The ways to several hosts, taken in turn."""

    def __init__(self, ways: list[IStreamClientEndpoint]) -> None:
        self._ways = ways

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect to the next one."""
        self._ways.append(self._ways.pop(0))
        return self._ways[-1].connect(protocolFactory)


class SentinelLink(Link):
    """A link that goes to another Redis as soon as the sentinels say so.

    :param settings: as of :class:`Link`.
    """

    def __init__(
        self, clock: IReactorTime, master: Master, sentinel_login: Login, login: Login, **settings: Any
    ) -> None:
        super().__init__(clock, master, login, **settings)
        self._master = master
        self._scout = Ear(
            clock,
            master.sentinel(),
            sentinel_login,
            changed=self._look,
            lonely=lambda: True,  # a sentinel that is away is no news while the master is known
            ledger=self._ledger,
        )
        self._scout.listen("+switch-master", self._switched)

    def start(self) -> None:
        """Connect, and from now on stay connected."""
        super().start()
        self._scout.start()

    def close(self) -> Deferred[None]:
        """Disconnect and stay so; fires when all connections are gone."""
        scout = self._scout.close()
        return super().close().addCallback(lambda _: scout)

    def _switched(self, message: bytes) -> None:
        """Go to the new master: the message is its service, old host and port, new host and port."""
        words = message.decode("utf-8", "replace").split(" ")
        if len(words) == 5 and words[0] == self._master.service:
            self.again(Gone("switched", "the sentinels have chosen another master"))

    def _look(self) -> None:
        """See whether the master is still the same, after a time in which no sentinel could tell us."""
        if self._scout.hearing:
            Deferred.fromCoroutine(self._master.find()).addCallbacks(self._compare, lambda _: None)

    def _compare(self, found: tuple[str, int]) -> None:
        if self._master.last not in (None, found):
            self.again(Gone("switched", "the sentinels have chosen another master"))


def _sound(host: bytes, port: bytes) -> bool:
    return 0 < len(host) < 256 and host.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536
