"""Local names, from hosts files and from the configuration."""

from __future__ import annotations

from pathlib import Path

import dns.exception
import dns.rrset
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from heimdall.admit.local import Local, read_record
from heimdall.interfaces import IGate
from heimdall.message.answer import Answer
from heimdall.message.response import MOST_LINKS
from heimdall.message.wire import from_text
from heimdall.tally import Gauge
from tests.admit.asking import asking, owner_of_soa, rcode, rows, told

HOSTS = """\
# This machine
127.0.0.1       localhost
::1             localhost ip6-localhost
fe80::1%lo0     Link.Example            # the zone is left out

192.168.1.10\tnas.home.example nas  files.home.example
2001:db8::10    nas.home.example
192.168.1.11    nas.home.example
192.168.1.10    other.home.example
0.0.0.0         sink.example
192.168.1.20    d\u00fcrer.example
"""


class Files(SynchronousTestCase):
    """Names from hosts files."""

    def hosts(self, content: str | bytes = HOSTS) -> Local:
        """A gate with one hosts file."""
        path = Path(self.mktemp())
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return Local(hosts=[str(path)])

    def test_addresses(self) -> None:
        """Each name has all the addresses that are given for it, whatever the case of its letters."""
        gate = self.hosts()
        for name, kind, expected in (
            ("nas.home.example", "A", ["192.168.1.10", "192.168.1.11"]),
            ("NAS.home.Example", "AAAA", ["2001:db8::10"]),
            ("nas", "A", ["192.168.1.10"]),
            ("files.home.example", "A", ["192.168.1.10"]),
            ("link.example", "AAAA", ["fe80::1"]),
            ("sink.example", "A", ["0.0.0.0"]),
            ("d\u00fcrer.example", "A", ["192.168.1.20"]),
        ):
            reply = told(gate, asking(name, kind))
            self.assertEqual([row.split()[-1] for row in rows(reply)], expected)
            self.assertEqual({row.split()[1] for row in rows(reply)}, {"60"})

    def test_reverse(self) -> None:
        """An address has the first name that is given for it, and no other."""
        gate = self.hosts()
        for address, expected in (
            ("10.1.168.192.in-addr.arpa", "nas.home.example."),
            ("0.1." + "0." * 22 + "8.b.d.0.1.0.0.2.ip6.arpa", "nas.home.example."),
        ):
            self.assertEqual([row.split()[-1] for row in rows(told(gate, asking(address, "PTR")))], [expected])

    def test_localhost(self) -> None:
        """What localhost is, is not for a file to say: one with a single address would take the other away."""
        gate = self.hosts("fe80::1%lo0 localhost\n127.0.0.1 localhost x.localhost nas.example")
        for name in ("localhost", "x.localhost"):
            self.assertIsNone(gate.judge(asking(name)))
        self.assertEqual(rows(told(gate, asking("nas.example")))[0].split()[-1], "127.0.0.1")

    def test_unspecified_address_in_reverse(self) -> None:
        """The unspecified address, which lists of blocked names give for all of theirs, has no name."""
        self.assertIsNone(self.hosts().judge(asking("0.0.0.0.in-addr.arpa", "PTR")))

    def test_unknown_names_pass(self) -> None:
        """A name that no file knows passes, also above and below one that is known."""
        gate = self.hosts()
        for name in ("www.example", "home.example", "x.nas.home.example", "."):
            self.assertIsNone(gate.judge(asking(name)))

    def test_bad_lines(self) -> None:
        """Bad lines are left out and counted, and logged once with the number of the first; the rest counts."""
        gate = self.hosts(
            "192.0.2.1 good.example\nrubbish\n192.0.2.2\n192.0.2.3 a..b\n\n1.2.3 x\n192.0.2.4 late.example"
        )
        self.assertEqual(rows(told(gate, asking("good.example")))[0].split()[-1], "192.0.2.1")
        self.assertEqual(rows(told(gate, asking("late.example")))[0].split()[-1], "192.0.2.4")
        self.assertEqual(gate._skipped.total(), 4)

    def test_bytes_of_no_encoding(self) -> None:
        """A line that is not UTF-8 is a bad line; a byte order mark at the start of the file is none."""
        gate = self.hosts(b"\xef\xbb\xbf192.0.2.1 a.example\r\n\xff\xfe192.0.2.2 b.example\r\n")
        self.assertEqual(len(told(gate, asking("a.example")).answer), 1)
        self.assertEqual(gate._skipped.total(), 1)

    def test_too_many_for_a_message(self) -> None:
        """Addresses of one name past what fits a message are left out as bad lines; what is left can be sent."""
        lines = [f"10.{n >> 8}.{n & 255}.1 many.example" for n in range(5000)]
        gate = self.hosts("\n".join(lines))
        found = rows(told(gate, asking("many.example", stream=True)))
        self.assertGreater(gate._skipped.total(), 0)
        self.assertEqual(len(found) + gate._skipped.total(), 5000)

    def test_missing_file(self) -> None:
        """A file that is not there is an error at start, not an empty one."""
        self.assertRaises(OSError, Local, hosts=["/nonexistent/hosts"])

    @given(st.lists(st.one_of(st.binary(max_size=60), st.text("0123456789.:abcdef%# \t-*\\", max_size=40)), max_size=8))
    def test_rubbish(self, lines: list[bytes | str]) -> None:
        """Whatever stands in a file, it is read to its end, and what came of it can be asked for."""
        content = b"\n".join(line.encode() if isinstance(line, str) else line for line in lines)
        gate = self.hosts(content + b"\n192.0.2.99 last.example\n")
        self.assertEqual(rows(told(gate, asking("last.example")))[-1].split()[-1], "192.0.2.99")


class Records(SynchronousTestCase):
    """Names from the configuration."""

    def test_is_a_gate(self) -> None:
        """Local is an IGate."""
        verifyObject(IGate, Local())

    def test_types(self) -> None:
        """Records of any type are answered as they were written, several of one type together."""
        texts = [
            "mail.example 300 A 192.0.2.1",
            "mail.example 1h AAAA 2001:db8::1",
            "example 300 IN MX 10 mail.example.",
            "example 300 MX 20 backup",
            'example TXT "some text" more',
            "example 300 SRV 1 2 53 ns.example.",
            r"example 300 TYPE65400 \# 3 010203",
            r"a\.b.example. A 192.0.2.3",
        ]
        gate = Local(records=texts)
        for name, kind, expected in (
            ("mail.example", "A", ["mail.example. 300 IN A 192.0.2.1"]),
            ("mail.example", "AAAA", ["mail.example. 3600 IN AAAA 2001:db8::1"]),
            ("example", "MX", ["example. 300 IN MX 10 mail.example.", "example. 300 IN MX 20 backup."]),
            ("EXAMPLE", "TXT", ['example. 60 IN TXT "some text" "more"']),
            ("example", "SRV", ["example. 300 IN SRV 1 2 53 ns.example."]),
            ("example", "TYPE65400", [r"example. 300 IN TYPE65400 \# 3 010203"]),
            (r"a\.b.example", "A", [r"a\.b.example. 60 IN A 192.0.2.3"]),
        ):
            self.assertEqual(
                [row.replace("EXAMPLE.", "example.") for row in rows(told(gate, asking(name, kind)))], expected
            )

    def test_other_types(self) -> None:
        """A name that is known has no data of other types: that is said with a SOA, and not asked elsewhere."""
        gate = Local(records=["www.example A 192.0.2.1"])
        for kind in ("AAAA", "MX", "TYPE65400"):
            reply = told(gate, asking("www.example", kind))
            self.assertEqual((rcode(reply), reply.answer), ("NOERROR", []))
            self.assertEqual(owner_of_soa(reply), "www.example")

    def test_any(self) -> None:
        """ANY gets the records of one type (RFC 8482, 4.1)."""
        gate = Local(records=["a.example A 192.0.2.1", "a.example A 192.0.2.2", "a.example TXT x"])
        self.assertEqual({row.split()[3] for row in rows(told(gate, asking("a.example", "ANY")))}, {"A"})

    def test_soa_of_our_own(self) -> None:
        """A SOA record among ours is the answer to who asks for it."""
        gate = Local(records=["corp.example SOA ns.corp.example. admin.corp.example. 1 2 3 4 5"])
        reply = told(gate, asking("corp.example", "SOA"))
        self.assertEqual((len(reply.answer), len(reply.authority)), (1, 0))

    def test_alias(self) -> None:
        """An alias is followed as long as it leads to local names, and its end is the answer."""
        gate = Local(
            records=["www.example CNAME Web.Example.", "web.example CNAME host.example.", "host.example A 192.0.2.1"]
        )
        self.assertEqual(
            rows(told(gate, asking("www.example"))),
            [
                "www.example. 60 IN CNAME Web.Example.",
                "web.example. 60 IN CNAME host.example.",
                "host.example. 60 IN A 192.0.2.1",
            ],
        )
        self.assertEqual(len(rows(told(gate, asking("www.example", "CNAME")))), 1)
        reply = told(gate, asking("www.example", "AAAA"))
        self.assertEqual((len(reply.answer), owner_of_soa(reply)), (2, "host.example"))

    def test_alias_that_leads_outside(self) -> None:
        """An alias to a name that is not local says where it leads: others follow it there."""
        gate = Local(records=["www.example CNAME Www.Example.com."])
        reply = told(gate, asking("www.example"))
        self.assertEqual((rows(reply), reply.authority), (["www.example. 60 IN CNAME Www.Example.com."], []))
        answer = gate.judge(asking("www.example"))
        assert isinstance(answer, Answer)
        self.assertEqual(answer.alias, b"\3www\7example\3com\0")
        asked = gate.judge(asking("www.example", "CNAME"))
        assert isinstance(asked, Answer)
        self.assertEqual(asked.alias, b"")

    def test_aliases_in_a_circle(self) -> None:
        """Aliases that lead in a circle, or through too many names, are SERVFAIL with an extended error."""
        circle = ["a.example CNAME b.example.", "b.example CNAME a.example."]
        chain = [f"n{n}.example CNAME n{n + 1}.example." for n in range(MOST_LINKS + 2)]
        gate = Local(records=[*circle, *chain, f"n{MOST_LINKS + 2}.example A 192.0.2.1"])
        for name in ("a.example", "n0.example"):
            answer = gate.judge(asking(name))
            assert isinstance(answer, Answer)
            self.assertEqual((answer.rcode, answer.counts, len(answer.errors)), (2, (0, 0, 0), 1))
        self.assertEqual(len(told(gate, asking("n3.example")).answer), MOST_LINKS)

    def test_ds(self) -> None:
        """DS belongs to the parent, whose proof lets a validating client take our records (RFC 4035, 3.1.4.1)."""
        gate = Local(records=["a.example A 192.0.2.1", "b.example DS 1 13 2 " + "00" * 32])
        self.assertIsNone(gate.judge(asking("a.example", "DS")))
        self.assertEqual(len(told(gate, asking("b.example", "DS")).answer), 1)

    def test_alias_beside_other_records(self) -> None:
        """An alias with anything beside it, another alias too, is an error (RFC 1034, 3.6.2)."""
        alias, other = "a.example CNAME b.example.", "a.example CNAME c.example."
        for texts in ([alias, "a.example A 192.0.2.1"], ["a.example A 192.0.2.1", alias], [alias, other]):
            self.assertIn("a.example", str(self.assertRaises(ValueError, Local, records=texts)))

    def test_the_same_twice(self) -> None:
        """A record that is given twice is there once (RFC 2181, 5)."""
        gate = Local(records=["a.example A 192.0.2.1", "A.example 300 A 192.0.2.1"])
        self.assertEqual(rows(told(gate, asking("a.example"))), ["a.example. 60 IN A 192.0.2.1"])

    def test_one_ttl_of_a_set(self) -> None:
        """The records of one name and type have one TTL, the least that was given (RFC 2181, 5.2)."""
        gate = Local(records=["a.example 300 A 192.0.2.1", "a.example 20 A 192.0.2.2", "a.example 90 A 192.0.2.3"])
        answer = gate.judge(asking("a.example"))
        assert isinstance(answer, Answer)
        self.assertEqual([int.from_bytes(answer.body[at : at + 4], "big") for at in answer.spots], [20, 20, 20])

    def test_wrong_records(self) -> None:
        """A record that is wrong is an error that names it."""
        for text in (
            "",
            "www.example",
            "www.example 300",
            "www.example 300 IN",
            "www.example A",
            "www.example A 192.0.2.256",
            "www.example A 192.0.2.1 192.0.2.2",
            "www.example A 192.0.2.1\nother.example A 192.0.2.2",
            "www.example NOSUCH x",
            "www.example ANY x",
            "www.example OPT x",
            "www.example 99999999999 A 192.0.2.1",
            "www..example A 192.0.2.1",
            "*.example A 192.0.2.1",
            "www.example CH A 192.0.2.1",
        ):
            error = str(self.assertRaises(ValueError, Local, records=[text]))
            self.assertTrue(error.startswith(f"{text!r} is no record: "), error)

    def test_too_long_for_a_message(self) -> None:
        """Records that together do not fit a message are an error at start."""
        texts = [f'big.example TXT "{number:0250}"' for number in range(300)]
        self.assertIn("big.example", str(self.assertRaises(ValueError, Local, records=texts)))

    @given(st.text(max_size=60))
    def test_rubbish(self, text: str) -> None:
        """Any text is a record or a ValueError."""
        try:
            name, kind, ttl, _ = read_record(text)
        except ValueError:
            return
        self.assertTrue(name.endswith(b"\0") and 0 < kind < 65536 and 0 <= ttl < 2**31)

    @given(
        st.sampled_from(["www.example.", "a-b.c.d.example.", "x."]),
        st.integers(0, 2**31 - 1),
        st.sampled_from(
            ["A 192.0.2.1", "MX 5 Mail.example.", 'TXT "a b" c', "NS ns.example.", "CAA 0 issue ca.example"]
        ),
    )
    def test_as_dnspython_reads_it(self, name: str, ttl: int, data: str) -> None:
        """A record is what dnspython reads from the same line of a zone."""
        kind, _, rest = data.partition(" ")
        rrset = dns.rrset.from_text(name, ttl, "IN", kind, rest)
        wire = rrset[0].to_wire()
        self.assertEqual(read_record(f"{name} {ttl} {data}"), (from_text(name), rrset.rdtype, ttl, wire))

    def test_counted(self) -> None:
        """Answers are counted, and so are the names."""
        gate = Local(records=["a.example A 192.0.2.1", "b.example A 192.0.2.1"])
        gate.judge(asking("a.example"))
        gate.judge(asking("c.example"))
        self.assertEqual(gate._answered.total(), 1)
        self.assertEqual([tally.read() for tally in gate.tallies if isinstance(tally, Gauge)], [2])
