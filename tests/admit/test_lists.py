"""Lists of names, in the formats that people publish."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from heimdall.admit import lists
from heimdall.admit.local import Local
from heimdall.message.wire import from_text
from heimdall.tally import Count

LONG = ".".join(["a" * 60] * 4)

# What stands in a line, and the names that are read from it; none at all where the line is wrong.
LINES: list[tuple[str, list[str] | None]] = [
    ("ads.example", ["ads.example"]),
    ("ADS.Example.", ["ads.example"]),
    ("  ads.example  # why", ["ads.example"]),
    ("_dmarc.a-b.example", ["_dmarc.a-b.example"]),
    ("*.ads.example", ["ads.example"]),
    ("||ads.example^", ["ads.example"]),
    ("0.0.0.0 ads.example", ["ads.example"]),
    ("127.0.0.1\tads.example track.example # both", ["ads.example", "track.example"]),
    (":: ads.example", ["ads.example"]),
    ("::1 localhost ip6-loopback", []),
    ("0.0.0.0 0.0.0.0", []),
    ("127.0.0.1 localhost", []),
    ("d\u00fcrer.example", ["xn--drer-0ra.example"]),
    ("xn--p1ai", ["xn--p1ai"]),
    ("4.example.123abc", ["4.example.123abc"]),
    (LONG, [LONG]),
    ("", []),
    ("# ads.example", []),
    ("! ads.example", []),
    ("#ads.example", []),
    ("example.com##.banner", None),
    ("example.com#@#.banner", None),
    ("@@||ads.example^", None),
    ("||ads.example^$third-party", None),
    ("||ads.example", None),
    ("ads.example^", None),
    ("/banner/*/img^", None),
    ("[Adblock Plus 2.0]", None),
    ("ads.example track.example", None),
    ("192.168.1.1 nas.example", None),
    ("192.168.1.1", None),
    ("http://ads.example/", None),
    ("a..example", None),
    (".example", None),
    ("a" * 64 + ".example", None),
    ("ads." + "a" * 64, None),
    (LONG + "." + "a" * 12, None),
    ("*", None),
    ("||^", None),
]


class Lines(SynchronousTestCase):
    """What a line says."""

    def test_table(self) -> None:
        """Every line of the table gives the names that stand beside it, or is wrong; the line's end is no matter."""
        for text, expected in LINES:
            for end in ("", "\n", "\r\n"):
                line = (text + end).encode()
                with self.subTest(line=line):
                    if expected is None:
                        self.assertRaises(ValueError, lists.names, line)
                    else:
                        self.assertEqual(lists.names(line), [from_text(name) for name in expected])

    @given(st.one_of(st.binary(max_size=80), st.from_regex(rb"[a-zA-Z0-9.*|^# \t!:_-]{0,40}", fullmatch=True)))
    def test_rubbish(self, line: bytes) -> None:
        """Any line gives names or is wrong, and the names are well-formed."""
        try:
            found = lists.names(line)
        except ValueError:
            return
        for name in found:
            labels, at = 0, 0
            while name[at]:
                self.assertLess(name[at], 64)
                at += name[at] + 1
                labels += 1
            self.assertEqual((at, name), (len(name) - 1, name.lower()))
            self.assertLessEqual(len(name), 255)
            self.assertGreater(labels, 0)

    @given(st.from_regex(rb"((0\.0\.0\.0|127\.0\.0\.1)[ \t]|\*\.|\|\|)?[a-zA-Z0-9._-]{1,30}\^?", fullmatch=True))
    def test_both_ways_agree(self, line: bytes) -> None:
        """The short way for plain lines reads nothing that the way word by word does not."""
        if lists._PLAIN.fullmatch(line.lower()):
            self.assertEqual(lists.names(line), lists._names(line))


class Files(SynchronousTestCase):
    """A file, line by line."""

    def file(self, content: bytes) -> str:
        """The path of a file."""
        path = Path(self.mktemp())
        path.write_bytes(content)
        return str(path)

    def test_long_lines(self) -> None:
        """What a line holds past its bound is left out, and never taken for a line of its own."""
        path = self.file(
            b"a.example # " + b"x" * 9000 + b" \nb.example\n" + b"c" * lists.LONGEST_LINE + b"d.example\ne"
        )
        self.assertEqual([len(line) for line in lists.lines(path)], [lists.LONGEST_LINE, 10, lists.LONGEST_LINE, 1])

    def logged(self, content: bytes, take: Callable[[bytes], object] = lists.names) -> tuple[int, int, list[str]]:
        """Return how many lines of a file were taken, how many skipped, and what the log says without the path."""
        logged: list[LogEvent] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            logged.append(event)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        skipped = Count("heimdall_admit_test_total", "")
        path = self.file(content)
        taken = len(list(lists.each(path, take, skipped)))
        globalLogPublisher.removeObserver(observe)
        self.assertTrue(all(event["log_level"] is LogLevel.warn for event in logged))
        return taken, skipped.total(), [formatEvent(event).replace(f"{path}: ", "") for event in logged]

    def test_wrong_lines(self) -> None:
        """Wrong lines are counted; one line of the log says how many, and which the first are, each with the reason."""
        taken, skipped, logged = self.logged(b"a.example\n??\nb.example\na b\n\xff\xfe\n")
        self.assertEqual((taken, skipped), (2, 3))
        self.assertEqual(logged, [
            "3 wrong lines are left out: line 2: '??' is not a domain name; line 4: 'a b' is more than a name, and 'a' "
            "no address that leads nowhere; line 5: it is not UTF-8"
        ])  # fmt: skip

    def test_hosts(self) -> None:
        """So it is with a hosts file."""
        _, skipped, logged = self.logged(b"192.0.2.1 a.example\nhost 192.0.2.1\n192.0.2.2\n", Local()._take)
        self.assertEqual((skipped, logged), (2, [
            "2 wrong lines are left out: line 2: 'host' is no IP address; line 3: no name stands behind 192.0.2.2"
        ]))  # fmt: skip

    def test_bounded(self) -> None:
        """However many lines are wrong, and whatever they hold, the log has one line of a bounded length."""
        long = b"x y \x1b[31m" + "\u0085\u202e".encode() + b"z" * 9000 + b"\n"
        taken, skipped, logged = self.logged(long * 1000)
        self.assertEqual((taken, skipped, len(logged)), (0, 1000, 1))
        self.assertIn(f"line {lists.SHOWN}: ", logged[0])
        self.assertTrue(logged[0].endswith("; and 995 more"), logged[0])
        self.assertLess(len(logged[0]), 1000)
        self.assertTrue(logged[0].isprintable())

    def test_good_file(self) -> None:
        """A file without wrong lines is nothing to log."""
        self.assertEqual(list(lists.each(self.file(b""), lists.names, Count("heimdall_admit_test_total", ""))), [])
