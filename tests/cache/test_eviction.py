"""Which answers leave when the memory is full."""

from __future__ import annotations

import random
from array import array
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from heimdall.cache.eviction import GHOST_EVERY, LOOKS, Eviction
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


def queued(table: Table, queue: int) -> list[int]:
    """Return the places in a queue, the head first; both ways lead through the same."""
    for column in (table.after, table.before):
        found, place = [], column[queue]
        while place != queue:
            found.append(place)
            place = column[place]
        if column is table.after:
            forward = found
    assert forward == found[::-1]
    return forward


class Counted(array):  # type: ignore[type-arg]  # which Python 3.11 takes in annotations only
    """A column that counts how often somebody looks into it."""

    looks = 0

    def __getitem__(self, place: Any) -> Any:
        self.looks += 1
        return super().__getitem__(place)


class Cache:
    """A cache of names that all take 400 bytes, as most answers do, evicted as the memory does it."""

    def __init__(self, places: int) -> None:
        self.table = Table()
        self.order = Eviction(self.table, places * 400)
        self.held: dict[int, int] = {}

    def ask(self, name: int) -> bool:
        """Ask for a name; hold it if it is not held. Return whether it was."""
        if name in self.held:
            self.table.uses[self.held[name]] += 1
            return True
        place = self.held[name] = add(self.table, name.to_bytes(8, "big"))
        self.order.enter(place, 400)
        for victim in self.order.victims(0.0, 800):
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
        for name in range(11):
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
        self.assertEqual(list(order.victims(2.0, 30)), [old])

    def test_larger_than_all(self) -> None:
        """What is larger than the whole memory leaves at once, and nothing is left counted."""
        table = Table()
        order = Eviction(table, 20)
        place = add(table, b"big")
        order.enter(place, 100)
        self.assertEqual((list(order.victims(0.0, 200)), order.bytes), ([place], 0))

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
            for victim in order.victims(0.0, 10_000):
                del held[table.keys[victim]]
                table.clear(victim)
            self.assertEqual(order.bytes, sum(table.sizes[place] for place in held.values()))
            small = sum(table.sizes[place] for place in held.values() if not table.main[place])
            self.assertEqual(order._small_bytes, small)
            self.assertEqual({table.keys[place] for place in held.values()}, set(held))
            self.assertLessEqual(order.bytes, 300)
            self.assertEqual({*queued(table, order._small), *queued(table, order._main)}, set(held.values()))

    def test_forgotten_places_do_not_pile_up(self) -> None:
        """Names put and forgotten for ever leave no trace in the queues, and take one place."""
        table = Table()
        order = Eviction(table, 1000)
        for number in range(20_000):
            place = add(table, number.to_bytes(4, "big"))
            order.enter(place, 10)
            give_up(table, order, place)
        self.assertEqual((queued(table, order._small), queued(table, order._main), len(table)), ([], [], 2))

    def test_out_of_turn(self) -> None:
        """A place that was given up out of turn is free at once, and those beside it leave in their order."""
        table, order, places = full(10, 100)
        give_up(table, order, places[3])
        self.assertEqual(add(table, b"next"), places[3])
        order.enter(places[3], 250)
        self.assertEqual(list(order.victims(0.0, 500)), places[:2])
        self.assertEqual(queued(table, order._small), [places[2], *places[4:], places[3]])

    def test_ghosts_are_bounded(self) -> None:
        """A scan without end is not remembered without end: the room for it is fixed."""
        cache = Cache(100)
        for name in range(20_000):
            cache.ask(name)
        self.assertEqual(len(cache.order._ghosts), 40_000 // GHOST_EVERY + 1)


class Steps(SynchronousTestCase):
    """What one new answer costs, whatever is held."""

    def in_use(self, count: int, size: int = 400) -> tuple[Table, Eviction, list[int]]:
        """Return a full memory whose answers are all in use, half of them in the main queue."""
        table, order, places = full(count, size)
        for place in places:
            table.uses[place] = 3
        for place in places[::2]:
            table.main[place] = True
            order._take_off(place)
            order._append(order._main, place)
            order._small_bytes -= size
        return table, order, places

    def test_in_use(self) -> None:
        """One answer more than fit among 130,000 that are all in use looks at 16 at most; then one leaves."""
        table, order, _ = self.in_use(130_000)
        table.dies = counted = Counted("d", table.dies)
        for number in range(1000):
            place = add(table, b"new%d" % number, uses=2)
            order.enter(place, 400)
            counted.looks = 0
            gone = list(order.victims(0.0, 800))
            self.assertEqual((len(gone), order.bytes), (1, order.most))
            self.assertLessEqual(counted.looks, LOOKS + 1)

    def test_long_answers(self) -> None:
        """An answer as long as many has as many leave as it takes, and looks at 16 that stay at most."""
        table, order, _ = self.in_use(20_000)
        table.dies = counted = Counted("d", table.dies)
        place = add(table, b"long")
        table.main[place] = True
        order._append(order._main, place)
        table.sizes[place] = 64_000
        order.bytes += 64_000
        gone = list(order.victims(0.0, 128_000))
        self.assertEqual((len(gone), order.bytes), (160, order.most))
        self.assertLessEqual(counted.looks, LOOKS + 1 + len(gone))

    def test_lower_limit(self) -> None:
        """Where the limit has fallen, each new answer has a little more leave than it takes, until all fits."""
        table, order, _ = full(10_000, 400)
        order.limit(400_000)
        before = order.bytes
        for number in range(10_000):
            place = add(table, b"new%d" % number)
            order.enter(place, 400)
            gone = list(order.victims(0.0, 800))
            self.assertLessEqual(len(gone), 2)
            if order.bytes <= order.most:
                break
            self.assertEqual(order.bytes, before - 400)
            before = order.bytes
        self.assertLessEqual(order.bytes, 400_000)

    def test_comes_back(self) -> None:
        """What left of names in a memory full of others is found again by its hash alone: hardly one by mistake."""
        cache = Cache(10_000)
        for name in range(20_000):
            cache.ask(name)
        strangers = range(1_000_000, 1_001_000)
        for name in strangers:
            cache.ask(name)
        self.assertEqual([name for name in strangers if cache.table.main[cache.held[name]]], [])
