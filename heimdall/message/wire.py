"""Walk DNS messages as bytes: names, records and the places of their TTLs (RFC 1035).

Nothing here builds an object per record. A *name* is the folded wire name: length-prefixed labels in
lower case, ended by the root's zero byte. Folding a whole wire name with ``bytes.lower`` is safe because
a label's length is at most 63 and the first capital letter is 65.
"""

import re
from collections.abc import Iterator
from struct import Struct
from typing import Final

HEADER: Final = 12
"""Bytes of a DNS header: id, flags, and four counts of 16 bits each."""

LONGEST_NAME: Final = 255
"""Bytes of a name, the zero byte of the root among them (RFC 1035, 2.3.4)."""

MOST_POINTERS: Final = 64
"""Compression pointers that may lead from one to the next before a name goes on."""

_RECORD: Final = Struct("!HHIH")
# Most names in lists are plain: they are taken apart here, the rest by dnspython.
_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")


class Malformed(ValueError):
    """The bytes are not a well-formed DNS message; the text says what is wrong with them."""


def skip_name(wire: bytes, at: int) -> int:
    """Return the offset just behind the name that starts at ``at``, without following pointers.

    A compression pointer must point back, behind the header (RFC 1035, 4.1.4: "a prior occurrence").

    :raises Malformed: the name runs past the end, is over 255 bytes, or holds a bad label or pointer.
    """
    start = at
    try:
        while length := wire[at]:
            if length < 64:
                at += length + 1
            elif length >= 192:
                target = (length & 63) << 8 | wire[at + 1]
                if not HEADER <= target < start:
                    raise Malformed(f"the pointer at {at} does not point back")
                return at + 2
            else:
                raise Malformed(f"a label of unknown kind at {at}")
    except IndexError:
        raise Malformed("a name runs past the end of the message") from None
    if at - start > 254:
        raise Malformed("a name of more than 255 bytes")
    return at + 1


def expand_name(wire: bytes, at: int, known: dict[int, bytes], most: int = MOST_POINTERS) -> tuple[bytes, int]:
    """Return the name that starts at ``at`` with its pointers followed, in the spelling it has, and where it ends.

    Each pointer must lead further back than the one before, so the walk always ends.

    :param known: the names that pointers of this message lead to, by their offsets; what is found is added. So no
        part of a message is walked twice, however many names point to it.
    :param most: pointers that may lead from one to the next.
    :raises Malformed: as :func:`skip_name`, for every part of the name.
    """
    start = at
    try:
        while length := wire[at]:
            if length < 64:
                at += length + 1
            elif length >= 192:
                target = (length & 63) << 8 | wire[at + 1]
                rest = known.get(target)
                if rest is None:
                    if not HEADER <= target < start or not most:
                        raise Malformed(f"the pointer at {at} does not point back")
                    rest = known[target] = expand_name(wire, target, known, most - 1)[0]
                elif target >= start:
                    raise Malformed(f"the pointer at {at} does not point back")
                if at - start + len(rest) > LONGEST_NAME:
                    raise Malformed("a name of more than 255 bytes")
                return wire[start:at] + rest, at + 2
            else:
                raise Malformed(f"a label of unknown kind at {at}")
    except IndexError:
        raise Malformed("a name runs past the end of the message") from None
    if at - start >= LONGEST_NAME:
        raise Malformed("a name of more than 255 bytes")
    return wire[start : at + 1], at + 1


def question_end(wire: bytes) -> int:
    """Return the offset behind the one question of a message whose QDCOUNT is 1.

    :raises Malformed: the name is compressed, or the question is cut short.
    """
    at = HEADER
    try:
        while length := wire[at]:
            if length > 63:
                raise Malformed("the name of the question is compressed")
            at += length + 1
    except IndexError:
        raise Malformed("the question is cut short") from None
    if at - HEADER > 254:
        raise Malformed("a name of more than 255 bytes")
    if at + 5 > len(wire):
        raise Malformed("the question is cut short")
    return at + 5


def records(wire: bytes, at: int, count: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Walk ``count`` records from ``at``; yield each as five numbers, in the order of the bytes.

    They are: offset of the owner's name, offset of the TYPE field (CLASS is 2, TTL 4, RDLENGTH 8 and RDATA 10
    bytes behind it), type, class, and the offset behind the record.

    :raises Malformed: a name or a record runs past the end of the message.
    """
    size = len(wire)
    for _ in range(count):
        fixed = skip_name(wire, at)
        if fixed + 10 > size:
            raise Malformed("a record is cut short")
        kind, klass, _ttl, length = _RECORD.unpack_from(wire, fixed)
        end = fixed + 10 + length
        if end > size:
            raise Malformed("the data of a record runs past the end of the message")
        yield at, fixed, kind, klass, end
        at = end


def name_end(key: bytes) -> int:
    """Return where the name ends that a key begins with; its length when there is no whole one."""
    at = 0
    while at < len(key) and key[at]:
        at += key[at] + 1
    return min(at + 1, len(key))


def suffixes(name: bytes) -> Iterator[bytes]:
    """Yield ``name`` and each of its parents, the root last."""
    at = 0
    while True:
        yield name[at:]
        if not name[at]:
            return
        at += name[at] + 1


def is_within(name: bytes, zone: bytes) -> bool:
    """Whether a name is the top of a zone, or stands below it."""
    at = len(name) - len(zone)
    if at < 0 or name[at:] != zone:
        return False
    label = 0
    while label < at:
        label += name[label] + 1
    return label == at


def to_text(name: bytes) -> str:
    """Return the presentation form of a wire name, without the final dot (RFC 1035, 5.1; RFC 4343, 2.1)."""
    labels = []
    at = 0
    while length := name[at]:
        label = name[at + 1 : at + 1 + length]
        labels.append("".join(_character(byte) for byte in label))
        at += length + 1
    return ".".join(labels) or "."


def _character(byte: int) -> str:
    if byte in b'."\\;()@$':
        return "\\" + chr(byte)
    return chr(byte) if 33 <= byte <= 126 else f"\\{byte:03d}"


def from_text(text: str) -> bytes:
    """Return the folded wire name of a domain name in presentation form; the final dot may be left out.

    Names outside ASCII are written in Punycode (IDNA), escapes are understood as in a zone file.

    :raises ValueError: the text is no domain name; the message says why.
    """
    if _PLAIN.fullmatch(text) and len(text) < 254:
        labels = text.rstrip(".").lower().encode("ascii").split(b".")
        return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    import dns.exception
    import dns.name

    try:
        return dns.name.from_text(text).to_wire().lower()  # type: ignore[union-attr]
    except (dns.exception.DNSException, UnicodeError) as error:
        raise ValueError(f"{text!r} is not a domain name: {error}") from None
