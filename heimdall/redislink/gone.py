"""Why there is no connection to Redis, in a few words, and what a person can do about it."""

from __future__ import annotations

import os
from typing import Final

from twisted.internet.defer import FirstError
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.error import ConnectError, DNSLookupError, UnknownHostError, UserError

from heimdall.interfaces import LinkDown

REMEDIES: Final = {
    "busy": "SCRIPT KILL or FUNCTION KILL there ends the script that runs for too long",
    "clients": "raise maxclients there, or find out who keeps so many connections",
    "closed": "",
    "cluster": "see what CLUSTER INFO says there; is it a Redis Cluster?",
    "database": "correct the number of the database",
    "loading": "none is needed: Redis is reading its data",
    "masterdown": "none is needed while Redis fails over; else start its master",
    "lost": "look into the log of Redis; is TLS used at both ends, or at neither?",
    "name": "correct the host name, or the DNS it is looked up in (not this server)",
    "other": "look into the log of Redis",
    "password": "correct the user, the password or the password file",
    "password_file": "make the password file readable for this user",
    "permission": "give this user the commands, keys and channels that docs/redis.md lists",
    "protocol": "is it Redis that listens there?",
    "readonly": "none is needed where Redis fails over; else it is a replica that we were sent to",
    "refused": "start Redis, or correct its address",
    "role": "none is needed while Redis fails over",
    "sentinel": "start the sentinels, or correct their addresses and the name of the service",
    "silent": "Redis hangs, or the network drops its packets",
    "switched": "none is needed",
    "timeout": "Redis hangs, or a firewall drops its packets",
    "tls": "check the certificate, its host name, and what we trust: redis.ca_file, or the system's certificates",
}
"""Why there is no connection, and what a person can do about it."""

_AT_SOCKET: Final = {"lost": REMEDIES["other"], "silent": "Redis hangs", "timeout": "Redis hangs"}
"""The same at a Unix socket, where neither a network nor TLS can be at fault."""

_BY_WORD: Final = {
    "BUSY": "busy",
    "DENIED": "password",
    "LOADING": "loading",
    "MASTERDOWN": "masterdown",
    "NOAUTH": "password",
    "NOPERM": "permission",
    "WRONGPASS": "password",
}

_BY_PART: Final = {"DB index": "database", "cluster support disabled": "cluster", "max number of clients": "clients"}


class Gone(Exception):
    """There is no connection: ``reason`` is one of :data:`REMEDIES`, the text says more."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason

    def advice(self, at: str) -> str:
        """Return why, and what a person can do about it.

        :param at: the address, as it is logged.
        """
        remedy = _AT_SOCKET.get(self.reason) if at.startswith("unix:") else None
        return "; ".join(filter(None, (str(self), remedy or REMEDIES[self.reason])))

    @classmethod
    def of(cls, error: BaseException) -> Gone:
        """Return what an error of the transport, or an error reply, means for the connection."""
        if isinstance(error, Gone):
            return error
        # Another party wrote it: keep it short, and in one line.
        text = "".join(c if c.isprintable() else "?" for c in str(error)[:200]) or type(error).__name__
        if isinstance(error, LinkDown):
            reason = next((reason for part, reason in _BY_PART.items() if part in text), "")
            return cls(reason or _BY_WORD.get(text.split(" ", 1)[0], "other"), text)
        if isinstance(error, (DNSLookupError, UnknownHostError)):
            return cls("name", "its host name is not known")
        if isinstance(error, (TookTooLong, UserError)):
            return cls("timeout", "no answer in time")
        if isinstance(error, ConnectError):
            return cls("refused", os.strerror(error.osError) if error.osError else text)
        if type(error).__module__.split(".")[0] in ("OpenSSL", "service_identity"):
            return cls("tls", f"TLS failed: {_last_reason(error) or text}")
        return cls("lost", text)


def reasoned(error: Exception) -> Exception:
    """Return the error itself where Twisted wrapped it, as the first of several."""
    while isinstance(error, FirstError) and isinstance(error.subFailure.value, Exception):
        error = error.subFailure.value
    return error


def _last_reason(error: BaseException) -> str:
    """Return what OpenSSL says last of a failure, without the names of its libraries and functions."""
    match error.args:
        case ([*_, (_, _, str(reason))],):
            return reason
    return ""
