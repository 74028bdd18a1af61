"""Know which names exist because we answer, or route, a name below them, whatever an upstream says (RFC 8020, 2)."""

from __future__ import annotations

from collections.abc import Container
from itertools import islice
from typing import ClassVar

from zope.interface import classImplements

from heimdall.interfaces import Drop, IGate
from heimdall.message.answer import Answer
from heimdall.message.passed import terms
from heimdall.message.query import Query
from heimdall.message.wire import suffixes


class Existing:
    """Lets every question pass, and notes of some names that they exist.

    Of these an upstream, or a gate behind this one, may know more than we do: what it answers is told. Where it says
    that there is no such name, that becomes the answer that it has nothing of the type: a resolver that asks would else
    conclude that the names below do not exist either.

    :param names: folded wire names.
    :ivar silent: an operator who follows a question is not told of this gate where it had nothing to note.
    """

    silent: ClassVar[bool] = True

    def __init__(self, names: Container[bytes]) -> None:
        self._names = names

    def judge(self, query: Query) -> Answer | Drop | None:
        """Note whether the name exists."""
        if query.name in self._names:
            terms(query).exists = True
        return None


classImplements(Existing, IGate)


def above(name: bytes, names: set[bytes]) -> None:
    """Add the names that stand above one; where such a name is there already, so are those above it."""
    for each in islice(suffixes(name), 1, None):
        if each in names:
            return
        names.add(each)
