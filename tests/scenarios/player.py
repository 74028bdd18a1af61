"""Play a scenario from its first line to its last, and leave nothing behind."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from heimdall.config.faults import Misconfigured
from tests.scenarios.clients import Clients
from tests.scenarios.nodes import Nodes
from tests.scenarios.store import Store
from tests.scenarios.story import Line, Sentence, Unplayable, Untrue, read, sentences
from tests.scenarios.upstreams import Upstreams


class Player:
    """Everybody who takes part in one scenario.

    :param reactor: has a :class:`tests.virtual_time.VirtualTime`.
    :param folder: an empty folder for their files.
    """

    def __init__(self, reactor: Any, folder: Path) -> None:
        self.upstreams = Upstreams(reactor)
        self.store = Store(reactor)
        self.nodes = Nodes(reactor, self.upstreams, self.store, folder)
        self.clients = Clients(reactor, self.nodes)

    def sentences(self) -> list[Sentence]:
        """Return all that can be said."""
        return sentences(self.upstreams, self.store, self.nodes, self.clients)

    def play(self, path: Path) -> Deferred[None]:
        """Play a scenario. Fires when everything is closed.

        :raises Unplayable: a line says nothing that can be played.
        :raises Untrue: something came out otherwise; the text names file and line.
        """
        return Deferred.fromCoroutine(self._play(path))

    async def _play(self, path: Path) -> None:
        meanwhile: list[Deferred[None]] = []
        try:
            for line in read(path, self.sentences()):
                if line.meanwhile:
                    meanwhile.append(Deferred.fromCoroutine(self._act(line)))
                else:
                    await self._act(line)
            for act in meanwhile:
                await act
        finally:
            for act in meanwhile:
                act.addErrback(lambda _: None)  # of two faults, the first is told
                act.cancel()
            try:
                await self.nodes.end()
                await self.upstreams.end()
            finally:
                self.store.end()

    async def _act(self, line: Line) -> None:
        try:
            done = line.method(**line.values)
            if inspect.isawaitable(done):
                await done
        except Untrue as error:
            raise Untrue(f"{line.where}: {line.text}\n  {error}") from None
        except (Misconfigured, ValueError) as error:
            raise Unplayable(f"{line.where}: {line.text}\n  {error}") from error
