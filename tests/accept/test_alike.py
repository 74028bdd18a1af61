"""Messages that are like earlier ones but for the name: what is read of them is what a full look reads."""

from __future__ import annotations

from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.name
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from heimdall.accept import alike
from heimdall.accept.alike import SHAPE_BYTES, Alike
from heimdall.cache.memory import Memory
from heimdall.message.query import Query, make, read
from heimdall.message.reply import fit
from tests.cache.questions import negative, positive
from tests.message.messages import folded, query_wire

WAYS: tuple[dict[str, Any], ...] = (
    {},
    {"use_edns": 0, "payload": 4096},
    {"use_edns": 0, "payload": 512, "want_dnssec": True},
    {"flags": dns.flags.RD | dns.flags.CD | dns.flags.AD},
    {"use_edns": 0, "options": [dns.edns.CookieOption(b"client_1", b"")]},
    {"use_edns": 0, "options": [dns.edns.CookieOption(b"client_2", bytes(16))]},
    {"use_edns": 0, "options": [dns.edns.GenericOption(dns.edns.OptionType.PADDING, bytes(9))]},
)
"""How clients ask."""

LABELS = st.binary(min_size=1, max_size=6) | st.text("aB\0", min_size=1, max_size=4).map(str.encode)
NAMES = st.lists(LABELS, max_size=4).map(lambda labels: dns.name.Name([*labels, b""]))


def learnt(wire: bytes) -> Query:
    """A message as it was read."""
    found = read(wire, ("192.0.2.1", 53000), subnets=True)
    assert isinstance(found, Query)
    return found


class Same(SynchronousTestCase):
    """Against the full look, which is simple."""

    @settings(max_examples=300, deadline=None)
    @given(st.data())
    def test_read(self, data: st.DataObject) -> None:
        """Whatever comes, what is read of it is what a full look reads, and gets the same reply."""
        memory, shapes = Memory(1_000_000), Alike()
        names = data.draw(st.lists(NAMES, min_size=1, max_size=4))
        for name in names:
            learnt_of_it = data.draw(st.sampled_from((positive(), negative())))
            memory.put(make(folded(name), 1, do=data.draw(st.booleans())), learnt_of_it, 0.0)
        for way in data.draw(st.lists(st.sampled_from(WAYS), max_size=4)):
            shapes.learn(learnt(query_wire("any.example", data.draw(st.sampled_from(("A", "TXT"))), **way)))
        asked = dns.message.make_query(
            data.draw(st.sampled_from(names) | NAMES), "A", **data.draw(st.sampled_from(WAYS))
        )
        wire = bytearray(asked.to_wire())
        for at in data.draw(st.lists(st.integers(2, len(wire) - 1), max_size=2)):
            wire[at] = data.draw(st.sampled_from((0, 1, wire[at] ^ 32)))
        wire = wire[: data.draw(st.sampled_from((len(wire), len(wire) - 1)))]
        found = shapes.read(bytes(wire[2:]))
        known = memory.get(found, 0.0) if found else None
        if found:
            found.wire = bytes(wire)
            full = self.check(found, bytes(wire))
            if known:
                answer, body, _ = known
                self.assertEqual(fit(found, answer, body)[2:], fit(full, answer, body)[2:])

    def check(self, found: Query, wire: bytes) -> Query:
        """Check that a message means what was found in it; return what a full look reads."""
        full = learnt(wire)
        for slot in set(dir(full)) - {"client", "wire"}:
            value = getattr(full, slot)
            if not slot.startswith("_") and not callable(value):
                self.assertEqual(getattr(found, slot), value, slot)
        return full


class Shapes(SynchronousTestCase):
    """What is remembered."""

    def test_name(self) -> None:
        """Another name in the same words is read; other flags, another type or another OPT are not."""
        shapes = Alike()
        shapes.learn(learnt(query_wire("a.example", use_edns=0)))
        found = shapes.read(query_wire("B.Other.Example", use_edns=0)[2:])
        assert found is not None
        self.assertEqual(found.name, b"\1b\5other\7example\0")
        self.assertEqual(found.question[:16], b"\1B\5Other\7Example")
        for other in (
            query_wire("b.example"),
            query_wire("b.example", "AAAA", use_edns=0),
            query_wire("b.example", use_edns=0, want_dnssec=True),
            query_wire("b.example", use_edns=0, flags=0),
        ):
            self.assertIsNone(shapes.read(other[2:]))

    def test_kept(self) -> None:
        """What was learnt stays as it was read, and the query it was learnt from is left alone."""
        shapes = Alike()
        first = learnt(query_wire("a.example"))
        shapes.learn(first)
        shapes.read(query_wire("b.example")[2:])
        self.assertEqual(first.name, b"\1a\7example\0")

    def test_copy(self) -> None:
        """A copy is left alone by the next message."""
        shapes = Alike()
        shapes.learn(learnt(query_wire("a.example")))
        found = shapes.read(query_wire("b.example")[2:])
        assert found is not None
        copy = found.again(0.0)
        shapes.read(query_wire("c.example")[2:])
        self.assertEqual((copy.name, found.name), (b"\1b\7example\0", b"\1c\7example\0"))

    def test_no_message_kept(self) -> None:
        """However many shapes were read, the message of the last one alone is kept: its padding counts nowhere."""
        shapes = Alike()
        sizes = range(600, 620)
        for size in sizes:
            shapes.learn(learnt(query_wire("a.example", use_edns=0, payload=size)))
        for size in sizes:
            found = shapes.read(query_wire("b.example", use_edns=0, payload=size)[2:])
            assert found is not None
            found.wire = bytes(4000)
        self.assertEqual(sum(len(query.wire) > 0 for query, _ in shapes._shapes.values()), 1)

    def test_unsound(self) -> None:
        """A name that is cut short, has a label of more than 63 bytes or a pointer, or is too long, is not read."""
        shapes = Alike()
        shapes.learn(learnt(query_wire("a.example")))
        wire = query_wire("c.example")
        for name in (b"\1c\x47example\0", b"\1c\5exam\0", b"\1c\xc0\x0c", b"\1c\x40" + b"x" * 64 + b"\0"):
            self.assertIsNone(shapes.read(wire[2:].replace(b"\1c\7example\0", name)))
        for labels, is_read in ((126, True), (127, True), (128, False)):
            found = shapes.read(wire[2:].replace(b"\1c\7example\0", b"\1c" * labels + b"\0"))
            self.assertEqual(found is not None, is_read)
        self.assertIsNone(shapes.read(wire[2:14]))
        self.assertIsNone(shapes.read(b""))

    def test_subnet(self) -> None:
        """A message that tells of a client's subnet is read in full each time."""
        shapes = Alike()
        asked = learnt(query_wire("a.example", use_edns=0, options=[dns.edns.ECSOption("192.0.2.0", 24)]))
        self.assertIsNotNone(asked.subnet)
        shapes.learn(asked)
        self.assertIsNone(shapes.read(asked.wire[2:]))

    def test_bounded(self) -> None:
        """However many shapes come, few bytes of them are remembered: the oldest goes for one that comes."""
        self.patch(alike, "MOST_BYTES", 4 * (SHAPE_BYTES + 50))
        shapes = Alike()
        for size in range(20):
            shapes.learn(learnt(query_wire("a.example", use_edns=0, payload=512 + size)))
            self.assertLessEqual(shapes.bytes, alike.MOST_BYTES)
            self.assertLessEqual(len(shapes._shapes), 4)
        for size, is_read in ((531, True), (528, True), (512, False)):
            found = shapes.read(query_wire("b.example", use_edns=0, payload=size)[2:])
            self.assertEqual(found is not None, is_read)
        self.assertEqual(len(shapes.forget()), 4)
        self.assertEqual((shapes.bytes, len(shapes._shapes)), (0, 0))
        self.assertIsNone(shapes.read(query_wire("b.example", use_edns=0, payload=531)[2:]))

    def test_long(self) -> None:
        """A shape that is long is not remembered: its options hardly come again."""
        shapes = Alike()
        for size in (400, 500, 3000):
            option = dns.edns.GenericOption(dns.edns.OptionType.NSID, bytes(size))
            shapes.learn(learnt(query_wire("a.example", use_edns=0, request_payload=4096, options=[option])))
        self.assertEqual(len(shapes._shapes), 1)

    def test_cookies(self) -> None:
        """Clients that send a cookie each, or pad their messages, are of one shape, with those that do neither."""
        shapes = Alike()
        for number in range(1500):
            cookie = dns.edns.CookieOption(number.to_bytes(8, "big"), b"")
            padding = dns.edns.GenericOption(dns.edns.OptionType.PADDING, bytes(number % 40))
            for options in ([cookie], [padding], [cookie, padding], [padding, cookie]):
                wire = query_wire(f"n{number}.example", use_edns=0, options=options)
                if number or len(shapes._shapes):
                    found = shapes.read(wire[2:])
                    assert found is not None
                    self.assertEqual(found.name, learnt(wire).name)
                shapes.learn(learnt(wire))
        self.assertEqual(len(shapes._shapes), 1)
        self.assertIsNotNone(shapes.read(query_wire("a.example", use_edns=0)[2:]))

    def test_other_options(self) -> None:
        """Any other option is part of the shape, beside those that are not."""
        shapes = Alike()
        cookie, nsid = dns.edns.CookieOption(b"12345678", b""), dns.edns.GenericOption(dns.edns.OptionType.NSID, b"")
        shapes.learn(learnt(query_wire("a.example", use_edns=0, options=[nsid, cookie])))
        self.assertIsNotNone(shapes.read(query_wire("b.example", use_edns=0, options=[nsid])[2:]))
        for options in ([cookie], [], [nsid, nsid], [dns.edns.ECSOption("192.0.2.0", 24), nsid]):
            self.assertIsNone(shapes.read(query_wire("b.example", use_edns=0, options=options)[2:]))

    def test_short(self) -> None:
        """A message whose name has no end is none of a known shape."""
        shapes = Alike()
        shapes.learn(learnt(query_wire("a.example")))
        self.assertIsNone(shapes.read(query_wire("a.example")[2:14]))
        self.assertIsNone(shapes.read(b""))
