"""A file of answers, to warm a node with: a head, then keys and sealed values, then how many there were.

All numbers are big-endian. The head is ``HEIMDALL``, the version (one byte), three bytes of zero, how many answers are
expected (four bytes, 0 where nobody knows) and when it was begun (eight bytes, milliseconds since 1970). Each answer is
the lengths of its key (two bytes) and of its value (four), then these: the key without the prefix of Redis, the value
as it would lie there. A key of length 0 ends the file; behind it stands how many answers came before (eight bytes).

Nothing in a file is believed: lengths are bounded here, and every value is checked by who takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct
from typing import Final

from attrs import frozen

MAGIC: Final = b"HEIMDALL"
VERSION: Final = 1

MOST_KEY: Final = 512
"""Bytes of a key: a name, type, class, flags and a subnet are fewer."""

MOST_VALUE: Final = 66_000
"""Bytes of a value: a message, less its head, and what seals it."""

Record = tuple[bytes, bytes]
"""A key and its value."""

_HEAD = Struct("!8sB3sIQ")
_LENGTHS = Struct("!HI")
_COUNT = Struct("!Q")
_NOUGHT = bytes(3)
_MOST_EXPECTED = 0xFFFFFFFF


class Broken(ValueError):
    """What was read is no file of answers, or not a whole one; the text says where, and what was expected."""


@frozen
class Head:
    """What stands in front: how many answers are expected, 0 if unknown, and when it was begun (seconds since 1970)."""

    expected: int
    begun: float


def head(expected: int, begun: float) -> bytes:
    """Return the head of a file."""
    return _HEAD.pack(MAGIC, VERSION, _NOUGHT, min(expected, _MOST_EXPECTED), int(begun * 1000))


def record(key: bytes, value: bytes) -> bytes:
    """Return one answer as it stands in a file."""
    return _LENGTHS.pack(len(key), len(value)) + key + value


def end(count: int) -> bytes:
    """Return the end of a file of so many answers."""
    return _LENGTHS.pack(0, 0) + _COUNT.pack(count)


def split(body: bytes) -> list[Record]:
    """Return the answers in some bytes that hold nothing else.

    :raises Broken: they do.
    """
    found = []
    at = 0
    while at < len(body):
        if len(body) - at < _LENGTHS.size:
            raise Broken(f"at byte {at}: an answer is cut short")
        key, value = _bounded(_LENGTHS.unpack_from(body, at), at)
        begin = at + _LENGTHS.size
        at = begin + key + value
        if not key or at > len(body):
            raise Broken(f"at byte {begin}: an answer is cut short")
        found.append((body[begin : begin + key], body[begin + key : at]))
    return found


class Reader:
    """Reads a file of answers; iterate over it for them. ``head`` is known at once, ``at`` is how far it is.

    :param read: returns so many bytes, fewer only at the end.
    :raises Broken: it is no such file; so does each step of the iteration where it is broken.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self.at = self.count = 0
        begin = read(_HEAD.size)
        if begin[: len(MAGIC)] != MAGIC:
            raise Broken("this is no file of answers that heimdall export has made")
        if len(begin) < _HEAD.size:
            raise Broken("it ends within its head")
        _, version, nought, expected, begun = _HEAD.unpack(begin)
        if version != VERSION or nought != _NOUGHT:
            raise Broken(f"it is of version {version}, and this is for version {VERSION}")
        self.at = len(begin)
        self.head = Head(expected, begun / 1000)

    def __iter__(self) -> Iterator[Record]:
        while True:
            key, value = _bounded(_LENGTHS.unpack(self._whole(_LENGTHS.size)), self.at)
            if not key:
                break
            pair = self._whole(key + value)
            self.count += 1
            yield pair[:key], pair[key:]
        (count,) = _COUNT.unpack(self._whole(_COUNT.size))
        if count != self.count:
            raise Broken(f"it tells of {count} answers and holds {self.count}")
        if self._read(1):
            raise Broken(f"at byte {self.at}: something follows the end")

    def _whole(self, size: int) -> bytes:
        found = self._read(size)
        if len(found) < size:
            raise Broken(f"it ends at byte {self.at + len(found)}, in the middle: was its export interrupted?")
        self.at += size
        return found


def _bounded(lengths: tuple[int, int], at: int) -> tuple[int, int]:
    key, value = lengths
    if key > MOST_KEY or value > MOST_VALUE or (value and not key):
        raise Broken(f"at byte {at}: no answer has a key of {key} bytes and a value of {value}")
    return key, value
