"""The first words on a connection: who we are, whether Redis will answer, and what time it is there."""

from __future__ import annotations

from typing import NoReturn, cast

from twisted.internet.defer import FirstError, gatherResults
from twisted.python.failure import Failure

from heimdall.interfaces import LinkDown
from heimdall.redislink.gone import Gone
from heimdall.redislink.wire import Wire


async def greet(wire: Wire, user: str, password: str, database: int) -> None:
    """Log in, choose the database, and see that Redis answers.

    :param user: empty for the default user; without a password nobody logs in.
    :raises Gone: the password was refused.
    :raises LinkDown: something else was.
    """
    sent = []
    if password:
        sent.append(wire.send("AUTH", *([user] if user else []), password).addErrback(_refused))
    if database:
        sent.append(wire.send("SELECT", database))
    sent.append(wire.send("PING"))
    wire.send("CLIENT", "SETNAME", "heimdall").addErrback(lambda _: None)  # a courtesy: not every user may
    try:
        await gatherResults(sent, consumeErrors=True)
    except FirstError as error:
        raise cast(Exception, error.subFailure.value) from None


async def read_time(wire: Wire) -> float:
    """Return the time on Redis's clock, in seconds since 1970.

    :raises LinkDown: it was not told.
    """
    match await wire.send("TIME"):
        case [bytes(seconds), bytes(micros)] if seconds.isdigit() and micros.isdigit() and len(seconds + micros) < 19:
            return int(seconds) + int(micros) / 1e6
    raise LinkDown("TIME was answered with rubbish")


def _refused(failure: Failure) -> NoReturn:
    failure.trap(LinkDown)
    # Not in Redis's own words: some repeat the command, with the password in it.
    raise Gone("password", "the user or the password was refused")
