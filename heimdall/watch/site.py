"""HTTP that a hostile client cannot hold up: one short request a connection, and every one of them ends."""

from __future__ import annotations

from collections.abc import Collection

from twisted.internet.interfaces import IReactorTime, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http import Request as BaseRequest
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource
from twisted.web.server import Site

from heimdall.tally import Count, Gauge, Tally

PATIENCE = 30.0
"""Seconds to send a whole request, and again to read the whole reply."""

MOST_BODY = 99_999
"""Bytes of a body, where one is taken: Twisted keeps so many in memory, and more in a file."""

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    b"require-trusted-types-for 'script'; trusted-types 'none'"
)
"""What a page of ours may do in a browser: show our own files and ask us, and make no HTML out of a text."""

MOST_CONNECTIONS = 100
"""Connections at once; one more, and the oldest is closed."""


class Channel(HTTPChannel):
    """One connection that carries one request, with a body only where the site takes one."""

    MAX_LENGTH = 4096
    maxHeaders = 64
    totalHeadersSize = 8192

    site: Guarded
    _taking = False
    transport: ITCPTransport

    def connectionMade(self) -> None:
        """Start the clock on the client."""
        super().connectionMade()
        self.site.opened(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Give the place up."""
        super().connectionLost(reason)
        self.site.closed(self)

    def resetTimeout(self) -> None:
        """Leave the clock as it is: who sends a byte now and then gets no more time."""

    def checkPersistence(self, request: BaseRequest, version: bytes) -> bool:
        """Close after each reply: a queue of requests, each for a long page, would fill our memory."""
        request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        return False

    def allHeadersReceived(self) -> None:
        """Refuse a request that announces a body, unless the page takes one of that size."""
        path: bytes = self._path
        self._taking = path.partition(b"?")[0] in self.site.bodies and 0 < (self.length or 0) <= MOST_BODY
        if self.length == 0 or self._taking:
            super().allHeadersReceived()
        else:
            self.refuse(413, b"Content Too Large")

    def rawDataReceived(self, data: bytes) -> None:
        """Take a body; throw away what follows the request."""
        if self._taking:
            super().rawDataReceived(data)

    def allContentReceived(self) -> None:
        """Take no more."""
        self._taking = False
        super().allContentReceived()

    def requestDone(self, request: BaseRequest) -> None:
        """Give the client time to read, and no more."""
        super().requestDone(request)
        self.setTimeout(PATIENCE)

    def timeoutConnection(self) -> None:
        """Close without waiting any longer."""
        self.site.late.add()
        self.abort()

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        """Send the headers that every reply has, and not who made us."""
        headers.removeHeader(b"Server")
        headers.setRawHeaders(b"Cache-Control", [b"no-store"])
        headers.setRawHeaders(b"X-Content-Type-Options", [b"nosniff"])
        headers.setRawHeaders(b"Content-Security-Policy", [POLICY])
        headers.setRawHeaders(b"Cross-Origin-Opener-Policy", [b"same-origin"])
        headers.setRawHeaders(b"Cross-Origin-Resource-Policy", [b"same-origin"])
        headers.setRawHeaders(b"Referrer-Policy", [b"no-referrer"])
        super().writeHeaders(version, code, reason, headers)

    def refuse(self, status: int, reason: bytes) -> None:
        """End a connection whose request is not read to its end."""
        self.site.requests.add(str(status))
        self.transport.write(b"HTTP/1.1 %d %b\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" % (status, reason))
        self.loseConnection()

    def abort(self) -> None:
        """Close at once, whatever is still to be sent."""
        self.transport.abortConnection()

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a line that does not end."""
        self.refuse(400, b"Bad Request")

    def _respondToBadRequestAndDisconnect(self) -> None:
        # Twisted calls this for whatever it cannot parse; ours counts it as well.
        self.refuse(400, b"Bad Request")


class Guarded(Site):
    """A site whose connections are few and short.

    :param clock: the reactor's time.
    """

    noisy = False
    protocol = Channel  # type: ignore[assignment]  # the base class names its own proxy here

    def logPrefix(self) -> str:
        """Return what the reactor calls us in its log."""
        return "HTTP"

    def __init__(self, resource: IResource, clock: IReactorTime) -> None:
        super().__init__(resource, timeout=PATIENCE, reactor=clock, parsePOSTFormSubmission=False)
        self.requests = Count("heimdall_watch_requests_total", "HTTP requests answered, by status.", "status")
        self.late = Count("heimdall_watch_timeouts_total", "HTTP connections closed because the client was too slow.")
        self.evicted = Count("heimdall_watch_evictions_total", "HTTP connections closed to make room for a new one.")
        self.bodies: Collection[bytes] = ()
        """The paths whose requests may have a body."""
        # The oldest first.
        self.channels: dict[Channel, None] = {}
        self.tallies: list[Tally] = [
            self.requests,
            self.late,
            self.evicted,
            Gauge("heimdall_watch_http_connections", "HTTP connections now.", lambda: len(self.channels)),
        ]

    def startFactory(self) -> None:
        """Write no access log, and so keep no clock for one."""

    def stopFactory(self) -> None:
        """Leave nothing to stop."""

    def log(self, request: BaseRequest) -> None:
        """Count a reply."""
        self.requests.add(str(request.code))

    def opened(self, channel: Channel) -> None:
        """Take a connection in; past :data:`MOST_CONNECTIONS` the oldest has to go, for it has had its time."""
        self.channels[channel] = None
        if len(self.channels) > MOST_CONNECTIONS:
            oldest = next(iter(self.channels))
            # Out of the list now: its end is told only in a later turn of the reactor.
            del self.channels[oldest]
            self.evicted.add()
            oldest.abort()

    def closed(self, channel: Channel) -> None:
        """Forget a connection."""
        self.channels.pop(channel, None)
