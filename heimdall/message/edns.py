"""EDNS: read and write an OPT record (RFC 6891), extended errors (RFC 8914), client subnets (RFC 7871)."""

from __future__ import annotations

from struct import Struct
from typing import Final

from attrs import evolve, field, frozen

from heimdall.message.wire import Malformed

OPT: Final = 41
DO: Final = 0x8000
CLIENT_SUBNET: Final = 8
COOKIE: Final = 10
PADDING: Final = 12
EXTENDED_ERROR: Final = 15

UDP_SIZE: Final = 1232
"""The largest UDP message we send or ask for: it passes any path that carries IPv6 (RFC 9715)."""

_OPTION: Final = Struct("!HH")
_FIXED: Final = Struct("!BHHBBHH")
# What a longest prefix may be: a network, never a person (RFC 7871, 11.1).
_LIMITS: Final = {1: (24, 4), 2: (56, 16)}
# The lengths that answers are kept by: an answer for a shorter scope is kept for the next longer of these,
# so that a look-up knows its keys without asking which scopes exist.
_LENGTHS: Final = {1: (24, 16, 8, 0), 2: (56, 48, 32, 0)}


@frozen
class ExtendedError:
    """An extended DNS error: the INFO-CODE of RFC 8914, and a text for people."""

    code: int
    text: str = ""


OTHER: Final = 0
STALE_ANSWER: Final = 3
BLOCKED: Final = 15
PROHIBITED: Final = 18
STALE_NXDOMAIN: Final = 19
NOT_AUTHORITATIVE: Final = 20
NO_REACHABLE_AUTHORITY: Final = 22
NETWORK_ERROR: Final = 23
INVALID_QUERY_TYPE: Final = 30


def opt(do: bool = False, rcode: int = 0, options: bytes = b"", size: int = UDP_SIZE) -> bytes:
    """Return an OPT record.

    :param do: the DO bit.
    :param rcode: the whole response code; its upper 8 bits travel here.
    :param options: the options, as they stand on the wire.
    :param size: the largest UDP message its sender takes, in bytes.
    """
    return _FIXED.pack(0, OPT, size, rcode >> 4, 0, DO if do else 0, len(options)) + options


def option(code: int, data: bytes) -> bytes:
    """Return one option as it stands on the wire."""
    return _OPTION.pack(code, len(data)) + data


def error_option(error: ExtendedError) -> bytes:
    """Return the option that carries an extended error."""
    text = error.text.encode()[:64].decode(errors="ignore").encode()  # cut between two characters
    return option(EXTENDED_ERROR, error.code.to_bytes(2, "big") + text)


def options(data: bytes) -> list[tuple[int, bytes]]:
    """Return the options in the data of an OPT record as pairs of code and data.

    :raises Malformed: an option runs past the end.
    """
    found = []
    at = 0
    while at < len(data):
        if at + 4 > len(data):
            raise Malformed("an EDNS option is cut short")
        code, length = _OPTION.unpack_from(data, at)
        at += 4 + length
        if at > len(data):
            raise Malformed("an EDNS option runs past the end")
        found.append((code, data[at - length : at]))
    return found


def errors(pairs: list[tuple[int, bytes]]) -> tuple[ExtendedError, ...]:
    """Return the extended errors among some options; what is malformed or past the fourth is left out."""
    told = [data for code, data in pairs if code == EXTENDED_ERROR and len(data) >= 2][:4]
    return tuple(
        ExtendedError(int.from_bytes(data[:2], "big"), data[2:66].rstrip(b"\0").decode("utf-8", "replace"))
        for data in told
    )


@frozen
class Subnet:
    """The network a client asks for (RFC 7871): address family 1 or 2, prefix length in bits, address bytes.

    ``asked`` is the option as the client gave it; it is given back with the scope of the answer.
    """

    family: int
    length: int
    address: bytes
    asked: bytes = field(default=b"", eq=False)

    @classmethod
    def from_option(cls, data: bytes) -> Subnet:
        """Read the client subnet option of a query, cut to /24 or /56.

        A prefix of 0 bits says "tell nobody my network", whatever the family (RFC 7871, 7.1.2): it becomes that of
        IPv4.

        :raises Malformed: an unknown family, a length past the address, bits behind the prefix, or a scope, which only
            responses have (RFC 7871, 6 and 7.1.2).
        """
        if len(data) < 4:
            raise Malformed("a client subnet option of less than 4 bytes")
        family, length = int.from_bytes(data[:2], "big"), data[2]
        if data[3]:
            raise Malformed("a client subnet of a query with a scope")
        if not length and len(data) == 4:
            return cls(1, 0, bytes(4), data)
        if family not in _LIMITS:
            raise Malformed(f"a client subnet of the unknown family {family}")
        limit, size = _LIMITS[family]
        if length > size * 8 or len(data) - 4 != (length + 7) // 8:
            raise Malformed("a client subnet whose length does not fit its address")
        whole = cls(family, length, data[4:].ljust(size, b"\0"))
        if whole != whole.cut(length):
            raise Malformed("a client subnet with bits behind its prefix")
        return evolve(whole.cut(min(length, limit)), asked=data)

    def cut(self, length: int) -> Subnet:
        """Return the network of ``length`` bits that this one lies in."""
        bits = len(self.address) * 8
        number = int.from_bytes(self.address, "big") >> (bits - length) << (bits - length)
        return Subnet(self.family, length, number.to_bytes(len(self.address), "big"))

    def to_option(self) -> bytes:
        """Return the option that asks an upstream for this network."""
        return option(CLIENT_SUBNET, self._sent())

    def _sent(self) -> bytes:
        """Return the data of the option that asks an upstream."""
        return self.family.to_bytes(2, "big") + bytes((self.length, 0)) + self.address[: (self.length + 7) // 8]

    def scope_in(self, data: bytes) -> int | None:
        """Return the scope in the option of an upstream's response, in bits.

        :return: None where the option is for another family, prefix or address than was sent: such a response must be
            dropped (RFC 7871, 7.3). No scope is longer than an address of the family.
        """
        sent = self._sent()
        if len(data) < 4 or data[:3] != sent[:3] or data[4:] != sent[4:]:
            return None
        return min(data[3], len(self.address) * 8)

    def to_reply(self, scope: int) -> bytes:
        """Return the option that tells who asked for how many bits of its network the answer is (RFC 7871, 7.2.1)."""
        return option(CLIENT_SUBNET, self.asked[:3] + bytes((min(scope, len(self.address) * 8),)) + self.asked[4:])

    def closest(self) -> list[bytes]:
        """Return what tells apart the answers this network may be given, the closest first."""
        shorter = [length for length in _LENGTHS[self.family] if length < self.length]
        return [self.cut(length)._key() for length in (self.length, *shorter)]

    def key(self, scope: int) -> bytes:
        """Return what tells apart an answer meant for the first ``scope`` bits of this network."""
        fitting = [length for length in _LENGTHS[self.family] if scope <= length <= self.length]
        return self.cut(fitting[-1] if fitting else self.length)._key()

    def _key(self) -> bytes:
        return bytes((self.family, self.length)) + self.address[: (self.length + 7) // 8]
