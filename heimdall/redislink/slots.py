"""Where keys live in a Redis Cluster: slots, the map of them, and the key that a command is about."""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Iterator
from typing import Final

SLOTS: Final = 16384

MOST_NODES: Final = 1000
"""Ranges of slots in one map that are taken."""

Node = tuple[str, int]
"""Host and port of a node."""

EVERYWHERE: Final = frozenset((b"SCRIPT",))
"""Commands that every master must run."""

ANYWHERE: Final = frozenset((b"PUBLISH", b"PING", b"TIME", b"CLUSTER", b"INFO", b"CONFIG", b"CLIENT", b"COMMAND"))
"""Commands that any master can run: they are about no key."""

SCRIPTS: Final = frozenset((b"EVAL", b"EVALSHA", b"EVAL_RO", b"EVALSHA_RO"))
"""Commands that say how many keys they are about."""

SPLIT: Final = frozenset((b"MGET", b"DEL", b"UNLINK", b"EXISTS"))
"""Commands that are about any number of keys, each by itself."""


def slot(key: bytes) -> int:
    """Return the slot of a key: of the part between the first braces, where there is one."""
    opened = key.find(b"{")
    if opened >= 0:
        closed = key.find(b"}", opened + 1)
        if closed > opened + 1:
            key = key[opened + 1 : closed]
    return crc_hqx(key, 0) % SLOTS


def word(part: bytes | str | int) -> bytes:
    """Return a part of a command as it is sent."""
    return part if isinstance(part, bytes) else str(part).encode()


def key_of(command: tuple[bytes | str | int, ...]) -> bytes | None:
    """Return the first key of a command, or None when it is about none."""
    name = word(command[0]).upper()
    if name in ANYWHERE or name in EVERYWHERE:
        return None
    at = 3 if name in SCRIPTS else 1
    if len(command) <= at or (at == 3 and word(command[2]) == b"0"):
        return None
    return word(command[at])


def together(keys: list[bytes]) -> dict[int, list[tuple[int, bytes]]]:
    """Return keys by their slots, each with its number in the list."""
    places: dict[int, list[tuple[int, bytes]]] = {}
    for at, key in enumerate(keys):
        places.setdefault(slot(key), []).append((at, key))
    return places


def read_map(reply: object, asked: Node) -> Iterator[tuple[int, int, Node]]:
    """Yield first slot, last slot and master of each range in a reply to CLUSTER SLOTS.

    What makes no sense is passed over.

    :param asked: who gave the reply: it may not know its own address.
    """
    for one in reply[:MOST_NODES] if isinstance(reply, list) else ():
        match one:
            case [int(first), int(last), [host, int(port), *_], *_] if 0 <= first <= last < SLOTS and 0 < port < 65536:
                name = host.decode("ascii", "replace") if isinstance(host, bytes) and len(host) < 256 else ""
                yield first, last, (name if name not in ("", "?") else asked[0], port)


def read_redirect(text: str, asked: Node) -> tuple[str, int, Node] | None:
    """Return MOVED or ASK, the slot and where to go instead, as an error reply says it; None for any other error."""
    kind, _, rest = text.partition(" ")
    if kind not in ("MOVED", "ASK"):
        return None
    number, _, address = rest.partition(" ")
    host, _, port = address.rpartition(":")
    if not (number.isdecimal() and port.isdecimal() and len(number) < 6 and len(port) < 6):
        return None
    if int(number) >= SLOTS or not 0 < int(port) < 65536 or len(host) > 255:
        return None
    return kind, int(number), (host.strip("[]") if host not in ("", "?") else asked[0], int(port))
