"""One command over a connection of its own."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from heimdall.redislink.gone import Gone
from heimdall.redislink.greeting import Login
from heimdall.redislink.wire import Only, Wire


def errand(
    clock: IReactorTime, endpoint: IStreamClientEndpoint, login: Login, seconds: float, *command: bytes | str | int
) -> Deferred[object]:
    """Connect, run one command, and leave.

    :param seconds: for all of it.
    :return: fires with the reply, or fails with whatever went wrong; :meth:`Gone.of` knows what it was.
    """

    async def run() -> object:
        wire = Wire(clock.seconds, lambda _: None)
        await endpoint.connect(Only(wire))
        try:
            await login.greet(wire, database=False)
            return await wire.send(*command)
        finally:
            wire.abort(Gone("closed", "done"))

    return Deferred.fromCoroutine(run()).addTimeout(seconds, clock)
