"""The first words on a connection: who we are, whether Redis will answer, and what time it is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from attrs import frozen
from twisted.internet.defer import gatherResults
from twisted.python.failure import Failure

from heimdall.interfaces import LinkDown
from heimdall.redislink.gone import Gone, reasoned
from heimdall.redislink.wire import Wire


@frozen
class Login:
    """Who we are there.

    :param user: empty for the default user.
    :param password: called at each connect; without a password nobody logs in. May raise OSError or ValueError.
    :param database: the number of the database to use.
    :param master: whether none but a master will do.
    """

    user: str = ""
    password: Callable[[], str] = str
    database: int = 0
    master: bool = False

    async def greet(self, wire: Wire, *, database: bool = True) -> None:
        """Log in, choose the database, and see that Redis answers.

        :param database: False where no key will be asked for.
        :raises Gone: the password was refused or cannot be read, or it is no master.
        :raises LinkDown: something else was refused.
        """
        try:
            password = self.password()
        except (OSError, ValueError) as error:
            raise Gone("password_file", f"the password file cannot be read: {type(error).__name__}") from None
        sent = []
        if password:
            sent.append(wire.send("AUTH", *([self.user] if self.user else []), password).addErrback(_refused))
        if database and self.database:
            sent.append(wire.send("SELECT", self.database))
        sent.append(wire.send("PING").addErrback(_reads))
        wire.send("CLIENT", "SETNAME", "heimdall").addErrback(lambda _: None)  # a courtesy: not every user may
        if self.master:
            sent.append(wire.send("ROLE").addCallback(_see_master))
        try:
            await gatherResults(sent, consumeErrors=True)
        except Exception as error:
            raise reasoned(error) from None


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


def _reads(failure: Failure) -> None:
    """Take a Redis that cannot save its data, and so answers a PING with an error, for one that can be read."""
    if failure.check(LinkDown) is None or not failure.getErrorMessage().startswith("MISCONF"):
        failure.raiseException()


def _see_master(reply: object) -> None:
    match reply:
        case [b"master", *_]:
            return
    raise Gone("role", "it is no master, or no longer")
