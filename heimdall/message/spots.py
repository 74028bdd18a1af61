"""The places of TTLs in records: found by a short walk, and given other ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Final

from heimdall.message import rdata
from heimdall.message.wire import HEADER, Malformed

_TTL: Final = Struct("!I")
_TTL_AND_SIZE: Final = Struct("!IH")
_RECORD: Final = Struct("!2s4sIH")
_OWNER: Final = b"\xc0\x0c"
_SOA: Final = b"\0\6\0\1"
SIZES: Final = {kind.to_bytes(2, "big") + b"\0\1": size for kind, size in rdata.FIXED.items()}
"""How many bytes the data of an address has, by its type and class."""

ALONE: Final[tuple[int, ...]] = (6,)
"""Where the TTL is of one record whose owner is a pointer."""


def walk(wire: bytes, at: int, count: int, question: bytes) -> tuple[tuple[int, ...], list[int], int] | None:
    """Return where the TTLs of some records are, the TTLs themselves, and the offset behind the records.

    Nearly all answers are one RRset at the very name that was asked for. ``wire.records`` takes these too, and all
    others, at several times the price.

    :param at: where the records begin, behind the question; the places are counted from there.
    :param question: the folded question. Each record must be of its type and class, and point to its name.
    :return: None if one of them is not, is cut short, or has data that its type cannot have; and where the data may
        hold names, of which two spellings are one.
    """
    kind = question[-4:]
    head = _OWNER + kind
    fixed = SIZES.get(kind)
    if fixed is None and (kind[0] << 8 | kind[1]) in rdata.WITH_NAMES:
        return None
    spots, ttls = [], []
    end, last = at, len(wire) - 12
    for _ in range(count):
        if end > last or wire[end : end + 6] != head:
            return None
        ttl, size = _TTL_AND_SIZE.unpack_from(wire, end + 6)
        if size != fixed and not _is_sound(kind, wire, end + 12, end + 12 + size):
            return None
        spots.append(end + 6 - at)
        ttls.append(ttl)
        end += 12 + size
    return (tuple(spots), ttls, end) if end <= len(wire) else None


def walk_one(wire: bytes, at: int, question: bytes) -> tuple[int, int] | None:
    """Return what :func:`walk` does, for one record: its TTL, which stands where :data:`ALONE` says, and its end."""
    if at + 12 > len(wire):
        return None
    owner, kind, ttl, size = _RECORD.unpack_from(wire, at)
    if owner != _OWNER or kind != question[-4:]:
        return None
    end: int = at + 12 + size
    if end > len(wire):
        return None
    # Most are addresses, whose data is right if it has the right length.
    if size == SIZES.get(kind):
        return ttl, end
    if (kind[0] << 8 | kind[1]) in rdata.WRITTEN_OUT or not _is_sound(kind, wire, at + 12, end):
        return None
    return ttl, end


def _is_sound(kind: bytes, wire: bytes, at: int, end: int) -> bool:
    """Whether the data of a record has the form of its type."""
    try:
        rdata.read(kind[0] << 8 | kind[1], wire, at, end, {})
    except Malformed:
        return False
    return True


def data_of(wire: bytes, at: int, spots: Iterable[int]) -> list[bytes]:
    """Return the data of records whose TTLs stand where :func:`walk` says."""
    found = []
    for spot in spots:
        start = at + spot + 6
        found.append(wire[start : start + (wire[start - 2] << 8 | wire[start - 1])])
    return found


def walk_soa(wire: bytes, at: int) -> tuple[int, int, int] | None:
    """Return of the SOA that nearly all negative answers hold its TTL, its minimum, and the offset behind it.

    :param at: where the record begins, whose owner must be a pointer into the question's name: the TTL then stands
        where :data:`ALONE` says.
    :return: None if it is another record, is cut short, or has data that no SOA has.
    """
    if at + 34 > len(wire) or wire[at + 2 : at + 6] != _SOA:
        return None
    owner = (wire[at] << 8 | wire[at + 1]) - 0xC000
    label = HEADER
    while label < owner and wire[label]:
        label += wire[label] + 1
    if label != owner or owner >= at - 4:
        return None
    ttl, size = _TTL_AND_SIZE.unpack_from(wire, at + 6)
    end = at + 12 + size
    if size < 22 or end > len(wire) or not _is_sound(_SOA, wire, at + 12, end):
        return None
    return ttl, _TTL.unpack_from(wire, end - 4)[0], end


def aged(body: bytes, spots: Sequence[int], age: int) -> bytes:
    """Return the records with each TTL lowered by ``age`` seconds, none below 0."""
    if spots == ALONE:
        (ttl,) = _TTL.unpack_from(body, 6)
        return with_ttl(body, ttl - age if ttl > age else 0)
    image = bytearray(body)
    for spot in spots:
        (ttl,) = _TTL.unpack_from(image, spot)
        _TTL.pack_into(image, spot, ttl - age if ttl > age else 0)
    return bytes(image)


def with_ttl(body: bytes, ttl: int) -> bytes:
    """Return one record with another TTL, where :data:`ALONE` says that it stands."""
    return body[:6] + ttl.to_bytes(4, "big") + body[10:]


def patched(body: bytes, spots: Iterable[int], ttls: Iterable[int]) -> bytes:
    """Return the records with the given TTLs, in the order of ``spots``."""
    image = bytearray(body)
    for spot, ttl in zip(spots, ttls, strict=True):
        _TTL.pack_into(image, spot, ttl)
    return bytes(image)
