"""Options of OPT, extended errors and client subnets."""

from __future__ import annotations

import dns.edns
import dns.message
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from heimdall.message import edns
from heimdall.message.edns import ExtendedError, Subnet
from heimdall.message.wire import Malformed


class Options(SynchronousTestCase):
    """Reading and writing options."""

    @given(st.lists(st.tuples(st.integers(0, 65535), st.binary(max_size=30)), max_size=5))
    def test_there_and_back(self, pairs: list[tuple[int, bytes]]) -> None:
        """Options are read as they were written."""
        self.assertEqual(edns.options(b"".join(edns.option(code, data) for code, data in pairs)), pairs)

    def test_opt_as_dnspython_reads_it(self) -> None:
        """Size, DO, the upper bits of the response code and the extended error arrive."""
        error = edns.error_option(ExtendedError(edns.BLOCKED, "by a rule"))
        wire = b"\0\1\x80\0\0\0\0\0\0\0\0\1" + edns.opt(do=True, rcode=16, options=error, size=1400)
        message = dns.message.from_wire(wire)
        self.assertEqual((message.payload, message.ednsflags & 0x8000, message.rcode()), (1400, 0x8000, 16))
        self.assertEqual(message.options[0].to_text(), "EDE 15 (Blocked): by a rule")

    def test_errors(self) -> None:
        """Extended errors are read; what is too short or past the fourth is left out, bad text is replaced."""
        pairs = [(15, b"\0\1ok\0"), (15, b"\0"), (3, b"\0\1"), (15, b"\0\2\xff"), (15, b"\0\3"), (15, b"\0\4"),
                 (15, b"\0\5")]  # fmt: skip
        self.assertEqual(
            edns.errors(pairs),
            (ExtendedError(1, "ok"), ExtendedError(2, "\ufffd"), ExtendedError(3), ExtendedError(4)),
        )

    def test_long_text(self) -> None:
        """A text is cut to 64 bytes, between two characters."""
        [(_, data)] = edns.options(edns.error_option(ExtendedError(0, "x" * 63 + "\xe9")))
        self.assertEqual(data[2:], b"x" * 63)


class Subnets(SynchronousTestCase):
    """Client subnets (RFC 7871)."""

    @given(st.ip_addresses(v=4), st.integers(0, 32))
    def test_there_and_back(self, address: object, length: int) -> None:
        """A subnet is read from what dnspython writes, cut to /24, and written as dnspython reads it."""
        option = dns.edns.ECSOption(str(address), length)
        read = Subnet.from_option(option.to_wire() or b"")
        written = dns.edns.ECSOption.from_text(f"{address}/{min(length, 24)}/0")
        self.assertEqual(read.to_option()[4:], written.to_wire())

    @given(st.ip_addresses(v=6), st.integers(0, 128), st.integers(0, 128))
    def test_an_answer_is_found_again(self, address: object, length: int, scope: int) -> None:
        """Wherever an answer of any scope is put, the network it was asked for finds it."""
        read = Subnet.from_option(dns.edns.ECSOption(str(address), length).to_wire() or b"")
        self.assertIn(read.key(scope), read.closest())

    def test_neighbours_share_what_is_meant_for_both(self) -> None:
        """Two networks share an answer of scope /16 and keep apart one of scope /24."""
        one, other = (Subnet.from_option(bytes((0, 1, 24, 0, 192, 0, n))) for n in (2, 3))
        self.assertIn(one.key(16), other.closest())
        self.assertNotIn(one.key(24), other.closest())

    def test_malformed(self) -> None:
        """An unknown family, a length that does not fit the address, or bits behind the prefix (RFC 7871, 6)."""
        bad = (b"\0\1\0", b"\0\3\x18\0abc", b"\0\1\x21\0abcde", b"\0\1\x18\0ab", b"\0\2\x08\0ab", b"\0\1\x14\0abc")
        for data in bad:
            with self.assertRaises(Malformed):
                Subnet.from_option(data)
