"""Send a page that is too long to be held: piece by piece, no faster than it is read."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.logger import Logger
from twisted.web.server import Request
from zope.interface import implementer

from heimdall.bugs import reporter
from heimdall.interfaces import LinkDown

PATIENCE: Final = 30.0
"""Seconds that the client has to read what was sent, each time that it is waited for."""


@implementer(IPushProducer)
class Flow:
    """A page in pieces. Where there is no next piece, as what made them broke, the connection is cut.

    :param kind: the content type.
    :param pieces: makes them.
    :param ended: called once, when no more pieces are made: all were, or it broke, or nobody wants them.
    """

    _log = Logger()

    def __init__(
        self, kind: str, pieces: AsyncGenerator[bytes], clock: IReactorTime, ended: Callable[[], object]
    ) -> None:
        self._kind, self._pieces, self._clock, self._ended = kind, pieces, clock, ended
        self._paused: Deferred[None] | None = None

    def start(self, request: Request) -> Deferred[None]:
        """Send it; fires when that is done, or cannot be done. Never fails."""
        request.setHeader(b"Content-Type", self._kind.encode())
        request.registerProducer(self, True)
        return Deferred.fromCoroutine(self._run(request)).addBoth(self._over)

    def drop(self) -> None:
        """Send none of it: the client left before it began."""
        self._ended()

    def _over(self, result: Any) -> Any:
        self._ended()
        return result

    async def _run(self, request: Request) -> None:
        try:
            async with aclosing(self._pieces) as pieces:
                async for piece in pieces:
                    request.write(piece)
                    if self._paused is not None:
                        await self._paused.addTimeout(PATIENCE, self._clock)
        except CancelledError:  # the client has left
            return
        except TimeoutError:
            self._log.info("A page is not read: its connection is cut")
        except LinkDown as error:
            self._log.warn("A page is cut short: {error}", error=error)
        except Exception as bug:
            reporter(self._clock).report(self._log, "A page of the operator's HTTP broke", bug)
        else:
            request.unregisterProducer()
            request.finish()
            return
        if request.channel is not None:
            transport: Any = request.channel.transport
            transport.abortConnection()

    def pauseProducing(self) -> None:
        """Wait until what was sent is read."""
        if self._paused is None:
            self._paused = Deferred()

    def resumeProducing(self) -> None:
        """Go on."""
        paused, self._paused = self._paused, None
        if paused is not None and not paused.called:
            paused.callback(None)

    def stopProducing(self) -> None:
        """The client has left: whoever waits for it is told by the request."""
