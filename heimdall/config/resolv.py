"""Read resolv.conf: the servers that this machine asks."""

from __future__ import annotations

from attrs import frozen

from heimdall.config.address import DNS_PORT, Upstream, ip

MOST = 16
"""Name servers that are taken from one file."""


@frozen
class ResolvConf:
    """What is taken from the file.

    :ivar trust_ad: whether it says that the servers may be trusted to have validated (``options trust-ad``).
    """

    upstreams: tuple[Upstream, ...]
    trust_ad: bool


def parse(text: str) -> ResolvConf:
    """Read the text of a resolv.conf; a line that makes no sense is passed over, as the C library does."""
    upstreams: dict[Upstream, None] = {}
    trust_ad = False
    for line in text.splitlines():
        word, *values = line.split() or [""]
        if word == "nameserver" and values and len(upstreams) < MOST:
            try:
                host = ip(values[0])
                # The C library takes the unspecified address for this machine.
                upstreams[Upstream({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), DNS_PORT)] = None
            except ValueError:
                continue
        elif word == "options":
            trust_ad = trust_ad or "trust-ad" in values
    return ResolvConf(tuple(upstreams), trust_ad)
