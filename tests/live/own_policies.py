"""Policies for nodes in processes of their own: they heed a folder, and note there what happens to them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from heimdall.interfaces import IPolicy
from heimdall.message.answer import Answer, make
from heimdall.message.query import REFUSED, Query
from heimdall.message.wire import from_text, suffixes

FOLDER = "POLICIES_FOLDER"


def folder() -> Path:
    """Return the folder that policies heed."""
    return Path(os.environ[FOLDER])


@implementer(IPolicy)
class Refuses:
    """Refuses the names in the file ``refused``, each with all below it; looks at it twenty times a second.

    Where the file ``changed`` is there, the first policy that takes it away says what stands in it has changed: names,
    or nothing for all. Each notes in ``notes`` when it starts, ticks and stops.
    """

    def __init__(self) -> None:
        self.refused: set[bytes] = set()
        self.loop = LoopingCall(self.look)
        self.host: Any = None

    def note(self, what: str) -> None:
        with (folder() / "notes").open("a") as notes:
            notes.write(f"{os.getpid()}.{id(self)} {what}\n")

    def start(self, host: Any) -> None:
        self.host = host
        self.note("starts")
        self.loop.clock = host.reactor
        self.loop.start(0.05)

    def look(self) -> None:
        self.note("ticks")
        self.refused = set(map(from_text, (folder() / "refused").read_text().split()))
        taken = folder() / f"taken.{os.getpid()}"
        try:
            (folder() / "changed").rename(taken)
        except OSError:
            return
        self.host.changed(taken.read_text().split() or None)
        self.note("changed")

    def stop(self) -> None:
        self.loop.stop()
        self.note("stops")

    def judge(self, query: Query) -> Answer | None:
        if self.refused.isdisjoint(suffixes(query.name)):
            return None
        return make(query, REFUSED, "blocked")


class Waits(Refuses):
    """One that is ready once the file ``ready`` is there, and refuses nothing before."""

    def start(self, host: Any) -> Deferred[None]:  # type: ignore[override]
        self.host = host
        self.note("starts")
        self.loop.clock = host.reactor
        self.ready: Deferred[None] = Deferred()
        self.loop.start(0.05)
        return self.ready

    def look(self) -> None:
        if not self.ready.called and (folder() / "ready").exists():
            super().look()
            self.ready.callback(None)


class Raises(Refuses):
    """One that cannot start."""

    def start(self, host: Any) -> None:
        raise OSError("its list is not there")


class Fails(Refuses):
    """One that finds that out later."""

    def start(self, host: Any) -> Deferred[None]:  # type: ignore[override]
        waiting: Deferred[None] = Deferred()
        host.reactor.callLater(0.1, lambda: fail(OSError("its list is not there")).chainDeferred(waiting))
        return waiting


class Looks(Refuses):
    """One that looks at who asks, and does not say so."""

    def judge(self, query: Query) -> Answer | None:
        return make(query, REFUSED, "blocked") if query.client[0] == "127.0.0.2" else None
