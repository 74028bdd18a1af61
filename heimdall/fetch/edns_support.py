"""What one server can do with EDNS: learnt from many names, and forgotten soon (RFC 6891, 7)."""

from __future__ import annotations

from typing import ClassVar, Final

from twisted.logger import Logger

NAMES: Final = 5
"""Names in a row that a server answers without EDNS alone, before it is asked without it at once."""

FORGET: Final = 60.0
"""Seconds that a server is asked without EDNS; then it is tried again."""


class EdnsSupport:
    """Whether a server is asked with EDNS.

    One name that fails with EDNS and is answered without it says nothing of others. Several in a row, with no answer
    to a question with EDNS between them, do; and each such server is tried again soon.

    :param server: how operators know it: its address.
    """

    _log: ClassVar = Logger()

    def __init__(self, server: str) -> None:
        self._server = server
        self._names: set[bytes] = set()
        self.plain_until = 0.0
        """Until when it is asked without EDNS: seconds, on one clock."""
        self.lacking = False
        """Whether it was found not to understand EDNS, and nothing since says otherwise."""
        self.suspected = False
        """Whether an answer to a question with EDNS would change what is known."""

    def understood(self) -> None:
        """Note an answer to a question with EDNS."""
        self._names.clear()
        self.plain_until = 0.0
        self.suspected = False
        if self.lacking:
            self.lacking = False
            self._log.info("upstream {server} understands EDNS again", server=self._server)

    def refused(self, name: bytes, now: float) -> None:
        """Note that a name was answered without EDNS alone.

        :param name: the folded wire name.
        """
        self._names.add(name)
        self.suspected = True
        if len(self._names) < NAMES:
            return
        self._names.clear()
        self.plain_until = now + FORGET
        if not self.lacking:
            self.lacking = True
            self._log.warn(
                "upstream {server} does not understand EDNS: it is asked without, so that it gives no signatures; EDNS "
                "is tried again every {seconds} s",
                server=self._server,
                seconds=round(FORGET),
            )
