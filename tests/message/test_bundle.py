"""The file of answers: what is written is read, and what is broken is refused."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from heimdall.message.bundle import MOST_KEY, MOST_VALUE, Broken, Head, Reader, Record, end, head, record, split

RECORDS = [(b"\1a\0\0\1\0\1\0", b"value"), (b"\1b\0\0\1\0\1\0", b""), (b"k" * MOST_KEY, b"v" * MOST_VALUE)]


def whole(records: Iterable[Record] = RECORDS) -> bytes:
    """Return a file."""
    parts = [record(key, value) for key, value in records]
    return head(len(parts), 1_700_000_000.5) + b"".join(parts) + end(len(parts))


class Bundles(SynchronousTestCase):
    """Reading."""

    def read(self, data: bytes) -> tuple[Head, list[Record]]:
        """Read a file."""
        reader = Reader(io.BytesIO(data).read)
        found = list(reader)
        self.assertEqual((reader.count, reader.at), (len(found), len(data)))
        return reader.head, found

    def test_there_and_back(self) -> None:
        """What was written is read, with how many answers were expected and when it was begun."""
        self.assertEqual(self.read(whole()), (Head(3, 1_700_000_000.5), RECORDS))
        self.assertEqual(self.read(whole([])), (Head(0, 1_700_000_000.5), []))
        self.assertEqual(split(b"".join(record(key, value) for key, value in RECORDS)), RECORDS)

    def test_form(self) -> None:
        """The form is the documented one, byte by byte: files outlive the program."""
        self.assertEqual(
            whole([(b"key", b"value")]).hex(" "),
            "48 45 49 4d 44 41 4c 4c 01 00 00 00 00 00 00 01 00 00 01 8b cf e5 69 f4 "
            "00 03 00 00 00 05 6b 65 79 76 61 6c 75 65 00 00 00 00 00 00 00 00 00 00 00 00 00 01",
        )

    def test_cut_short(self) -> None:
        """Wherever a file ends before its end, it is refused."""
        data = whole(RECORDS[:2])
        for size in range(len(data)):
            self.assertRaises(Broken, self.read, data[:size])

    def test_not_ours(self) -> None:
        """Another file, another version, lengths out of bounds, a wrong count and more behind the end are refused."""
        data = whole(RECORDS[:1])
        for broken, why in (
            (b"PK\3\4" + bytes(100), "no file of answers"),
            (data[:8] + b"\2" + data[9:], "of version 2"),
            (data[:9] + b"\1" + data[10:], "of version 1"),
            (head(0, 0) + b"\xff\xff\0\0\0\0", "no answer has a key of 65535 bytes"),
            (head(0, 0) + b"\0\1\xff\xff\xff\xff", "and a value of 4294967295"),
            (head(0, 0) + b"\0\0\0\0\0\1", "no answer has a key of 0 bytes"),
            (data[:-1] + b"\2", "it tells of 2 answers and holds 1"),
            (data + b"x", "something follows the end"),
        ):
            self.assertIn(why, str(self.assertRaises(Broken, self.read, broken)))

    @given(st.binary(max_size=200))
    def test_anything(self, data: bytes) -> None:
        """Any bytes are read or refused, and so are any behind a good head; nothing else is raised."""
        for each in (data, head(1, 1.0) + data):
            with contextlib.suppress(Broken):
                self.read(each)
        with contextlib.suppress(Broken):
            self.assertEqual(b"".join(record(key, value) for key, value in split(data)), data)
