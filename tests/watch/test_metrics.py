"""The text that Prometheus reads."""

from __future__ import annotations

import shutil
import subprocess

from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_classic
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from heimdall.tally import Count, Gauge, Tally, Times
from heimdall.watch.metrics import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, str], float]:
    """Return what a scrape says: the number by the sample's name and the values of its labels."""
    _, text = metrics.render()
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in read_classic(text.decode())
        for sample in family.samples
    }


def promtool(text: bytes) -> str:
    """Return what promtool has to say against a page of metrics."""
    tool = shutil.which("promtool")
    if tool is None:
        raise SkipTest("promtool is not installed: apt-get install prometheus")
    done = subprocess.run([tool, "check", "metrics"], input=text, capture_output=True, check=False)
    return (done.stdout + done.stderr).decode() + (f"exit code {done.returncode}" if done.returncode else "")


def some() -> list[Tally]:
    """Return one tally of each kind, with something counted in it."""
    answers = Count("heimdall_accept_answers_total", "Answers sent.", "origin", "rcode")
    answers.add("memory", "NOERROR", by=3)
    times = Times("heimdall_accept_query_seconds", "Time to answer.")
    for seconds in (0.00001, 0.0001, 0.003, 60.0):
        times.observe(seconds)
    return [
        answers,
        times,
        Count("heimdall_accept_drops_total", "Messages dropped."),
        Gauge("heimdall_cache_memory_bytes", "Bytes held.", lambda: 17),
        Gauge("heimdall_fetch_rtt_seconds", "Round-trip time.", lambda: {"192.0.2.1:53": 0.25}, "upstream"),
    ]


class Scrape(SynchronousTestCase):
    """What is counted is what is read."""

    def test_kinds(self) -> None:
        """A count, a gauge with and without a label, and a histogram all show their numbers."""
        seen = samples(Metrics(some()))
        self.assertEqual(seen["heimdall_accept_answers_total", "memory,NOERROR"], 3)
        self.assertEqual(seen["heimdall_accept_drops_total", ""], 0)
        self.assertEqual(seen["heimdall_cache_memory_bytes", ""], 17)
        self.assertEqual(seen["heimdall_fetch_rtt_seconds", "192.0.2.1:53"], 0.25)
        self.assertEqual(seen["heimdall_accept_query_seconds_count", ""], 4)
        self.assertAlmostEqual(seen["heimdall_accept_query_seconds_sum", ""], 60.00311)

    def test_buckets_rise(self) -> None:
        """A bucket holds all that took its bound or less, and the last one everything."""
        seen = samples(Metrics(some()))
        bounds = {bound: seen["heimdall_accept_query_seconds_bucket", bound] for bound in ("0.0001", "0.005", "5.0")}
        self.assertEqual(bounds, {"0.0001": 2, "0.005": 3, "5.0": 3})
        self.assertEqual(seen["heimdall_accept_query_seconds_bucket", "+Inf"], 4)

    def test_read_anew(self) -> None:
        """A scrape shows the numbers of its moment, of tallies that were added since as well."""
        drops = Count("heimdall_accept_drops_total", "Messages dropped.")
        tallies: list[Tally] = [drops]
        metrics = Metrics(tallies)
        samples(metrics)
        drops.add(by=2)
        tallies.append(Count("heimdall_admit_blocked_total", "Names blocked."))
        seen = samples(metrics)
        self.assertEqual((seen["heimdall_accept_drops_total", ""], seen["heimdall_admit_blocked_total", ""]), (2, 0))

    def test_same_name(self) -> None:
        """What two parts count under one name is added up, and one tally that is listed twice counts once."""
        one, two = some(), some()
        seen = samples(Metrics(one, two, one))
        self.assertEqual(seen["heimdall_accept_answers_total", "memory,NOERROR"], 6)
        self.assertEqual(seen["heimdall_cache_memory_bytes", ""], 34)
        self.assertEqual(seen["heimdall_accept_query_seconds_count", ""], 8)
        self.assertEqual(seen["heimdall_accept_query_seconds_bucket", "0.0001"], 4)

    def test_process(self) -> None:
        """What the process uses, its Python and our version are there too."""
        names = {name for name, _ in samples(Metrics())}
        self.assertLessEqual(
            {
                "process_resident_memory_bytes",
                "process_cpu_seconds_total",
                "python_info",
                "python_gc_collections_total",
                "heimdall_watch_build_info",
            },
            names,
        )

    def test_hostile_label(self) -> None:
        """The value of a label may hold anything: it cannot forge another line."""
        value = 'x"} 1\nheimdall_accept_drops_total 99\\'
        gauge = Gauge("heimdall_fetch_up_info", "Whether it answers.", lambda: {value: 1}, "upstream")
        seen = samples(Metrics([gauge]))
        self.assertEqual(seen["heimdall_fetch_up_info", value], 1)
        self.assertNotIn(("heimdall_accept_drops_total", ""), seen)


class Broken(SynchronousTestCase):
    """One tally that cannot be read costs its own line only."""

    def test_raising_gauge(self) -> None:
        """A gauge that raises is left out and counted each time, and logged once until it can be read again."""

        def read() -> float:
            if broken:
                raise ZeroDivisionError("no")
            return 5

        broken = True
        metrics = Metrics([Gauge("heimdall_cache_memory_bytes", "Bytes held.", read), *some()[:1]])
        for scrape in (1, 2):
            seen = samples(metrics)
            self.assertNotIn(("heimdall_cache_memory_bytes", ""), seen)
            self.assertEqual(seen["heimdall_accept_answers_total", "memory,NOERROR"], 3)
            self.assertEqual(seen["heimdall_watch_scrape_errors_total", ""], scrape)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        broken = False
        self.assertEqual(samples(metrics)["heimdall_cache_memory_bytes", ""], 5)
        broken = True
        samples(metrics)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_not_a_number(self) -> None:
        """A gauge that returns no number is one that cannot be read."""
        metrics = Metrics([Gauge("heimdall_cache_memory_bytes", "Bytes held.", lambda: {"a": "b"})])  # type: ignore[dict-item]
        self.assertEqual(samples(metrics)["heimdall_watch_scrape_errors_total", ""], 1)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_two_shapes(self) -> None:
        """One name counted in two ways is left out, for neither number would be right."""
        for other in (
            Count("heimdall_accept_drops_total", "Messages dropped.", "reason"),
            Gauge("heimdall_accept_drops_total", "Messages dropped.", lambda: 1),
        ):
            seen = samples(Metrics([Count("heimdall_accept_drops_total", "Messages dropped."), other]))
            self.assertNotIn(("heimdall_accept_drops_total", ""), seen)
            self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)


class Formats(SynchronousTestCase):
    """Both formats are written as their readers want them."""

    def test_classic(self) -> None:
        """Without a word on it the classic format is written, and promtool has nothing against it."""
        for accept in ("", "*/*", "text/plain;version=0.0.4", "garbage;;=,,\x00"):
            kind, text = Metrics(some()).render(accept)
            self.assertEqual(kind, "text/plain; version=0.0.4; charset=utf-8")
            self.assertIn(b"# TYPE heimdall_accept_answers_total counter\n", text)
        self.assertEqual(promtool(text), "")

    def test_openmetrics(self) -> None:
        """OpenMetrics is written for who names it, ends with its mark, and holds the same numbers."""
        accept = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"
        kind, text = Metrics(some()).render(accept)
        self.assertEqual(kind.split(";")[0], "application/openmetrics-text")
        self.assertTrue(text.endswith(b"# EOF\n"))
        families = {family.name: family for family in read_openmetrics(text.decode())}
        self.assertEqual(families["heimdall_accept_answers"].samples[0].value, 3)
        self.assertEqual(families["heimdall_accept_query_seconds"].type, "histogram")
