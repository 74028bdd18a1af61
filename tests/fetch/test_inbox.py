"""Tests of how a socket is read: all at once, and one by one where there is no such call, it comes to the same."""

from __future__ import annotations

import errno
import os
import socket
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from heimdall import mmsg
from heimdall.fetch.inbox import READS, Inbox, Read, one_by_one, reader
from tests.accept.echo import NO_BATCHES


def ways() -> list[Read]:
    """Return all that read, those that there are here."""
    return [one_by_one] if NO_BATCHES else [one_by_one, Inbox().read]


class Reading(SynchronousTestCase):
    """A socket, and another one that is connected with it."""

    def connect(self) -> None:
        """Begin with new ones."""
        self.here, self.there = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for one in (self.here, self.there):
            self.addCleanup(one.close)
            one.bind(("127.0.0.1", 0))
        self.here.connect(self.there.getsockname())
        self.there.connect(self.here.getsockname())
        self.here.setblocking(False)

    def setUp(self) -> None:
        self.connect()

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.sampled_from((0, 1, 12, 60, 512, 5000)), max_size=READS), st.booleans())
    def test_any(self, sizes: list[int], longest: bool) -> None:
        """What has come is there as it was sent, whole and in that order, the longest datagram too; then nothing is."""
        sent = [bytes([number]) * size for number, size in enumerate([*sizes[:-1], 65507] if longest else sizes)]
        for read in ways():
            for wire in sent:
                self.there.send(wire)
            self.assertEqual(read(self.here), sent)
            self.assertEqual(read(self.here), [])

    def test_bound(self) -> None:
        """More than may be read at once is there the next time."""
        for read in ways():
            for number in range(READS + 3):
                self.there.send(bytes([number]))
            self.assertEqual([len(read(self.here)) for _ in range(3)], [READS, 3, 0])

    def test_refused(self) -> None:
        """A refusal is told first, and what had come before it is there after that."""
        for read in ways():
            self.connect()
            self.there.send(b"before")
            self.there.close()
            os.write(self.here.fileno(), b"anyone?")
            self.assertRaises(ConnectionRefusedError, read, self.here)
            self.assertEqual(read(self.here), [b"before"])

    def test_closed(self) -> None:
        """A socket that is closed is an error, again and again."""
        self.here.close()
        for read in ways():
            for _ in range(2):
                self.assertRaises(OSError, read, self.here)

    def test_chosen(self) -> None:
        """All is read at once where there is such a call, and only there: in the C library, and in the kernel."""
        self.addCleanup(reader.cache_clear)
        self.assertEqual(reader() == one_by_one, bool(NO_BATCHES))
        unknown = mock.Mock(return_value=-1)
        for calls in ({"side_effect": AttributeError}, {"return_value": (unknown, unknown)}):
            reader.cache_clear()
            with mock.patch.object(mmsg, "_calls", **calls), mock.patch("ctypes.get_errno", return_value=errno.ENOSYS):
                self.assertEqual(reader(), one_by_one)
