"""The keys that the answers for a name are held under: the likely ones at once, and a pattern for all in a place."""

from __future__ import annotations

from typing import Final

from heimdall.message.query import IN

TYPES: Final = (1, 2, 5, 6, 12, 15, 16, 28, 33, 35, 43, 48, 52, 64, 65, 257)
"""The types that are asked for most."""

NO_TYPE: Final = 0
"""What stands in the key of an answer for every type: the name does not exist."""

_FLAGS: Final = 4  # each of DO and CD set or not


def likely(name: bytes, *types: int) -> list[bytes]:
    """Return the keys of a name, without a client's subnet, for some types; without any, for what is asked for most.

    :param name: the folded wire name.
    """
    return [name + kind.to_bytes(2, "big") + IN + bytes((flags,)) for kind in types or TYPES for flags in range(_FLAGS)]


def pattern(head: bytes) -> bytes:
    """Return the pattern, as Redis matches, of every key that begins with just these bytes."""
    return b"".join(b"\\" + bytes((byte,)) if byte in b"*?[]\\^-" else bytes((byte,)) for byte in head) + b"*"
