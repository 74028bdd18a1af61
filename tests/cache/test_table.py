"""The columns of memory: places, and what answers share."""

from __future__ import annotations

from collections.abc import Sized

from twisted.trial.unittest import SynchronousTestCase

from heimdall.cache import table
from heimdall.cache.table import GROWTH, MOST_SPOTS, NOTHING, SPARE, Table
from tests.cache.questions import positive


class Forms(SynchronousTestCase):
    """What is said once for many."""

    def test_shared(self) -> None:
        """Answers that differ in question, records and TTL alone share a form; others have one of their own."""
        held = Table()
        first, second = held.form(positive()), held.form(positive("b.example", ttl=7, data="192.0.2.9"))
        self.assertIs(first[0], second[0])
        self.assertEqual((first[1], second[1]), (False, True))
        self.assertEqual((first[0].question, first[0].body, first[0].ttl, first[0].origin), (b"", b"", 0, "memory"))
        other, shared = held.form(positive().replace(rcode=3))
        self.assertEqual((other.rcode, shared), (3, False))

    def test_stale(self) -> None:
        """A stale answer is as old as it is: it shares nothing."""
        held = Table()
        forms = [held.form(positive().stale(late=float(seconds))) for seconds in (1, 1)]
        self.assertIsNot(forms[0][0], forms[1][0])
        self.assertEqual([shared for _, shared in forms], [False, False])

    def test_bounded(self) -> None:
        """However many forms come, so many are remembered and no more; the oldest goes for one that comes."""
        self.patch(table, "MOST_FORMS", 3)
        held = Table()
        for rcode in range(10):
            held.form(positive().replace(rcode=rcode))
        self.assertEqual(held.shared, 3)
        self.assertTrue(held.form(positive().replace(rcode=7))[1])
        self.assertFalse(held.form(positive().replace(rcode=6))[1])

    def test_many_records(self) -> None:
        """The form of an answer of many records is its own: it goes with the answer, and nobody remembers it."""
        held = Table()
        many = positive().replace(spots=tuple(range(6, 6 + 16 * (MOST_SPOTS + 1), 16)))
        self.assertEqual([held.form(many)[1], held.form(positive())[1], held.form(many)[1]], [False, False, False])
        self.assertEqual(held.shared, 1)


class Places(SynchronousTestCase):
    """Who is where."""

    def test_used_again(self) -> None:
        """A place that was freed is given to the next one, and holds nothing of who was there."""
        held = Table()
        place = held.enter(b"one")
        held.uses[place], held.noted[place], held.until[place] = 5, 3, 9.0
        held.forms[place], held.bodies[place] = positive(), b"body"
        held.clear(place)
        self.assertEqual(held.enter(b"two"), place + 1)
        held.free(place)
        self.assertEqual(held.enter(b"three"), place)
        self.assertEqual((held.keys[place], held.bodies[place], held.forms[place]), (b"three", b"", NOTHING))
        self.assertEqual((held.uses[place], held.noted[place], held.until[place]), (0, 0, 0.0))

    def test_growth(self) -> None:
        """Each new place makes one column longer at most, and there is always one left."""
        held = Table()
        columns: list[Sized] = [*held._numbers, *held._links, held.forms, held.bodies, held.keys]
        self.assertLess(len(columns), SPARE)
        held.enter(b"first")
        for number in range(5 * GROWTH):
            before = sum(len(column) for column in columns)
            place = held.enter(b"%d" % number)
            self.assertLessEqual(sum(len(column) for column in columns) - before, GROWTH)
            self.assertTrue(all(place < len(column) for column in columns))
            self.assertEqual(len(held), number + 2)
