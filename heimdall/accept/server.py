"""The server factory of twisted.names, with the front of the house for its engine."""

from __future__ import annotations

from twisted.internet.interfaces import IAddress
from twisted.names.server import DNSServerFactory

from heimdall.accept.crowd import Crowd
from heimdall.accept.front import Front
from heimdall.accept.stream import Stream


class Server(DNSServerFactory):
    """Serves connections; what serves datagrams is given the front itself.

    :param front: takes the messages.
    :param streams: what TCP connections may do.
    """

    noisy = False

    def __init__(self, front: Front, streams: Crowd) -> None:
        DNSServerFactory.__init__(self)
        self.front = front
        self.take = front.take
        self.streams = streams

    def logPrefix(self) -> str:
        """Return what the reactor calls us in its log."""
        return "DNS over TCP"

    def buildProtocol(self, addr: IAddress | None) -> Stream:
        """Return the protocol of a new TCP connection."""
        return Stream(self)
