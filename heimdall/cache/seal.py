"""Seal what lies in Redis, so that nobody without the secret can forge an answer (BLAKE2b, RFC 7693)."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from hmac import compare_digest
from pathlib import Path
from typing import Final

from twisted.logger import Logger

SIZE: Final = 16
"""Bytes of a seal."""

SHORTEST: Final = 16
"""Bytes that a secret has at least."""

LONGEST: Final = 4096
"""Bytes of a secret file that are read."""

_USE: Final = b"heimdall.c1"
_log = Logger()


class Seal:
    """Seals values, each to its key: under another key, or with any bit changed, a value's seal is broken.

    :param secret: what all nodes know and nobody else; empty for a seal that anybody can make, which only
        finds what was damaged or misplaced.
    :param former: secrets whose seals are taken as well, while the nodes change to a new one.
    :raises ValueError: a secret is too short.
    """

    __slots__ = ("_former", "_hash", "keyed")

    def __init__(self, secret: bytes = b"", former: Sequence[bytes] = ()) -> None:
        for each in (secret, *former) if secret or former else ():
            if len(each) < SHORTEST:
                raise ValueError(f"a secret of less than {SHORTEST} bytes")
        self.keyed = bool(secret)
        # Prepared once: to copy one costs half of what making it does.
        self._hash = _prepared(secret)
        self._former = tuple(_prepared(each) for each in former)

    def sign(self, key: bytes, value: bytes) -> bytes:
        """Return the seal of a value that is to lie under a key."""
        digest = self._hash.copy()
        digest.update(len(key).to_bytes(2, "big") + key + value)
        return digest.digest()

    def fits(self, key: bytes, value: bytes, seal: bytes) -> bool:
        """Return whether a seal was made for this value under this key, with our secret or a former one."""
        if compare_digest(self.sign(key, value), seal):
            return True
        for prepared in self._former:
            digest = prepared.copy()
            digest.update(len(key).to_bytes(2, "big") + key + value)
            if compare_digest(digest.digest(), seal):
                return True
        return False


def _prepared(secret: bytes) -> blake2b:
    # Hashed first: BLAKE2b takes no more than 64 bytes of key, and a secret may be longer.
    key = blake2b(secret, digest_size=32, person=_USE).digest() if secret else b""
    return blake2b(key=key, digest_size=SIZE, person=_USE)


def load(secret: str = "", file: str = "", former_file: str = "") -> Seal:
    """Return the seal that the configuration asks for; say so when it has no secret.

    :param secret: the secret itself; ``file`` the file that holds it instead, without the white space around it.
    :param former_file: the file of the secret before.
    :raises ValueError: a file cannot be read, or a secret is too short; the text says which, never what it holds.
    """
    current = _read("redis.secret_file", file) if file else secret.encode()
    former = (_read("redis.former_secret_file", former_file),) if former_file else ()
    if not current:
        if former:
            raise ValueError("redis.former_secret_file: there is no redis.secret_file that came after it")
        _log.warn("Anybody who can write to Redis can forge answers; set redis.secret_file")
    elif len(current) < SHORTEST:
        raise ValueError(f"redis.secret{'_file' if file else ''}: a secret has at least {SHORTEST} bytes")
    return Seal(current, former)


def _read(key: str, file: str) -> bytes:
    try:
        with Path(file).open("rb") as opened:
            secret = opened.read(LONGEST + 1).strip()
    except OSError as error:
        raise ValueError(f"{key}: {error.strerror or type(error).__name__}") from None
    if not SHORTEST <= len(secret) <= LONGEST:
        raise ValueError(f"{key}: a secret has {SHORTEST} to {LONGEST} bytes")
    return secret
