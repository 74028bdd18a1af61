"""What nodes tell each other through Redis: to one node by its token, or to all."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from heimdall.bugs import reporter
from heimdall.interfaces import ILink, INotices, LinkDown
from heimdall.tally import Count, Tally

TOKEN: Final = 8
"""Bytes of a token."""

MOST: Final = 65535 + 4096
"""Bytes of a payload: the largest answer, with its key and what is said of it."""

_HEAD: Final = 1 + TOKEN


@implementer(INotices)
class Notices:
    """The notices of one node. On the channel: kind (one byte), token of the sender, payload.

    :param prefix: what our channels begin with.
    """

    def __init__(self, link: ILink, clock: IReactorTime, *, prefix: str = "heimdall") -> None:
        self.token = secrets.token_bytes(TOKEN)
        self._link, self._prefix, self._bugs = link, prefix, reporter(clock)
        self._hearers: dict[bytes, list[Callable[[bytes, bytes], None]]] = {}
        self._log = Logger()
        self._told = Count("heimdall_peers_notices_told_total", "Notices told, by what came of them.", "result")
        self._heard = Count("heimdall_peers_notices_heard_total", "Notices heard, by what came of them.", "result")
        self.tallies: list[Tally] = [self._told, self._heard]
        for token in (None, self.token):
            link.listen(self.channel(token), self._take)

    @property
    def hearing(self) -> bool:
        """Whether notices reach us now."""
        return self._link.hearing

    def on(self, kind: bytes, heard: Callable[[bytes, bytes], None]) -> None:
        """Call ``heard`` with the sender's token and the payload of each notice of a kind.

        :param kind: one byte.
        """
        self._hearers.setdefault(kind, []).append(heard)

    def tell(self, kind: bytes, payload: bytes, to: bytes | None = None) -> None:
        """Tell one node, by its token, or all; not waited for, and lost where Redis is away."""
        if len(payload) > MOST:
            self._told.add("large")
            return
        telling = self._link.run("PUBLISH", self.channel(to), kind + self.token + payload)
        telling.addCallbacks(lambda _: self._told.add("sent"), self._failed)

    def channel(self, token: bytes | None) -> str:
        """Return the channel that a node listens on, or that of all."""
        return f"{self._prefix}:n:{'all' if token is None else token.hex()}"

    def _failed(self, failure: Failure) -> None:
        failure.trap(LinkDown)
        self._told.add("failed")

    def _take(self, message: bytes) -> None:
        kind, sender, payload = message[:1], message[1:_HEAD], message[_HEAD:]
        if sender == self.token:
            self._heard.add("own")
        elif len(message) < _HEAD:
            self._heard.add("short")
        elif len(payload) > MOST:
            self._heard.add("large")
        elif kind not in self._hearers:
            self._heard.add("unknown")
        else:
            self._heard.add("heard")
            for heard in self._hearers[kind]:
                try:
                    heard(sender, payload)
                except Exception as bug:
                    self._heard.add("failed")
                    text = "a notice of kind {kind} could not be dealt with"
                    self._bugs.report(self._log, text, bug, kind=kind.decode("latin-1"))
