"""Watch the many sockets of one server through one descriptor of the reactor, which has work enough with each."""

from __future__ import annotations

import select
from typing import ClassVar, Final

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import classImplements

from heimdall.bugs import BugReporter
from heimdall.fetch.port import Flight, Outcome, Port

EVENTS: Final = 32
"""Sockets that are read before the reactor gets its turn again."""

_LOST: Final = Failure(ConnectionLost())


class Poll:
    """An epoll of its own, within that of the reactor (epoll(7)); it is there while it watches a socket."""

    _log: ClassVar = Logger()

    def __init__(self, reactor: IReactorFDSet, bugs: BugReporter) -> None:
        self._reactor, self._bugs = reactor, bugs
        self._readers: dict[int, Port] = {}
        self._epoll: select.epoll | None = None
        self._fd = -1

    def addReader(self, reader: Port) -> None:
        """Read a socket whenever something has come."""
        if self._epoll is None:
            self._epoll = select.epoll()
            self._fd = self._epoll.fileno()
            self._reactor.addReader(self)
        self._epoll.register(reader.fileno(), select.EPOLLIN)
        self._readers[reader.fileno()] = reader

    def removeReader(self, reader: Port) -> None:
        """Read a socket no more. It must still be open."""
        if self._epoll is not None and self._readers.pop(reader.fileno(), None) is not None:
            self._epoll.unregister(reader.fileno())
            if not self._readers:
                self._reactor.removeReader(self)
                self._epoll.close()
                self._epoll = None

    def fileno(self) -> int:
        """Return the descriptor, also once it is closed: the reactor compares it again after a read."""
        return self._fd

    def logPrefix(self) -> str:
        """Return what the reactor calls this descriptor in its log."""
        return "heimdall.fetch"

    def doRead(self) -> None:
        """Read the sockets that have something, then tell who waits: one way at a time goes faster.

        A bug in reading one of them ends that one; one behind an answer costs that answer.
        """
        if self._epoll is None:
            return
        landed: list[tuple[Flight, Outcome]] = []
        for fd, event in self._epoll.poll(0, EVENTS):
            reader = self._readers.get(fd)
            if reader is None:
                continue  # what was read before it has ended it
            try:
                if event & select.EPOLLIN:
                    landed += reader.read()
                else:
                    reader.connectionLost(_LOST)
            except Exception as bug:
                self._bugs.report(self._log, "a bug in reading a reply of an upstream", bug)
                reader.connectionLost(Failure())
        for flight, outcome in landed:
            try:
                flight.land(outcome)
            except Exception as bug:
                self._bugs.report(self._log, "a bug behind a reply of an upstream", bug)

    def connectionLost(self, reason: Failure) -> None:
        """Tell every socket: the reactor stops, or found the descriptor in error."""
        for reader in list(self._readers.values()):
            reader.connectionLost(reason)


classImplements(Poll, IReadDescriptor)
