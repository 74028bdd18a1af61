"""Which answers leave when the memory is full."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from heimdall.cache.eviction import Eviction
from heimdall.cache.table import Table


def add(table: Table, key: bytes, dies: float = 1.0, uses: int = 0) -> int:
    """Return the place of one more answer of nothing."""
    place = table.enter(key)
    table.dies[place], table.uses[place] = dies, uses
    return place


def full(count: int, size: int) -> tuple[Table, Eviction, list[int]]:
    """Return as many answers of a size as there is room for: their table, their order, and their places."""
    table = Table()
    order = Eviction(table, count * size)
    places = [add(table, number.to_bytes(4, "big")) for number in range(count)]
    for place in places:
        order.enter(place, size)
    return table, order, places


def give_up(table: Table, order: Eviction, place: int) -> None:
    """Have an answer leave out of turn."""
    table.clear(place)
    order.leave(place)


class Cache:
    """A cache of names that all take ten bytes, evicted as the memory does it."""

    def __init__(self, places: int) -> None:
        self.table = Table()
        self.order = Eviction(self.table, places * 10)
        self.held: dict[int, int] = {}

    def ask(self, name: int) -> bool:
        """Ask for a name; hold it if it is not held. Return whether it was."""
        if name in self.held:
            self.table.uses[self.held[name]] += 1
            return True
        place = self.held[name] = add(self.table, name.to_bytes(8, "big"))
        self.order.enter(place, 10)
        for victim in self.order.victims(0.0):
            del self.held[int.from_bytes(self.table.keys[victim], "big")]
            self.table.clear(victim)
        return False


class Queues(SynchronousTestCase):
    """S3-FIFO."""

    def test_hot_names_survive_a_scan(self) -> None:
        """A scan of ten times the capacity leaves the names that are in use where they are."""
        cache = Cache(1000)
        for _ in range(4):
            for name in range(500):
                cache.ask(name)
        for name in range(10_000, 20_000):
            cache.ask(name)
        self.assertGreater(sum(name in cache.held for name in range(500)), 490)

    def test_better_than_lru_on_a_skewed_load(self) -> None:
        """On a Zipf load with one-time names between, more is found than with least-recently-used."""
        chance = random.Random(1)
        weights = [1 / (rank + 1) for rank in range(5000)]
        load = chance.choices(range(5000), weights, k=20_000)
        for at in range(0, len(load), 2):
            load[at] = 100_000 + at
        cache = Cache(500)
        found = sum(cache.ask(name) for name in load)
        lru: dict[int, None] = {}
        found_by_lru = 0
        for name in load:
            found_by_lru += lru.pop(name, 0) is None
            lru[name] = None
            if len(lru) > 500:
                del lru[next(iter(lru))]
        self.assertGreater(found, found_by_lru * 1.1)

    def test_one_that_comes_back_stays(self) -> None:
        """A name that left and is wanted again goes to the main queue at once."""
        cache = Cache(10)
        for name in range(12):
            cache.ask(name)
        self.assertNotIn(0, cache.held)
        cache.ask(0)
        self.assertTrue(cache.table.main[cache.held[0]])

    def test_dead_ones_leave_though_hot(self) -> None:
        """An answer past its time gets no second chance, however often it was used."""
        table = Table()
        order = Eviction(table, 20)
        old, new = add(table, b"old", dies=1.0, uses=9), add(table, b"new")
        order.enter(old, 15)
        order.enter(new, 15)
        self.assertEqual(list(order.victims(2.0)), [old])

    def test_larger_than_all(self) -> None:
        """What is larger than the whole memory leaves at once, and nothing is left counted."""
        table = Table()
        order = Eviction(table, 20)
        place = add(table, b"big")
        order.enter(place, 100)
        self.assertEqual((list(order.victims(0.0)), order.bytes), ([place], 0))

    @given(st.lists(st.tuples(st.sampled_from("afr"), st.integers(0, 30), st.integers(1, 60)), max_size=300))
    def test_bytes_are_right(self, steps: list[tuple[str, int, int]]) -> None:
        """Whatever comes and goes, each has a place of its own and the bytes are right, and within the limit."""
        table = Table()
        order = Eviction(table, 300)
        held: dict[bytes, int] = {}
        for step, name, size in steps:
            key = bytes((name,))
            if key not in held and step == "a":
                held[key] = add(table, key)
                order.enter(held[key], size)
            elif key in held and step == "f":
                give_up(table, order, held.pop(key))
            elif key in held:
                table.uses[held[key]] += 1
                order.resize(held[key], size)
            for victim in order.victims(0.0):
                del held[table.keys[victim]]
                table.clear(victim)
            self.assertEqual(order.bytes, sum(table.sizes[place] for place in held.values()))
            small = sum(table.sizes[place] for place in held.values() if not table.main[place])
            self.assertEqual(order._small_bytes, small)
            self.assertEqual({table.keys[place] for place in held.values()}, set(held))
            self.assertLessEqual(order.bytes, 300)

    def test_forgotten_places_do_not_pile_up(self) -> None:
        """Names put and forgotten for ever leave no trace in the queues."""
        table = Table()
        order = Eviction(table, 1000)
        for number in range(20_000):
            place = add(table, number.to_bytes(4, "big"))
            order.enter(place, 10)
            give_up(table, order, place)
        self.assertLess(len(order._small) + len(order._main), 3000)
        self.assertLess(len(table.keys), 3000)

    def test_the_dead_among_the_living(self) -> None:
        """A place that was given up out of turn is free once its turn comes."""
        table, order, places = full(10, 100)
        give_up(table, order, places[0])
        self.assertEqual(add(table, b"next"), 10)
        order.enter(10, 250)
        self.assertEqual(list(order.victims(0.0)), [1, 2])
        self.assertEqual({add(table, key) for key in (b"more", b"most", b"last")}, {0, 1, 2})

    def test_no_pause(self) -> None:
        """A long queue loses those that left out of turn a few at a time, and none of the others."""
        table, order, places = full(20_000, 10)
        longest, before = 0, len(order._small)
        for place in places[:-2000]:
            give_up(table, order, place)
            longest, before = max(longest, before - len(order._small)), len(order._small)
        self.assertLess(longest, 20)
        self.assertLessEqual(len(order._small), 2 * (2000 + 1000))
        self.assertLessEqual(set(places[-2000:]), set(order._small))

    def test_ghosts_are_bounded(self) -> None:
        """A scan without end is not remembered without end."""
        cache = Cache(100)
        for name in range(20_000):
            cache.ask(name)
        self.assertLess(len(cache.order._ghosts), 2000)
