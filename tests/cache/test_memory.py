"""The memory of a node."""

from __future__ import annotations

import os
import subprocess
import sys

import dns.edns
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from heimdall.cache.memory import ENTRY_BYTES, PARTS, STEP, Memory
from heimdall.interfaces import IHotCache
from heimdall.message import query
from heimdall.message.answer import Row, local
from heimdall.message.passed import Changes, terms
from heimdall.message.query import Query
from tests.cache.questions import failure, negative, positive, question, scoped, ttls
from tests.message.messages import query_wire


class Holding(SynchronousTestCase):
    """What is held, and for how long."""

    def setUp(self) -> None:
        self.memory = Memory(1_000_000, stale_window=100.0)

    def test_interface(self) -> None:
        """Memory is a hot cache."""
        self.assertTrue(verifyObject(IHotCache, self.memory))

    @given(st.integers(1, 1000), st.floats(0, 1200))
    def test_age(self, ttl: int, age: float) -> None:
        """Within its TTL an answer is found, every TTL less by its age in whole seconds; after it, it is not."""
        memory = Memory(1_000_000)
        memory.put(question(), positive(ttl=ttl), 5000.0)
        known = memory.get(question(), 5000.0 + age)
        if age < ttl:
            assert known is not None
            self.assertEqual(ttls(known[1], known[0]), [ttl - int(age)])
            self.assertEqual(known[0].origin, "memory")
        else:
            self.assertIsNone(known)

    def test_again(self) -> None:
        """A body is still what is to be given in its second, and while nobody doubts what is held."""
        self.memory.put(question(), positive(), 0.0)
        found = self.memory.get(question(), 1.0)
        assert found is not None
        place = max(found[2], ~found[2])
        self.assertTrue(self.memory.again(place, found[1], 1.5))
        self.assertFalse(self.memory.again(place, bytes(bytearray(found[1])), 1.5))
        self.assertFalse(self.memory.again(place, found[1], 2.0))

    def test_again_without_records(self) -> None:
        """An image without records is that of many answers: it is not taken for one that was given before."""
        self.memory.put(question(), failure().replace(ttl=5, keep=True), 0.0)
        for now in (1.0, 1.1):
            found = self.memory.get(question(), now)
            assert found is not None
            self.assertLess(found[2], 0)
            self.assertFalse(self.memory.again(~found[2], found[1], now))

    def test_image_of_a_second(self) -> None:
        """Within one second the same image is given; in the next it is another."""
        self.memory.put(question(), positive(), 0.0)
        first, second, third = (self.memory.get(question(), now) for now in (1.0, 1.9, 2.0))
        assert first and second and third
        self.assertIs(first[1], second[1])
        self.assertNotEqual(first[1], third[1])

    def test_kept_apart(self) -> None:
        """Other names, types, DO and CD are other questions."""
        self.memory.put(question(), positive(), 0.0)
        for other in (
            question("b.example"), question(qtype=28),
            query.make(question().name, 1, do=True), query.make(question().name, 1, cd=True),
        ):  # fmt: skip
            self.assertIsNone(self.memory.get(other, 1.0))

    def test_spelling_does_not_matter(self) -> None:
        """A name is found in whatever case it is asked (RFC 4343)."""
        self.memory.put(question(), positive(), 0.0)
        asked = query.read(query_wire("A.eXaMPLE."))
        assert isinstance(asked, Query)
        self.assertIsNotNone(self.memory.get(asked, 1.0))

    def test_no_such_name_is_for_every_type(self) -> None:
        """NXDOMAIN answers for every type of the name, NODATA for the type that was asked (RFC 2308, 5)."""
        self.memory.put(question("no.example"), negative(), 0.0)
        self.memory.put(question("empty.example"), negative("empty.example", rcode=0), 0.0)
        self.assertIsNotNone(self.memory.get(question("no.example", 28), 1.0))
        self.assertIsNotNone(self.memory.get(question("empty.example"), 1.0))
        self.assertIsNone(self.memory.get(question("empty.example", 28), 1.0))
        self.assertIsNone(self.memory.get(question("no.example", 28), 300.0))

    def test_the_last_word(self) -> None:
        """Of two stale answers the one learnt last is held: a name that went away does not come back by it."""
        self.memory.put(question("no.example"), positive("no.example", ttl=300), 0.0)
        self.memory.put(question("no.example", 28), negative(), 50.0)
        held = self.memory.held(question("no.example"), 360.0)
        assert held is not None
        self.assertEqual(held[0].rcode, 3)

    def test_stale(self) -> None:
        """Past its TTL an answer is still held for the window, but not given as fresh."""
        self.memory.put(question(), positive(ttl=60), 0.0)
        self.assertIsNone(self.memory.get(question(), 60.0))
        held = self.memory.held(question(), 159.0)
        assert held is not None
        self.assertEqual(held[1:], (60.0, 160.0))
        self.assertIsNone(self.memory.held(question(), 160.0))
        self.assertIsNone(self.memory.held(question("b.example"), 0.0))

    def test_new_for_old(self) -> None:
        """A newer answer takes the place of the older; bytes are counted once."""
        self.memory.put(question(), positive(data="192.0.2.1"), 0.0)
        self.memory.put(question(), positive(data="192.0.2.2"), 10.0)
        known = self.memory.get(question(), 10.0)
        assert known is not None
        self.assertIn(bytes((192, 0, 2, 2)), known[1])
        self.memory.forget(question().key)
        self.memory.forget(question().key)
        self.assertIsNone(self.memory.get(question(), 10.0))
        self.assertEqual(self.memory.used, 0)

    def test_subnets(self) -> None:
        """An answer meant for a network is given to that network only, one for all to all."""

        def asked(address: str) -> Query:
            read = query.read(
                query_wire("a.example", use_edns=0, options=[dns.edns.ECSOption(address, 24)]), subnets=True
            )
            assert isinstance(read, Query)
            return read

        self.memory.put(asked("192.0.2.1"), scoped(positive(), 24), 0.0)
        self.assertIsNotNone(self.memory.get(asked("192.0.2.99"), 1.0))
        self.assertIsNone(self.memory.get(asked("192.0.3.1"), 1.0))
        self.assertIsNone(self.memory.get(question(), 1.0))
        self.memory.put(asked("192.0.2.1"), scoped(positive(), 0), 0.0)
        self.assertIsNotNone(self.memory.get(asked("198.51.100.1"), 1.0))
        self.assertIsNotNone(self.memory.held(asked("198.51.100.1"), 1.0))

    def test_a_closer_answer_that_expired(self) -> None:
        """An expired answer for a network does not hide a fresh one that is meant for all."""
        asked = query.read(
            query_wire("a.example", use_edns=0, options=[dns.edns.ECSOption("192.0.2.1", 24)]), subnets=True
        )
        assert isinstance(asked, Query)
        self.memory.put(asked, scoped(positive(ttl=10), 24), 0.0)
        self.memory.put(asked, scoped(positive(ttl=60, data="192.0.2.9"), 0), 20.0)
        known, held = self.memory.get(asked, 30.0), self.memory.held(asked, 30.0)
        assert known and held
        self.assertEqual((known[0].scope, held[0].scope), (0, 0))


class Bounds(SynchronousTestCase):
    """The bytes."""

    def test_never_over_the_limit(self) -> None:
        """However much is put, what is held stays below the limit, and what left is counted."""
        memory = Memory(100_000)
        for number in range(1000):
            memory.put(question(f"n{number}.example"), positive(f"n{number}.example"), 0.0)
        self.assertLessEqual(memory.used, 100_000)
        self.assertGreater(len(memory), 80)
        self.assertEqual(memory._evicted.total() + len(memory), 1000)

    def test_limit_falls(self) -> None:
        """A limit that has fallen is kept in small steps."""
        memory = Memory(1_000_000)
        for number in range(3000):
            memory.put(question(f"n{number}.example"), positive(f"n{number}.example"), 0.0)
        memory.keep(100_000, stale_window=0.0, refresh_share=0.0)
        held = len(memory)
        for _ in memory.trim(0.0):
            self.assertLess(held - len(memory), STEP // ENTRY_BYTES + 2)
            held = len(memory)
        self.assertLessEqual(memory.used, 100_000)
        self.assertGreater(memory.used, 90_000)

    def test_parts(self) -> None:
        """The index is in parts: the largest of 200,000 names has few of them, and so has no step much to write."""
        memory = Memory(200_000_000)
        known = positive()
        for number in range(200_000):
            name = question(f"n{number}.example")
            memory.put(name, known.replace(question=name.key[:-1]), 0.0)
        self.assertEqual(len(memory), 200_000)
        self.assertLess(max(map(len, memory._index)), 2 * 200_000 // PARTS)

    def test_form_of_its_own(self) -> None:
        """An answer that is refreshed still pays for a form that it shares with nobody."""
        name = question("a.example")
        rows: list[Row] = [(name.name, 16, 60, b"x" * length) for length in range(1, 9)]
        memory = Memory(1_000_000)
        used = []
        for now in (0.0, 1.0, 2.0):
            memory.put(name, local(name, 0, rows, origin="upstream").replace(keep=True), now)
            used.append(memory.used)
        self.assertEqual(len(set(used)), 1, used)

    def test_bytes_are_real(self) -> None:
        """What is counted is what the process grows by, within a quarter: for answers of one record and of many."""
        for answers, records in ((60_000, 1), (1200, 300)):
            run = subprocess.run(
                [sys.executable, "-c", self.script, str(answers), str(records)],
                capture_output=True,
                text=True,
                check=True,
                # How full the tables are depends on the hashes; and what measures coverage takes memory as well.
                env={**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
            self.assertTrue(0.75 < float(run.stdout) < 1.25, run.stdout)

    script = """
import gc, os, sys
from heimdall.cache.memory import Memory
from tests.message.messages import reply_wire
from heimdall.message import answer, response, query
from tests.running import resident
def grown():
    gc.collect()
    return resident(os.getpid())
memory = Memory(10**9)
answers, records = int(sys.argv[1]), int(sys.argv[2])
lines = [f"n000000.example. 60 A 192.0.{number >> 8}.{number & 255}" for number in range(records)]
image = reply_wire("n000000.example.", "A", *lines)
before = grown()
for number in range(answers):
    name = b"\\x07n%06d\\x07example\\0" % number
    memory.put(query.make(name, 1), response.read(image[:12] + name + image[12 + len(name):]), 0.0)
    memory.get(query.make(name, 1), 5.0)
print((grown() - before) / memory.used)
"""


class Refreshing(SynchronousTestCase):
    """Asking for a refresh ahead of expiry."""

    def setUp(self) -> None:
        self.memory = Memory(1_000_000, refresh_share=0.1)
        self.asked: list[float] = []
        self.memory.refresh = lambda query, left: self.asked.append(left)
        self.memory.put(question(), positive(ttl=100), 0.0)

    def test_in_use(self) -> None:
        """A name asked for again in the last tenth of its TTL is refreshed, once."""
        for now in (10.0, 89.0, 91.0, 92.0):
            self.memory.get(question(), now)
        self.assertEqual(self.asked, [9.0])

    def test_place_lost(self) -> None:
        """A source may answer a refresh at once; where that pushes the answer out, another one's place is not given."""

        def refresh(asked: Query, left: float) -> None:
            self.memory.forget(asked.key)
            self.memory.put(question("b.example"), positive("b.example"), 95.0)

        self.memory.refresh = refresh
        for now in (1.0, 2.0):
            self.memory.get(question(), now)
        self.assertIsNone(self.memory.get(question(), 95.0))

    def test_not_in_use(self) -> None:
        """A name asked for once only is left to expire."""
        self.memory.get(question(), 95.0)
        self.assertEqual(self.asked, [])

    def test_never(self) -> None:
        """With a share of 0, or nobody to ask, nothing is refreshed."""
        self.memory.refresh = None
        silent = Memory(1_000_000)
        silent.refresh = lambda query, left: self.asked.append(left)
        silent.put(question(), positive(ttl=100), 0.0)
        for memory in (self.memory, silent):
            for now in (10.0, 89.0, 91.0, 92.0):
                memory.get(question(), now)
        self.assertEqual(self.asked, [])


class Terms(SynchronousTestCase):
    """What is held of a question that policies let pass on some terms."""

    def setUp(self) -> None:
        self.memory = Memory(1_000_000, stale_window=1000.0, refresh_share=0.1)
        self.asked = question()
        self.passed = terms(self.asked)

    def test_no_longer(self) -> None:
        """Neither fresh nor stale is it given past them, nor refreshed towards their end."""
        refreshed: list[float] = []
        self.memory.refresh = lambda query, left: refreshed.append(left)
        self.passed.until = 30.0
        self.memory.put(self.asked, positive(ttl=100), 0.0)
        for now in (0.0, 20.0, 28.0, 29.0, 29.9):
            found = self.memory.get(question(), now)
            assert found is not None
            self.assertEqual(int.from_bytes(found[1][6:10], "big"), 30 - int(now))
        self.assertIsNone(self.memory.get(question(), 30.0))
        self.assertIsNone(self.memory.held(question(), 30.0))
        self.assertEqual(refreshed, [])

    def test_longer(self) -> None:
        """Terms that outlive it change nothing but how long it may be given stale."""
        refreshed: list[float] = []
        self.memory.refresh = lambda query, left: refreshed.append(left)
        self.passed.until = 130.0
        self.memory.put(self.asked, positive(ttl=100), 0.0)
        for now in (0.0, 95.0):
            self.memory.get(question(), now)
        self.assertEqual(refreshed, [5.0])
        self.assertIsNotNone(self.memory.held(question(), 129.0))
        self.assertIsNone(self.memory.held(question(), 130.0))

    def test_over(self) -> None:
        """What ends with this second, or is over, is not held at all; nor is it where policies have changed."""
        for until in (10.0, 10.5):
            self.passed.until = until
            self.memory.put(self.asked, positive(), 10.0)
        self.passed.until, self.passed.changes = 100.0, Changes()
        self.passed.changes.add(None)
        self.memory.put(self.asked, positive(), 10.0)
        self.assertEqual(len(self.memory), 0)

    def test_existing(self) -> None:
        """A name that exists is never held as one that does not, for whatever type."""
        self.passed.exists = True
        self.memory.put(self.asked, negative("a.example"), 0.0)
        found = self.memory.get(question(), 1.0)
        assert found is not None
        self.assertEqual((found[0].rcode, self.memory.get(question(qtype=28), 1.0)), (0, None))

    def test_refused(self) -> None:
        """What a refresh finds refused is not given any more, not even to who asked; others are."""
        self.memory.refresh = lambda query, left: False
        for name in ("a.example", "b.example"):
            self.memory.put(question(name), positive(name, ttl=100), 0.0)
        self.assertIsNotNone(self.memory.get(question(), 50.0))
        self.assertIsNone(self.memory.get(question(), 95.0))
        self.assertIsNone(self.memory.get(question(), 95.0))
        self.assertIsNotNone(self.memory.get(question("b.example"), 95.0))
        self.assertFalse(self.memory.renew(question("b.example"), 95.0))
        self.assertEqual(len(self.memory), 0)
