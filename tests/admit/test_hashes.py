"""The set that holds millions of names."""

from __future__ import annotations

from tracemalloc import get_traced_memory, start, stop

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from benchmarks.micro.clock import operations
from heimdall.admit.hashes import Hashes
from heimdall.message.wire import suffixes

NAMES = st.lists(st.sampled_from([b"\1a", b"\1b", b"\2aa", b"\3com"]), max_size=4).map(lambda ls: b"".join(ls) + b"\0")


class Sets(SynchronousTestCase):
    """What is in it and what is not."""

    @given(st.lists(NAMES, max_size=30), NAMES)
    def test_as_a_set(self, names: list[bytes], asked: bytes) -> None:
        """It finds the longest suffix that a set of the same names holds, and has as many names."""
        held, expected = Hashes(names), set(names)
        self.assertEqual(len(held), len(expected))
        found = [len(asked) - len(suffix) for suffix in suffixes(asked) if suffix in expected]
        self.assertEqual(held.find(asked), min(found, default=-1))

    def test_every_name_of_many(self) -> None:
        """Of many names each is found, and none that is not among them."""
        names = [b"\6%06d\3com\0" % number for number in range(20_000)]
        held = Hashes(names[::2])
        self.assertTrue(all(held.find(name) == 0 for name in names[::2]))
        self.assertTrue(all(held.find(name) == -1 for name in names[1::2]))

    def test_a_million_names(self) -> None:
        """A million names take nine bytes each, while they are read as well."""
        number = 1_000_000
        held = Hashes(b"\7%07d\3com\0" % each for each in range(number))
        self.assertEqual(len(held), number)
        self.assertLess(held.size, 9.1 * number)

    def test_work(self) -> None:
        """To load a name takes no more work among many than among a few."""

        def each(number: int) -> float:
            names = [b"\7%07d\3com\0" % each for each in range(number)]
            return operations(lambda: Hashes(names)) / number

        self.assertLess(each(20_000), 1.1 * each(2_000))

    def test_memory_while_loading(self) -> None:
        """Loading takes no more than three times what the names take in the end."""
        number = 100_000
        start()
        self.addCleanup(stop)
        held = Hashes(b"\7%07d\3com\0" % each for each in range(number))
        self.assertLess(get_traced_memory()[1], 3 * held.size)
