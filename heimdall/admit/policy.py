"""A policy of a user's own as one of our gates: where it stands, what it is shown, what its words mean."""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable, Iterable, Iterator
from math import inf, isnan
from types import CodeType
from typing import Any, ClassVar, Final, NoReturn

from twisted.internet.interfaces import IReactorTime
from zope.interface import alsoProvides, implementer

from heimdall.interfaces import Drop, IAddressGate, IClientGate, IGate, Pass
from heimdall.message.answer import Answer
from heimdall.message.passed import Changes, anybodys, terms
from heimdall.message.query import Client, Query
from heimdall.tally import Tally

NAME: Final = "name"
CLIENT: Final = "client"
WORDS: Final = (NAME, CLIENT)
"""What a policy may say that its verdict depends on."""

ASKERS: Final = frozenset(("client", "stream", "subnet", "wire", "size", "edns", "flags"))
"""What of a query tells who asks, and how: no part of the key of an answer."""

_UNSEEN: Final = (
    "a policy that judges by the name is not shown who asks, since its verdict holds for all: "
    'one with depends = {"name", "client"} is, for each query'
)


class _Unseen(tuple[str, int]):
    """Stands in the place of a client's address, for who must not look at it. It holds nothing to look at."""

    __slots__ = ()

    def _refuse(self, *_: object) -> NoReturn:
        raise RuntimeError(_UNSEEN)

    __getitem__ = __iter__ = __len__ = __contains__ = __eq__ = __ne__ = __hash__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = __add__ = __mul__ = __rmul__ = count = index = _refuse

    def __repr__(self) -> str:
        return "<not shown>"


UNSEEN: Final = _Unseen(("", 0))


class Policy:
    """A policy.

    :param name: what the configuration calls it.
    :param changes: notes where policies change their minds.
    :cvar by_client: whether its verdict depends on the client: then it stands before memory.
    """

    by_client: ClassVar[bool] = False

    def __init__(self, name: str, own: Any, clock: IReactorTime, changes: Changes) -> None:
        self.name, self.own = name, own
        self.title = type(own).__name__
        self._judge: Callable[[Query], object] = own.judge
        self._seconds, self._changes = clock.seconds, changes

    @property
    def tallies(self) -> list[Tally]:
        """What it counts."""
        return list(getattr(self.own, "tallies", ()))

    def _noted(self, error: Exception) -> Exception:
        """Return an error with a note that it is from this policy: the log knows only of a query otherwise."""
        note = f"it arose in the policy {self.name}"
        if note not in getattr(error, "__notes__", ()):  # a policy may raise the same one each time
            error.add_note(note)
        return error

    def _verdict(self, query: Query) -> object:
        """Return what it says, whatever that is; an error is noted to be its own.

        An exit of the program is an error as well: it would stop the socket, not the program.
        """
        try:
            return self._judge(query)
        except SystemExit as end:
            raise self._noted(RuntimeError(f"it calls sys.exit({end.code!r})")) from end
        except Exception as error:
            self._noted(error)
            raise

    def _wrong(self, verdict: object) -> NoReturn:
        raise TypeError(f"{self.name} returned {verdict!r}, which is no verdict: None, Pass, DROP or an Answer is one")


@implementer(IGate)
class NamePolicy(Policy):
    """One that judges by the name: asked when memory does not know, about what the key of a question tells of it."""

    def judge(self, query: Query) -> Answer | Drop | None:
        """Return what it says of a question; note on what terms it lets that pass."""
        number = self._changes.number  # before: it may change its mind while it judges
        verdict = self._verdict(anybodys(query, UNSEEN))
        if verdict is None:
            self._pass(inf, number, query)
        elif isinstance(verdict, Pass):
            if isnan(verdict.seconds):
                self._wrong(verdict.seconds)
            self._pass(max(verdict.seconds, 0.0), number, query)
        elif isinstance(verdict, Answer | Drop):
            return verdict
        else:
            self._wrong(verdict)
        return None

    def _pass(self, seconds: float, number: int, query: Query) -> None:
        passed = terms(query)
        if seconds < inf:
            passed.until = min(passed.until, self._seconds() + seconds)
        if passed.changes is None:
            passed.changes, passed.number = self._changes, number


@implementer(IGate)
class ClientPolicy(Policy):
    """One that judges by the client as well: asked about each query, before memory."""

    by_client = True
    admit: Callable[[Client, int], bool]
    """Its own, where it has one: see :class:`~heimdall.interfaces.IClientGate`."""

    def judge(self, query: Query) -> Answer | Drop | None:
        """Return what it says of a query. What is asked about another is no part of it."""
        shown = query.again(0.0)  # it may keep that; the next message may be read into ours
        verdict = self._verdict(shown)
        if isinstance(verdict, Answer | Drop):
            return verdict
        if verdict is not None and not isinstance(verdict, Pass):
            self._wrong(verdict)
        return None


def policy(name: str, own: Any, clock: IReactorTime, changes: Changes) -> NamePolicy | ClientPolicy:
    """Return the gate for a policy of a user's own; the arguments are those of :class:`Policy`.

    :raises ValueError: it does not say what its verdict depends on, or looks at more than it says.
    """
    if not callable(getattr(own, "judge", None)):
        raise ValueError(f"{name} has no judge to call")
    if not _depends_on_client(name, own):
        looks = next(_looked_at(own.judge), None)
        if looks is not None:
            raise ValueError(
                f"{name} looks at query.{looks}, but stands behind memory, where its verdict on one client would hold "
                f'for all: give it depends = {{"name", "client"}}, so that it is asked about each query, before '
                f"memory, or let it judge by the name alone"
            )
        return NamePolicy(name, own, clock, changes)
    gate = ClientPolicy(name, own, clock, changes)
    for interface in (IAddressGate, IClientGate):
        if interface.providedBy(own):
            gate.admit = own.admit
            alsoProvides(gate, interface)
            break
    return gate


def _depends_on_client(name: str, own: Any) -> bool:
    """Return whether a policy says that its verdict depends on the client."""
    said = getattr(own, "depends", None)
    if said is None:
        return IClientGate.providedBy(own)
    words = [said] if isinstance(said, str) or not isinstance(said, Iterable) else list(said)
    wrong = [repr(word) for word in words if word not in WORDS]
    if wrong or not words:
        what = wrong[0] if wrong else "nothing"
        raise ValueError(f"{name} depends on {what}: a verdict depends on {' or '.join(map(repr, WORDS))}, or both")
    if CLIENT not in words and IClientGate.providedBy(own):
        raise ValueError(f"{name} admits clients, and says that its verdict does not depend on them")
    return CLIENT in words


def _looked_at(judge: Any) -> Iterator[str]:
    """Yield what a policy reads of its query that tells who asks, as far as its code shows that at once."""
    function = inspect.unwrap(getattr(judge, "__func__", judge))
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return
    bound = inspect.ismethod(judge)
    if code.co_argcount <= bound:
        return
    yield from _read(code, code.co_varnames[bound])


def _read(code: CodeType, query: str) -> Iterator[str]:
    last: object = None
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_ATTR", "LOAD_METHOD") and last == query and step.argval in ASKERS:
            yield step.argval
        loads = step.opname.startswith(("LOAD_FAST", "LOAD_DEREF"))
        last = (step.argval[-1] if isinstance(step.argval, tuple) else step.argval) if loads else None
    for inner in code.co_consts:
        if isinstance(inner, CodeType) and query in inner.co_freevars:
            yield from _read(inner, query)
