"""Tallies as processes tell them to each other, and the sums of those that are gone."""

from __future__ import annotations

import json

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from heimdall.tally import Count, Gauge, Tally, Times
from heimdall.totals import Live, Past, heard, told, total
from heimdall.watch.metrics import Metrics


def counted(number: int) -> list[Tally]:
    """Tallies of every kind."""
    answers = Count("heimdall_accept_answers_total", "Answers.", "origin", "rcode")
    answers.add("memory", "noerror", by=number)
    seconds = Times("heimdall_accept_query_seconds", "Times.")
    seconds.observe(0.003 * number)
    return [
        answers,
        seconds,
        Gauge("heimdall_cache_memory_entries", "Entries.", lambda: number),
        Gauge("heimdall_fetch_upstream_up", "Up.", lambda: {"a": 1.0, "b": float(number)}, "server", across="min"),
        Gauge("heimdall_cache_hot_names", "Names.", lambda: number, across="max"),
    ]


def page(*groups: list[Tally]) -> dict[str, float]:
    """What a scrape shows of our metrics."""
    _, text = Metrics(*groups).render()
    return {
        sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if sample.name.startswith(("heimdall_accept", "heimdall_cache", "heimdall_fetch"))
    }


class Telling(SynchronousTestCase):
    """From one process to another."""

    def test_there_and_back(self) -> None:
        """What a process tells of its tallies shows as its tallies do."""
        tallies = counted(3)
        self.assertEqual(page(heard(json.loads(json.dumps(told(tallies))))), page(tallies))

    def test_together(self) -> None:
        """Counters, times and most gauges of two add up; of those that say so the greatest or the least counts."""
        shown = page(counted(2), counted(5))
        self.assertEqual(shown["heimdall_accept_answers_total memory noerror"], 7)
        self.assertEqual(shown["heimdall_accept_query_seconds_count"], 2)
        self.assertEqual((shown["heimdall_cache_memory_entries"], shown["heimdall_cache_hot_names"]), (7, 5))
        self.assertEqual((shown["heimdall_fetch_upstream_up a"], shown["heimdall_fetch_upstream_up b"]), (1, 2))

    def test_broken(self) -> None:
        """A gauge that cannot be read is left out, and rubbish is no tally."""

        def broken() -> float:
            raise RuntimeError

        self.assertEqual(told([Gauge("heimdall_cache_hot_names", "Names.", broken)]), [])
        for rubbish in (["none"], ["count", "a"], ["times", "a", "b", 3, "x"], []):
            with self.assertRaises((ValueError, TypeError, KeyError, IndexError)):
                heard([rubbish])


class Gone(SynchronousTestCase):
    """What is kept."""

    def test_kept(self) -> None:
        """Counters and times of those that are gone are kept, of all together; gauges are not."""
        past = Past()
        for number in (2, 3):
            past.keep(counted(number))
        shown = page(past.tallies)
        self.assertEqual(shown["heimdall_accept_answers_total memory noerror"], 5)
        self.assertEqual((shown["heimdall_accept_query_seconds_count"], len(past.tallies)), (2, 2))

    def test_total(self) -> None:
        """The sum over all tallies of a name, by first labels, those that come later too."""
        tallies = counted(2)
        live = Live(lambda: tallies)
        tallies += counted(4)
        self.assertEqual(total(live, "heimdall_accept_answers_total", "memory"), 6)
        self.assertEqual(total(live, "heimdall_accept_answers_total", "redis"), 0)
        self.assertEqual(total(live, "heimdall_fetch_upstream_up"), 8)
