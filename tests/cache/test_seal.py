"""Seals: a value is taken under the key it was stored under, from whoever knows the secret, and else never."""

from __future__ import annotations

import os
from binascii import unhexlify
from hashlib import blake2b

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from heimdall.cache.seal import LONGEST, SHORTEST, SIZE, Seal, load, read
from heimdall.config.values import SHORTEST_SECRET

OLD, NEW = b"the secret of May", b"the secret of June"


class Sealing(SynchronousTestCase):
    """What a seal holds together."""

    def test_round_trip(self) -> None:
        """A seal fits the value and the key that it was made for, with a secret or without."""
        for seal in (Seal(), Seal(NEW)):
            made = seal.sign(b"key", b"value")
            self.assertEqual(len(made), SIZE)
            self.assertTrue(seal.fits(b"key", b"value", made))

    @given(*[some.binary(max_size=40)] * 4)
    def test_nothing_else(self, key: bytes, value: bytes, other_key: bytes, other: bytes) -> None:
        """It fits no other pair, not even one whose bytes are the same in a row."""
        seal = Seal(NEW)
        made = seal.sign(key, value)
        self.assertEqual(seal.fits(other_key, other, made), (key, value) == (other_key, other))
        self.assertFalse(key and seal.fits(key[:-1], key[-1:] + value, made))

    def test_another_secret(self) -> None:
        """A seal made with another secret, or with none, does not fit."""
        made = Seal(OLD).sign(b"key", b"value")
        self.assertFalse(Seal(NEW).fits(b"key", b"value", made))
        self.assertFalse(Seal().fits(b"key", b"value", made))
        self.assertFalse(Seal(NEW).fits(b"key", b"value", Seal().sign(b"key", b"value")))

    def test_cut_or_longer(self) -> None:
        """A part of the seal is none, nor is more than it."""
        seal = Seal(NEW)
        made = seal.sign(b"key", b"value")
        for wrong in (b"", made[:-1], made + b"\0"):
            self.assertFalse(seal.fits(b"key", b"value", wrong))

    def test_change_of_secrets(self) -> None:
        """While the nodes change to a new secret, each takes what the other sealed; after it the old one is nothing."""
        before, between, after = Seal(OLD, [NEW]), Seal(NEW, [OLD]), Seal(NEW)
        of_before, of_between = before.sign(b"key", b"value"), between.sign(b"key", b"value")
        self.assertTrue(before.fits(b"key", b"value", of_between))
        self.assertTrue(between.fits(b"key", b"value", of_before))
        self.assertTrue(after.fits(b"key", b"value", of_between))
        self.assertFalse(after.fits(b"key", b"value", of_before))
        self.assertFalse(between.fits(b"key", b"valuE", of_before))

    def test_keyed(self) -> None:
        """A seal says whether only those with the secret can make it."""
        self.assertEqual((Seal().keyed, Seal(NEW).keyed), (False, True))

    def test_format(self) -> None:
        """The bytes of a seal do not change from release to release, or the shared cache would be empty after each."""
        self.assertEqual(Seal(NEW).sign(b"key", b"value"), unhexlify("6ffca889648be928b65a843ba67a"))
        expected = blake2b(b"\0\3keyvalue", digest_size=SIZE, person=b"heimdall.c1").digest()
        self.assertEqual(Seal().sign(b"key", b"value"), expected)

    def test_short_secrets(self) -> None:
        """A secret that could be guessed is refused, and one that is no secret of a person or a machine."""
        for secret, former in ((b"x" * 15, ()), (NEW, (b"short",)), (b"", (OLD,)), (NEW, (b"",)), (b"x" * 5000, ())):
            self.assertRaises(ValueError, Seal, secret, former)
        self.assertEqual(SHORTEST, SHORTEST_SECRET)


class Loading(SynchronousTestCase):
    """The seal that the configuration asks for."""

    def file(self, content: bytes) -> str:
        """Return the path of a file with this content."""
        path: str = self.mktemp()
        with open(path, "wb") as out:
            out.write(content)
        return path

    def test_no_secret(self) -> None:
        """Without a secret it works, with a seal that anybody can make."""
        self.assertFalse(load().keyed)

    def test_secret(self) -> None:
        """A secret from the configuration and the same one from a file make the same seal."""
        made = Seal(NEW).sign(b"key", b"value")
        for seal in (load(NEW.decode()), load("", self.file(NEW)), load("", self.file(b"\n" + NEW + b" \r\n"))):
            self.assertTrue(seal.fits(b"key", b"value", made))

    def test_former(self) -> None:
        """The former secret is read from its file."""
        made = Seal(OLD).sign(b"key", b"value")
        self.assertTrue(load("", self.file(NEW), self.file(OLD)).fits(b"key", b"value", made))
        self.assertTrue(load(NEW.decode(), "", self.file(OLD)).fits(b"key", b"value", made))

    def test_any_bytes(self) -> None:
        """A secret may be any bytes, not only text."""
        secret = bytes(range(128, 160))
        self.assertEqual(read(self.file(secret)), secret)

    def test_refused(self) -> None:
        """What cannot be used is refused with the name of its key, and never shown."""
        short = self.file(b"hush, hush\n")
        gone = self.mktemp()
        for arguments, key in (
            (("hush, hush",), "redis.secret: "),
            (("", short), "redis.secret_file: "),
            (("", self.file(b"")), "redis.secret_file: "),
            (("", self.file(b" " * 20)), "redis.secret_file: "),
            (("", self.file(b"x" * (LONGEST + 1))), "redis.secret_file: "),
            (("", gone), "redis.secret_file: No such file"),
            (("", os.path.dirname(os.path.abspath(gone))), "redis.secret_file: "),
            ((NEW.decode(), "", short), "redis.former_secret_file: "),
            ((NEW.decode(), "", gone), "redis.former_secret_file: No such file"),
        ):
            error = self.assertRaises(ValueError, load, *arguments)
            self.assertTrue(str(error).startswith(key), str(error))
            self.assertNotIn("hush", str(error))
        self.assertRaises(ValueError, load, "", "", self.file(OLD))
