"""What the parent and a worker say to each other: questions with replies, and words without, over a pair of sockets."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred, TimeoutError, fail
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from heimdall.bugs import reporter
from heimdall.interfaces import Unanswered
from heimdall.tally import Count

MOST_ASKED: Final = 1000
"""Questions under way at once."""

MOST_BYTES: Final = 64 << 20
"""Bytes of one message: a configuration may list many names."""

Verb = Callable[[Any], Awaitable[Any]]
"""Does what the other end asks for; what comes of it, and what it is called with, is JSON."""


class Refused(Unanswered):
    """The other end says that it cannot."""


@implementer(IPushProducer)
class Channel(Int32StringReceiver):
    """One end. A message is JSON: what is asked, with a number, or the reply to that number.

    :param verbs: what the other end may ask for.
    :param gone: called when there is no other end any more.
    """

    transport: Any
    MAX_LENGTH = MOST_BYTES
    _log = Logger()

    def __init__(self, clock: IReactorTime, verbs: Mapping[str, Verb], gone: Callable[[], object]) -> None:
        self._clock, self._verbs, self._gone = clock, verbs, gone
        self._asked: dict[int, Deferred[Any]] = {}
        self._number = 0
        self._open = False
        self._full = False
        self.unsaid = Count("heimdall_workers_unsaid_total", "Lines for the log that the parent had no time to take.")

    def connectionMade(self) -> None:
        """Watch how much the other end leaves unread."""
        self._open = True
        self.transport.registerProducer(self, True)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail what is under way."""
        self._open = False
        asked, self._asked = self._asked, {}
        for waiter in asked.values():
            waiter.errback(Unanswered("it is gone"))
        self._gone()

    @property
    def open(self) -> bool:
        """Whether there is another end."""
        return self._open

    def ask(self, verb: str, what: Any = None, within: float = 1.0) -> Deferred[Any]:
        """Ask the other end for something.

        :param within: seconds that it may take.
        :return: fires with the reply, or fails with :class:`Unanswered`.
        """
        if not self._open or len(self._asked) >= MOST_ASKED:
            return fail(Unanswered("it is gone" if not self._open else "too much is asked of it already"))
        self._number += 1
        number = self._number
        waiter: Deferred[Any] = Deferred()
        # First: what is no JSON is not waited for.
        self._send({"ask": verb, "what": what, "number": number})
        self._asked[number] = waiter
        waiter.addTimeout(within, self._clock)
        return waiter.addErrback(self._unanswered, number)

    def tell(self, verb: str, what: Any = None) -> None:
        """Say something; left out where the other end does not listen."""
        if self._open and not self._full:
            self._send({"ask": verb, "what": what, "number": 0})
        else:
            self.unsaid.add()

    def close(self) -> None:
        """Say nothing more, once all is said."""
        if self._open:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def stringReceived(self, string: bytes) -> None:
        """Take a message: a question, or a reply."""
        message = json.loads(string)
        number = message["number"]
        if "ask" in message:
            verb = self._verbs[message["ask"]]
            doing = Deferred.fromCoroutine(_done(verb, message["what"]))
            # A reply that is no JSON is refused as well.
            doing.addCallback(self._reply, number).addErrback(self._refuse, number)
            return
        waiter = self._asked.pop(number, None)
        if waiter is None:
            return  # too late
        if "refused" in message:
            waiter.errback(Refused(message["refused"]))
        else:
            waiter.callback(message["reply"])

    def lengthLimitExceeded(self, length: int) -> None:
        """Give the other end up: it is not one of us."""
        self.transport.abortConnection()

    # The transport tells whether the other end listens.

    def pauseProducing(self) -> None:
        """Hold words back from now on; replies are owed."""
        self._full = True

    def resumeProducing(self) -> None:
        """Go on."""
        self._full = False

    def stopProducing(self) -> None:
        """Nothing: the end is told by another way."""

    def _send(self, message: Mapping[str, Any]) -> None:
        self.sendString(json.dumps(message).encode())  # type: ignore[no-untyped-call]

    def _reply(self, reply: Any, number: int) -> None:
        if number and self._open:
            self._send({"reply": reply, "number": number})

    def _refuse(self, failure: Failure, number: int) -> None:
        if not failure.check(ValueError, OSError):
            reporter(self._clock).report(self._log, "a word from another process could not be heeded", failure)
        if number and self._open:
            self._send({"refused": failure.getErrorMessage(), "number": number})

    def _unanswered(self, failure: Failure, number: int) -> None:
        self._asked.pop(number, None)
        if failure.check(TimeoutError):
            raise Unanswered("it does not reply in time")
        failure.raiseException()


async def _done(verb: Verb, what: Any) -> Any:
    return await verb(what)
