"""Read the address of a client as the socket gives it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

Address = IPv4Address | IPv6Address


def read(host: str) -> Address | None:
    """Return the address that ``host`` spells, or None where it spells none.

    The zone of an IPv6 address is left out, and an IPv4 address inside an IPv6 one (``::ffff:192.0.2.1``, as a
    socket for both gives it) comes out as IPv4.
    """
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
