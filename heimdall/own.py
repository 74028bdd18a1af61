"""The user's own policies and sources, made from the dotted names that the configuration gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.interfaces import IReactorTime, IResolver
from twisted.python.reflect import namedAny

from heimdall.bridge import ResolverSource
from heimdall.interfaces import IPolicy, ISource
from heimdall.message.passed import Changes

if TYPE_CHECKING:
    from heimdall.admit.policy import ClientPolicy, NamePolicy


def gate(name: str, clock: IReactorTime, changes: Changes) -> NamePolicy | ClientPolicy:
    """Return a policy as a gate.

    :param changes: notes where policies change their minds.
    :raises ValueError: it is none; the text names it and says why.
    """
    # Most nodes have none.
    from heimdall.admit.policy import policy

    return policy(name, _own(name, IPolicy, _call(name)), clock, changes)


def source(name: str, clock: IReactorTime, deadline: float) -> ISource:
    """Return a source: an ISource, or any resolver of twisted.names.

    :param deadline: seconds that a resolver has for a question.
    :raises ValueError: it is none; the text names it.
    """
    made = _call(name)
    if IResolver.providedBy(made):
        return ResolverSource(made, clock, deadline=deadline)
    return cast(ISource, _own(name, ISource, made))


def _own(name: str, seam: Any, made: object) -> object:
    if not seam.providedBy(made):
        raise ValueError(f"{name} returned {made!r}, which provides no {seam.__name__}")
    return made


def _call(name: str) -> object:
    factory: Callable[[], object] = namedAny(name)
    if not callable(factory):
        raise ValueError(f"{name} is not callable")
    try:
        return factory()
    except (ValueError, OSError) as error:
        raise ValueError(f"{name} cannot be made: {error}") from error
    except SystemExit as end:
        raise ValueError(f"{name} cannot be made: it calls sys.exit({end.code!r})") from None
    except Exception as error:  # whatever the user's own code raises
        error.add_note(f"It was called without arguments, as the configuration names it: {name}")
        raise
