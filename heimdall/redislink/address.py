"""Where Redis is: its URL taken apart, and the way there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from attrs import field, frozen
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IReactorCore, IStreamClientEndpoint
from twisted.internet.ssl import Certificate, optionsForClientTLS, platformTrust, trustRootFromCertificates

PORT = 6379

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_MOST_DATABASE = 1 << 31


@frozen
class Address:
    """Where Redis is and who we are there. Its texts never show the password.

    ``host`` and ``port``, or ``path`` of a Unix socket; ``tls`` whether to encrypt; ``database`` its number.
    """

    host: str = ""
    port: int = PORT
    path: str = ""
    tls: bool = False
    user: str = ""
    password: str = field(default="", repr=False)
    database: int = 0

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read a URL: ``redis://[user:password@]host[:port][/db]``, ``rediss://`` for TLS, ``unix:///path[?db=n]``.

        :raises ValueError: it is none of these; the text says why, and never repeats the URL.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or PORT
        except ValueError:
            raise ValueError("the URL of Redis has a bad host or port") from None
        if parts.scheme not in ("redis", "rediss", "unix"):
            raise ValueError("the URL of Redis must begin with redis://, rediss:// or unix://")
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        if parts.scheme == "unix":
            if parts.hostname or len(parts.path) < 2:
                raise ValueError("the URL of a Redis socket must be unix:///path")
            return cls(path=unquote(parts.path), user=user, password=password, database=_database(parts, ""))
        if not parts.hostname:
            raise ValueError("the URL of Redis names no host")
        return cls(
            host=parts.hostname,
            port=port,
            tls=parts.scheme == "rediss",
            user=user,
            password=password,
            database=_database(parts, parts.path.strip("/")),
        )

    def __str__(self) -> str:
        """Return the address as it may be logged."""
        if self.path:
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{host}:{self.port}/{self.database}"

    def endpoint(self, reactor: IReactorCore, ca_file: str = "") -> IStreamClientEndpoint:
        """Return the way there. With TLS, Redis must show a certificate for the host, signed by somebody trusted.

        :param ca_file: certificates to trust, PEM; empty for the system's.
        :raises ValueError: the file cannot be read, or holds no certificate.
        """
        if self.path:
            return UNIXClientEndpoint(reactor, self.path)
        plain = HostnameEndpoint(reactor, self.host.encode("idna") if not self.host.isascii() else self.host, self.port)
        if not self.tls:
            return plain
        trust = _trusted(ca_file) if ca_file else platformTrust()
        return wrapClientTLS(optionsForClientTLS(self.host, trustRoot=trust), plain)


def _database(parts: SplitResult, text: str) -> int:
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name != "db":
            raise ValueError("the URL of Redis has an unknown parameter: only db is known")
        text = value
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()) or int(text[:11]) >= _MOST_DATABASE:
        raise ValueError("the database in the URL of Redis is not a number")
    return int(text)


def _trusted(ca_file: str) -> Any:
    try:
        blocks = _CERTIFICATE.findall(Path(ca_file).read_bytes())
        certificates = [Certificate.loadPEM(block) for block in blocks]
    except OSError as error:
        raise ValueError(f"the certificates to trust for Redis, {ca_file}, cannot be read: {error.strerror}") from None
    except Exception:  # OpenSSL's errors share no name that is public
        raise ValueError(f"{ca_file} holds a certificate that cannot be read") from None
    if not certificates:
        raise ValueError(f"{ca_file} holds no certificate in PEM form")
    return trustRootFromCertificates(certificates)
