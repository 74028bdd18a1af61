"""Which slot a key is in, and which key a command is about."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from heimdall.redislink.slots import SLOTS, key_of, read_map, read_redirect, slot, together

HERE = ("here", 6379)


class Slots(SynchronousTestCase):
    """Keys and their slots."""

    def test_known(self) -> None:
        """The slots are those of the specification of Redis Cluster."""
        self.assertEqual(slot(b"123456789"), 0x31C3)
        self.assertEqual(slot(b"foo{hash_tag}"), slot(b"hash_tag"))
        self.assertEqual(slot(b"{user1000}.following"), slot(b"{user1000}.followers"))
        self.assertNotEqual(slot(b"foo{}{bar}"), slot(b"bar"))
        self.assertEqual(slot(b"foo{{bar}}zap"), slot(b"{bar"))
        self.assertEqual(slot(b"foo{bar}{zap}"), slot(b"bar"))
        self.assertEqual(slot(b"foo{bar"), slot(b"foo{bar"))

    @given(st.binary())
    def test_any(self, key: bytes) -> None:
        """Every key has a slot."""
        self.assertTrue(0 <= slot(key) < SLOTS)

    def test_together(self) -> None:
        """Keys of one slot are put together, each with its place in the list."""
        keys = [b"{a}1", b"{b}1", b"{a}2"]
        self.assertEqual(together(keys), {slot(b"a"): [(0, b"{a}1"), (2, b"{a}2")], slot(b"b"): [(1, b"{b}1")]})

    def test_keys(self) -> None:
        """The key of a command is its first argument, or the first behind the number of a script's keys."""
        for command, key in (
            (("GET", "a"), b"a"),
            ((b"get", b"\xff"), b"\xff"),
            (("SET", 7, 8), b"7"),
            (("EVALSHA", "digest", 2, "a", "b"), b"a"),
            ((b"EVAL", b"text", b"1", b"a"), b"a"),
            (("EVAL", "text", 0), None),
            (("EVAL", "text", 1), None),
            (("PUBLISH", "channel", "message"), None),
            (("SCRIPT", "LOAD", "text"), None),
            (("TIME",), None),
            (("DBSIZE",), None),
        ):
            self.assertEqual(key_of(command), key)


class Replies(SynchronousTestCase):
    """What nodes say of the cluster."""

    def test_map(self) -> None:
        """A map is read; what makes no sense in it is passed over; a node without address is the one that was asked."""
        reply: list[object] = [
            [0, 5, [b"10.0.0.1", 7000, b"id", []], [b"10.0.0.2", 7001, b"id"]],
            [6, 7, [None, 7002]],
            [8, 9, [b"", 7003]],
            [10, 11, [b"?", 7004]],
            [12, 16384, [b"h", 1]],
            [5, 4, [b"h", 1]],
            [-1, 4, [b"h", 1]],
            [0, 1, [b"h", 0]],
            [0, 1, [b"h", 65536]],
            [0, 1],
            [b"0", 1, [b"h", 1]],
            7,
            None,
        ]
        self.assertEqual(
            list(read_map(reply, HERE)),
            [(0, 5, ("10.0.0.1", 7000)), (6, 7, ("here", 7002)), (8, 9, ("here", 7003)), (10, 11, ("here", 7004))],
        )
        self.assertEqual(list(read_map(None, HERE)), [])

    def test_redirects(self) -> None:
        """MOVED and ASK name slot and node; any other error is none, and so is rubbish."""
        for text, read in (
            ("MOVED 3999 127.0.0.1:6381", ("MOVED", 3999, ("127.0.0.1", 6381))),
            ("ASK 1 [::1]:6381", ("ASK", 1, ("::1", 6381))),
            ("MOVED 3999 ::1:6381", ("MOVED", 3999, ("::1", 6381))),
            ("MOVED 3999 :6381", ("MOVED", 3999, ("here", 6381))),
            ("MOVED 3999 ?:6381", ("MOVED", 3999, ("here", 6381))),
            ("MOVED 16384 h:1", None),
            ("MOVED 1 h:65536", None),
            ("MOVED 1 h:0", None),
            ("MOVED 1 h:", None),
            ("MOVED x h:1", None),
            ("MOVED 1 " + "h" * 256 + ":1", None),
            ("MOVED", None),
            ("ERR no", None),
            ("", None),
        ):
            self.assertEqual(read_redirect(text, HERE), read)
