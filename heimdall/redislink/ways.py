"""The ways to hosts: names looked up where they should be, TLS with the certificates that are there now."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from OpenSSL import crypto
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.interfaces import (
    IHostnameResolver,
    IProtocol,
    IProtocolFactory,
    IReactorPluggableNameResolver,
    IStreamClientEndpoint,
)
from twisted.internet.ssl import (
    Certificate,
    PrivateCertificate,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from zope.interface import implementer

from heimdall.redislink.gone import Gone
from heimdall.redislink.names import HostNames

_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class Ways:
    """Makes the way to a host.

    With TLS, Redis must show a certificate for the host, signed by somebody trusted. The files are read at each
    connect, so that certificates may be renewed under us.

    :param ca_file: certificates to trust, PEM; empty for the system's.
    :param cert_file: our own certificate, and what links it to its CA, PEM; ``key_file`` its key. Empty for none.
    :param names: looks names up; None for the way of this machine, whatever is installed in the reactor later.
    :raises ValueError: a file cannot be read, or does not hold what it should.
    """

    def __init__(
        self,
        reactor: Any,
        *,
        tls: bool = False,
        ca_file: str = "",
        cert_file: str = "",
        key_file: str = "",
        names: IHostnameResolver | None = None,
    ) -> None:
        self._tls, self._ca_file, self._cert_file, self._key_file = tls, ca_file, cert_file, key_file
        self._reactor = reactor
        self._named = _Named(reactor, names or HostNames(reactor))
        if tls:
            self.secure("localhost")

    def to(self, host: str, port: int) -> IStreamClientEndpoint:
        """Return the way to a host, by its name or IP address."""
        try:
            version = ip_address(host).version
        except ValueError:
            plain: IStreamClientEndpoint = HostnameEndpoint(
                self._named, host if host.isascii() else host.encode("idna"), port
            )
        else:
            plain = (TCP4ClientEndpoint if version == 4 else TCP6ClientEndpoint)(self._reactor, host, port)
        return _Secured(self, host, plain) if self._tls else plain

    def unix(self, path: str) -> IStreamClientEndpoint:
        """Return the way to a Unix socket."""
        return UNIXClientEndpoint(self._reactor, path)

    def secure(self, host: str) -> Any:
        """Return what makes a connection to a host secret, from the files as they are now.

        :raises ValueError: one of them is no good; the text names it.
        """
        trust = trustRootFromCertificates(_certificates(self._ca_file)) if self._ca_file else platformTrust()
        ours, extra = None, {}
        if self._cert_file:
            first, *others = _certificates(self._cert_file)
            ours = PrivateCertificate.fromCertificateAndKeyPair(first, _key(self._key_file or self._cert_file))
            extra = {"extraCertChain": [other.original for other in others]}
        return optionsForClientTLS(host, trustRoot=trust, clientCertificate=ours, extraCertificateOptions=extra)


@implementer(IStreamClientEndpoint)
class _Secured:
    """A way with TLS around it."""

    def __init__(self, ways: Ways, host: str, plain: IStreamClientEndpoint) -> None:
        self._ways, self._host, self._plain = ways, host, plain

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect, with the certificates of this moment."""
        try:
            options = self._ways.secure(self._host)
        except ValueError as error:
            return fail(Gone("tls", str(error)))
        connecting: Deferred[IProtocol] = wrapClientTLS(options, self._plain).connect(protocolFactory)
        return connecting


@implementer(IReactorPluggableNameResolver)
class _Named:
    """A reactor that looks names up in one way, and keeps to it."""

    def __init__(self, reactor: Any, names: IHostnameResolver) -> None:
        self.nameResolver = names
        self._reactor = reactor

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """Change nothing."""
        return self.nameResolver

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)


def _certificates(file: str) -> list[Certificate]:
    try:
        blocks = _CERTIFICATE.findall(Path(file).read_bytes())
        certificates = [Certificate.loadPEM(block) for block in blocks]
    except OSError as error:
        raise ValueError(f"the certificates for Redis, {file}, cannot be read: {error.strerror}") from None
    except Exception:  # OpenSSL's errors share no name that is public
        raise ValueError(f"{file} holds a certificate that cannot be read") from None
    if not certificates:
        raise ValueError(f"{file} holds no certificate in PEM form")
    return certificates


def _key(file: str) -> Any:
    from twisted.internet.ssl import KeyPair

    try:
        text = Path(file).read_bytes()
        if b"ENCRYPTED" in text:  # OpenSSL would ask for the passphrase on the terminal
            raise ValueError(f"the key in {file} has a passphrase: it must have none")
        return KeyPair(crypto.load_privatekey(crypto.FILETYPE_PEM, text))
    except OSError as error:
        raise ValueError(f"the key for Redis, {file}, cannot be read: {error.strerror}") from None
    except crypto.Error:
        raise ValueError(f"{file} holds no key in PEM form") from None
