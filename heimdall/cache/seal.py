"""Seal what lies in Redis, so that nobody without the secret can forge an answer (BLAKE2b, RFC 7693)."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from hmac import compare_digest
from pathlib import Path
from typing import Final

SIZE: Final = 14
"""Bytes of a seal."""

SHORTEST: Final = 16
"""Bytes that a secret has at least."""

LONGEST: Final = 4096
"""Bytes that it has at most."""

_USE: Final = b"heimdall.c1"


class Seal:
    """Seals values, each to its key: under another key, or with any bit changed, a value's seal is broken.

    :param secret: what all nodes know and nobody else; empty for a seal that anybody can make, which only
        finds what was damaged or misplaced.
    :param former: secrets whose seals are taken as well, while the nodes change to a new one.
    :raises ValueError: a secret is too short or too long, or there is none but former ones.
    """

    __slots__ = ("_taken", "keyed")

    def __init__(self, secret: bytes = b"", former: Sequence[bytes] = ()) -> None:
        for each in (secret, *former) if secret or former else ():
            _check(each)
        self.keyed = bool(secret)
        # Ours first. Prepared once: to copy one costs half of what making it does.
        self._taken = [_prepared(each) for each in (secret, *former)]

    def sign(self, key: bytes, value: bytes) -> bytes:
        """Return the seal of a value that is to lie under a key."""
        digest = self._taken[0].copy()
        digest.update(len(key).to_bytes(2, "big") + key + value)
        return digest.digest()

    def fits(self, key: bytes, value: bytes, seal: bytes) -> bool:
        """Return whether a seal was made for this value under this key, with our secret or a former one."""
        sealed = len(key).to_bytes(2, "big") + key + value
        for prepared in self._taken:
            digest = prepared.copy()
            digest.update(sealed)
            if compare_digest(digest.digest(), seal):
                return True
        return False


def _prepared(secret: bytes) -> blake2b:
    # Hashed first: BLAKE2b takes no more than 64 bytes of key, and a secret may be longer.
    key = blake2b(secret, digest_size=32, person=_USE).digest() if secret else b""
    return blake2b(key=key, digest_size=SIZE, person=_USE)


def load(secret: str = "", file: str = "", former_file: str = "") -> Seal:
    """Return the seal that the configuration asks for.

    :param secret: the secret itself; ``file`` the file that holds it instead.
    :param former_file: the file of another secret whose seals are taken too.
    :raises ValueError: a file cannot be read, or a secret is too short or too long; the text says which, never what
        it holds.
    """
    try:
        at = "redis.secret_file" if file else "redis.secret"
        current = read(file) if file else secret.encode()
        if current:
            _check(current)
        at = "redis.former_secret_file"
        former = (read(former_file),) if former_file else ()
    except ValueError as error:
        raise ValueError(f"{at}: {error}") from None
    return Seal(current, former)


def read(file: str) -> bytes:
    """Return the secret in a file, without the white space around it.

    :raises ValueError: the file cannot be read, or what it holds is too short or too long.
    """
    try:
        with Path(file).open("rb") as opened:
            secret = opened.read(LONGEST + 1).strip()
    except OSError as error:
        raise ValueError(error.strerror or type(error).__name__) from None
    _check(secret)
    return secret


def _check(secret: bytes) -> None:
    if not SHORTEST <= len(secret) <= LONGEST:
        raise ValueError(f"a secret has {SHORTEST} to {LONGEST} bytes")
