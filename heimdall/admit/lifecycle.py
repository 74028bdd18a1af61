"""Start the policies of users before the first query comes, and stop them behind the last one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, DeferredList, FirstError, TimeoutError, gatherResults, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from heimdall.interfaces import IHost
from heimdall.message.passed import Changes
from heimdall.message.wire import Malformed, from_text, skip_name

if TYPE_CHECKING:
    from heimdall.admit.policy import Policy

START: Final = 10.0
"""Seconds that policies have to be ready; past that they are asked all the same."""

STOP: Final = 5.0
"""Seconds that they have to stop."""

MOST_NAMES: Final = 100
"""Names that are judged again by themselves; where there are more, all names are."""

Changed = Callable[[Sequence[bytes] | None], object]
"""Has names judged again: folded wire names, each with all below it; None for all names."""


class CannotStart(ValueError):
    """A policy failed to start; the text names it and says why."""


@implementer(IHost)
class Host:
    """The server, as policies see it.

    :param changed: called where a policy has changed its mind.
    """

    def __init__(self, reactor: Any, changed: Changed) -> None:
        self.reactor = reactor
        self._changed = changed

    def changed(self, names: Iterable[str | bytes] | None = None) -> None:
        """Have names judged again; see :class:`~heimdall.interfaces.IHost`."""
        if isinstance(names, str | bytes):
            names = (names,)
        self._changed(None if names is None else list(dict.fromkeys(map(_wire, names))))


class Lifecycle:
    """The policies of one path, from their start to their end.

    :param changes: notes where they change their minds.
    """

    _log = Logger()

    def __init__(self, policies: Sequence[Policy], reactor: Any, changes: Changes) -> None:
        self._policies, self._reactor, self._changes = policies, reactor, changes
        self.leads = False
        """Whether the queries of clients meet these policies."""
        self.heard: list[Changed] = []
        """Called with the names that one of them wants to be judged again."""
        self._host = Host(reactor, self.changed)
        # Those whose start was called and has not failed, in that order; what that returned; who waits for it.
        self._started: list[Policy] = []
        self._starting: dict[Policy, Deferred[object]] = {}
        self._waiting: list[Deferred[None]] = []
        self._stopped = False

    def changed(self, names: Sequence[bytes] | None) -> None:
        """Have names judged again: what policies said before holds no longer."""
        some = None if names is None or len(names) > MOST_NAMES else names
        self._changes.add(some)
        if self.leads:
            for heard in self.heard:
                heard(some)

    def heed(self, names: Sequence[bytes] | None) -> None:
        """Note that policies of others judge otherwise: what was asked here before is judged again at its end."""
        self._changes.add(names)

    def rest(self) -> None:
        """Be asked no more: what these policies said holds no longer."""
        self.leads = False
        self._changes.add(None)

    def start(self) -> Deferred[None]:
        """Start all; fires when they are ready, or have had the time for it.

        :return: fails with :class:`CannotStart` when one of them did.
        """
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        for policy in self._policies:
            self._started.append(policy)
            start = getattr(policy.own, "start", None)
            if start is not None:
                self._waiting.append(self._begin(policy, start))
        try:
            await gatherResults(self._waiting, consumeErrors=True)
        except FirstError as error:
            error.subFailure.raiseException()

    def _begin(self, policy: Policy, start: Callable[..., object]) -> Deferred[None]:
        """Start a policy; return what fires when it is ready, or has had the time for it."""
        ready: Deferred[None] = Deferred()

        def over(outcome: object) -> None:
            if self._stopped:
                return
            del self._starting[policy]
            why = _said(outcome) if isinstance(outcome, Failure) else ""
            if why:
                self._started.remove(policy)
            if not ready.called:
                if why:
                    ready.errback(CannotStart(f"the policy {policy.name} could not start: {why}"))
                else:
                    ready.callback(None)
            elif why:
                self._log.error("The policy {name} could not start: {why}", name=policy.name, why=why)
            else:
                self._log.info("The policy {name} is ready now", name=policy.name)
                self.changed(None)

        def impatient(*_: object) -> None:
            said = "The policy {name} is not ready after {seconds:g} s; it is asked all the same"
            self._log.warn(said, name=policy.name, seconds=START)

        begun = self._starting[policy] = maybeDeferred(start, *([self._host] if _takes_one(start) else []))
        begun.addBoth(over)
        return ready.addTimeout(START, self._reactor, impatient)

    def stop(self) -> Deferred[None]:
        """Stop all that have started, the last one first. Fires when that is done, or has had the time for it."""
        self._stopped = True
        self.rest()
        for waiter in self._waiting:
            waiter.addErrback(lambda _: None)
            waiter.cancel()
        for begun in self._starting.values():
            begun.cancel()
        started, self._started = self._started, []
        return DeferredList([self._stop(policy) for policy in reversed(started)]).addCallback(lambda _: None)

    def _stop(self, policy: Policy) -> Deferred[object]:
        def failed(failure: Failure) -> None:
            why = f"it takes more than {STOP:g} s" if failure.check(TimeoutError) else _said(failure)
            self._log.error("The policy {name} did not stop: {why}", name=policy.name, why=why)

        stopping: Deferred[object] = maybeDeferred(getattr(policy.own, "stop", lambda: None))
        return stopping.addTimeout(STOP, self._reactor).addErrback(failed)


def _takes_one(start: Callable[..., object]) -> bool:
    """Return whether a policy wants to be given the host when it starts."""
    try:
        inspect.signature(start).bind(None)
    except (TypeError, ValueError):
        return False
    return True


def _wire(name: str | bytes) -> bytes:
    """Return the folded wire name that a policy names.

    :raises ValueError: it is none.
    """
    if isinstance(name, str):
        return from_text(name)
    if not name or skip_name(name, 0) != len(name) or name[-1]:
        raise Malformed(f"{name!r} is no domain name")
    return name.lower()


def _said(failure: Failure) -> str:
    """Return what an error of a user's own code says."""
    return f"{failure.getErrorMessage()} ({failure.type.__name__})" if failure.type else failure.getErrorMessage()
