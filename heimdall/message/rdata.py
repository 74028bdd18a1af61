"""What stands in the data of a record, by type: checked, and written without compressed names (RFC 1035, 3597)."""

from __future__ import annotations

from typing import Final

from heimdall.message.wire import Malformed, expand_name

# Fields of the data, in their order. A number is that many bytes.
_NAME: Final = -1  # a domain name; RFC 3597, 4 says where it may be compressed, and we take it compressed anywhere
_STRING: Final = -2  # a character-string: a length byte, and so many bytes
_STRINGS: Final = -3  # one character-string or more, to the end
_TYPES: Final = -4  # the types at a name, to the end (RFC 4034, 4.1.2)
_PARAMETERS: Final = -5  # the parameters of a service binding, to the end (RFC 9460, 2.2)
_REST: Final = -6  # any bytes, to the end

_LAYOUTS: Final[dict[int, tuple[int, ...]]] = {
    1: (4,),  # A
    2: (_NAME,),  # NS
    3: (_NAME,),  # MD
    4: (_NAME,),  # MF
    5: (_NAME,),  # CNAME
    6: (_NAME, _NAME, 20),  # SOA
    7: (_NAME,),  # MB
    8: (_NAME,),  # MG
    9: (_NAME,),  # MR
    12: (_NAME,),  # PTR
    13: (_STRING, _STRING),  # HINFO
    14: (_NAME, _NAME),  # MINFO
    15: (2, _NAME),  # MX
    16: (_STRINGS,),  # TXT
    17: (_NAME, _NAME),  # RP
    18: (2, _NAME),  # AFSDB
    19: (_STRING,),  # X25
    20: (_STRINGS,),  # ISDN
    21: (2, _NAME),  # RT
    24: (18, _NAME, _REST),  # SIG
    26: (2, _NAME, _NAME),  # PX
    28: (16,),  # AAAA
    29: (16,),  # LOC
    33: (6, _NAME),  # SRV
    35: (4, _STRING, _STRING, _STRING, _NAME),  # NAPTR
    36: (2, _NAME),  # KX
    37: (5, _REST),  # CERT
    39: (_NAME,),  # DNAME
    43: (4, _REST),  # DS
    44: (2, _REST),  # SSHFP
    46: (18, _NAME, _REST),  # RRSIG
    47: (_NAME, _TYPES),  # NSEC
    48: (4, _REST),  # DNSKEY
    50: (4, _STRING, _STRING, _TYPES),  # NSEC3
    51: (4, _STRING),  # NSEC3PARAM
    52: (3, _REST),  # TLSA
    53: (3, _REST),  # SMIMEA
    59: (4, _REST),  # CDS
    60: (4, _REST),  # CDNSKEY
    62: (6, _TYPES),  # CSYNC
    63: (6, _REST),  # ZONEMD
    64: (2, _NAME, _PARAMETERS),  # SVCB
    65: (2, _NAME, _PARAMETERS),  # HTTPS
    99: (_STRINGS,),  # SPF
    104: (10,),  # NID
    105: (6,),  # L32
    106: (10,),  # L64
    107: (2, _NAME),  # LP
    108: (6,),  # EUI48
    109: (8,),  # EUI64
    256: (4, _REST),  # URI
    257: (1, _STRING, _REST),  # CAA
}
"""The types whose data we know; data of any other is bytes (RFC 3597, 3)."""

FIXED: Final[dict[int, int]] = {1: 4, 28: 16}
"""How many bytes the data of an address has: a record is right if it has as many."""

WITH_NAMES: Final = frozenset(kind for kind, layout in _LAYOUTS.items() if _NAME in layout)
"""The types whose data may hold a compressed name."""

WRITTEN_OUT: Final = WITH_NAMES - {2, 3, 4, 5, 6, 7, 8, 9, 12, 14, 15}
"""Those whose names are read if they are compressed, and never sent so; the types of RFC 1035 may be (RFC 3597, 4)."""


def read(kind: int, wire: bytes, at: int, end: int, known: dict[int, bytes]) -> bytes:
    """Check the data of a record of class IN; return it with its names written out.

    :param kind: the type of the record.
    :param wire: the message, whose bytes from ``at`` to ``end`` are the data.
    :param known: names that pointers lead to; see :func:`heimdall.message.wire.expand_name`.
    :raises Malformed: the data does not have the form of its type.
    """
    layout = _LAYOUTS.get(kind)
    if layout is None:
        return wire[at:end]
    start = copied = at
    pieces: list[bytes] = []
    for field in layout:
        if field > 0:
            at += field
        elif field == _NAME:
            name, behind = expand_name(wire, at, known)
            if len(name) != behind - at:
                pieces += wire[copied:at], name
                copied = behind
            at = behind
        elif field == _STRING:
            at = _string(wire, at, end)
        elif field == _STRINGS:
            at = _string(wire, at, end)
            while at < end:
                at = _string(wire, at, end)
        else:
            if at > end:
                break
            if field == _TYPES:
                _types(wire, at, end)
            elif field == _PARAMETERS:
                _parameters(wire, at, end)
            at = end
    if at != end:
        raise Malformed(f"{end - start} bytes that are no data of type {kind}")
    return wire[start:end] if not pieces else b"".join((*pieces, wire[copied:end]))


def _string(wire: bytes, at: int, end: int) -> int:
    """Return the offset behind a character-string."""
    if at >= end:
        raise Malformed("a character-string is missing")
    return at + 1 + wire[at]


def _types(wire: bytes, at: int, end: int) -> None:
    """Check the blocks of a type bitmap: in order, each of 1 to 32 bytes."""
    before = -1
    while at < end:
        if at + 2 > end or wire[at] <= before or not 1 <= wire[at + 1] <= 32:
            raise Malformed("a bitmap of types is damaged")
        before = wire[at]
        at += 2 + wire[at + 1]
    if at != end:
        raise Malformed("a bitmap of types is cut short")


def _parameters(wire: bytes, at: int, end: int) -> None:
    """Check the parameters of a service binding: in order, none twice."""
    before = -1
    while at + 4 <= end:
        key = wire[at] << 8 | wire[at + 1]
        if key <= before:
            raise Malformed("the parameters of a service binding are out of order")
        before = key
        at += 4 + (wire[at + 2] << 8 | wire[at + 3])
    if at != end:
        raise Malformed("the parameters of a service binding are cut short")
